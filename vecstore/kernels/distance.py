"""One distance for every stored form, and the loops that are written once on top of it.

``distance(operands, query, row)`` is resolved when a kernel is compiled, by the *class* of the operands: each is a
named tuple of the arrays that one way of scoring needs. They live beside their arithmetic, one module a family, each
with a table ``DISTANCES`` and, where it has better than the defaults, ``TILES``, ``PREFETCHES``, ``SCANS`` and
``RANKS``.
A new stored form adds a class to a family, or a family to the tables below, and no loop.

Distances are as in :class:`vecstore.types.Metric`; smaller is nearer. ``bias`` is 0 for ``ip`` and 1 for ``cosine``,
so one formula serves both. Arrays must be as
:func:`~vecstore.kernels.compiling.frozen` gives them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from vecstore.kernels.compiling import Int, class_of, inlined, kernel, overload
from vecstore.kernels.intrinsics import TILE
from vecstore.kernels.topk import FREE, distance_of, offer, push_block, sort_heap, unpack
from vecstore.types import F32, I64, U64

if TYPE_CHECKING:
    from vecstore.kernels import bit_rows, hamming, int4, nibbles, numbers, part_sums, split

#: Queries scored together while a row is in cache.
QUERY_GROUP = 16
#: Rows between asking for a row and using it.
ROWS_AHEAD = 16
#: The same where each row decides whether the next is used.
CANDIDATES_AHEAD = 4


class Shifted(NamedTuple):
    """Distances of other operands, and a number a query that is added.

    Attributes
    ----------
    inner : Operands
        Any of the other classes.
    offsets : float32[q]
    """

    inner: Any
    offsets: F32


#: Any of the families' classes.
Operands: TypeAlias = (
    "numbers.PlainDot | numbers.PlainL2 | numbers.ScaledDot | numbers.ScaledL2 | numbers.OffsetDot | "
    "numbers.OffsetL2 | numbers.CodesDot | numbers.CodesL2 | numbers.PairsDot | numbers.PairsL2 | "
    "part_sums.TierSums | part_sums.PartSums | "
    "int4.HalvesDot | int4.HalvesL2 | int4.RoundedHalvesDot | int4.RoundedHalvesL2 | "
    "hamming.SignProducts | hamming.SignCounts | nibbles.NibbleSums | nibbles.NibbleSteps | nibbles.PlaneProducts | "
    "nibbles.PlaneSteps | nibbles.PlaneBounds | bit_rows.BitEstimates | bit_rows.BitBounds | split.SplitRows | Shifted"
)


def distance(operands: Operands, query: Int, row: Int) -> np.float32:
    """Give the distance of one query to one row; only compiled code may call it."""
    raise NotImplementedError("distance() exists in compiled kernels only")


def distance_tile(operands: Operands, first: Int, row: Int) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Give the distances of the queries first, ..., first + 3 to one row; only compiled code may call it.

    They have the bits that :func:`distance` gives.
    """
    raise NotImplementedError("distance_tile() exists in compiled kernels only")


def prefetch(operands: Operands, row: Int) -> None:
    """Ask for the memory of a row ahead of its use; only compiled code may call it."""
    raise NotImplementedError("prefetch() exists in compiled kernels only")


def scan_group(operands: Operands, first: Int, last: Int, start: Int, stop: Int, out: F32) -> None:
    """Write the distances of rows start..stop to queries first..last; only compiled code may call it."""
    raise NotImplementedError("scan_group() exists in compiled kernels only")


def rank_group(operands: Operands, first: Int, last: Int, start: Int, stop: Int, cells: F32, heaps: U64) -> None:
    """Offer the rows start..stop to the heaps of queries first..last; only compiled code may call it.

    ``cells`` float32[q, stop - start] is scratch.
    """
    raise NotImplementedError("rank_group() exists in compiled kernels only")


def _shifted(operands: Any, query: Any, row: Any) -> Any:
    return operands.offsets[query] + distance(operands.inner, query, row)


