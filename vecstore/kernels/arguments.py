"""What kernels take: arrays, numbers, and tuples of them; and how a mix of types is named."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["classes_of", "form_of", "members"]

#: Python's own numbers, which are int64, float64 and bool inside kernels.
_NUMBERS = (int, float, bool)


def members(value: Any) -> tuple[Any, ...]:
    """Give what a tuple holds; nothing for all else."""
    return value if isinstance(value, tuple) else ()


def form_of(value: Any) -> str:
    """Give the types in ``value`` as text: arguments of one form run the same code.

    Raises
    ------
    TypeError
        A kernel cannot take such a value.
    """
    kind = type(value)
    if kind is tuple or hasattr(kind, "_fields"):
        # Kernels ask for members by name, and another version of a class may have them in another order.
        names = getattr(kind, "_fields", ("",) * len(value))
        inside = ",".join(f"{name}:{form_of(member)}" for name, member in zip(names, value, strict=True))
        return f"{kind.__module__}.{kind.__qualname__}({inside})"
    if kind is np.ndarray and value.dtype.isnative and value.dtype.kind in "biuf":
        flags = value.flags
        layout = "C" if flags.c_contiguous else "A"
        access = "w" if flags.writeable else "r"
        # Two types of C can have the same size, and then arrays of the same dtype differ in their number.
        return f"{value.dtype.str}.{value.dtype.num}[{value.ndim}{layout}{access}{'' if flags.aligned else 'u'}]"
    if kind in _NUMBERS or (isinstance(value, np.generic) and value.dtype.kind in "biuf"):
        if kind is int and not -(2**63) <= value < 2**63:
            raise TypeError(f"kernels take Python integers of 64 bits, got {value}; pass a numpy.uint64")
        return f"{kind.__module__}.{kind.__qualname__}"
    raise TypeError(
        f"kernels take arrays, numbers and tuples of them, got {kind.__name__}"
        + (f" of {value.dtype}" if kind is np.ndarray else "")
    )


def classes_of(value: Any) -> list[type]:
    """Give the class of ``value``, then those of all that is in it, in order."""
    return [type(value), *(cls for member in members(value) for cls in classes_of(member))]
