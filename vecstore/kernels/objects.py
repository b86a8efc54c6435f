"""Where CPython's and NumPy's objects keep what entries of kernels read, in bytes from the address of the object.

References
----------
CPython documentation, "Common Object Structures" (``PyObject``, ``PyVarObject``). NumPy documentation, "Python types
and C-structures" (``PyArrayObject``, ``PyArray_Descr``): what extensions compiled against any version of either find at
the same place.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np

WORD = 8

#: Behind the header, whose last word is the class.
HEADER = object.__basicsize__
CLASS = HEADER - WORD
LENGTH = HEADER
ITEMS = tuple.__basicsize__
#: What a ``bytes`` object holds; its size counts the final zero.
BYTES = bytes.__basicsize__ - 1
DATA, NDIM, SHAPE, STRIDES, DTYPE, FLAGS = (HEADER + WORD * place for place in (0, 1, 2, 3, 5, 6))
BYTE_ORDER, TYPE_NUMBER = HEADER + 10, HEADER + 12
CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400


@cache
def are_known() -> bool:
    """Tell whether objects of this interpreter are as described here, which is tried on some of them."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != WORD:
        return False
    array = np.zeros((2, 6), np.uint16)[:, ::3]
    number, pair, text = np.float64(1.5), (array, "item"), b"text"
    shape, strides = _read(array, SHAPE, ctypes.c_void_p), _read(array, STRIDES, ctypes.c_void_p)
    return (
        _read(array, CLASS, ctypes.c_void_p) == id(np.ndarray)
        and _read(array, DATA, ctypes.c_void_p) == array.ctypes.data
        and _read(array, NDIM, ctypes.c_int32) == array.ndim
        and tuple((ctypes.c_int64 * 2).from_address(shape)) == array.shape
        and tuple((ctypes.c_int64 * 2).from_address(strides)) == array.strides
        and _read(array, DTYPE, ctypes.c_void_p) == id(array.dtype)
        and _read(array, FLAGS, ctypes.c_int32) & (CONTIGUOUS | ALIGNED | WRITEABLE) == ALIGNED | WRITEABLE
        and _read(array.dtype, BYTE_ORDER, ctypes.c_char).decode() == array.dtype.byteorder
        and _read(array.dtype, TYPE_NUMBER, ctypes.c_int32) == array.dtype.num
        and _read(number, HEADER, ctypes.c_double) == number
        and _read(pair, LENGTH, ctypes.c_int64) == len(pair)
        and _read(pair, ITEMS + WORD, ctypes.c_void_p) == id(pair[1])
        and ctypes.string_at(id(text) + BYTES) == text
    )


def _read(value: object, offset: int, kind: Any) -> Any:
    return kind.from_address(id(value) + offset).value
