"""Rows of 4-bit codes, two a byte: number j is the low half of byte j, number ceil(d / 2) + j its high half.

Encoding, decoding, and distances (the tables at the end are what :mod:`vecstore.kernels.distance` dispatches on).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, inlined, kernel
from vecstore.kernels.intrinsics import (
    dot,
    halves_dot,
    halves_integer_dot,
    halves_squared_distance,
    prefetch_element,
    prefetch_row,
)
from vecstore.kernels.quantise import LARGEST as LARGEST_INT8
from vecstore.kernels.quantise import quantise as round_to_int8
from vecstore.types import F32, I8, I64, U8

#: Largest code.
LARGEST = np.float32(15)


@kernel
def quantise(rows: F32, codes: U8, offsets: F32, steps: F32) -> None:
    """Write the codes uint8[n, ceil(d / 2)] of float32[n, d], and the smallest number and the step of each row.

    In float32 throughout: ``step = (max - min) / 15``; code = round((x - min) / step), ties to even, at most 15; codes
    are 0 where the step is 0.
    """
    dim = rows.shape[1]
    half = codes.shape[1]
    for row in range(len(rows)):
        lowest, highest = rows[row].min(), rows[row].max()
        step = np.float32((highest - lowest) / LARGEST)
        offsets[row], steps[row] = lowest, step
        divisor = step if step > 0 else np.float32(np.inf)
        codes[row, half - 1] = 0
        for column in range(dim):
            code = np.uint8(min(np.rint(np.float32((rows[row, column] - lowest) / divisor)), LARGEST))
            if column < half:
                codes[row, column] = code
            else:
                codes[row, column - half] |= np.uint8(code << 4)


@kernel
def take(codes: U8, offsets: F32, steps: F32, centroid: F32, rows: I64, out: F32) -> None:
    """Write ``centroid + (offset + step * code)`` of ``rows`` int64[n] into ``out`` float32[n, d]."""
    half = codes.shape[1]
    for place in range(len(rows)):
        row = rows[place]
        offset, step = offsets[row], steps[row]
        for column in range(half):
            code = np.float32(codes[row, column] & 15)
            out[place, column] = centroid[column] + np.float32(offset + np.float32(step * code))
        for column in range(half, out.shape[1]):
            code = np.float32(codes[row, column - half] >> 4)
            out[place, column] = centroid[column] + np.float32(offset + np.float32(step * code))


@kernel
def squared_lengths(codes: U8, offsets: F32, steps: F32, dim: int, out: F32) -> None:
    """Write the squared lengths of the rows ``offset + step * code`` of ``dim`` numbers into ``out`` float32[n].

    From the exact sums of codes and of their squares.
    """
    for row in range(len(codes)):
        total, squares = np.int32(0), np.int32(0)
        for place in range(codes.shape[1]):
            low, high = np.int32(codes[row, place] & 15), np.int32(codes[row, place] >> 4)
            total += low + high
            squares += low * low + high * high
        offset, step = np.float64(offsets[row]), np.float64(steps[row])
        out[row] = np.float32(offset * offset * dim + 2 * offset * step * total + step * step * squares)


@kernel
def products_taken_from(bias: np.float32, centroid: F32, queries: F32, out: F32) -> None:
    """Write ``bias`` less the products of ``centroid`` float32[1, d] and ``queries`` float32[q, d] into ``out``."""
    for query in range(len(queries)):
        out[query] = bias - dot(centroid, 0, queries, query)


@kernel
def round_queries(queries: F32, narrow: I8, codes: I8, scales: F32, sums: F32, lengths: F32) -> None:
    """Write what walks over 4-bit codes need of ``queries`` float32[q, d].

    Parameters
    ----------
    queries : float32[q, d]
    narrow : int8[q, d]
        Out: the codes of the queries; scratch.
    codes : int8[q, 2 ceil(d / 2)]
        Out: the same, and perhaps a zero behind them.
    scales : float32[q]
        Out: a query is about its scale times its codes.
    sums, lengths : float32[q]
        Out: the sum of the numbers of what the codes stand for, and of their squares.
    """
    round_to_int8(queries, narrow, scales, LARGEST_INT8)
    for query in range(len(queries)):
        codes[query, -1] = 0
        total, squares = np.int32(0), np.int32(0)
        for column in range(queries.shape[1]):
            code = np.int32(narrow[query, column])
            codes[query, column] = code
            total += code
            squares += code * code
        sums[query] = np.float32(total) * scales[query]
        lengths[query] = np.float32(squares) * np.float32(scales[query] * scales[query])


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


class RoundedHalvesDot(NamedTuple):
    """Inner products of 4-bit rows with queries rounded to int8: sums of integers, good enough to walk a graph.

    Attributes
    ----------
    codes, offsets, steps
        As for :class:`HalvesDot`.
    queries : int8[q, 2 ceil(d / 2)]
    scales, sums : float32[q]
        See :func:`round_queries`.
    constants : float32[q]
        Distance = constant - <rounded query, row>.
    """

    codes: U8
    offsets: F32
    steps: F32
    queries: I8
    scales: F32
    sums: F32
    constants: F32


class RoundedHalvesL2(NamedTuple):
    """Squared Euclidean distances of the same, as |q|^2 + |x|^2 - 2 <q, x>.

    Attributes
    ----------
    codes, offsets, steps, queries, scales, sums
        As for :class:`RoundedHalvesDot`.
    lengths : float32[n]
        Squared lengths of the rows.
    query_lengths : float32[q]
        Squared lengths of the rounded queries.
    """

    codes: U8
    offsets: F32
    steps: F32
    queries: I8
    scales: F32
    sums: F32
    lengths: F32
    query_lengths: F32


def _halves_dot(operands: Any, query: Any, row: Any) -> Any:
    product = halves_dot(operands.codes, row, operands.offsets[row], operands.steps[row], operands.queries, query)
    return operands.constants[query] - product


def _halves_l2(operands: Any, query: Any, row: Any) -> Any:
    offset, step = operands.offsets[row], operands.steps[row]
    return halves_squared_distance(operands.codes, row, offset, step, operands.queries, query)


@inlined
def _rounded_product(operands: Any, query: Int, row: Int) -> np.float32:
    """Give <rounded query, row> of either class."""
    product = np.float32(halves_integer_dot(operands.codes, row, operands.queries, query))
    scale = np.float32(operands.steps[row] * operands.scales[query])
    return np.float32(operands.offsets[row] * operands.sums[query]) + np.float32(scale * product)


def _rounded_dot(operands: Any, query: Any, row: Any) -> Any:
    return operands.constants[query] - _rounded_product(operands, query, row)


def _rounded_l2(operands: Any, query: Any, row: Any) -> Any:
    product = _rounded_product(operands, query, row)
    total = operands.query_lengths[query] + operands.lengths[row]
    return max(np.float32(0), total - np.float32(2) * product)


def _prefetch_codes(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)
    prefetch_element(operands.offsets, row)
    prefetch_element(operands.steps, row)


def _prefetch_codes_lengths(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)
    prefetch_element(operands.offsets, row)
    prefetch_element(operands.steps, row)
    prefetch_element(operands.lengths, row)


DISTANCES: dict[Any, Any] = {
    HalvesDot: _halves_dot,
    HalvesL2: _halves_l2,
    RoundedHalvesDot: _rounded_dot,
    RoundedHalvesL2: _rounded_l2,
}
PREFETCHES: dict[Any, Any] = {
    HalvesDot: _prefetch_codes,
    HalvesL2: _prefetch_codes,
    RoundedHalvesDot: _prefetch_codes,
    RoundedHalvesL2: _prefetch_codes_lengths,
}
