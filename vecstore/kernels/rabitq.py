"""Numbers of a few bits in the direction of a row."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.intrinsics import dot
from vecstore.kernels.nibbles import code_byte
from vecstore.types import F32, U8

#: Scales tried for a row of more than one bit a number.
TRIALS = 32


@kernel
def nearest_numbers(rows: F32, bits: int, numbers: U8, scales: F32, norms: F32) -> None:
    """Write the numbers u whose v = 2 u - (2^bits - 1) lie nearest to the direction of each row, of those tried.

    A trial clips the row to a limit and rounds it to the grid; limits go from the largest size in the row down to the
    root of the mean square, and the v with the largest cosine wins, the first of equals. One bit is the sign: u = 1 for
    numbers of at least 0.

    Parameters
    ----------
    rows : float32[n, d]
    bits : int
        1 to 8.
    numbers : uint8[n, d]
        Out.
    scales, norms : float32[n]
        Out: |row|^2 / <v, row> (0 for rows of zeros), and |row|^2.
    """
    dim = rows.shape[1]
    top = (1 << bits) - 1
    for row in range(len(rows)):
        square, largest = 0.0, 0.0
        for column in range(dim):
            value = np.float64(rows[row, column])
            square += value * value
            largest = max(largest, abs(value))
        root = np.sqrt(square / dim)
        best, chosen, product = -1.0, 0.0, 0.0
        for trial in range(TRIALS if bits > 1 and square > 0 else 0):
            limit = largest + (root - largest) * (trial / TRIALS)
            factor = (top + 1) / 2 / limit
            size, along = 0.0, 0.0
            for column in range(dim):
                value = np.float64(rows[row, column])
                v = 2 * min(max(np.floor(value * factor) + (top + 1) // 2, 0.0), np.float64(top)) - top
                size += v * v
                along += v * value
            if along / np.sqrt(size) > best:
                best, chosen = along / np.sqrt(size), factor
        for column in range(dim):
            value = np.float64(rows[row, column])
            u = min(max(np.floor(value * chosen) + (top + 1) // 2, 0.0), np.float64(top))
            if bits == 1:
                u = 1.0 if value >= 0 else 0.0
            numbers[row, column] = np.uint8(u)
            product += (2 * u - top) * value
        norms[row] = square
        scales[row] = square / product if product > 0 else 0.0


@kernel
def residuals(queries: F32, centroid: F32, unit: bool, rest: F32, offsets: F32) -> None:
    """Write queries less the centroid into ``rest`` float32[q, d], and what is added to distances.

    With r the residual of a row, |q - x|^2 = |q - c|^2 + |r|^2 - 2 <q - c, r>: ``offsets`` float32[q] get the first, or
    for ``unit`` rows and 1 - <q, x> half of what it is more than |q|^2, and 1/2. Lengths are by the lane rule.
    """
    for query in range(len(queries)):
        for column in range(queries.shape[1]):
            rest[query, column] = queries[query, column] - centroid[column]
        square = dot(rest, query, rest, query)
        if unit:
            square = np.float32(0.5) * (square - dot(queries, query, queries, query)) + np.float32(0.5)
        offsets[query] = square


@kernel
def sizes(codes: U8, planes: int, dim: int, out: F32) -> None:
    """Write the squared length of the numbers v of each row into ``out`` float32[n]; the sum is an exact integer."""
    width = codes.shape[1] // planes
    for row in range(len(out)):
        total = 0
        for number in range(dim):
            value = 0
            for plane in range(planes):
                byte = code_byte(codes, plane * width + (number >> 3), row)
                value += ((byte >> (number & 7)) & 1) << plane
            v = 2 * value - ((1 << planes) - 1)
            total += v * v
        out[row] = np.float32(total)
