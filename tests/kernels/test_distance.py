"""The kernels give the documented sums bit for bit, on every stored form."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from vecstore.kernels import distance, int4, numbers
from vecstore.kernels.compiling import frozen
from vecstore.kernels.intrinsics import NARROW

DIMS = (1, 2, 3, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 95, 96, 97, 100, 128, 384)
ZERO, ONE = np.float32(0), np.float32(1)


def scanned(operands, n_queries, n_rows):
    out = np.full((n_queries, n_rows), np.nan, np.float32)
    distance.scan(operands, 0, n_rows, out)
    return out


def integer_arrays(rng, n_rows, dim):
    codes = rng.integers(-127, 128, (n_rows, dim), dtype=np.int8)
    scales = rng.random(n_rows, dtype=np.float32)
    return codes, scales


@pytest.mark.parametrize("dim", DIMS)
def test_float32_rows_bit_for_bit(rng, dim):
    rows = rng.standard_normal((23, dim), dtype=np.float32)
    queries = rng.standard_normal((5, dim), dtype=np.float32)
    dots = scanned(numbers.PlainDot(frozen(rows), frozen(queries), ONE), 5, 23)
    np.testing.assert_array_equal(dots, ONE - reference.dots(rows, queries))
    squares = scanned(numbers.PlainL2(frozen(rows), frozen(queries)), 5, 23)
    np.testing.assert_array_equal(squares, reference.squared_distances(rows, queries))


@pytest.mark.parametrize("dim", DIMS)
def test_half_rows_bit_for_bit(rng, dim):
    rows = rng.standard_normal((23, dim), dtype=np.float32).astype(np.float16)
    queries = rng.standard_normal((5, dim), dtype=np.float32)
    bits = frozen(rows).view(np.uint16)
    dots = scanned(numbers.PlainDot(bits, frozen(queries), ZERO), 5, 23)
    np.testing.assert_array_equal(dots, ZERO - reference.dots(rows, queries))
    squares = scanned(numbers.PlainL2(bits, frozen(queries)), 5, 23)
    np.testing.assert_array_equal(squares, reference.squared_distances(rows, queries))


@pytest.mark.parametrize("dim", DIMS)
def test_scaled_rows_bit_for_bit(rng, dim):
    codes, scales = integer_arrays(rng, 23, dim)
    queries = rng.standard_normal((5, dim), dtype=np.float32)
    dots = scanned(numbers.ScaledDot(frozen(codes), frozen(scales), frozen(queries), ONE), 5, 23)
    np.testing.assert_array_equal(dots, ONE - scales * reference.dots(codes, queries))
    squares = scanned(numbers.ScaledL2(frozen(codes), frozen(scales), frozen(queries)), 5, 23)
    expected = reference.squared_distances(codes.astype(np.float32) * scales[:, None], queries)
    np.testing.assert_array_equal(squares, expected)


def corrections_of(codes):
    return frozen((128 * codes.sum(axis=1, dtype=np.int64)).astype(np.int32))


@pytest.mark.parametrize("dim", [*DIMS, 65_536])
def test_integer_products_are_exact_even_at_the_extremes(rng, dim):
    codes, _ = integer_arrays(rng, 5, dim)
    codes[0], codes[1] = 127, -127
    queries = rng.integers(-NARROW, NARROW + 1, (3, dim), dtype=np.int8)
    queries[0], queries[1] = NARROW, -NARROW
    ones = frozen(np.ones(5, np.float32))
    operands = numbers.CodesDot(frozen(codes), ones, frozen(queries), ones[:3], corrections_of(queries), ZERO)
    exact = queries.astype(np.int64) @ codes.astype(np.int64).T
    np.testing.assert_array_equal(scanned(operands, 3, 5), -exact.astype(np.float32))
    pairs = numbers.PairsDot(frozen(codes), ones, corrections_of(codes), ZERO)
    exact = codes.astype(np.int64) @ codes.astype(np.int64).T
    np.testing.assert_array_equal(scanned(pairs, 5, 5), -exact.astype(np.float32))


@pytest.mark.parametrize("dim", DIMS)
def test_integer_squared_distances(rng, dim):
    codes, scales = integer_arrays(rng, 23, dim)
    queries = rng.integers(-NARROW, NARROW + 1, (5, dim), dtype=np.int8)
    query_scales = rng.random(5, dtype=np.float32)
    norms = ((codes.astype(np.float32) * scales[:, None]) ** 2).sum(axis=1)
    query_norms = ((queries.astype(np.float32) * query_scales[:, None]) ** 2).sum(axis=1)
    rows, asked = codes.astype(np.float64) * scales[:, None], queries.astype(np.float64) * query_scales[:, None]
    shared = (*map(frozen, (codes, scales, queries, query_scales)), corrections_of(queries))
    of_queries = numbers.CodesL2(*shared, frozen(norms), frozen(query_norms))
    of_rows = numbers.PairsL2(frozen(codes), frozen(scales), corrections_of(codes), frozen(norms))
    for operands, others in ((of_queries, asked), (of_rows, rows)):
        found = scanned(operands, len(others), 23)
        expected = reference.distances(rows, others, "l2")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())
        assert (found >= 0).all()


def rounded_halves(queries):
    count, dim = queries.shape
    codes = np.empty((count, 2 * -(-dim // 2)), np.int8)
    scales, sums, lengths = (np.empty(count, np.float32) for _ in range(3))
    int4.round_queries(frozen(queries), np.empty((count, dim), np.int8), codes, scales, sums, lengths)
    return tuple(map(frozen, (codes, scales, sums, lengths)))


@pytest.mark.parametrize("dim", DIMS)
def test_products_of_four_bits_are_exact_even_at_the_extremes(rng, dim):
    packed = rng.integers(0, 256, (5, -(-dim // 2)), dtype=np.uint8)
    packed[0] = 0xFF
    asked = rng.integers(-127, 128, (3, dim)).astype(np.float32)
    asked[0], asked[1], asked[2, 0] = 127, -127, 127
    codes, scales, sums, _ = rounded_halves(asked)
    np.testing.assert_array_equal(codes[:, :dim], asked)
    zeros, ones = frozen(np.zeros(5, np.float32)), frozen(np.ones(5, np.float32))
    operands = int4.RoundedHalvesDot(frozen(packed), zeros, ones, codes, scales, sums, zeros[:3])
    values = np.hstack([packed & 15, packed >> 4])[:, :dim].astype(np.int64)
    np.testing.assert_array_equal(scanned(operands, 3, 5), -(asked.astype(np.int64) @ values.T).astype(np.float32))


@pytest.mark.parametrize("dim", DIMS)
def test_distances_of_rounded_queries_to_four_bits(rng, dim):
    rows, queries = (rng.standard_normal((count, dim), dtype=np.float32) for count in (23, 5))
    packed = np.empty((23, -(-dim // 2)), np.uint8)
    offsets, steps, lengths = (np.empty(23, np.float32) for _ in range(3))
    int4.quantise(frozen(rows), packed, offsets, steps)
    int4.squared_lengths(frozen(packed), frozen(offsets), frozen(steps), dim, lengths)
    stored = tuple(map(frozen, (packed, offsets, steps)))
    codes, scales, sums, query_lengths = rounded_halves(queries)
    values = np.hstack([packed & 15, packed >> 4])[:, :dim].astype(np.float64)
    decoded = offsets[:, None] + steps[:, None] * values
    asked = codes[:, :dim] * scales[:, None].astype(np.float64)
    np.testing.assert_allclose(lengths, (decoded**2).sum(axis=1), rtol=1e-5, atol=1e-6)
    constants = frozen(rng.standard_normal(5, dtype=np.float32))
    found = scanned(int4.RoundedHalvesDot(*stored, codes, scales, sums, constants), 5, 23)
    np.testing.assert_allclose(found, constants[:, None] - asked @ decoded.T, rtol=1e-4, atol=1e-5 * dim)
    found = scanned(int4.RoundedHalvesL2(*stored, codes, scales, sums, frozen(lengths), query_lengths), 5, 23)
    expected = reference.distances(decoded, asked, "l2")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())
    assert (found >= 0).all()


def test_scan_of_a_part_gather_and_rerank_agree_bit_for_bit(rng):
    rows = rng.standard_normal((60, 33), dtype=np.float32)
    queries = rng.standard_normal((19, 33), dtype=np.float32)
    operands = numbers.PlainL2(frozen(rows), frozen(queries))
    whole = scanned(operands, 19, 60)
    part = np.empty((19, 20), np.float32)
    distance.scan(operands, 30, 50, part)
    np.testing.assert_array_equal(part, whole[:, 30:50])
    chosen = rng.permutation(60)[:37]
    gathered = np.empty((19, 37), np.float32)
    distance.gather(operands, frozen(chosen), gathered)
    np.testing.assert_array_equal(gathered, whole[:, chosen])
    own = rng.integers(0, 60, (19, 7))
    own[3, 2], own[4, 0], own[5, 6] = -1, 60, 2**40
    reranked = np.empty((19, 7), np.float32)
    distance.rerank(operands, frozen(own), 60, reranked)
    inside = (own >= 0) & (own < 60)
    expected = np.where(inside, np.take_along_axis(whole, np.where(inside, own, 0), 1), np.inf)
    np.testing.assert_array_equal(reranked, expected)


def test_every_half_is_converted_exactly():
    bits = np.arange(2**16, dtype=np.uint16)
    bits = bits[np.isfinite(bits.view(np.float16))]
    rows = bits.reshape(-1, 1)
    ones = np.ones((1, 1), np.float32)
    found = scanned(numbers.PlainDot(frozen(rows), frozen(ones), ZERO), 1, len(rows))[0]
    np.testing.assert_array_equal(found, ZERO - bits.view(np.float16).astype(np.float32))


def test_near_neighbours_keep_their_digits():
    rows = np.full((2, 64), 1000, np.float32)
    rows[1, 0] += np.float32(0.0625)
    found = scanned(numbers.PlainL2(frozen(rows), frozen(rows[:1])), 1, 2)
    np.testing.assert_array_equal(found, [[0, 0.0625**2]])


def test_distance_outside_of_compiled_code_says_so():
    with pytest.raises(NotImplementedError, match="compiled"):
        distance.distance(None, 0, 0)
    with pytest.raises(NotImplementedError, match="compiled"):
        distance.distance_tile(None, 0, 0)
    with pytest.raises(NotImplementedError, match="compiled"):
        distance.prefetch(None, 0)
