"""Rounding of rows with scales that are given, and the search for the scales that lose least."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.types import F32, I8, I16

#: Scales tried a row, besides that of its largest value.
TRIALS = 32


@kernel
def round_rows(matrix: F32, scales: F32, limit: np.float32, codes: I8 | I16) -> None:
    """Write ``round(matrix / scales)``, ties to even, clipped to -limit..limit, into ``codes`` int8/int16[n, d].

    ``matrix`` is float32[n, d], ``scales`` float32[n]; a row whose scale is 0 has codes 0. All in float32.
    """
    for row in range(matrix.shape[0]):
        divisor = scales[row] if scales[row] > 0 else np.float32(np.inf)
        for column in range(matrix.shape[1]):
            code = np.rint(np.float32(matrix[row, column] / divisor))
            codes[row, column] = np.int32(max(-limit, min(limit, code)))


@kernel
def rounding_error(matrix: F32, row: int, scale: np.float32, limit: np.float32) -> np.float64:
    """Give the sum over a row of ``(x - scale * code)^2``, in float64 from left to right; codes as in round_rows."""
    total = np.float64(0)
    for column in range(matrix.shape[1]):
        code = max(-limit, min(limit, np.rint(np.float32(matrix[row, column] / scale))))
        error = np.float64(matrix[row, column]) - np.float64(np.float32(scale * code))
        total += error * error
    return total


@kernel
def search_scales(matrix: F32, limit: np.float32, scales: F32) -> None:
    """Write the scale with the smallest squared rounding error of each row of ``matrix`` float32[n, d].

    A scale of ``t max|x| / limit`` clips the largest value by ``(1 - t) max|x|``, so with the error e of t = 1 no t
    below ``1 - sqrt(e) / max|x|`` can be better: ``TRIALS`` equal steps cover what is left. Of equal errors the larger
    scale wins; rows of zeros get 0.
    """
    for row in range(matrix.shape[0]):
        largest = np.float32(0)
        for column in range(matrix.shape[1]):
            largest = max(largest, abs(matrix[row, column]))
        full = np.float32(largest / limit)
        scales[row] = full
        if full == 0:
            continue
        least = rounding_error(matrix, row, full, limit)
        reach = min(np.float64(1), np.sqrt(least) / np.float64(largest))
        for trial in range(1, TRIALS):
            scale = np.float32(np.float64(full) * (1 - reach * (trial / TRIALS)))
            error = rounding_error(matrix, row, scale, limit) if scale > 0 else np.float64(np.inf)
            if error < least:
                least = error
                scales[row] = scale
