"""Decoding of stored rows by number, and what look-ups share: the check of rows, and their division into two."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, inlined, kernel
from vecstore.kernels.intrinsics import copy_row, decode_row, prefetch_element, prefetch_row
from vecstore.types import F32, I8, I16, I64, U8, U16, U32

#: Rows between asking for a row and using it.
ROWS_AHEAD = 16


@kernel
def first_outside(rows: I64, n_rows: int) -> int:
    """Give the first place of ``rows`` int64[n] that is not one of 0..n_rows-1, and -1 where there is none."""
    # Negative rows are large as unsigned numbers. Without a way out, the usual case is vectorised.
    limit = np.uint64(n_rows)
    outside: np.bool_ = np.bool_(False)
    for row in rows:
        outside |= np.uint64(row) >= limit
    if outside:
        for place in range(len(rows)):
            if np.uint64(rows[place]) >= limit:
                return place
    return -1


@kernel
def first_outside_columns(columns: I64, sizes: I64) -> int:
    """Give the first of the columns int64[f, n] that has a number outside 0..size-1 of its size, int64[f]; else -1."""
    for number in range(len(columns)):
        limit = np.uint64(sizes[number])
        outside: np.bool_ = np.bool_(False)
        for place in range(columns.shape[1]):
            outside |= np.uint64(columns[number, place]) >= limit
        if outside:
            return number
    return -1


@kernel
def put_field(rows: F32, out: F32, field: int) -> None:
    """Copy ``rows`` float32[n, d] to ``out[:, field]`` of float32[n, fields, d]."""
    places = out.reshape(out.shape[0] * out.shape[1], out.shape[2])
    for number in range(len(rows)):
        copy_row(rows, number, places, number * out.shape[1] + field)


@inlined
def divided(row: Int, size: Int) -> Int:
    """Give ``row // size`` of non-negative integers below 2^52; a division of floats takes half the time.

    It is exact. A quotient that is no whole number is below the next one by at least 1 / size, hence by 1 / row of
    itself, which is more than the rounding of a float64.
    """
    return np.int64(np.float64(row) / np.float64(size))


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
def fill_stored(numbers: U8 | U16 | U32, block_rows: int, rows: I64, out: I64) -> None:
    """Write the place of each of ``rows`` int64[n] in a table of shared blocks into ``out`` int64[n].

    Block ``b`` of the rows is the stored block ``numbers[b]``.
    """
    for place in range(len(rows)):
        block = divided(rows[place], block_rows)
        out[place] = (np.int64(numbers[block]) - block) * block_rows + rows[place]


@kernel
def take_scaled(codes: I8 | I16, scales: F32, rows: I64, out: F32) -> None:
    """Write ``scales[rows] * codes[rows]`` into ``out`` float32[n, d]; they are float32[N] and int8/int16[N, d]."""
    for place in range(len(rows)):
        if place + ROWS_AHEAD < len(rows):
            prefetch_row(codes, rows[place + ROWS_AHEAD])
            prefetch_element(scales, rows[place + ROWS_AHEAD])
        decode_row(codes, rows[place], scales[rows[place]], out, place)


@kernel
def take_times(codes: I8 | I16, scale: float | np.float32, rows: I64, out: F32) -> None:
    """Write ``scale * codes[rows]`` into ``out`` float32[n, d]; ``codes`` is int8/int16[N, d], ``scale`` float32."""
    for place in range(len(rows)):
        if place + ROWS_AHEAD < len(rows):
            prefetch_row(codes, rows[place + ROWS_AHEAD])
        decode_row(codes, rows[place], scale, out, place)
