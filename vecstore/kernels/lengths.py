"""Rows of length 1, as cosine collections store them."""

from __future__ import annotations

from typing import Any

import numpy as np

from vecstore.errors import InvalidArgumentError
from vecstore.kernels.compiling import Int, frozen, kernel
from vecstore.types import F32

__all__ = ["unit_query", "unit_rows"]

#: Lengths this near to 1 count as 1: what float32 rounding makes of a unit row.
ROUNDING = 2.0**-23


@kernel
def squared_length(matrix: F32, row: Int) -> np.float64:
    """Give the squared length of a row in float64.

    Every fourth number is added to the same sum: in one sum, each addition would wait for the last.
    """
    first = second = third = fourth = np.float64(0)
    whole = matrix.shape[1] // 4 * 4
    for column in range(0, whole, 4):
        first += np.float64(matrix[row, column]) ** 2
        second += np.float64(matrix[row, column + 1]) ** 2
        third += np.float64(matrix[row, column + 2]) ** 2
        fourth += np.float64(matrix[row, column + 3]) ** 2
    for column in range(whole, matrix.shape[1]):
        first += np.float64(matrix[row, column]) ** 2
    return (first + second) + (third + fourth)


@kernel
def scale_to_unit(matrix: F32, out: F32) -> Int:
    """Write the rows of ``matrix`` float32[n, d] at length 1 into ``out``; give the first that has none, or -1.

    Rows of zeros, and with numbers that are not finite, have no length.
    """
    for row in range(matrix.shape[0]):
        total = squared_length(matrix, row)
        if not 0 < total < np.inf:
            return np.int64(row)
        length = np.sqrt(total)
        if abs(length - 1.0) <= ROUNDING:
            length = 1.0
        for column in range(matrix.shape[1]):
            out[row, column] = np.float32(matrix[row, column] / length)
    return np.int64(-1)


def unit_rows(matrix: F32, *, name: str = "vectors") -> F32:
    """Scale every row of float32[n, dim] to length 1 (a new array), as cosine collections store them.

    Rows at unit length but for float32 rounding stay bit for bit: what was exported imports unchanged.

    Raises
    ------
    InvalidArgumentError
        A row of zeros, which has no direction.
    """
    scaled = np.empty(matrix.shape, np.float32)
    row = scale_to_unit(frozen(matrix), scaled)
    if row >= 0:
        raise InvalidArgumentError(f"{name}: row {row} is all zeros, which has no direction under cosine", field=name)
    return scaled


def unit_query(query: Any, dim: int) -> F32 | None:
    """Give one query of the usual form, a contiguous float32[dim] or float32[1, dim], at length 1 as float32[1, dim].

    None for all other queries, and for those that are not finite or all zeros: :func:`~vecstore.types.as_queries` and
    :func:`unit_rows` know what to say of them, but take as long as a search.
    """
    if type(query) is not np.ndarray or query.dtype != np.float32 or query.shape not in ((dim,), (1, dim)):
        return None
    if not query.flags.c_contiguous:
        return None
    scaled = np.empty((1, dim), np.float32)
    # Whether the caller may write is not asked, although both kinds of array get code of their own: a view that may not
    # be written takes as long to make as the query does to scale.
    return scaled if scale_to_unit(query if query.ndim == 2 else query.reshape(1, dim), scaled) < 0 else None
