"""The nearest come out in order of distance, then of row, whatever the order they were offered in."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from vecstore.kernels import topk


def test_keys_sort_as_distances_then_rows(rng):
    values = np.concatenate(
        [
            rng.standard_normal(50, dtype=np.float32),
            np.float32([0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, np.inf, -np.inf]),
        ]
    )
    keys = [topk.pack(value, np.int64(7)) for value in values]
    assert np.array_equal(np.sort(values), values[np.argsort(keys, kind="stable")])
    for value, key in zip(values, keys, strict=True):
        assert topk.distance_of(np.uint64(key)) == value
        assert topk.row_of(np.uint64(key)) == 7
    assert topk.pack(np.float32(1), np.int64(2)) < topk.pack(np.float32(1), np.int64(3))
    assert topk.pack(np.float32(0), np.int64(1)) == topk.pack(np.float32(-0.0), np.int64(1))


def test_not_a_number_sorts_with_infinity():
    for nan in np.array([0x7FC00000, 0xFFC00000], np.uint32).view(np.float32):
        assert topk.distance_of(np.uint64(topk.pack(nan, np.int64(1)))) == np.inf


@pytest.mark.parametrize("k", [1, 2, 10, 99, 100, 150])
def test_blocks_and_rows_give_the_nearest_with_ties(rng, k):
    distances = rng.integers(-5, 20, (7, 100)).astype(np.float32)
    expected = reference.nearest(distances, k)
    heaps = topk.new_heaps(7, k)
    for start in range(0, 100, 13):
        topk.push_block(np.ascontiguousarray(distances[:, start : start + 13]), start, heaps)
    for found, wanted in zip(topk.drain(heaps), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    shuffled = rng.permutation(100)
    heaps = topk.new_heaps(7, k)
    for start in range(0, 100, 13):
        rows = shuffled[start : start + 13]
        topk.push_rows(np.ascontiguousarray(distances[:, rows]), rows, heaps)
    for found, wanted in zip(topk.drain(heaps), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_k_smallest_merges_lists_and_leaves_out_empty_places(rng):
    first = np.sort(rng.integers(0, 9, (3, 6)).astype(np.float32))
    second = np.sort(rng.integers(0, 9, (3, 4)).astype(np.float32))
    second[1, 1:] = np.inf
    both = np.concatenate([first, second], axis=1)
    places, nearest = topk.k_smallest(both, 12)
    for query in range(3):
        order = [place for place in np.argsort(both[query], kind="stable") if np.isfinite(both[query, place])]
        assert places[query, : len(order)].tolist() == order
        assert (places[query, len(order) :] == -1).all()
        assert np.isinf(nearest[query, len(order) :]).all()


@pytest.mark.parametrize("k", [1, 3, 8, 20])
def test_nearest_rows_sorts_candidates_and_leaves_out_none(rng, k):
    rows = np.stack([rng.permutation(50)[:8] for _ in range(6)])
    distances = rng.integers(0, 4, (6, 8)).astype(np.float32)
    rows[2, 3:], rows[4] = -1, -1
    found, nearest = topk.nearest_rows(rows, distances, k)
    for query in range(6):
        used = rows[query] >= 0
        expected = reference.nearest(distances[query : query + 1, used], k, rows[query, used])
        assert found[query].tolist() == expected[0][0].tolist()
        assert nearest[query].tolist() == expected[1][0].tolist()


def test_k_smallest_keeps_minus_infinity():
    places, nearest = topk.k_smallest(np.float32([[3, -np.inf, np.inf]]), 3)
    assert places.tolist() == [[1, 0, -1]]
    assert nearest.tolist() == [[-np.inf, 3, np.inf]]
