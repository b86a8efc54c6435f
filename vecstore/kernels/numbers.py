"""Distances to rows of numbers: float32, halves, or integers with scales.

The tables at the end are what :mod:`vecstore.kernels.distance` dispatches on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vecstore.kernels.intrinsics import (
    dot,
    dot_tile,
    integer_dot,
    narrow_dot,
    prefetch_element,
    prefetch_row,
    squared_distance,
    squared_distance_tile,
)
from vecstore.types import F32, I8, I16, I32, U16

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
        Codes of the queries, from -:data:`~vecstore.kernels.intrinsics.NARROW` to that.
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


class PairsDot(NamedTuple):
    """Inner products among the rows of one table of codes: query number i is row i.

    Attributes
    ----------
    codes : int8[n, d]
    scales : float32[n]
    corrections : int32[n]
        128 times the sum of each row's codes.
    bias : float32
        Distance = bias - scale * other scale * <codes, other codes>.
    """

    codes: I8
    scales: F32
    corrections: I32
    bias: np.float32


class PairsL2(NamedTuple):
    """Squared Euclidean distances among the rows of one table of codes, computed as those of :class:`CodesL2`.

    Attributes
    ----------
    codes, scales, corrections
        As for :class:`PairsDot`.
    norms : float32[n]
        Squared lengths of the decoded rows.
    """

    codes: I8
    scales: F32
    corrections: I32
    norms: F32


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
    total = narrow_dot(operands.codes, row, operands.queries, query, operands.corrections[query])
    return operands.bias - (operands.query_scales[query] * operands.scales[row]) * np.float32(total)


def _codes_l2(operands: Any, query: Any, row: Any) -> Any:
    total = narrow_dot(operands.codes, row, operands.queries, query, operands.corrections[query])
    product = (operands.query_scales[query] * operands.scales[row]) * np.float32(total)
    return max(np.float32(0), (operands.query_norms[query] + operands.norms[row]) - np.float32(2) * product)


def _pairs_dot(operands: Any, query: Any, row: Any) -> Any:
    total = integer_dot(operands.codes, row, operands.codes, query, operands.corrections[query])
    return operands.bias - (operands.scales[query] * operands.scales[row]) * np.float32(total)


def _pairs_l2(operands: Any, query: Any, row: Any) -> Any:
    total = integer_dot(operands.codes, row, operands.codes, query, operands.corrections[query])
    product = (operands.scales[query] * operands.scales[row]) * np.float32(total)
    return max(np.float32(0), (operands.norms[query] + operands.norms[row]) - np.float32(2) * product)


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


def _prefetch_plain(operands: Any, row: Any) -> Any:
    prefetch_row(operands.rows, row)


def _prefetch_coded(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)
    prefetch_element(operands.scales, row)


def _prefetch_coded_norms(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)
    prefetch_element(operands.scales, row)
    prefetch_element(operands.norms, row)


DISTANCES: dict[Any, Any] = {
    PlainDot: _plain_dot,
    PlainL2: _plain_l2,
    ScaledDot: _scaled_dot,
    ScaledL2: _scaled_l2,
    OffsetDot: _offset_dot,
    OffsetL2: _offset_l2,
    CodesDot: _codes_dot,
    CodesL2: _codes_l2,
    PairsDot: _pairs_dot,
    PairsL2: _pairs_l2,
}
TILES: dict[Any, Any] = {
    PlainDot: _plain_dot_tile,
    PlainL2: _plain_l2_tile,
    ScaledDot: _scaled_dot_tile,
    ScaledL2: _scaled_l2_tile,
    OffsetDot: _offset_dot_tile,
    OffsetL2: _offset_l2_tile,
}
PREFETCHES: dict[Any, Any] = {
    PlainDot: _prefetch_plain,
    PlainL2: _prefetch_plain,
    ScaledDot: _prefetch_coded,
    ScaledL2: _prefetch_coded,
    OffsetDot: _prefetch_plain,
    OffsetL2: _prefetch_plain,
    CodesDot: _prefetch_coded,
    CodesL2: _prefetch_coded_norms,
    PairsDot: _prefetch_coded,
    PairsL2: _prefetch_coded_norms,
}
