"""The one decorator that compiles kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numba import njit

#: Integers inside kernels: Python's from arguments, numpy's from arrays and casts.
Int: TypeAlias = int | np.integer[Any]

_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(function: _Function) -> _Function:
    """Compile ``function`` to machine code without the GIL, kept in Numba's cache on disk.

    IEEE arithmetic is left as written (no ``fastmath``), which is what makes results the same on every
    processor. Where no directory can be written, the code is compiled anew in each process.
    """
    try:
        compiled: _Function = njit(nogil=True, cache=True)(function)
    except RuntimeError:
        # Numba refuses at import time when neither the package nor the user's cache directory is writable.
        compiled = njit(nogil=True)(function)
    return compiled
