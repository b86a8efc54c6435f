"""Pools and bit sets of the graph walk, and walks over hand-made and damaged links."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from tests.kernels.test_links import damaged_lists
from vecstore.kernels import graph
from vecstore.kernels.compiling import frozen
from vecstore.kernels.filtered_walk import (
    beam_search_kept,
    meet_behind,
    new_scratch,
    rows_to_expand,
    walk_kept,
)
from vecstore.kernels.links import pack
from vecstore.kernels.numbers import PlainL2

NO_NODES = np.empty(0, np.int32)


def linked(level0, nodes=NO_NODES, upper=None, down=NO_NODES, entry=0, levels=0):
    """Links of arrays in which -1 means none; without upper levels by default."""
    lists = pack([level0] if upper is None else [level0, upper])
    return graph.Links(lists, len(level0), level0.shape[1], frozen(nodes), frozen(down), entry, levels)


def searched(links, rows, queries, ef, count):
    operands = PlainL2(frozen(rows), frozen(queries))
    found = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count), np.float32)
    graph.beam_search(operands, links, whole_pool(ef), found, distances)
    return found, distances


def whole_pool(ef):
    """The reach of a walk that expands all the rows it keeps."""
    return graph.Reach(ef, 1, np.float32(np.inf))


def searched_among(links, rows, queries, ef, count, kept):
    operands = PlainL2(frozen(rows), frozen(queries))
    found = np.empty((len(queries), count), np.int64)
    distances = np.empty((len(queries), count), np.float32)
    complete = np.zeros(len(queries), np.bool_)
    beam_search_kept(operands, links, ef, float(kept.mean()), outside(kept), found, distances, complete)
    return found, distances, complete


def outside(kept):
    """A bit for each row that is not kept."""
    bits = np.zeros(64 * (len(kept) // 64 + 1), np.bool_)
    bits[: len(kept)] = ~kept
    return frozen(np.packbits(bits, bitorder="little").view(np.uint64))


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
    links = linked(level0)
    scratch = graph.new_scratch.function(links)
    scratch.visited[:] = 0
    graph.mark(scratch.visited, 130)
    count = graph.unvisited(links, 0, scratch.visited, scratch.fresh, 0)
    assert scratch.fresh[:count].tolist() == [1, 3, 64, 70, 129]
    bits = np.unpackbits(scratch.visited.view(np.uint8), bitorder="little")
    assert np.flatnonzero(bits).tolist() == [1, 3, 64, 70, 129, 130]
    assert graph.unvisited(links, 1, scratch.visited, scratch.fresh, 0) == 0


def test_a_chain_is_followed_to_its_end():
    rows = np.arange(300, dtype=np.float32).reshape(-1, 1)
    level0 = np.stack([np.arange(300) - 1, np.arange(300) + 1], axis=1).astype(np.int32)
    found, distances = searched(linked(level0), rows, np.float32([[250.4], [-3]]), 4, 4)
    assert found.tolist() == [[250, 251, 249, 252], [0, 1, 2, 3]]
    np.testing.assert_array_equal(distances, (rows[found, 0] - np.float32([[250.4], [-3]])) ** 2)


def test_upper_levels_lead_down_to_the_nearest():
    rows = np.arange(64, dtype=np.float32).reshape(-1, 1)
    # Level 0 has no links at all, so only the upper levels can lead to the query.
    level0 = np.full((64, 4), -1, np.int32)
    nodes = np.array([0, 16, 32, 48, 0, 32], np.int32)
    upper = np.array([[1, -1], [0, 2], [1, 3], [2, -1], [5, -1], [4, -1]], np.int32)
    down = np.array([0, 16, 32, 48, 0, 2], np.int32)
    links = linked(level0, nodes, upper, down, entry=4, levels=2)
    found, _ = searched(links, rows, np.float32([[47], [1], [29]]), 3, 2)
    assert found.tolist() == [[48, -1], [0, -1], [32, -1]]


def test_damaged_links_spoil_results_but_never_reach_outside(rng):
    rows = rng.standard_normal((500, 8), dtype=np.float32)
    queries = rng.standard_normal((20, 8), dtype=np.float32)
    exact = reference.squared_distances(rows, queries)
    anything = np.iinfo(np.int32)
    for number in range(40):
        level0 = rng.integers(0, 500, (500, 8)).astype(np.int32)
        damaged = rng.random(level0.shape) < 0.3
        level0[damaged] = rng.integers(anything.min, anything.max, damaged.sum(), dtype=np.int32)
        nodes = rng.integers(0, 500, 40).astype(np.int32)
        nodes[rng.integers(1, 40, 5)] = rng.integers(anything.min, anything.max, 5, dtype=np.int32)
        upper = rng.integers(anything.min, anything.max, (40, 4), dtype=np.int32)
        upper[::2] = rng.integers(-1, 40, (20, 4))
        down = rng.integers(anything.min, anything.max, 40, dtype=np.int32)
        links = linked(level0, nodes, upper, down, levels=3)
        if number % 2:
            links = links._replace(lists=damaged_lists(rng, links.lists))
        found, distances = searched(links, rows, queries, 30, 10)
        assert (found < 500).all()
        np.testing.assert_array_equal(distances[found >= 0], np.take_along_axis(exact, found, 1)[found >= 0])
        for share in (0.5, 0.1):
            kept = rng.random(500) < share
            found, _, _ = searched_among(links, rows, queries, 30, 10, kept)
            assert kept[found[found >= 0]].all()


def walked(distances, level0, reach, kept):
    """Plain twin of a walk from row 0: the rows left in the pool, nearest first."""
    pool, expanded, visited = [(distances[0], 0)], set(), {0}
    while True:
        limit = np.float32(np.inf)
        if len(pool) >= max(reach.k, kept):
            limit = pool[reach.k - 1][0] + reach.slack * abs(pool[reach.k - 1][0])
        while len(pool) > kept and pool[-1][0] > limit:
            pool.pop()
        waiting = [row for distance, row in pool if row not in expanded and distance <= limit]
        met = []
        while waiting and not met:
            for row in waiting[: graph.EXPANDED_TOGETHER]:
                expanded.add(row)
                met += [other for other in sorted(level0[row]) if other not in visited and other not in met]
            visited.update(met)
            waiting = waiting[graph.EXPANDED_TOGETHER :]
        if not met:
            return [row for _, row in pool]
        for row in met:
            if distances[row] <= limit:
                pool = sorted([*pool, (distances[row], row)])[: reach.ef]


@pytest.mark.parametrize("slack", [0, 0.1, 0.5, 3, np.inf])
@pytest.mark.parametrize(("ef", "k", "count"), [(400, 5, 5), (400, 5, 20), (30, 10, 12), (12, 1, 1)])
def test_walks_end_by_distance(rng, slack, ef, k, count):
    rows = rng.standard_normal((400, 6), dtype=np.float32)
    queries = rng.standard_normal((15, 6), dtype=np.float32)
    exact = reference.squared_distances(rows, queries)
    level0 = np.argsort(reference.squared_distances(rows, rows), axis=1)[:, 1:9].astype(np.int32)
    reach = graph.Reach(ef, k, np.float32(slack))
    found, distances = np.empty((15, count), np.int64), np.empty((15, count), np.float32)
    graph.beam_search(PlainL2(frozen(rows), frozen(queries)), linked(level0), reach, found, distances)
    for query in range(15):
        expected = walked(exact[query], level0, reach, count)[:count]
        assert found[query].tolist() == expected + [-1] * (count - len(expected))


def test_a_larger_slack_finds_more_and_all_of_it_is_everything_within(rng):
    rows = rng.standard_normal((2_000, 4), dtype=np.float32)
    queries = rng.standard_normal((40, 4), dtype=np.float32)
    exact = reference.squared_distances(rows, queries)
    level0 = np.argsort(reference.squared_distances(rows, rows), axis=1)[:, 1:7].astype(np.int32)
    truth = np.argsort(exact, axis=1)[:, :10]
    shares = []
    for slack in (0, 1, 4, 1e9):
        found, distances = np.empty((40, 10), np.int64), np.empty((40, 10), np.float32)
        reach = graph.Reach(2_000, 10, np.float32(slack))
        graph.beam_search(PlainL2(frozen(rows), frozen(queries)), linked(level0), reach, found, distances)
        shares.append((found[:, :, None] == truth[:, None, :]).any(axis=1).mean())
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_a_filtered_walk_passes_through_rows_that_are_left_out():
    rows = np.arange(300, dtype=np.float32).reshape(-1, 1)
    level0 = np.stack([np.arange(300) - 1, np.arange(300) + 1], axis=1).astype(np.int32)
    kept = np.arange(300) % 10 == 0
    found, _, complete = searched_among(linked(level0), rows, np.float32([[251]]), 60, 3, kept)
    assert complete.tolist() == [True]
    assert found.tolist() == [[250, 260, 240]]


def test_a_filtered_walk_gives_up_where_hardly_any_row_is_kept():
    rows = np.arange(300, dtype=np.float32).reshape(-1, 1)
    level0 = np.stack([np.arange(300) - 1, np.arange(300) + 1], axis=1).astype(np.int32)
    kept = np.arange(300) >= 250
    found, _, complete = searched_among(linked(level0), rows, np.float32([[20], [280]]), 40, 3, kept)
    assert complete.tolist() == [False, True]
    assert found[1].tolist() == [280, 279, 281]


def test_a_filtered_walk_ends_where_all_around_is_kept():
    """It does so after ef rows, although rows that are kept are few, and rows as far as it may go."""
    rows = np.arange(300, dtype=np.float32).reshape(-1, 1)
    level0 = np.stack([np.arange(300) - 1, np.arange(300) + 1], axis=1).astype(np.int32)
    kept = np.arange(300) >= 250
    links = linked(level0, entry=275)
    scratch = new_scratch.function(links)
    operands = PlainL2(frozen(rows), frozen(np.float32([[275]])))
    pool, best = np.empty(200, np.uint64), np.empty(3, np.uint64)
    assert walk_kept(operands, 0, links, scratch, 20, 0.1, outside(kept), pool, best)
    met = np.unpackbits((scratch.visited & ~outside(kept)).view(np.uint8), bitorder="little").sum() - 1
    assert 20 <= met <= 40


def test_a_filtered_walk_looks_at_kept_rows_only_once_it_is_near():
    """On a ring with links of two steps each way, it goes on through the even rows, which are kept."""
    rows = np.abs(np.arange(400, dtype=np.float32).reshape(-1, 1) - 200)
    level0 = ((np.arange(400)[:, None] + [-2, -1, 1, 2]) % 400).astype(np.int32)
    kept = np.arange(400) % 2 == 0
    links = linked(level0, entry=200)
    scratch = new_scratch.function(links)
    operands = PlainL2(frozen(rows), frozen(np.float32([[0]])))
    pool, best = np.empty(400, np.uint64), np.empty(20, np.uint64)
    assert walk_kept(operands, 0, links, scratch, 60, 0.5, outside(kept), pool, best)
    far = np.flatnonzero(np.abs(np.arange(400) - 200) > 30)
    entered = np.array([graph.pool_row(key) for key in pool[:60]])
    assert kept[np.intersect1d(entered, far)].all()
    assert np.intersect1d(entered, far).size
    assert sorted(graph.pool_row(key) for key in best) == [row for row in range(180, 221) if kept[row]][:20]


def test_a_filtered_walk_steps_over_rows_where_few_are_kept():
    """Kept rows are 24 apart on a ring with links of up to twelve; the first third of the walk comes to a few."""
    rows = np.abs(np.arange(600, dtype=np.float32).reshape(-1, 1) - 200)
    steps = np.concatenate([np.arange(-12, 0), np.arange(1, 13)])
    level0 = ((np.arange(600)[:, None] + steps) % 600).astype(np.int32)
    kept = np.arange(600) % 24 == 8
    found, distances, complete = searched_among(linked(level0, entry=200), rows, np.float32([[0]]), 60, 16, kept)
    assert complete.tolist() == [True]
    expected = sorted(np.flatnonzero(kept), key=lambda row: (abs(row - 200), row))[:16]
    assert found.tolist() == [expected]
    np.testing.assert_array_equal(distances[0], rows[expected, 0] ** 2)


def test_a_step_meets_the_kept_rows_behind_another_once(rng):
    level0 = rng.integers(-1, 300, (300, 9)).astype(np.int32)
    kept = rng.random(300) < 0.3
    links = linked(level0)
    for row in range(60):
        met = set(rng.choice(np.flatnonzero(kept), 30, replace=False).tolist())
        visited = outside(~np.isin(np.arange(300), list(met))).copy()
        graph.mark(visited, 300)
        fresh = np.empty(20, np.int32)
        count = meet_behind(links, row, visited, outside(kept), fresh, 3)
        behind = {number for number in level0[row].tolist() if number >= 0 and kept[number]} - met
        assert fresh[3:count].tolist() == sorted(behind)
        bits = np.unpackbits(visited.view(np.uint8), bitorder="little")
        assert np.flatnonzero(bits).tolist() == sorted(met | behind | {300})


@pytest.mark.parametrize("share", [1.0, 0.5, 0.31, 0.2, 0.1, 0.01])
@pytest.mark.parametrize("ef", [1, 24, 100, 100_000])
def test_how_far_a_filtered_walk_goes(share, ef):
    expected = ef * share**-0.625
    assert expected * 0.9999 - 1 <= rows_to_expand(ef, share, 10**8) <= expected * 1.0001
    assert rows_to_expand(ef, share, 7) == min(7, rows_to_expand(ef, share, 10**8))


@pytest.mark.parametrize("count", [1, 5])
def test_equal_rows_come_in_order_of_rows(count):
    rows = np.zeros((40, 3), np.float32)
    level0 = ((np.arange(40)[:, None] + [7, 13, 29, 1]) % 40).astype(np.int32)
    found, distances = searched(linked(level0, entry=20), rows, np.zeros((1, 3), np.float32), 40, count)
    assert found.tolist() == [list(range(count))]
    assert (distances == 0).all()
