"""Numbers of a few bits, all of a row side by side: for graph walks, which read single rows anywhere in memory.

A row of B bits a number is B *planes* of W words of 64 bits, the least significant plane first, and one word behind
them with what turns products into distances: the scale (low half) and the squared length (high half), both float32. So
a walk touches one or two cache lines a row, where the blocks of :mod:`vecstore.kernels.nibbles` spread a row over many.

Queries are rounded to numbers of :func:`query_planes` bits, in planes as well. A set bit stands for +1 and the others
for -1: number u of B bits is v = 2 u - (2^B - 1), the sum of 2^a times bit a. So the product of two rows of numbers is
the sum over pairs of planes of 2^(a + b) (d - 2 c), where c counts the bits that differ: exact integers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, inlined, kernel
from vecstore.kernels.intrinsics import PLANES, bits_float, dot, prefetch_row, weighted_differing
from vecstore.kernels.nibble_spans import stepped
from vecstore.kernels.nibbles import estimated
from vecstore.kernels.rotation import rotate
from vecstore.types import F32, I32, I64, U64

#: Bits by which queries are at least finer than rows, so that rounding them adds little to the error of the rows.
FINER_BITS = 2

_LOW = np.uint64(0xFFFF_FFFF)
_ONE = np.uint64(1)


class BitEstimates(NamedTuple):
    """Estimates from products of rounded queries with numbers of a few bits.

    distance = offset + norm_weight * norm - product_weight * scale * <q, v>.

    Attributes
    ----------
    codes : uint64[n, B W + 1]
    width : int
        W.
    planes : uint64[q, query_planes(B) W]
        The queries' numbers.
    steps, bases : float32[q]
        <q, v> = base + step * the weighted sum of bits that differ.
    offsets : float32[q]
    norm_weight, product_weight : float32
    """

    codes: U64
    width: int
    planes: U64
    steps: F32
    bases: F32
    offsets: F32
    norm_weight: np.float32
    product_weight: np.float32


class BitBounds(NamedTuple):
    """What the true distance is hardly ever below: an estimate less what it may be off.

    Attributes
    ----------
    estimates : BitEstimates
    residuals : float32[n]
        |scale v - r| of each row: how far what products are computed with is from the residual.
    slacks, roughs : float32[q]
        How much the estimate may be off for each unit of the residual, and of the scale.
    """

    estimates: BitEstimates
    residuals: F32
    slacks: F32
    roughs: F32


def query_planes(bits: int) -> int:
    """Give the bits that queries are rounded to for rows of ``bits`` bits a number."""
    return -(-(bits + FINER_BITS) // PLANES) * PLANES


@inlined
def scale_of(codes: U64, row: Int) -> np.float32:
    """Give the scale of a row."""
    return np.float32(bits_float(np.uint32(codes[row, codes.shape[1] - 1] & _LOW)))


@inlined
def norm_of(codes: U64, row: Int) -> np.float32:
    """Give the squared length of a row."""
    return np.float32(bits_float(np.uint32(codes[row, codes.shape[1] - 1] >> np.uint64(32))))


@kernel
def rotate_and_round(
    rest: F32,
    salt: Int,
    bits: int,
    width: int,
    factors: tuple[np.float32, np.float32],
    planes: U64,
    steps: F32,
    bases: F32,
    slacks: F32,
    roughs: F32,
) -> None:
    """Rotate ``rest`` float32[q, d] in place and write what :class:`BitEstimates` and :class:`BitBounds` need of it.

    Parameters
    ----------
    rest : float32[q, d]
        Queries, less the centroid where distances are not inner products.
    salt : int
        Names the rotation.
    bits, width : int
        B and W of the rows.
    factors : tuple of float32
        ``slacks`` over lengths of queries, and ``roughs`` over distances between neighbouring numbers.
    planes, steps, bases, slacks, roughs
        Out.
    """
    dim = rest.shape[1]
    query_bits = planes.shape[1] // width
    top = (1 << query_bits) - 1
    rotate(rest, salt)
    planes[:] = 0
    for query in range(len(rest)):
        largest = np.float32(0)
        for column in range(dim):
            largest = max(largest, abs(rest[query, column]))
        # Numbers so small that their inverse is infinite count as zeros.
        factor = np.float32(top) / (np.float32(2) * largest)
        factor = factor if factor < np.inf else np.float32(0)
        for column in range(dim):
            number = min(np.int64(rest[query, column] * factor + np.float32((top + 1) // 2)), np.int64(top))
            word, bit = column >> 6, np.uint64(column & 63)
            for plane in range(query_bits):
                planes[query, plane * width + word] |= np.uint64((number >> plane) & 1) << bit
        step = np.float32(2) * largest / np.float32(top)
        steps[query] = -step
        bases[query] = np.float32(0.5) * step * np.float32(dim * ((1 << bits) - 1) * top)
        slacks[query] = factors[0] * np.sqrt(dot(rest, query, rest, query))
        roughs[query] = factors[1] * step


@inlined
def number_of(codes: U64, bits: int, width: Int, row: Int, number: Int) -> Int:
    """Give a number v = 2 u - (2^B - 1) of a row."""
    value = np.int64(0)
    for plane in range(bits):
        word = codes[row, plane * width + (number >> 6)]
        value += np.int64((word >> np.uint64(number & 63)) & _ONE) << plane
    return 2 * value - ((1 << bits) - 1)


@kernel
def take_bits(codes: U64, bits: int, rows: I64, out: I32) -> None:
    """Write the numbers v of ``rows`` int64[n] into ``out`` int32[n, d]."""
    width = (codes.shape[1] - 1) // bits
    for place in range(len(rows)):
        for number in range(out.shape[1]):
            out[place, number] = number_of(codes, bits, width, rows[place], number)


@kernel
def sizes(codes: U64, bits: int, dim: int, out: F32) -> None:
    """Write the squared length of the numbers v of each row into ``out`` float32[n]; the sum is an exact integer."""
    width = (codes.shape[1] - 1) // bits
    for row in range(len(out)):
        total = np.int64(0)
        for number in range(dim):
            v = np.int64(number_of(codes, bits, width, row, number))
            total += v * v
        out[row] = np.float32(total)


@inlined
def bit_estimate(operands: BitEstimates, query: Int, row: Int) -> np.float32:
    """Give the estimate for one row."""
    codes = operands.codes
    total = weighted_differing(codes, row, operands.planes, query, operands.width)
    product = stepped(total, operands.bases[query], operands.steps[query])
    norm, scale = operands.norm_weight * norm_of(codes, row), operands.product_weight * scale_of(codes, row)
    return estimated(product, operands.offsets[query], norm, scale)


def bit_estimates_distance(operands: Any, query: Any, row: Any) -> Any:
    """Give the distance of :class:`BitEstimates`."""
    return bit_estimate(operands, query, row)


def bit_bounds_distance(operands: Any, query: Any, row: Any) -> Any:
    """Give the bound of :class:`BitBounds`."""
    slack = operands.slacks[query] * operands.residuals[row]
    rough = operands.roughs[query] * scale_of(operands.estimates.codes, row)
    return bit_estimate(operands.estimates, query, row) - (slack + rough)


def _prefetch_codes(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)


def _prefetch_bounded(operands: Any, row: Any) -> Any:
    prefetch_row(operands.estimates.codes, row)


#: Class -> distance of one query to one row.
DISTANCES = {BitEstimates: bit_estimates_distance, BitBounds: bit_bounds_distance}
#: Class -> what asks for the memory of a row.
PREFETCHES = {BitEstimates: _prefetch_codes, BitBounds: _prefetch_bounded}
