"""Codes and decoded rows are those of the documented formulas, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from vecstore.kernels import lookup, quantise


@pytest.mark.parametrize("dim", [1, 3, 16, 33, 100])
def test_codes_and_scales(rng, dim):
    matrix = (rng.standard_normal((200, dim)) * np.exp(rng.uniform(-40, 40, (200, 1)))).astype(np.float32)
    matrix[0] = 0
    matrix[1] = np.float32(1e-45)
    matrix[2] = np.float32(3e-42)
    matrix[3] = np.finfo(np.float32).max
    matrix[4] = -0.0
    codes, scales = np.empty(matrix.shape, np.int8), np.empty(200, np.float32)
    quantise.quantise(matrix, codes, scales, quantise.LARGEST)
    expected_codes, expected_scales = reference.quantise(matrix)
    np.testing.assert_array_equal(scales, expected_scales)
    np.testing.assert_array_equal(codes, expected_codes)
    assert codes.min() >= -127


def test_ties_go_to_the_even_code():
    matrix = np.float32([[127, 0.5, 1.5, 2.5, -0.5, -1.5]])
    codes, scales = np.empty(matrix.shape, np.int8), np.empty(1, np.float32)
    quantise.quantise(matrix, codes, scales, quantise.LARGEST)
    assert codes.tolist() == [[127, 0, 2, 2, 0, -2]]


def test_sums_over_codes(rng):
    codes = rng.integers(-127, 128, (50, 77), dtype=np.int8)
    scales = rng.random(50, dtype=np.float32)
    corrections, lengths = np.empty(50, np.int32), np.empty(50, np.float32)
    quantise.corrections(codes, corrections)
    np.testing.assert_array_equal(corrections, 128 * codes.sum(axis=1, dtype=np.int32))
    quantise.squared_lengths(codes, scales, lengths)
    squares = (codes.astype(np.int64) ** 2).sum(axis=1)
    np.testing.assert_array_equal(lengths, squares.astype(np.float32) * (scales * scales))


@pytest.mark.parametrize("dim", [1, 2, 15, 16, 17, 64, 100])
def test_take(rng, dim):
    table = rng.standard_normal((50, dim), dtype=np.float32)
    table[3, 0] = -0.0
    rows = rng.integers(0, 50, 70)
    out = np.full((72, dim), 7, np.float32)
    lookup.take(table, rows, out[:70])
    assert out[:70].tobytes() == table[rows].tobytes()
    assert (out[70:] == 7).all()
    halves = table.astype(np.float16)
    lookup.take(halves.view(np.uint16), rows, out[:70])
    assert out[:70].tobytes() == halves[rows].astype(np.float32).tobytes()
    codes = rng.integers(-127, 128, (50, dim), dtype=np.int8)
    scales = rng.random(50, dtype=np.float32)
    lookup.take_scaled(codes, scales, rows, out[:70])
    np.testing.assert_array_equal(out[:70], codes[rows].astype(np.float32) * scales[rows, None])
    assert (out[70:] == 7).all()


@pytest.mark.parametrize("place", [0, 3, 40])
@pytest.mark.parametrize("bad", [-1, -(2**63), 50, 2**62])
def test_first_row_outside(rng, place, bad):
    rows = rng.integers(0, 50, 41)
    assert lookup.first_outside(rows, 50) == -1
    rows[place:] = bad
    assert lookup.first_outside(rows, 50) == place
    columns = np.ascontiguousarray(np.stack([np.zeros(41, np.int64), rows, rows]))
    assert lookup.first_outside_columns(columns, np.array([1, 50, 50])) == 1
    assert lookup.first_outside(rows[:0], 0) == -1


def test_division_by_floats_is_exact(rng):
    sizes = rng.integers(1, 2**26, 2_000)
    quotients = rng.integers(0, 2**52 // sizes)
    for size, quotient in zip(sizes.tolist(), quotients.tolist(), strict=True):
        assert lookup.divided(quotient * size, size) == quotient
        assert lookup.divided(quotient * size + size - 1, size) == quotient


@pytest.mark.parametrize("dim", [1, 7, 16, 33, 100])
def test_rows_are_put_in_their_field(rng, dim):
    rows = rng.standard_normal((9, dim), dtype=np.float32)
    out = np.full((9, 3, dim), 7, np.float32)
    lookup.put_field(rows, out, 1)
    assert out[:, 1].tobytes() == rows.tobytes()
    assert (out[:, ::2] == 7).all()


def test_places_of_shared_blocks(rng):
    numbers = rng.integers(0, 5, 12, dtype=np.uint8)
    rows, out = np.arange(60), np.empty(60, np.int64)
    lookup.fill_stored(numbers, 5, rows, out)
    np.testing.assert_array_equal(out, numbers[rows // 5].astype(np.int64) * 5 + rows % 5)
