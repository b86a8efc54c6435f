"""Decoding of rows that are made of a quotient row and a remainder row.

Row ``i`` is made of quotient ``i // m`` and remainder ``i % m``, where m is the number of remainders.
"""

from __future__ import annotations

from vecstore.kernels.compiling import kernel
from vecstore.kernels.intrinsics import add_rows, multiply_rows, prefetch_row
from vecstore.kernels.lookup import ROWS_AHEAD, divided
from vecstore.types import F32, I64


@kernel
def take_products(quotient: F32, remainder: F32, rows: I64, out: F32) -> None:
    """Write ``quotient[rows // m] * remainder[rows % m]`` into ``out`` float32[n, d]; one rounding a number."""
    size = len(remainder)
    for place in range(len(rows)):
        if place + ROWS_AHEAD < len(rows):
            ahead = rows[place + ROWS_AHEAD]
            prefetch_row(remainder, ahead - divided(ahead, size) * size)
        row = rows[place]
        first = divided(row, size)
        multiply_rows(quotient, first, remainder, row - first * size, out, place)


@kernel
def take_sums(quotient: F32, remainder: F32, rows: I64, out: F32) -> None:
    """Write ``quotient[rows // m] + remainder[rows % m]`` into ``out`` float32[n, d]; one rounding a number."""
    size = len(remainder)
    for place in range(len(rows)):
        if place + ROWS_AHEAD < len(rows):
            ahead = rows[place + ROWS_AHEAD]
            prefetch_row(remainder, ahead - divided(ahead, size) * size)
        row = rows[place]
        first = divided(row, size)
        add_rows(quotient, first, remainder, row - first * size, out, place)
