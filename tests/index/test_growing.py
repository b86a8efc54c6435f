"""Graphs built by our kernels: their links, equal rows, and graphs that go on from others."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from tests.index.builders import grown
from vecstore import schemes
from vecstore.config import HnswConfig
from vecstore.index import hnsw
from vecstore.index.exact import exact_search
from vecstore.index.growing import drawn_tops
from vecstore.kernels import graph_build
from vecstore.kernels.lengths import unit_rows
from vecstore.kernels.topk import pack
from vecstore.types import Metric

N_ROWS, DIM, N_QUERIES = 4_000, 16, 200
CONFIG = HnswConfig(M=8, ef_construction=80)


@pytest.fixture(scope="module")
def data():
    vectors = unit_rows(reference.clustered(np.random.default_rng(5), N_ROWS + N_QUERIES, DIM))
    return vectors[:N_ROWS], vectors[N_ROWS:]


@pytest.fixture(scope="module")
def graph(data):
    return grown(data[0], Metric.L2, CONFIG)


def reached(graph, vectors, queries, ef=30):
    """Recall@10 among all rows."""
    scorer = schemes.from_config("full").fit(vectors).scorer(queries, Metric.L2)
    expected, _ = exact_search(scorer, len(queries), len(vectors), 10)
    return reference.recall(graph.search(scorer, len(queries), 10, ef).rows, expected)


def reachable(levels):
    """Rows that level 0 leads to from the entry."""
    seen = np.zeros(len(levels.level0), np.bool_)
    seen[levels.entry] = True
    front = np.array([levels.entry])
    while len(front):
        links = levels.level0[front]
        front = np.unique(links[links >= 0])
        front = front[~seen[front]]
        seen[front] = True
    return seen


def check(levels):
    """Links go to other rows of the same level, each once, and stand before the free places."""
    every = np.arange(len(levels.level0))
    for nodes, links in zip([every, *levels.nodes], [levels.level0, *levels.links], strict=True):
        is_used = links >= 0
        assert (is_used[:, :-1] >= is_used[:, 1:]).all()
        assert np.isin(links[is_used], nodes).all()
        assert (links != nodes[:, None]).all()
        for row in links:
            assert len(set(row[row >= 0].tolist())) == np.count_nonzero(row >= 0)


@pytest.mark.parametrize("scheme", ["int8", "full"])
@pytest.mark.parametrize("metric", list(Metric))
def test_links_are_sound(data, metric, scheme):
    levels = grown(data[0], metric, CONFIG, scheme=scheme).levels()
    check(levels)
    assert levels.level0.shape == (N_ROWS, 2 * CONFIG.M)
    assert all(links.shape[1] == CONFIG.M for links in levels.links)
    if metric is not Metric.IP:
        assert reachable(levels).mean() >= 0.999


def test_levels_go_to_and_fro(graph):
    again = hnsw.grow(None, N_ROWS, CONFIG, previous=hnsw.Previous(graph, np.arange(N_ROWS)))
    for name, array in graph.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def select_twin(distances, own, most):
    """Algorithm 4 over a matrix of distances between candidates and their distances to the row."""
    chosen = []
    for candidate in sorted(range(len(own)), key=lambda number: (own[number], number)):
        if len(chosen) < most and all(distances[candidate, other] >= own[candidate] for other in chosen):
            chosen.append(candidate)
    return chosen


@pytest.mark.parametrize("most", [4, 12])
def test_selection_is_that_of_the_paper(data, most):
    operands = schemes.from_config("full").fit(data[0]).pairs(Metric.L2)
    for row in range(0, 400, 23):
        others = np.setdiff1d(np.arange(row, row + 150), [row])
        own = reference.squared_distances(data[0][others], data[0][row : row + 1])[0]
        between = reference.squared_distances(data[0][others], data[0][others])
        keys = np.sort(np.array([pack(one, other) for one, other in zip(own, others, strict=True)], np.uint64))
        chosen = np.full(most, -1, np.int32)
        count = graph_build.select(operands, keys, len(keys), 0, chosen, 0)
        np.testing.assert_array_equal(chosen[:count], others[select_twin(between, own, most)])


def test_tops_are_drawn_by_row_and_seed():
    tops = drawn_tops(100_000, HnswConfig(M=16))
    shares = [(tops >= level).mean() * 16**level for level in (1, 2, 3)]
    np.testing.assert_allclose(shares, 1, rtol=0.3)
    np.testing.assert_array_equal(drawn_tops(1_000, HnswConfig(M=16)), tops[:1_000])
    assert (drawn_tops(1_000, HnswConfig(M=16, seed=1)) != tops[:1_000]).any()


@pytest.mark.parametrize("metric", [Metric.L2, Metric.COSINE])
def test_equal_rows_are_all_found_and_block_no_way(data, metric):
    """A group of 500 equal rows among others: every one is found, and so is what lies beside them."""
    vectors = data[0].copy()
    group = np.random.default_rng(2).choice(N_ROWS, 500, replace=False)
    vectors[group] = vectors[group[0]]
    graph = grown(vectors, metric, CONFIG)
    check(graph.levels())
    assert reachable(graph.levels()).mean() >= 0.999
    scorer = schemes.from_config("int8").fit(vectors).scorer(vectors[group[:1]], metric)
    hits = graph.search(scorer, 1, 500, 520)
    assert set(hits.rows[0].tolist()) == set(group.tolist())
    rest = np.setdiff1d(np.arange(N_ROWS), group)
    scorer = schemes.from_config("full").fit(vectors).scorer(data[1], metric)
    mask = np.isin(np.arange(N_ROWS), rest)
    expected, _ = exact_search(scorer, N_QUERIES, rest, 10)
    assert reference.recall(graph.search(scorer, N_QUERIES, 10, 60, kept=hnsw.Kept.of(mask)).rows, expected) >= 0.97


def test_only_equal_rows():
    graph = grown(np.ones((300, 5), np.float32), Metric.L2, CONFIG)
    assert reachable(graph.levels()).all()
    assert graph.levels().entry == 0


def test_a_graph_that_goes_on_equals_one_built_at_once(data, graph):
    """Rows keep their codes, so insertion after insertion is the same."""
    part = grown(data[0][:3_000], Metric.L2, CONFIG)
    whole = grown(data[0], Metric.L2, CONFIG, previous=hnsw.Previous(part, np.arange(3_000)))
    for name, array in graph.arrays().items():
        np.testing.assert_array_equal(whole.arrays()[name], array)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_a_mended_graph_finds_as_much_as_a_new_one(data, graph, share):
    kept = np.random.default_rng(3).random(N_ROWS) >= share
    renumbered = np.where(kept, np.cumsum(kept) - 1, -1)
    vectors = data[0][kept]
    mended = grown(vectors, Metric.L2, CONFIG, previous=hnsw.Previous(graph, renumbered))
    check(mended.levels())
    assert reachable(mended.levels()).mean() >= 0.998
    assert reached(mended, vectors, data[1]) >= reached(grown(vectors, Metric.L2, CONFIG), vectors, data[1]) - 0.01


def test_ten_rounds_of_changes_lose_nothing(data):
    """A tenth of the rows leaves, another comes: the graph stays as good as a new one."""
    random = np.random.default_rng(4)
    pool = random.permutation(N_ROWS)
    inside, waiting = pool[:1_500], list(pool[1_500:])
    graph = grown(data[0][inside], Metric.L2, CONFIG)
    for _ in range(10):
        kept = random.random(len(inside)) >= 0.1
        renumbered = np.where(kept, np.cumsum(kept) - 1, -1)
        added = [waiting.pop() for _ in range(np.count_nonzero(~kept))]
        inside = np.concatenate([inside[kept], added])
        graph = grown(data[0][inside], Metric.L2, CONFIG, previous=hnsw.Previous(graph, renumbered))
    check(graph.levels())
    vectors = data[0][inside]
    assert reached(graph, vectors, data[1]) >= reached(grown(vectors, Metric.L2, CONFIG), vectors, data[1]) - 0.005


def test_nothing_left_of_the_previous_graph(data, graph):
    """All rows deleted but one, which has lost all neighbours: it is inserted like a new row."""
    renumbered = np.full(N_ROWS, -1)
    renumbered[7] = 2
    vectors = data[0][[0, 1, 7, 3]]
    again = grown(vectors, Metric.L2, CONFIG, previous=hnsw.Previous(graph, renumbered))
    assert reachable(again.levels()).all()


def test_a_graph_of_hnswlib_goes_on(data):
    part = hnsw.build(data[0][:3_000], Metric.L2, CONFIG)
    whole = grown(data[0], Metric.L2, CONFIG, previous=hnsw.Previous(part, np.arange(3_000)))
    check(whole.levels())
    assert reached(whole, *data) >= 0.97
