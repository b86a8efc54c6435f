"""Rows of few dimensions times a matrix: decoding, and queries in the few dimensions."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.intrinsics import dot, prefetch_row, squared_distance
from vecstore.types import F32, I64

#: Rows between asking for a row and using it.
ROWS_AHEAD = 16
#: Dimensions of a row that are used in one pass over the output.
STEP = 4


@kernel
def take_projected(table: F32, projection: F32, bias: F32, rows: I64, out: F32) -> None:
    """Write ``bias + table[rows] @ projection`` into ``out`` float32[n, d].

    ``table`` is float32[N, c], ``projection`` float32[c, d], ``bias`` float32[d]. Every sum starts from the bias and
    takes the c products in order, each by one multiplication and one addition in float32.
    """
    width, dim = projection.shape
    whole = width - width % STEP
    for place in range(len(rows)):
        if place + ROWS_AHEAD < len(rows):
            prefetch_row(table, rows[place + ROWS_AHEAD])
        row = rows[place]
        for column in range(dim):
            out[place, column] = bias[column]
        for first in range(0, whole, STEP):
            a, b = table[row, first], table[row, first + 1]
            c, d = table[row, first + 2], table[row, first + 3]
            for column in range(dim):
                total = out[place, column]
                total = np.float32(total + np.float32(a * projection[first, column]))
                total = np.float32(total + np.float32(b * projection[first + 1, column]))
                total = np.float32(total + np.float32(c * projection[first + 2, column]))
                total = np.float32(total + np.float32(d * projection[first + 3, column]))
                out[place, column] = total
        for last in range(whole, width):
            factor = table[row, last]
            for column in range(dim):
                out[place, column] = np.float32(out[place, column] + np.float32(factor * projection[last, column]))


@kernel
def inner_products(rows: F32, queries: F32, out: F32) -> None:
    """Write <query, row> into ``out`` float32[q, n], by the lane rule; ``rows`` is float32[n, d]."""
    for query in range(len(queries)):
        for row in range(len(rows)):
            out[query, row] = dot(rows, row, queries, query)


@kernel
def paired_squared_distances(left: F32, right: F32, out: F32) -> None:
    """Write the squared Euclidean distance of each two rows of float32[n, d] into ``out`` float32[n]."""
    for row in range(len(left)):
        out[row] = squared_distance(left, row, np.float32(1), right, row)
