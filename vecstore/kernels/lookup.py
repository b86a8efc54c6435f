"""Decoding of stored rows by number."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.intrinsics import decode_row, prefetch_row
from vecstore.types import F32, I8, I16, I64, U16

#: Rows between asking for a row and using it.
ROWS_AHEAD = 16


@kernel
def take(table: F32 | U16, rows: I64, out: F32) -> None:
    """Write ``table[rows]`` into ``out`` float32[n, d]; ``table`` is float32[N, d], or uint16[N, d] of IEEE halves.

    Exact: a float32 times 1 keeps its bits, and every half is a float32.
    """
    for place in range(len(rows)):
        if place + ROWS_AHEAD < len(rows):
            prefetch_row(table, rows[place + ROWS_AHEAD])
        decode_row(table, rows[place], np.float32(1), out, place)


@kernel
def take_scaled(codes: I8 | I16, scales: F32, rows: I64, out: F32) -> None:
    """Write ``scales[rows] * codes[rows]`` into ``out`` float32[n, d]; they are float32[N] and int8/int16[N, d]."""
    for place in range(len(rows)):
        if place + ROWS_AHEAD < len(rows):
            prefetch_row(codes, rows[place + ROWS_AHEAD])
        decode_row(codes, rows[place], scales[rows[place]], out, place)


@kernel
def take_times(codes: I8 | I16, scale: float | np.float32, rows: I64, out: F32) -> None:
    """Write ``scale * codes[rows]`` into ``out`` float32[n, d]; ``codes`` is int8/int16[N, d], ``scale`` float32."""
    for place in range(len(rows)):
        if place + ROWS_AHEAD < len(rows):
            prefetch_row(codes, rows[place + ROWS_AHEAD])
        decode_row(codes, rows[place], scale, out, place)
