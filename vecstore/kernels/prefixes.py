"""Decoding of rows of which some are pruned and the others store only their first columns, as many as their field's."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.bitmaps import BLOCK_WORDS, is_set, rank
from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.intrinsics import CACHE_LINE, copy_span, prefetch_element
from vecstore.types import F32, I64, U16, U32, U64

#: Rows between finding a row and copying it.
AHEAD = 16


@kernel
def field_of(starts: I64, row: Int) -> Int:
    """Give the field of a row; ``starts`` int64[fields + 1] are first rows, and the number of rows."""
    low, high = np.int64(0), np.int64(len(starts) - 2)
    while low < high:
        middle = (low + high + 1) >> 1
        if starts[middle] <= row:
            low = middle
        else:
            high = middle - 1
    return low


@kernel
def take(
    values: F32, words: U64, ranks: U32, dims: U16, starts: I64, firsts: I64, offsets: I64, rows: I64, out: F32
) -> None:
    """Write ``rows`` int64[n] into ``out`` float32[n, dim]; what is not stored is 0.

    Parameters
    ----------
    values : float32[stored]
        Kept rows one after another, each with as many columns as its field has.
    words, ranks : uint64[], uint32[]
        Bitmap with rank of the kept rows.
    dims : uint16[fields]
        Stored columns of each field.
    starts, firsts, offsets : int64[fields + 1]
        Rows, kept rows and stored values before each field.
    """
    begins, counts = np.zeros(AHEAD, np.int64), np.zeros(AHEAD, np.int64)
    for step in range(len(rows) + AHEAD):
        slot, place = step % AHEAD, step - AHEAD
        if place >= 0:
            copy_span(values, begins[slot], counts[slot], out, place, 0, out.shape[1])
        if step + AHEAD < len(rows):
            word = rows[step + AHEAD] >> 6
            prefetch_element(words, word)
            prefetch_element(ranks, word // BLOCK_WORDS)
        if step >= len(rows):
            continue
        row = rows[step]
        counts[slot] = 0
        if is_set(words, row):
            field = field_of(starts, row)
            stored = np.int64(dims[field])
            begin = offsets[field] + (rank(words, ranks, row) - firsts[field]) * stored
            begins[slot], counts[slot] = begin, stored
            for number in range(begin, begin + stored, CACHE_LINE // 4):
                prefetch_element(values, number)
            prefetch_element(values, begin + stored - 1)


@kernel
def resolve(words: U64, ranks: U32, starts: I64, firsts: I64, rows: I64, fields: I64, places: I64) -> None:
    """Write the field of each of ``rows`` int64[n], and its place among the kept rows of that field.

    A pruned row gets the number of fields, and 0. ``fields`` and ``places`` are int64[n]; the rest is as for
    :func:`take`.
    """
    n_fields = len(starts) - 1
    for number in range(len(rows)):
        row = rows[number]
        if is_set(words, row):
            field = field_of(starts, row)
            fields[number], places[number] = field, rank(words, ranks, row) - firsts[field]
        else:
            fields[number], places[number] = n_fields, 0