def _shifted_tile(operands: Any, first: Any, row: Any) -> Any:
    a, b, c, d = distance_tile(operands.inner, first, row)
    offsets = operands.offsets
    return offsets[first] + a, offsets[first + 1] + b, offsets[first + 2] + c, offsets[first + 3] + d


def _one_by_one(operands: Any, first: Any, row: Any) -> Any:
    return (
        distance(operands, first, row),
        distance(operands, first + 1, row),
        distance(operands, first + 2, row),
        distance(operands, first + 3, row),
    )


def _prefetch_nothing(operands: Any, row: Any) -> Any:  # noqa: ARG001
    return None


def _prefetch_inner(operands: Any, row: Any) -> Any:
    prefetch(operands.inner, row)


class _Tables(NamedTuple):
    """What to compile for each class of operands."""

    distances: dict[Any, Any]
    tiles: dict[Any, Any]
    prefetches: dict[Any, Any]
    scans: dict[Any, Any]
    ranks: dict[Any, Any]


@cache
def _tables() -> _Tables:
    """Put the families' tables together, once a kernel has to be compiled; calling kernels needs none of them."""
    from vecstore.kernels import bit_rows, hamming, int4, nibbles, numbers, part_sums, split

    distances = {
        **numbers.DISTANCES,
        **part_sums.DISTANCES,
        **int4.DISTANCES,
        **nibbles.DISTANCES,
        **hamming.DISTANCES,
        **bit_rows.DISTANCES,
        **split.DISTANCES,
        Shifted: _shifted,
    }
    return _Tables(
        distances,
        tiles={
            **dict.fromkeys(distances, _one_by_one),
            **numbers.TILES,
            **part_sums.TILES,
            Shifted: _shifted_tile,
        },
        prefetches={
            **dict.fromkeys(distances, _prefetch_nothing),
            **numbers.PREFETCHES,
            **part_sums.PREFETCHES,
            **int4.PREFETCHES,
            **bit_rows.PREFETCHES,
            **split.PREFETCHES,
            Shifted: _prefetch_inner,
        },
        scans={**dict.fromkeys(distances, _scan_rows), Shifted: _scan_shifted, **nibbles.SCANS, **hamming.SCANS},
        ranks={**dict.fromkeys(distances, _rank_distances), **nibbles.RANKS},
    )


@overload(distance, inline="always")
def _choose_distance(operands: Any, query: Any, row: Any) -> Any:  # noqa: ARG001
    return _tables().distances.get(class_of(operands))


@overload(distance_tile, inline="always")
def _choose_distance_tile(operands: Any, first: Any, row: Any) -> Any:  # noqa: ARG001
    return _tables().tiles.get(class_of(operands))


@overload(prefetch, inline="always")
def _choose_prefetch(operands: Any, row: Any) -> Any:  # noqa: ARG001
    return _tables().prefetches.get(class_of(operands))


@inlined
def score_row(operands: Operands, row: Int, first: int, last: int, out: F32, place: int) -> None:
    """Write the distances of queries first..last to one row into ``out[first:last, place]``."""
    query = first
    while query + TILE <= last:
        a, b, c, d = distance_tile(operands, query, row)
        out[query, place], out[query + 1, place], out[query + 2, place], out[query + 3, place] = a, b, c, d
        query += TILE
    while query < last:
        out[query, place] = distance(operands, query, row)
        query += 1


def _scan_rows(operands: Any, first: Any, last: Any, start: Any, stop: Any, out: Any) -> Any:
    for row in range(start, stop):
        score_row(operands, row, first, last, out, row - start)


def _scan_shifted(operands: Any, first: Any, last: Any, start: Any, stop: Any, out: Any) -> Any:
    scan_group(operands.inner, first, last, start, stop, out)
    for query in range(first, last):
        for place in range(stop - start):
            out[query, place] = operands.offsets[query] + out[query, place]


def _rank_distances(operands: Any, first: Any, last: Any, start: Any, stop: Any, cells: Any, heaps: Any) -> Any:
    scan_group(operands, first, last, start, stop, cells)
    push_block(cells[first:last], start, heaps[first:last])


@overload(scan_group)
def _choose_scan(operands: Any, first: Any, last: Any, start: Any, stop: Any, out: Any) -> Any:  # noqa: ARG001
    return _tables().scans.get(class_of(operands))


