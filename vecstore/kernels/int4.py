"""Rows of 4-bit codes, two a byte: number j is the low half of byte j, number ceil(d / 2) + j its high half.

Encoding, decoding, and distances (the tables at the end are what :mod:`vecstore.kernels.distance` dispatches on).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.intrinsics import halves_dot, halves_squared_distance, prefetch_row
from vecstore.types import F32, I64, U8

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


def _halves_dot(operands: Any, query: Any, row: Any) -> Any:
    product = halves_dot(operands.codes, row, operands.offsets[row], operands.steps[row], operands.queries, query)
    return operands.constants[query] - product


def _halves_l2(operands: Any, query: Any, row: Any) -> Any:
    offset, step = operands.offsets[row], operands.steps[row]
    return halves_squared_distance(operands.codes, row, offset, step, operands.queries, query)


def _prefetch_codes(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)


DISTANCES: dict[Any, Any] = {HalvesDot: _halves_dot, HalvesL2: _halves_l2}
PREFETCHES: dict[Any, Any] = {HalvesDot: _prefetch_codes, HalvesL2: _prefetch_codes}
