"""Sums of 4-bit codes for spans of rows, and which of them are small enough to be looked at (see ``nibbles.py``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.intrinsics import GLANCE, MAX_COLUMNS, TILE, count_ones, not_above, sum_nibbles
from vecstore.kernels.topk import distance_of, offer
from vecstore.types import I32, U8, U16, U64

#: Rows of a block.
BLOCK_ROWS = 16
#: Rows of a span where four queries take it together; one alone takes four times as many. Sums are 8 KiB.
SPAN_ROWS = 1024
#: Sums are at most so large where they are of one plane and few columns.
_LARGEST_SHORT = np.int64(2**16 - 1)


@kernel
def are_short(planes: Int, width: Int) -> bool:
    """Tell whether sums over planes of ``width`` columns fit 16 bits."""
    return bool(planes == 1 and width <= MAX_COLUMNS)


@kernel
def span_rows(n_queries: Int) -> Int:
    """Give the rows of a span."""
    return SPAN_ROWS if n_queries >= TILE else TILE * SPAN_ROWS


@kernel
def column_sums(
    codes: U8, block: Int, blocks: Int, column: Int, tables: U8, query: Int, first: Int, count: Int, sums: U16
) -> None:
    """Write the sums over ``count`` columns from ``column`` on, which the tables from ``first`` on are for.

    ``sums`` uint16[1 or 4, m] is for ``blocks`` blocks from ``block`` on; four rows of it are for four queries.
    """
    if len(sums) == TILE:
        queries = (query, query + 1, query + 2, query + 3)
        sum_nibbles(codes, block, blocks, column, tables, queries, first, count, sums)
    else:
        sum_nibbles(codes, block, blocks, column, tables, (query,), first, count, sums)


@kernel
def span_sums(codes: U8, planes: Int, tables: U8, query: Int, block: Int, blocks: Int, part: U16, sums: I32) -> None:
    """Write the sums over all planes, each times its power of two, into ``sums`` int32[1 or 4, m].

    ``part`` uint16[1 or 4, m] is scratch; the rest is as for :func:`column_sums`.
    """
    width = codes.shape[1] // planes
    count = BLOCK_ROWS * blocks
    sums[:, :count] = 0
    for plane in range(planes):
        for first in range(0, width, MAX_COLUMNS):
            column = plane * width + first
            column_sums(codes, block, blocks, column, tables, query, first, min(MAX_COLUMNS, width - first), part)
            for line in range(len(sums)):
                for place in range(count):
                    sums[line, place] += np.int32(part[line, place]) << np.int32(plane)


@kernel
def stepped(total: Int, base: np.float32, step: np.float32) -> np.float32:
    """Give a value for a sum of steps."""
    return base + step * np.float32(total)


@kernel
def largest_sum(limit: np.float32, base: np.float32, step: np.float32) -> np.int32:
    """Give what sums are not above whose :func:`stepped` value is not above the limit, or NaN.

    A value is two roundings off, each at most 2^-24 of the numbers that are added; what is given allows for more.
    """
    wide = np.float64(step)
    most = (np.float64(limit) - np.float64(base)) / wide + 1e-6 * (
        abs(np.float64(limit)) + abs(np.float64(base))
    ) / wide
    # Infinite where the limit is, and NaN where nothing is known or no entry counts.
    return np.int32(max(most, -2.0) + 1 if most < 2.0**30 else 2.0**31 - 1)


@kernel
def push_sums(sums: U16, line: Int, start: Int, stop: Int, first_row: Int, base: Any, step: Any, heap: U64) -> None:
    """Offer the rows of ``sums[line, start:stop]``, the first of which is ``first_row``, to a heap uint64[k].

    What lies within :data:`GLANCE` numbers behind them is read and does not count.
    """
    one = np.uint64(1)
    most = largest_sum(distance_of(heap[0]), base, step)
    for begin in range(start, stop, GLANCE):
        if most < 0:
            return
        near = not_above(sums, line, begin, np.uint16(min(np.int64(most), _LARGEST_SHORT)))
        if near and stop - begin < GLANCE:
            near &= (one << np.uint64(stop - begin)) - one
        while near:
            found = begin + np.int64(count_ones((near & (~near + one)) - one))
            near &= near - one
            offer(heap, stepped(sums[line, found], base, step), first_row + found - start)
            most = largest_sum(distance_of(heap[0]), base, step)
