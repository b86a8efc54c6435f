"""Multi-layer perceptrons over hashes of ids, in an order of additions that does not depend on the batch.

Each output of a layer starts at its bias and adds ``inputs[i] * weights[i]`` in order of i, by one multiplication and
one addition that are never fused. That order runs along the outputs, so the loops are vectors without any reduction,
and a row's bits depend neither on the processor nor on the rows beside it. BLAS gives neither.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.hashing import mix
from vecstore.kernels.intrinsics import bits_float
from vecstore.types import F32, I64, U64

#: Rows that go through a layer together, so that its weights are read once for all of them.
TILE_ROWS = 32
#: Inputs added in one pass over the outputs of a row.
_STEP = 8

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
    """Write ``bias + inputs @ weights`` into ``out`` float32[n, w]; they are float32[w], [n, m] and [m, w]."""
    for first in range(0, len(inputs), TILE_ROWS):
        last = min(first + TILE_ROWS, len(inputs))
        _affine_tile(inputs[first:last], weights, bias, out[first:last])


@kernel
def _affine_tile(inputs: F32, weights: F32, bias: F32, out: F32) -> None:
    n_rows, n_inputs = inputs.shape
    width = len(bias)
    for row in range(n_rows):
        for unit in range(width):
            out[row, unit] = bias[unit]
    whole = n_inputs - n_inputs % _STEP
    for first in range(0, whole, _STEP):
        for row in range(n_rows):
            _add_eight(inputs[row, first : first + _STEP], weights[first : first + _STEP], out[row])
    for number in range(whole, n_inputs):
        for row in range(n_rows):
            value = inputs[row, number]
            for unit in range(width):
                out[row, unit] += value * weights[number, unit]


@kernel
def _add_eight(x: F32, weights: F32, out: F32) -> None:
    """Add eight inputs to the outputs of one row, one after the other."""
    x0, x1, x2, x3, x4, x5, x6, x7 = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
    for unit in range(len(out)):
        total = out[unit] + x0 * weights[0, unit]
        total = total + x1 * weights[1, unit]
        total = total + x2 * weights[2, unit]
        total = total + x3 * weights[3, unit]
        total = total + x4 * weights[4, unit]
        total = total + x5 * weights[5, unit]
        total = total + x6 * weights[6, unit]
        out[unit] = total + x7 * weights[7, unit]


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
