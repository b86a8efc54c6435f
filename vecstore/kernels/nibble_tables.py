"""The tables that sums over 4-bit codes look up: made for queries, and rounded to whole steps (see ``nibbles.py``)."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.intrinsics import GROUP_COLUMNS
from vecstore.kernels.nibbles import ENTRIES
from vecstore.types import F32, U8

#: Steps that the entries of eight tables may add up to: each may be half a step more, and all fit a byte.
LARGEST_SUM = 247


@kernel
def extremes(table: F32) -> tuple[np.float32, np.float32]:
    """Give the smallest and the largest of float32[16], four at a time."""
    a, b, c, d = table[0], table[1], table[2], table[3]
    e, f, g, h = a, b, c, d
    for entry in range(4, ENTRIES, 4):
        p, q, r, s = table[entry], table[entry + 1], table[entry + 2], table[entry + 3]
        a, b, c, d = min(a, p), min(b, q), min(c, r), min(d, s)
        e, f, g, h = max(e, p), max(f, q), max(g, r), max(h, s)
    return min(min(a, b), min(c, d)), max(max(e, f), max(g, h))


@kernel
def round_tables(tables: F32, rounded: U8, steps: F32, bases: F32) -> None:
    """Round tables float32[q, 2 W, 16] to whole steps above the smallest entry of each table.

    ``sum_nibbles`` adds the entries of eight tables in a byte: those of four columns, each four after the one
    before. The widest range of such a sum has :data:`LARGEST_SUM` steps. An entry is about the smallest of its table +
    step * rounded, and ``bases`` holds the sum of the smallest ones, in order.

    Parameters
    ----------
    tables : float32[q, 2 W, 16]
    rounded : uint8[q, 2, T, 16]
        Out, zero before; T is W rounded up to a multiple of 4.
    steps, bases : float32[q]
        Out.
    """
    lowest = np.empty(tables.shape[1], np.float32)
    ranges = np.empty(4, np.float32)
    for query in range(len(tables)):
        widest, base = np.float32(0), np.float32(0)
        for code in range(tables.shape[1]):
            low, high = extremes(tables[query, code])
            if code % (2 * GROUP_COLUMNS) == 0:
                ranges[:] = 0
            segment = (code >> 1) & 3
            ranges[segment] += high - low
            widest = max(widest, ranges[segment])
            lowest[code] = low
            base += low
        step = widest / np.float32(LARGEST_SUM)
        divisor = step if step > 0 else np.float32(np.inf)
        steps[query], bases[query] = step, base
        for code in range(tables.shape[1]):
            for entry in range(ENTRIES):
                above = np.rint((tables[query, code, entry] - lowest[code]) / divisor)
                rounded[query, code & 1, code >> 1, entry] = np.int64(min(above, np.float32(LARGEST_SUM)))


@kernel
def product_steps(totals: F32, largest: np.float32, steps: F32, bases: F32) -> None:
    """Turn steps and bases for sums over set bits into those for products with v = 2 u - ``largest``, in place."""
    for query in range(len(steps)):
        steps[query] = np.float32(2) * steps[query]
        bases[query] = largest * (np.float32(2) * bases[query] - totals[query])


@kernel
def part_tables(columns: F32, queries: F32, squared: bool, tables: F32) -> None:
    """Write what the 16 centroids of each part add to the distance: squared distances, or minus the inner products.

    Parameters
    ----------
    columns : float32[M, w, 16]
        Centroids of each part side by side, so that their distances grow together, element after element.
    queries : float32[q, M w]
    squared : bool
    tables : float32[q, 2 W, 16]
        Out; zeros past the last part.
    """
    n_parts, width, _ = columns.shape
    for query in range(len(queries)):
        tables[query, n_parts:] = 0
        for part in range(n_parts):
            # Four entries at a time, whose sums stay in registers.
            for first in range(0, ENTRIES, 4):
                a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                for element in range(width):
                    value, column = queries[query, part * width + element], columns[part, element]
                    p, q, r, s = column[first], column[first + 1], column[first + 2], column[first + 3]
                    if squared:
                        p, q, r, s = value - p, value - q, value - r, value - s
                        a, b, c, d = a + p * p, b + q * q, c + r * r, d + s * s
                    else:
                        a, b, c, d = a - value * p, b - value * q, c - value * r, d - value * s
                table = tables[query, part]
                table[first], table[first + 1], table[first + 2], table[first + 3] = a, b, c, d


@kernel
def subset_sums(queries: F32, tables: F32, totals: F32) -> None:
    """Write for each four numbers of float32[q, d] queries the sums of all subsets into ``tables`` float32[q, 2 W, 16].

    Bit t of an entry's number says that number t of the four is in; numbers past d are 0. ``totals`` float32[q] gets
    the sums of whole queries, four by four.
    """
    dim = queries.shape[1]
    for query in range(len(queries)):
        totals[query] = 0
        for code in range(tables.shape[1]):
            tables[query, code, 0] = 0
            for bit in range(4):
                place = 4 * code + bit
                value = queries[query, place] if place < dim else np.float32(0)
                for entry in range(1 << bit):
                    tables[query, code, entry + (1 << bit)] = tables[query, code, entry] + value
            totals[query] += tables[query, code, ENTRIES - 1]
