"""Multi-layer perceptrons over hashes of ids, in an order of additions that does not depend on the batch.

Each output of a layer starts at its bias and adds ``inputs[i] * weights[i]`` in order of i, by one multiplication and
one addition that are never fused. That order runs along the outputs, so the loops are vectors without any reduction,
and a row's bits depend neither on the processor nor on the rows beside it. BLAS gives neither.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.hashing import mix
from vecstore.kernels.intrinsics import bits_float, multiply_matrix
from vecstore.types import F32, I64, U64

#: Rows whose sums are in registers together (see ``intrinsics.multiply_matrix``).
TILE_ROWS = 6
#: Outputs that such a tile has at most.
PANEL = 64

_S40 = np.uint64(40)
_UNIT = np.float32(2.0**-24)

# exp(x) = 2^n exp(r) with n = round(x / log 2) and |r| <= log(2) / 2; log 2 is split so that n * _LOG2_HIGH is exact.
_LOG2_INVERSE = np.float32(1.4426950408889634)
_LOG2_HIGH = np.float32(0.693359375)
_LOG2_LOW = np.float32(-2.12194440054690583e-4)
_C2, _C3, _C4, _C5, _C6 = (np.float32(1 / factorial) for factorial in (2, 6, 24, 120, 720))
_LOWEST, _HIGHEST = np.float32(-87), np.float32(20)
_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)


@kernel
def fill_hashes(keys: I64, salts: U64, out: F32) -> None:
    """Write k numbers in (-1, 1) a key into ``out`` float32[n, k]: (2 (mix(key, salt) >> 40) + 1 - 2^24) / 2^24.

    Every value is an odd integer below 2^24 over 2^24, which float32 holds exactly; their mean is 0.
    """
    for place in range(len(keys)):
        for number in range(len(salts)):
            upper = np.int64(np.uint64(mix(keys[place], salts[number])) >> _S40)
            out[place, number] = np.float32(2 * upper + 1 - 16_777_216) * _UNIT


@kernel
def affine(inputs: F32, weights: F32, bias: F32, out: F32) -> None:
    """Write ``bias + inputs @ weights`` into ``out`` float32[n, w]; they are float32[w], [n, m] and [m, w].

    Weights go in panels of columns, copied so that they lie side by side in the cache while all rows pass.
    """
    n_rows, n_inputs = inputs.shape
    if n_rows < TILE_ROWS:
        for row in range(n_rows):
            multiply_matrix(inputs, (row,), weights, 0, bias, 0, out, row)
        return
    panel = np.empty((n_inputs, PANEL), np.float32)
    for column in range(0, len(bias), PANEL):
        used = min(PANEL, len(bias) - column)
        for number in range(n_inputs):
            for unit in range(used):
                panel[number, unit] = weights[number, column + unit]
        row = 0
        while row + TILE_ROWS <= n_rows:
            tile = (row, row + 1, row + 2, row + 3, row + 4, row + 5)
            multiply_matrix(inputs, tile, panel, 0, bias, column, out, row)
            row += TILE_ROWS
        while row < n_rows:
            multiply_matrix(inputs, (row,), panel, 0, bias, column, out, row)
            row += 1


@kernel
def _exponential(x: np.float32) -> np.float32:
    """Give exp(x) for x in [-87, 20] within 2 units in the last place: libraries differ in their last bits."""
    steps = np.floor(x * _LOG2_INVERSE + _HALF)
    rest = (x - steps * _LOG2_HIGH) - steps * _LOG2_LOW
    series = ((((_C6 * rest + _C5) * rest + _C4) * rest + _C3) * rest + _C2) * rest * rest
    power: np.float32 = (series + rest + _ONE) * bits_float(np.uint32(np.int32(steps) + np.int32(127)) << np.uint32(23))
    return power


@kernel
def mish(values: F32) -> None:
    """Replace each of float32[n, w] by x tanh(log(1 + exp x)) = x t / (t + 2), t = exp(x) (exp(x) + 2).

    Below -87 it counts as -87, where the result is 0 but for 2e-36; above 20 the fraction is 1.
    """
    for row in range(len(values)):
        line = values[row]
        for unit in range(len(line)):
            x = max(line[unit], _LOWEST)
            power = _exponential(min(x, _HIGHEST))
            grown = power * (power + _TWO)
            line[unit] = x * (grown / (grown + _TWO))


@kernel
def relu(values: F32) -> None:
    """Replace each of float32[n, w] by max(x, 0)."""
    for row in range(len(values)):
        for unit in range(values.shape[1]):
            values[row, unit] = max(values[row, unit], _ZERO)
