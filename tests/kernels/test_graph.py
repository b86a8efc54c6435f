"""Heaps, pools and bit sets of the graph walk, and walks over hand-made and damaged links."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from tests import reference
from vecstore.kernels import graph
from vecstore.kernels.compiling import frozen
from vecstore.kernels.numbers import PlainL2

NO_NODES = np.empty(0, np.int32)


def flat(level0, entry=0):
    """Links without upper levels."""
    upper = np.empty((0, 2), np.int32)
    return graph.Links(frozen(level0), frozen(NO_NODES), frozen(upper), frozen(NO_NODES), entry, 0)


def searched(links, rows, queries, ef, count):
    operands = PlainL2(frozen(rows), frozen(queries))
    found = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count), np.float32)
    visited = np.full((len(rows) + 63) // 64, 2**64 - 1, np.uint64)
    graph.beam_search(operands, links, ef, visited, found, distances)
    return found, distances


def searched_among(links, rows, queries, ef, count, kept, max_evals):
    operands = PlainL2(frozen(rows), frozen(queries))
    found = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count), np.float32)
    complete = np.zeros(len(queries), np.bool_)
    visited = np.full((len(rows) + 63) // 64, 2**64 - 1, np.uint64)
    graph.beam_search_filtered(operands, links, ef, visited, frozen(kept), max_evals, found, distances, complete)
    return found, distances, complete


def test_the_frontier_is_a_heap(rng):
    keys = rng.integers(0, 1000, 300).astype(np.uint64)
    ours, theirs = np.empty(300, np.uint64), []
    size = 0
    for number, key in enumerate(keys):
        graph.push_heap(ours, size, key)
        heapq.heappush(theirs, int(key))
        size += 1
        if number % 3 == 2:
            assert graph.pop_heap(ours, size) == heapq.heappop(theirs)
            size -= 1
    while size:
        assert graph.pop_heap(ours, size) == heapq.heappop(theirs)
        size -= 1


def test_the_pool_keeps_the_smallest_in_order(rng):
    pool, size, kept = np.empty(16, np.uint64), 0, []
    for key in rng.permutation(200).astype(np.uint64):
        if size < 16 or key < pool[size - 1]:
            place = graph.insert_sorted(pool, size, key)
            size = min(size + 1, 16)
            kept = sorted([*kept, int(key)])[:16]
            assert pool[place] == key
        assert pool[:size].tolist() == kept


def test_unvisited_gives_each_neighbour_once_and_nothing_outside():
    level0 = np.array([[3, 1, 3, -1, 70, 129, 130, -7, 2**31 - 1, 64]], np.int32).repeat(130, axis=0)
    visited, fresh = np.zeros(3, np.uint64), np.zeros(11, np.int32)
    count = graph.unvisited(level0, 0, visited, fresh, 0)
    assert fresh[:count].tolist() == [3, 1, 70, 129, 64]
    assert [row for row in range(192) if visited[row >> 6] >> np.uint64(row & 63) & np.uint64(1)] == [1, 3, 64, 70, 129]
    assert graph.unvisited(level0, 1, visited, fresh, 0) == 0


def test_a_chain_is_followed_to_its_end():
    rows = np.arange(300, dtype=np.float32).reshape(-1, 1)
    level0 = np.stack([np.arange(300) - 1, np.arange(300) + 1], axis=1).astype(np.int32)
    found, distances = searched(flat(level0), rows, np.float32([[250.4], [-3]]), 4, 4)
    assert found.tolist() == [[250, 251, 249, 252], [0, 1, 2, 3]]
    np.testing.assert_array_equal(distances, (rows[found, 0] - np.float32([[250.4], [-3]])) ** 2)


def test_upper_levels_lead_down_to_the_nearest():
    rows = np.arange(64, dtype=np.float32).reshape(-1, 1)
    # Level 0 has no links at all, so only the upper levels can lead to the query.
    level0 = np.full((64, 4), -1, np.int32)
    nodes = np.array([0, 16, 32, 48, 0, 32], np.int32)
    upper = np.array([[1, -1], [0, 2], [1, 3], [2, -1], [5, -1], [4, -1]], np.int32)
    down = np.array([0, 16, 32, 48, 0, 2], np.int32)
    links = graph.Links(frozen(level0), frozen(nodes), frozen(upper), frozen(down), 4, 2)
    found, _ = searched(links, rows, np.float32([[47], [1], [29]]), 3, 2)
    assert found.tolist() == [[48, -1], [0, -1], [32, -1]]


def test_damaged_links_spoil_results_but_never_reach_outside(rng):
    rows = rng.standard_normal((500, 8), dtype=np.float32)
    queries = rng.standard_normal((20, 8), dtype=np.float32)
    anything = np.iinfo(np.int32)
    for _ in range(20):
        level0 = rng.integers(0, 500, (500, 8)).astype(np.int32)
        damaged = rng.random(level0.shape) < 0.3
        level0[damaged] = rng.integers(anything.min, anything.max, damaged.sum(), dtype=np.int32)
        nodes = rng.integers(0, 500, 40).astype(np.int32)
        nodes[rng.integers(1, 40, 5)] = rng.integers(anything.min, anything.max, 5, dtype=np.int32)
        upper = rng.integers(anything.min, anything.max, (40, 4), dtype=np.int32)
        upper[::2] = rng.integers(-1, 40, (20, 4))
        down = rng.integers(anything.min, anything.max, 40, dtype=np.int32)
        links = graph.Links(frozen(level0), frozen(nodes), frozen(upper), frozen(down), 0, 3)
        found, distances = searched(links, rows, queries, 30, 10)
        exact = reference.squared_distances(rows, queries)
        assert (found < 500).all()
        np.testing.assert_array_equal(distances[found >= 0], np.take_along_axis(exact, found, 1)[found >= 0])
        kept = rng.random(500) < 0.5
        found, _, _ = searched_among(links, rows, queries, 30, 10, kept, 400)
        assert kept[found[found >= 0]].all()


def test_a_filtered_walk_passes_through_rows_that_are_left_out():
    rows = np.arange(300, dtype=np.float32).reshape(-1, 1)
    level0 = np.stack([np.arange(300) - 1, np.arange(300) + 1], axis=1).astype(np.int32)
    kept = np.arange(300) % 10 == 0
    found, _, complete = searched_among(flat(level0), rows, np.float32([[251]]), 3, 3, kept, 300)
    assert complete.tolist() == [True]
    assert found.tolist() == [[250, 260, 240]]


def test_a_filtered_walk_gives_up_at_its_limit():
    rows = np.arange(300, dtype=np.float32).reshape(-1, 1)
    level0 = np.stack([np.arange(300) - 1, np.arange(300) + 1], axis=1).astype(np.int32)
    kept = np.zeros(300, np.bool_)
    kept[299] = True
    queries = np.float32([[299], [0]])
    for limit, expected in ((1, False), (299, False), (300, True)):
        found, _, complete = searched_among(flat(level0), rows, queries, 1, 1, kept, limit)
        assert complete.tolist() == [expected, expected]
        if expected:
            assert found.tolist() == [[299], [299]]


@pytest.mark.parametrize("count", [1, 5])
def test_equal_rows_come_in_order_of_rows(count):
    rows = np.zeros((40, 3), np.float32)
    level0 = ((np.arange(40)[:, None] + [7, 13, 29, 1]) % 40).astype(np.int32)
    found, distances = searched(flat(level0, entry=20), rows, np.zeros((1, 3), np.float32), 40, count)
    assert found.tolist() == [list(range(count))]
    assert (distances == 0).all()
