"""Rows of which few numbers are stored: their places in two codings, decoding, and distances on the stored form.

Number ``row * dim + column`` of a table is its *place*. The places of the stored numbers, in order, are coded either as
a bitmap with rank (see :mod:`vecstore.kernels.bitmaps`), or as the offsets of each within its block of 256 or 65,536
places, uint8 or uint16, with the number of stored numbers before each block.

``begin``, ``columns``, ``decode``, ``ask`` and ``near`` are resolved when a kernel is compiled, by the class of
``places``, as ``distance`` is in :mod:`vecstore.kernels.distance`.
Sums run over the stored numbers of a row in order of columns, in float64, one
multiplication and one addition each, and are rounded to float32 once: the same bits on every processor.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.bitmaps import BLOCK_WORDS, bits_from, ones, rank
from vecstore.kernels.compiling import Int, class_of, inlined, kernel, overload
from vecstore.kernels.intrinsics import LANES, copy_span, count_below, expand_lanes, prefetch_element
from vecstore.types import F32, I64, U8, U16, U32, U64

F64: TypeAlias = NDArray[np.float64]

#: Rows between asking for a row and using it.
AHEAD = 16

_ONE, _LANES, _SIXTEEN = np.uint64(1), np.uint64(LANES), np.uint64((1 << LANES) - 1)
#: Offsets that are counted rather than bisected.
_COUNTED = 64
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


def begin(places: Places, place: Int) -> Int:
    """Give how many numbers are stored before a place of the table; only compiled code may call it."""
    raise NotImplementedError("begin() exists in compiled kernels only")


def columns(places: Places, first: Int, row: Int, dim: Int, out: I64) -> Int:
    """Write the columns of the stored numbers of a row into ``out`` int64[dim]; only compiled code may call it.

    ``first`` is where the row's numbers begin among the stored ones.

    Returns
    -------
    int
        How many they are.
    """
    raise NotImplementedError("columns() exists in compiled kernels only")


def decode(places: Places, values: F32, first: Int, row: Int, out: F32, place: Int) -> None:
    """Write a row, whose numbers begin at ``values[first]``, into ``out[place]``; only compiled code may call it."""
    raise NotImplementedError("decode() exists in compiled kernels only")


def ask(places: Places, place: Int) -> None:
    """Ask for what :func:`near` and :func:`begin` read first; only compiled code may call it."""
    raise NotImplementedError("ask() exists in compiled kernels only")


def near(places: Places, place: Int) -> None:
    """Ask for what :func:`begin` reads, once :func:`ask` has brought where that is; only compiled code may call it."""
    raise NotImplementedError("near() exists in compiled kernels only")


def _bitmap_begin(places: Any, place: Any) -> Any:
    return rank(places.words, places.ranks, place)


def _bitmap_columns(places: Any, first: Any, row: Any, dim: Any, out: Any) -> Any:  # noqa: ARG001
    count = 0
    for start in range(0, dim, 64):
        word = bits_from(places.words, row * dim + start, min(64, dim - start))
        while word != 0:
            # The bits below the lowest set bit are as many as its number.
            out[count] = start + ones(~word & (word - _ONE))
            count += 1
            word &= word - _ONE
    return count


def _bitmap_decode(places: Any, values: Any, first: Any, row: Any, out: Any, place: Any) -> Any:
    dim = out.shape[1]
    for start in range(0, dim, 64):
        width = min(64, dim - start)
        word = bits_from(places.words, row * dim + start, width)
        for column in range(start, start + width, LANES):
            expand_lanes(values, first, word, out, place, column)
            first += ones(word & _SIXTEEN)
            word >>= _LANES


def _bitmap_ask(places: Any, place: Any) -> Any:
    word = place >> 6
    prefetch_element(places.words, word)
    prefetch_element(places.ranks, word // BLOCK_WORDS)


def _bitmap_near(places: Any, place: Any) -> Any:
    pass


def _block_begin(places: Any, place: Any) -> Any:
    offsets, starts = places.offsets, places.starts
    bits = 8 * offsets.itemsize
    block = place >> bits
    wanted = place & ((1 << bits) - 1)
    low, high = np.int64(starts[block]), np.int64(starts[block + 1])
    while high - low > _COUNTED:
        middle = (low + high) >> 1
        if np.int64(offsets[middle]) < wanted:
            low = middle + 1
        else:
            high = middle
    return low + count_below(offsets, low, high, wanted)


def _block_columns(places: Any, first: Any, row: Any, dim: Any, out: Any) -> Any:
    offsets, starts = places.offsets, places.starts
    bits = 8 * offsets.itemsize
    begin_, end = row * dim, (row + 1) * dim
    count = 0
    for block in range(begin_ >> bits, ((end - 1) >> bits) + 1):
        shift = (block << bits) - begin_
        stop = np.int64(starts[block + 1])
        while first < stop:
            column = np.int64(offsets[first]) + shift
            if column >= dim:
                break
            out[count] = column
            count += 1
            first += 1
    return count


def _block_decode(places: Any, values: Any, first: Any, row: Any, out: Any, place: Any) -> Any:
    offsets, starts = places.offsets, places.starts
    bits = 8 * offsets.itemsize
    dim = out.shape[1]
    begin_, end = row * dim, (row + 1) * dim
    copy_span(values, 0, 0, out, place, 0, dim)
    for block in range(begin_ >> bits, ((end - 1) >> bits) + 1):
        shift = (block << bits) - begin_
        stop = np.int64(starts[block + 1])
        while first < stop:
            column = np.int64(offsets[first]) + shift
            if column >= dim:
                break
            out[place, column] = values[first]
            first += 1


def _block_ask(places: Any, place: Any) -> Any:
    prefetch_element(places.starts, place >> (8 * places.offsets.itemsize))


def _block_near(places: Any, place: Any) -> Any:
    bits = 8 * places.offsets.itemsize
    block = place >> bits
    low, high = np.int64(places.starts[block]), np.int64(places.starts[block + 1])
    # Stored places are spread about evenly, so that this is where bisecting will end.
    guess = low + (((high - low) * (place & ((1 << bits) - 1))) >> bits)
    prefetch_element(places.offsets, guess)


def _chosen(places: Any, bitmap: Any, block: Any) -> Any:
    implementations = {BitmapPlaces: bitmap, BlockPlaces: block}
    return implementations.get(class_of(places))


@overload(begin, inline="always")
def _choose_begin(places: Any, place: Any) -> Any:  # noqa: ARG001
    return _chosen(places, _bitmap_begin, _block_begin)


@overload(columns, inline="always")
def _choose_columns(places: Any, first: Any, row: Any, dim: Any, out: Any) -> Any:  # noqa: ARG001
    return _chosen(places, _bitmap_columns, _block_columns)


@overload(decode, inline="always")
def _choose_decode(places: Any, values: Any, first: Any, row: Any, out: Any, place: Any) -> Any:  # noqa: ARG001
    return _chosen(places, _bitmap_decode, _block_decode)


@overload(ask, inline="always")
def _choose_ask(places: Any, place: Any) -> Any:  # noqa: ARG001
    return _chosen(places, _bitmap_ask, _block_ask)


@overload(near, inline="always")
def _choose_near(places: Any, place: Any) -> Any:  # noqa: ARG001
    return _chosen(places, _bitmap_near, _block_near)


@inlined
def approach(places: Places, values: F32, rows: I64, step: Int, dim: Int, ring: I64) -> None:
    """Get ready for ``rows[step]``, and ask for what the rows after it need, so that no step waits for memory.

    ``ring`` int64[AHEAD] gets where the numbers of ``rows[step]`` begin, at ``step % AHEAD``. A row's directory is
    asked for ``2 AHEAD`` steps before that, its offsets ``AHEAD`` before, and its numbers then, ``AHEAD`` before use.
    """
    if step + 2 * AHEAD < len(rows):
        ask(places, np.int64(rows[step + 2 * AHEAD]) * dim)
    if step + AHEAD < len(rows):
        near(places, np.int64(rows[step + AHEAD]) * dim)
    if step < len(rows):
        first = begin(places, np.int64(rows[step]) * dim)
        prefetch_element(values, first)
        ring[step % AHEAD] = first


@kernel
def take(places: Places, values: F32, rows: I64, out: F32) -> None:
    """Write ``rows`` int64[n] into ``out`` float32[n, dim]; ``values`` are float32[stored]."""
    dim = out.shape[1]
    ring = np.empty(AHEAD, np.int64)
    for step in range(len(rows) + AHEAD):
        place = step - AHEAD
        if place >= 0:
            decode(places, values, ring[place % AHEAD], rows[place], out, place)
        approach(places, values, rows, step, dim, ring)


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


@inlined
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
    ring = np.empty(AHEAD, np.int64)
    totals = np.empty(n_queries, np.float64)
    for step in range(len(rows) + AHEAD):
        place = step - AHEAD
        if place >= 0:
            first = ring[place % AHEAD]
            count = columns(places, first, rows[place], dim, scratch)
            if n_queries < _TOGETHER:
                for query in range(n_queries):
                    out[query, place] = row_distance(values, first, count, scratch, scoring, query)
            else:
                _sums(values, first, count, scratch, scoring, totals)
                for query in range(n_queries):
                    out[query, place] = np.float32(max(scoring.lowest, totals[query]))
        approach(places, values, rows, step, dim, ring)


@inlined
def _sums(values: F32, first: Int, count: Int, columns_: I64, scoring: Scoring, totals: F64) -> None:
    """Write the sums of :func:`row_distance` of all queries, side by side, into ``totals`` float64[q]."""
    totals[:] = scoring.biases
    for number in range(count):
        value = np.float64(values[first + number])
        squared = scoring.square * value
        column = columns_[number]
        for query in range(len(totals)):
            totals[query] += value * (squared - scoring.factors[column, query])


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
            first = begin(places, row * dim)
            count = columns(places, first, row, dim, scratch)
            out[query, place] = row_distance(values, first, count, scratch, scoring, query)
