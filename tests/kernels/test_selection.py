"""The largest magnitudes: the counting kernels against a sort."""

from __future__ import annotations

import numpy as np
import pytest

from vecstore.schemes.places import keep_largest


def sorted_mask(matrix, count):
    """Mark the first ``count`` in order of falling magnitude, of equal ones by place; NaN is 0."""
    magnitudes = np.nan_to_num(np.abs(matrix.astype(np.float64)), nan=0, posinf=np.inf).ravel()
    order = np.lexsort((np.arange(matrix.size), -magnitudes))
    mask = np.zeros(matrix.size, np.bool_)
    mask[order[: max(count, 0)]] = True
    return mask.reshape(matrix.shape)


@pytest.mark.parametrize("decimals", [0, 1, 3, 8])
def test_the_largest_are_those_of_a_sort(rng, decimals):
    for size in (1, 2, 7, 300):
        matrix = np.round(rng.normal(size=(size, 4)), decimals).astype(np.float32)
        matrix[rng.random(matrix.shape) < 0.05] = np.nan
        matrix[rng.random(matrix.shape) < 0.05] = -np.inf
        matrix[rng.random(matrix.shape) < 0.05] = np.float32(1e-42)  # subnormal
        for count in {-1, 0, 1, 2, size, 2 * size, 4 * size - 1, 4 * size, 4 * size + 1}:
            np.testing.assert_array_equal(keep_largest(matrix, count), sorted_mask(matrix, count))


def test_equal_magnitudes_and_other_layouts():
    alike = np.full((5, 4), -2, np.float32)
    np.testing.assert_array_equal(keep_largest(alike, 6).ravel(), np.arange(20) < 6)
    matrix = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(keep_largest(matrix.T, 5), keep_largest(matrix, 5).T)
    assert not keep_largest(np.empty((0, 4), np.float32), 3).any()
