"""One distance for every stored form, and the loops that are written once on top of it.

``distance(operands, query, row)`` is resolved when a kernel is compiled, by the *class* of the operands: each is a
named tuple of the arrays that one way of scoring needs. A new stored form adds a class here and no loop.

Distances are as in :class:`vecstore.types.Metric`; smaller is nearer. ``bias`` is 0 for ``ip`` and 1 for ``cosine``,
so one formula serves both. Arrays must be as
:func:`~vecstore.kernels.compiling.frozen` gives them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from vecstore.kernels import hamming, nibbles
from vecstore.kernels.compiling import Int, inlined, kernel
from vecstore.kernels.intrinsics import (
    TILE,
    dot,
    dot_tile,
    halves_dot,
    halves_squared_distance,
    integer_dot,
    prefetch_element,
    prefetch_row,
    squared_distance,
    squared_distance_tile,
)
from vecstore.kernels.tiers import TierCodes, tier_sum, tier_sum_tile
from vecstore.types import F32, I8, I16, I32, I64, U8, U16

#: Queries scored together while a row is in cache.
QUERY_GROUP = 16
#: Rows between asking for a row and using it.
ROWS_AHEAD = 16

_UNUSED = np.float32(1)


class PlainDot(NamedTuple):
    """Inner products with stored numbers: float32, or halves as uint16.

    Attributes
    ----------
    rows : float32[n, d] or uint16[n, d]
        Stored rows; uint16 holds the bits of IEEE halves.
    queries : float32[q, d]
    bias : float32
        Distance = bias - <query, row>.
    """

    rows: F32 | U16
    queries: F32
    bias: np.float32


class PlainL2(NamedTuple):
    """Squared Euclidean distances to stored numbers: float32, or halves as uint16."""

    rows: F32 | U16
    queries: F32


class ScaledDot(NamedTuple):
    """Inner products of float32 queries with rows ``scales[row] * codes[row]``.

    Attributes
    ----------
    codes : int8[n, d] or int16[n, d]
    scales : float32[n]
    queries : float32[q, d]
    bias : float32
        Distance = bias - scale * <query, codes>.
    """

    codes: I8 | I16
    scales: F32
    queries: F32
    bias: np.float32


class ScaledL2(NamedTuple):
    """Squared Euclidean distances of float32 queries to rows ``scales[row] * codes[row]``."""

    codes: I8 | I16
    scales: F32
    queries: F32


class OffsetDot(NamedTuple):
    """Inner products with rows ``scale * rows[row]``, and a constant a query.

    Attributes
    ----------
    rows : float32[n, d], int8[n, d] or int16[n, d]
    scale : float32
        One for the whole table; 1 for float32.
    queries : float32[q, d]
    offsets : float32[q]
        Distance = offset - scale * <query, row>.
    """

    rows: F32 | I8 | I16
    scale: np.float32
    queries: F32
    offsets: F32


class OffsetL2(NamedTuple):
    """Squared Euclidean distances to rows ``scale * rows[row]``, and a constant a query that is added."""

    rows: F32 | I8 | I16
    scale: np.float32
    queries: F32
    offsets: F32


class CodesDot(NamedTuple):
    """Inner products where the query is int8 too: integers only, one multiplication at the end.

    Attributes
    ----------
    codes : int8[n, d]
    scales : float32[n]
    queries : int8[q, d]
        Codes of the queries.
    query_scales : float32[q]
    corrections : int32[q]
        128 times the sum of each query's codes (see ``intrinsics.integer_dot``).
    bias : float32
        Distance = bias - scale * query scale * <query codes, codes>.
    """

    codes: I8
    scales: F32
    queries: I8
    query_scales: F32
    corrections: I32
    bias: np.float32


class CodesL2(NamedTuple):
    """Squared Euclidean distances where the query is int8 too, as |q|^2 + |x|^2 - 2 <q, x>.

    The subtraction loses digits between near neighbours: good enough to walk a graph, and scored again after.

    Attributes
    ----------
    codes, scales, queries, query_scales, corrections
        As for :class:`CodesDot`.
    norms : float32[n]
        Squared lengths of the decoded rows.
    query_norms : float32[q]
        Squared lengths of the decoded queries.
    """

    codes: I8
    scales: F32
    queries: I8
    query_scales: F32
    corrections: I32
    norms: F32
    query_norms: F32


class TierSums(NamedTuple):
    """Sums over the parts of product-quantised rows.

    Attributes
    ----------
    tables : float32[q, M, 256]
        What each centroid of each part adds to the distance.
    codes : TierCodes
    bias : float32
        Distance = bias + the sum over the parts.
    """

    tables: F32
    codes: TierCodes
    bias: np.float32


class HalvesDot(NamedTuple):
    """Inner products of float32 queries with rows of 4-bit codes, two a byte.

    Attributes
    ----------
    codes : uint8[n, ceil(d / 2)]
        Number j in the low half of byte j, number ceil(d / 2) + j in its high half.
    offsets, steps : float32[n]
        A number of a row is offset + step * code.
    queries : float32[q, d]
    constants : float32[q]
        Distance = constant - <query, row>.
    """

    codes: U8
    offsets: F32
    steps: F32
    queries: F32
    constants: F32


class HalvesL2(NamedTuple):
    """Squared Euclidean distances of float32 queries to rows of 4-bit codes, as for :class:`HalvesDot`."""

    codes: U8
    offsets: F32
    steps: F32
    queries: F32


class PartSums(NamedTuple):
    """Sums over the parts of product-quantised rows with one byte a part.

    Attributes
    ----------
    tables : float32[q, M, 256]
        What each centroid of each part adds to the distance.
    codes : uint8[n, M]
    bias : float32
        Distance = bias + the sum over the parts.
    """

    tables: F32
    codes: U8
    bias: np.float32


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


#: Any of the classes above, or of ``kernels/nibbles.py`` and ``kernels/hamming.py``.
Operands = (
    PlainDot
    | PlainL2
    | ScaledDot
    | ScaledL2
    | OffsetDot
    | OffsetL2
    | CodesDot
    | CodesL2
    | TierSums
    | PartSums
    | HalvesDot
    | HalvesL2
    | hamming.SignProducts
    | hamming.SignCounts
    | Shifted
    | nibbles.NibbleSums
    | nibbles.NibbleSteps
    | nibbles.PlaneProducts
    | nibbles.PlaneSteps
    | nibbles.PlaneBounds
)


def _operands_class(operands: Any) -> Any:
    """Give the class behind a Numba type, None where it is no named tuple."""
    return getattr(operands, "instance_class", None) if isinstance(operands, types.BaseNamedTuple) else None


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


def _plain_dot(operands: Any, query: Any, row: Any) -> Any:
    return operands.bias - dot(operands.rows, row, operands.queries, query)


def _plain_l2(operands: Any, query: Any, row: Any) -> Any:
    return squared_distance(operands.rows, row, _UNUSED, operands.queries, query)


def _scaled_dot(operands: Any, query: Any, row: Any) -> Any:
    return operands.bias - operands.scales[row] * dot(operands.codes, row, operands.queries, query)


def _scaled_l2(operands: Any, query: Any, row: Any) -> Any:
    return squared_distance(operands.codes, row, operands.scales[row], operands.queries, query)


def _offset_dot(operands: Any, query: Any, row: Any) -> Any:
    return operands.offsets[query] - operands.scale * dot(operands.rows, row, operands.queries, query)


def _offset_l2(operands: Any, query: Any, row: Any) -> Any:
    return operands.offsets[query] + squared_distance(operands.rows, row, operands.scale, operands.queries, query)


def _codes_dot(operands: Any, query: Any, row: Any) -> Any:
    total = integer_dot(operands.codes, row, operands.queries, query, operands.corrections[query])
    return operands.bias - (operands.query_scales[query] * operands.scales[row]) * np.float32(total)


def _codes_l2(operands: Any, query: Any, row: Any) -> Any:
    total = integer_dot(operands.codes, row, operands.queries, query, operands.corrections[query])
    product = (operands.query_scales[query] * operands.scales[row]) * np.float32(total)
    return max(np.float32(0), (operands.query_norms[query] + operands.norms[row]) - np.float32(2) * product)


def _tier_sums(operands: Any, query: Any, row: Any) -> Any:
    return operands.bias + tier_sum(operands.tables, query, operands.codes, row)


@kernel
def part_sum(tables: F32, query: Int, codes: U8, row: Int) -> np.float32:
    """Give the sum over the parts of ``tables[query, part, codes[row, part]]``, part after part."""
    total = np.float32(0)
    for part in range(codes.shape[1]):
        total += tables[query, part, codes[row, part]]
    return total


def _halves_dot(operands: Any, query: Any, row: Any) -> Any:
    product = halves_dot(operands.codes, row, operands.offsets[row], operands.steps[row], operands.queries, query)
    return operands.constants[query] - product


def _halves_l2(operands: Any, query: Any, row: Any) -> Any:
    offset, step = operands.offsets[row], operands.steps[row]
    return halves_squared_distance(operands.codes, row, offset, step, operands.queries, query)


def _part_sums(operands: Any, query: Any, row: Any) -> Any:
    return operands.bias + part_sum(operands.tables, query, operands.codes, row)


def _prefetch_codes(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)


def _shifted(operands: Any, query: Any, row: Any) -> Any:
    return operands.offsets[query] + distance(operands.inner, query, row)


def _plain_dot_tile(operands: Any, first: Any, row: Any) -> Any:
    a, b, c, d = dot_tile(operands.rows, row, operands.queries, first)
    return operands.bias - a, operands.bias - b, operands.bias - c, operands.bias - d


def _plain_l2_tile(operands: Any, first: Any, row: Any) -> Any:
    return squared_distance_tile(operands.rows, row, _UNUSED, operands.queries, first)


def _scaled_dot_tile(operands: Any, first: Any, row: Any) -> Any:
    a, b, c, d = dot_tile(operands.codes, row, operands.queries, first)
    bias, scale = operands.bias, operands.scales[row]
    return bias - scale * a, bias - scale * b, bias - scale * c, bias - scale * d


def _scaled_l2_tile(operands: Any, first: Any, row: Any) -> Any:
    return squared_distance_tile(operands.codes, row, operands.scales[row], operands.queries, first)


def _offset_dot_tile(operands: Any, first: Any, row: Any) -> Any:
    a, b, c, d = dot_tile(operands.rows, row, operands.queries, first)
    offsets, scale = operands.offsets, operands.scale
    return (
        offsets[first] - scale * a,
        offsets[first + 1] - scale * b,
        offsets[first + 2] - scale * c,
        offsets[first + 3] - scale * d,
    )


def _offset_l2_tile(operands: Any, first: Any, row: Any) -> Any:
    a, b, c, d = squared_distance_tile(operands.rows, row, operands.scale, operands.queries, first)
    offsets = operands.offsets
    return offsets[first] + a, offsets[first + 1] + b, offsets[first + 2] + c, offsets[first + 3] + d


def _tier_sums_tile(operands: Any, first: Any, row: Any) -> Any:
    a, b, c, d = tier_sum_tile(operands.tables, first, operands.codes, row)
    return operands.bias + a, operands.bias + b, operands.bias + c, operands.bias + d


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


def _prefetch_plain(operands: Any, row: Any) -> Any:
    prefetch_row(operands.rows, row)


def _prefetch_coded(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)
    prefetch_element(operands.scales, row)


def _prefetch_coded_norms(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)
    prefetch_element(operands.scales, row)
    prefetch_element(operands.norms, row)


def _prefetch_tiers(operands: Any, row: Any) -> Any:
    prefetch_element(operands.codes.words, row >> 6)


def _prefetch_nothing(operands: Any, row: Any) -> Any:  # noqa: ARG001
    return None


def _prefetch_inner(operands: Any, row: Any) -> Any:
    prefetch(operands.inner, row)


_DISTANCES = {
    PlainDot: _plain_dot,
    PlainL2: _plain_l2,
    ScaledDot: _scaled_dot,
    ScaledL2: _scaled_l2,
    OffsetDot: _offset_dot,
    OffsetL2: _offset_l2,
    CodesDot: _codes_dot,
    CodesL2: _codes_l2,
    TierSums: _tier_sums,
    PartSums: _part_sums,
    HalvesDot: _halves_dot,
    HalvesL2: _halves_l2,
    Shifted: _shifted,
    **nibbles.DISTANCES,
    **hamming.DISTANCES,
}
_TILES = {
    PlainDot: _plain_dot_tile,
    PlainL2: _plain_l2_tile,
    ScaledDot: _scaled_dot_tile,
    ScaledL2: _scaled_l2_tile,
    OffsetDot: _offset_dot_tile,
    OffsetL2: _offset_l2_tile,
    CodesDot: _one_by_one,
    CodesL2: _one_by_one,
    TierSums: _tier_sums_tile,
    PartSums: _one_by_one,
    HalvesDot: _one_by_one,
    HalvesL2: _one_by_one,
    Shifted: _shifted_tile,
    **dict.fromkeys([*nibbles.DISTANCES, *hamming.DISTANCES], _one_by_one),
}
_PREFETCHES = {
    PlainDot: _prefetch_plain,
    PlainL2: _prefetch_plain,
    ScaledDot: _prefetch_coded,
    ScaledL2: _prefetch_coded,
    OffsetDot: _prefetch_plain,
    OffsetL2: _prefetch_plain,
    CodesDot: _prefetch_coded,
    CodesL2: _prefetch_coded_norms,
    TierSums: _prefetch_tiers,
    PartSums: _prefetch_codes,
    HalvesDot: _prefetch_codes,
    HalvesL2: _prefetch_codes,
    Shifted: _prefetch_inner,
    **dict.fromkeys([*nibbles.DISTANCES, *hamming.DISTANCES], _prefetch_nothing),
}


@overload(distance, inline="always")
def _choose_distance(operands: Any, query: Any, row: Any) -> Any:  # noqa: ARG001
    return _DISTANCES.get(_operands_class(operands))


@overload(distance_tile, inline="always")
def _choose_distance_tile(operands: Any, first: Any, row: Any) -> Any:  # noqa: ARG001
    return _TILES.get(_operands_class(operands))


@overload(prefetch, inline="always")
def _choose_prefetch(operands: Any, row: Any) -> Any:  # noqa: ARG001
    return _PREFETCHES.get(_operands_class(operands))


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


def scan_group(operands: Operands, first: Int, last: Int, start: Int, stop: Int, out: F32) -> None:
    """Write the distances of rows start..stop to queries first..last; only compiled code may call it."""
    raise NotImplementedError("scan_group() exists in compiled kernels only")


def _scan_rows(operands: Any, first: Any, last: Any, start: Any, stop: Any, out: Any) -> Any:
    for row in range(start, stop):
        score_row(operands, row, first, last, out, row - start)


def _scan_shifted(operands: Any, first: Any, last: Any, start: Any, stop: Any, out: Any) -> Any:
    scan_group(operands.inner, first, last, start, stop, out)
    for query in range(first, last):
        for place in range(stop - start):
            out[query, place] = operands.offsets[query] + out[query, place]


_SCANS: dict[Any, Any] = {Shifted: _scan_shifted, **nibbles.SCANS, **hamming.SCANS}


@overload(scan_group)
def _choose_scan(operands: Any, first: Any, last: Any, start: Any, stop: Any, out: Any) -> Any:  # noqa: ARG001
    return _SCANS.get(_operands_class(operands), _scan_rows)


@kernel
def scan(operands: Operands, start: int, stop: int, out: F32) -> None:
    """Write the distances of rows start..stop into ``out`` float32[q, stop - start].

    Queries go in groups so that both the group and a row stay in the nearest cache.
    """
    for first in range(0, out.shape[0], QUERY_GROUP):
        scan_group(operands, first, min(first + QUERY_GROUP, out.shape[0]), start, stop, out)


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
