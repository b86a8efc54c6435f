"""Rounding of float32 rows to int8 codes with a scale a row, and sums over codes."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.intrinsics import NARROW, bits_float, float_bits
from vecstore.types import F32, I8, I16, I32

#: Largest code; -128 is not used, so that codes are symmetric.
LARGEST = np.float32(127)

_MAGNITUDE = np.uint32(0x7FFF_FFFF)


@kernel
def quantise(matrix: F32, codes: I8 | I16, scales: F32, limit: np.float32) -> None:
    """Write the ``codes`` int8/int16[n, d] and ``scales`` float32[n] of ``matrix`` float32[n, d].

    In float32 throughout: ``scale = max|x| / limit``; ``code = round(x / scale)``, ties to even, clipped to
    -limit..limit; codes 0 where the scale is 0. A subnormal scale is coarse, which is why a quotient may need the clip.
    """
    for row in range(matrix.shape[0]):
        # The bits of magnitudes sort as the magnitudes do, and their maximum is found many at a time.
        largest = np.uint32(0)
        for column in range(matrix.shape[1]):
            largest = max(largest, np.uint32(float_bits(matrix[row, column]) & _MAGNITUDE))
        scale = np.float32(bits_float(largest) / limit)
        scales[row] = scale
        divisor = scale if scale > 0 else np.float32(np.inf)
        for column in range(matrix.shape[1]):
            code = np.rint(np.float32(matrix[row, column] / divisor))
            codes[row, column] = np.int32(max(-limit, min(limit, code)))


@kernel
def corrections(codes: I8, out: I32) -> None:
    """Write 128 times the sum of each row of ``codes`` int8[n, d] into ``out`` int32[n]."""
    for row in range(codes.shape[0]):
        total = np.int32(0)
        for column in range(codes.shape[1]):
            total += np.int32(codes[row, column])
        out[row] = np.int32(128) * total


@kernel
def squared_lengths(codes: I8, scales: F32, out: F32) -> None:
    """Write the squared lengths of the rows ``scales[row] * codes[row]`` into ``out`` float32[n].

    The sum of squared codes is an exact integer, rounded once, and then multiplied by the square of the scale.
    """
    for row in range(codes.shape[0]):
        total = np.int32(0)
        for column in range(codes.shape[1]):
            code = np.int32(codes[row, column])
            total += code * code
        out[row] = np.float32(total) * np.float32(scales[row] * scales[row])


@kernel
def round_queries(queries: F32, codes: I8, scales: F32, sums: I32, lengths: F32) -> None:
    """Write what walks over int8 codes need of ``queries`` float32[q, d].

    That is their ``codes`` int8[q, d] from -NARROW to NARROW and ``scales`` float32[q], 128 times the sums of the codes
    int32[q], and the squared lengths float32[q] of the queries that the codes stand for.
    """
    quantise(queries, codes, scales, np.float32(NARROW))
    corrections(codes, sums)
    squared_lengths(codes, scales, lengths)
