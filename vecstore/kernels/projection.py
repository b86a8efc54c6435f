"""Rows of few dimensions times a matrix: decoding, and queries in the few dimensions."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.intrinsics import dot, multiply_matrix, prefetch_row, squared_distance
from vecstore.types import F32, I64

#: Rows between asking for a row and using it.
ROWS_AHEAD = 16
#: Rows whose sums are in registers together (see ``intrinsics.multiply_matrix``).
TILE_ROWS = 6


@kernel
def take_projected(table: F32, projection: F32, bias: F32, rows: I64, out: F32) -> None:
    """Write ``bias + table[rows] @ projection`` into ``out`` float32[n, d].

    ``table`` is float32[N, c], ``projection`` float32[c, d], ``bias`` float32[d]. Every sum starts from the bias and
    takes the c products in order, each by one multiplication and one addition in float32.
    """
    place = 0
    while place + TILE_ROWS <= len(rows):
        for ahead in range(place + ROWS_AHEAD, min(place + ROWS_AHEAD + TILE_ROWS, len(rows))):
            prefetch_row(table, rows[ahead])
        tile = (rows[place], rows[place + 1], rows[place + 2], rows[place + 3], rows[place + 4], rows[place + 5])
        multiply_matrix(table, tile, projection, 0, bias, 0, out, place)
        place += TILE_ROWS
    while place < len(rows):
        multiply_matrix(table, (rows[place],), projection, 0, bias, 0, out, place)
        place += 1


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
