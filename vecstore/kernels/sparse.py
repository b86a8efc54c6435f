"""Rows of which few numbers are stored: their places in two codings, decoding, and distances on the stored form.

Number ``row * dim + column`` of a table is its *place*. The places of the stored numbers, in order, are coded either as
a bitmap with rank (see :mod:`vecstore.kernels.bitmaps`), or as the offsets of each within its block of 256 or 65,536
places, uint8 or uint16, with the number of stored numbers before each block.

``columns(places, row, dim, out)`` is resolved when a kernel is compiled, by the class of ``places``, as ``distance`` is
in :mod:`vecstore.kernels.distance`. Sums run over the stored numbers of a row in order of columns, in float64, one
multiplication and one addition each, and are rounded to float32 once: the same bits on every processor.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from vecstore.kernels.bitmaps import ones, rank
from vecstore.kernels.compiling import Int, kernel
from vecstore.types import F32, I64, U8, U16, U32, U64

F64: TypeAlias = NDArray[np.float64]

_ONE, _LOW_BITS = np.uint64(1), np.uint64(63)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
#: Queries from which on their sums are kept side by side in memory, and fewer one by one in registers.
_TOGETHER = 4


class BitmapPlaces(NamedTuple):
    """One bit a place.

    Attributes
    ----------
    words : uint64[ceil(places / 64)]
    ranks : uint32[ceil(places / 512)]
    """

    words: U64
    ranks: U32


class BlockPlaces(NamedTuple):
    """Offsets of the stored places within blocks of ``256`` or ``65536`` places.

    Attributes
    ----------
    offsets : uint8[stored] or uint16[stored]
        Ascending within a block.
    starts : uint32[blocks + 1]
        Stored numbers before each block, and in all.
    """

    offsets: U8 | U16
    starts: U32


#: Any of the classes above.
Places = BitmapPlaces | BlockPlaces


def columns(places: Places, row: Int, dim: Int, out: I64) -> tuple[Int, Int]:
    """Write the columns of the stored numbers of a row into ``out`` int64[dim]; only compiled code may call it.

    Returns
    -------
    first, count : int
        Where the row's numbers begin among the stored ones, and how many they are.
    """
    raise NotImplementedError("columns() exists in compiled kernels only")


def _bitmap_columns(places: Any, row: Any, dim: Any, out: Any) -> Any:
    first, last = row * dim, (row + 1) * dim
    count = 0
    for number in range(first >> 6, ((last - 1) >> 6) + 1):
        word = places.words[number]
        begin = number << 6
        if begin < first:
            word &= _ALL << (np.uint64(first) & _LOW_BITS)
        if begin + 64 > last:
            word &= _ALL >> np.uint64(begin + 64 - last)
        while word != 0:
            # The bits below the lowest set bit are as many as its number.
            out[count] = begin + ones(~word & (word - _ONE)) - first
            count += 1
            word &= word - _ONE
    return rank(places.words, places.ranks, first), count


def _block_columns(places: Any, row: Any, dim: Any, out: Any) -> Any:
    offsets, starts = places.offsets, places.starts
    bits = 8 * offsets.itemsize
    first, last = row * dim, (row + 1) * dim
    block = first >> bits
    low, high = np.int64(starts[block]), np.int64(starts[block + 1])
    while low < high:
        middle = (low + high) >> 1
        if (block << bits) + np.int64(offsets[middle]) < first:
            low = middle + 1
        else:
            high = middle
    begin, count = low, 0
    for number in range(block, ((last - 1) >> bits) + 1):
        stop = np.int64(starts[number + 1])
        while low < stop:
            place = (number << bits) + np.int64(offsets[low])
            if place >= last:
                break
            out[count] = place - first
            count += 1
            low += 1
    return begin, count


@overload(columns)
def _choose_columns(places: Any, row: Any, dim: Any, out: Any) -> Any:  # noqa: ARG001
    implementations: dict[Any, Any] = {BitmapPlaces: _bitmap_columns, BlockPlaces: _block_columns}
    return implementations.get(places.instance_class) if isinstance(places, types.BaseNamedTuple) else None


@kernel
def take(places: Places, values: F32, rows: I64, out: F32) -> None:
    """Write ``rows`` int64[n] into ``out`` float32[n, dim]; ``values`` are float32[stored]."""
    dim = out.shape[1]
    scratch = np.empty(dim, np.int64)
    for place in range(len(rows)):
        first, count = columns(places, rows[place], dim, scratch)
        for column in range(dim):
            out[place, column] = 0
        for number in range(count):
            out[place, scratch[number]] = values[first + number]


class Scoring(NamedTuple):
    """Queries prepared for sparse rows: a distance is ``max(lowest, bias + sum_i v_i (square v_i - factor_i))``.

    With ``factor = query``, ``square = 0`` and ``bias`` 0 or 1 that is ``bias - <query, row>``. With
    ``factor = 2 query``, ``square = 1`` and ``bias = |query|^2`` it is ``|query - row|^2``, because the columns that
    are not stored are 0.

    Attributes
    ----------
    factors : float64[dim, q]
    biases : float64[q]
    square : float64
    lowest : float64
        0 for squared distances, which rounding could take below.
    """

    factors: F64
    biases: F64
    square: np.float64
    lowest: np.float64


@kernel
def squared_lengths(queries: F32, out: F64) -> None:
    """Write the squared lengths of ``queries`` float32[q, dim] into ``out`` float64[q], summed in order of columns."""
    for query in range(queries.shape[0]):
        total = 0.0
        for column in range(queries.shape[1]):
            value = np.float64(queries[query, column])
            total += value * value
        out[query] = total


@kernel
def row_distance(values: F32, first: Int, count: Int, columns_: I64, scoring: Scoring, query: Int) -> np.float32:
    """Give the distance of one query to the row whose ``count`` values begin at ``first``."""
    total = scoring.biases[query]
    for number in range(count):
        value = np.float64(values[first + number])
        total += value * (scoring.square * value - scoring.factors[columns_[number], query])
    return np.float32(max(scoring.lowest, total))


@kernel
def gather(places: Places, values: F32, rows: I64, scoring: Scoring, out: F32) -> None:
    """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
    dim, n_queries = scoring.factors.shape
    scratch = np.empty(dim, np.int64)
    totals = np.empty(n_queries, np.float64)
    for place in range(len(rows)):
        first, count = columns(places, rows[place], dim, scratch)
        if n_queries < _TOGETHER:
            for query in range(n_queries):
                out[query, place] = row_distance(values, first, count, scratch, scoring, query)
            continue
        # The same sums, of all queries side by side.
        totals[:] = scoring.biases
        for number in range(count):
            value = np.float64(values[first + number])
            squared = scoring.square * value
            column = scratch[number]
            for query in range(n_queries):
                totals[query] += value * (squared - scoring.factors[column, query])
        for query in range(n_queries):
            out[query, place] = np.float32(max(scoring.lowest, totals[query]))


@kernel
def rerank(places: Places, values: F32, rows: I64, n_rows: int, scoring: Scoring, out: F32) -> None:
    """Write the distances of ``rows`` int64[q, m], each query its own, into ``out`` float32[q, m].

    Rows outside 0..n_rows, such as the -1 that marks an empty place, get ``inf``.
    """
    dim = scoring.factors.shape[0]
    scratch = np.empty(dim, np.int64)
    for query in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            row = rows[query, place]
            if not 0 <= row < n_rows:
                out[query, place] = np.inf
                continue
            first, count = columns(places, row, dim, scratch)
            out[query, place] = row_distance(values, first, count, scratch, scoring, query)
