"""Rows of 4-bit codes, two a byte: number j is the low half of byte j, number ceil(d / 2) + j its high half."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
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
