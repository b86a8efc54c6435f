"""How kernels are compiled, and the form that arrays take on their way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Integers inside kernels: Python's from arguments, numpy's from arrays and casts.
Int: TypeAlias = int | np.integer[Any]

_Scalar = TypeVar("_Scalar", bound=np.generic)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(function: _Function) -> _Function:
    """Compile ``function`` to machine code without the GIL, kept in Numba's cache on disk.

    IEEE arithmetic is left as written (no ``fastmath``), which is what makes results the same on every
    processor, and a division by zero gives infinity. Where no directory can be written, the code is compiled
    anew in each process.

    Numba notices when the file of a kernel changes, but not when a module that the kernel uses does: after editing
    one of them, delete ``vecstore/kernels/__pycache__/*.nb?``.
    """
    try:
        compiled: _Function = njit(nogil=True, cache=True, error_model="numpy")(function)
    except RuntimeError:
        # Numba refuses at import time when neither the package nor the user's cache directory is writable.
        compiled = njit(nogil=True, error_model="numpy")(function)
    return compiled


def inlined(function: _Function) -> _Function:
    """Compile ``function`` as a part of every kernel that calls it.

    For small functions that take operands: a call would pass a dozen array fields on the stack.
    """
    compiled: _Function = njit(nogil=True, error_model="numpy", inline="always")(function)
    return compiled


def frozen(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Give a read-only plain C-contiguous view of ``array``, copied only where it is not contiguous.

    Numba compiles kernels anew for every mix of writable and read-only arguments, and knows no memory maps;
    with one form for all there is one compilation.
    """
    flags = array.flags
    if type(array) is np.ndarray and flags.c_contiguous and not flags.writeable:
        return array
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.flags.writeable = False
    return view