@overload(rank_group)
def _choose_rank(operands: Any, first: Any, last: Any, start: Any, stop: Any, cells: Any, heaps: Any) -> Any:  # noqa: ARG001
    return _tables().ranks.get(class_of(operands))


@kernel
def scan(operands: Operands, start: int, stop: int, out: F32) -> None:
    """Write the distances of rows start..stop into ``out`` float32[q, stop - start].

    Queries go in groups so that both the group and a row stay in the nearest cache.
    """
    for first in range(0, out.shape[0], QUERY_GROUP):
        scan_group(operands, first, min(first + QUERY_GROUP, out.shape[0]), start, stop, out)


@kernel
def nearest(operands: Operands, start: int, stop: int, cells: F32, heaps: U64) -> None:
    """Offer the rows start..stop to ``heaps`` uint64[q, k], a few at a time.

    ``cells`` float32[m] has room for the distances of q queries to those few. Each group of queries is ranked while its
    distances are in the nearest cache.
    """
    n_queries = len(heaps)
    span = len(cells) // n_queries
    for low in range(start, stop, span):
        high = min(low + span, stop)
        block = cells[: n_queries * (high - low)].reshape(n_queries, high - low)
        for first in range(0, n_queries, QUERY_GROUP):
            last = min(first + QUERY_GROUP, n_queries)
            rank_group(operands, first, last, low, high, block, heaps)


@kernel
def gather(operands: Operands, rows: I64, out: F32) -> None:
    """Write the distances of ``rows`` int64[n], all inside the table, into ``out`` float32[q, n]."""
    for first in range(0, out.shape[0], QUERY_GROUP):
        last = min(first + QUERY_GROUP, out.shape[0])
        for place in range(len(rows)):
            if place + ROWS_AHEAD < len(rows):
                prefetch(operands, rows[place + ROWS_AHEAD])
            score_row(operands, rows[place], first, last, out, place)


@kernel
def rerank(operands: Operands, rows: I64, n_rows: int, out: F32) -> None:
    """Write the distances of ``rows`` int64[q, m], each query its own, into ``out`` float32[q, m].

    Rows outside 0..n_rows, such as the -1 that marks an empty place, get ``inf``.
    """
    n_queries, width = rows.shape
    for query in range(n_queries):
        for place in range(width):
            if 0 <= rows[query, place] < n_rows:
                prefetch(operands, rows[query, place])
        for place in range(width):
            row = rows[query, place]
            out[query, place] = distance(operands, query, row) if 0 <= row < n_rows else np.float32(np.inf)


@kernel
def nearest_within(operands: Operands, rows: I64, bounds: F32, heaps: U64, nearest: I64, distances: F32) -> None:
    """Write the k nearest of candidates, of which those are scored whose bounds say that they can be among them.

    Candidates are scored in order until a bound is above the k-th distance: no row after it is nearer, if its bound
    holds.

    Parameters
    ----------
    operands : Operands
        Of the distances.
    rows : int64[q, m]
        Candidates, all inside the table; -1 for none.
    bounds : float32[q, m]
        What their distances are not below, ascending.
    heaps : uint64[q, k]
        Scratch.
    nearest : int64[q, k]
        Out: nearest first, the lower row first among equals; -1 past the last.
    distances : float32[q, k]
        Out: ``inf`` past the last.
    """
    width = rows.shape[1]
    for query in range(len(rows)):
        heap = heaps[query]
        heap[:] = FREE
        for place in range(min(width, CANDIDATES_AHEAD)):
            if rows[query, place] >= 0:
                prefetch(operands, rows[query, place])
        for place in range(width):
            # FREE reads as NaN, which nothing is above.
            if bounds[query, place] > distance_of(heap[0]):
                break
            ahead = rows[query, min(place + CANDIDATES_AHEAD, width - 1)]
            if ahead >= 0:
                prefetch(operands, ahead)
            row = rows[query, place]
            if row >= 0:
                offer(heap, distance(operands, query, row), row)
        sort_heap(heap)
    unpack(heaps, nearest, distances)
