"""The graph: built the same every time, stored and opened, and good at finding."""

from __future__ import annotations

import itertools

import hnswlib
import numpy as np
import pytest

from tests import reference
from tests.index.builders import BUILDERS
from vecstore import schemes
from vecstore.config import HnswConfig
from vecstore.errors import CorruptionError, InternalError, InvalidArgumentError, StoreClosed
from vecstore.index import hnsw
from vecstore.index.exact import exact_search
from vecstore.index.hnswlib_export import export_levels
from vecstore.kernels.graph import Reach
from vecstore.kernels.lengths import unit_rows
from vecstore.kernels.links import unpack
from vecstore.schemes.base import TableShape
from vecstore.types import Metric

N_ROWS, DIM, N_QUERIES = 6_000, 24, 100
CONFIG = HnswConfig(M=8, ef_construction=80)
#: Schemes that encode any rows and can be walked.
WALKABLE = [
    name
    for name, can in ((name, schemes.get(name).capabilities) for name in schemes.names())
    if can.graph and can.posthoc
]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(11)
    vectors = unit_rows(reference.clustered(rng, N_ROWS + N_QUERIES, DIM))
    return vectors[:N_ROWS], vectors[N_ROWS:]


@pytest.fixture(scope="module", params=list(BUILDERS))
def build(request):
    return BUILDERS[request.param]


@pytest.fixture(scope="module")
def graphs(data, build):
    return {metric: build(data[0], metric, CONFIG) for metric in Metric}


@pytest.fixture(scope="module")
def graph(graphs):
    return graphs[Metric.L2]


@pytest.fixture
def scorer(data):
    return schemes.from_config("full").fit(data[0]).scorer(data[1], Metric.L2)


#: Walks over signs round the query to signs as well, whose 40 nearest hold fewer of the 10 nearest to the query itself.
LEAST_RECALL = {"binary": 0.9}


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("name", WALKABLE)
def test_recall_on_every_scheme_and_metric(data, graphs, name, metric):
    planned = schemes.get(name).plan(TableShape(*data[0].shape), 1.0)
    scorer = planned.fit(data[0]).scorer(data[1], metric)
    expected, _ = exact_search(scorer, N_QUERIES, N_ROWS, 10)
    hits = graphs[metric].search(scorer, N_QUERIES, 40, 120)
    distances = np.empty(hits.rows.shape, np.float32)
    scorer.rerank(hits.rows, distances)
    found = np.take_along_axis(hits.rows, np.argsort(distances, axis=1, kind="stable")[:, :10], 1)
    assert reference.recall(found, expected) >= LEAST_RECALL.get(name, 0.99)
    assert hits.complete.all()


def test_results_are_sorted_and_have_the_right_distances(graph, scorer):
    hits = graph.search(scorer, N_QUERIES, 10, 50)
    expected = np.empty(hits.rows.shape, np.float32)
    scorer.rerank(hits.rows, expected)
    np.testing.assert_array_equal(hits.distances, expected)
    assert (np.diff(hits.distances, axis=1) >= 0).all()
    assert all(len(set(line)) == 10 for line in hits.rows.tolist())


def test_more_ef_finds_no_less_on_average(graph, scorer):
    expected, _ = exact_search(scorer, N_QUERIES, N_ROWS, 10)
    reached = [reference.recall(graph.search(scorer, N_QUERIES, 10, ef).rows, expected) for ef in (10, 40, 160)]
    assert reached == sorted(reached)
    assert reached[0] >= 0.7


def test_recall_is_that_of_hnswlib(data, graph, scorer):
    theirs = hnswlib.Index("l2", DIM)
    theirs.init_index(N_ROWS, M=CONFIG.M, ef_construction=CONFIG.ef_construction, random_seed=CONFIG.seed)
    theirs.add_items(data[0], num_threads=1)
    theirs.set_ef(30)
    labels, _ = theirs.knn_query(data[1], 10, num_threads=1)
    expected, _ = exact_search(scorer, N_QUERIES, N_ROWS, 10)
    ours = reference.recall(graph.search(scorer, N_QUERIES, 10, 30).rows, expected)
    assert ours >= reference.recall(labels.astype(np.int64), expected) - 0.005


@pytest.mark.parametrize("share", [0.8, 0.5, 0.31, 0.2])
def test_filtered_search_finds_as_much_as_search_of_all(rng, graph, scorer, share):
    kept = rng.random(N_ROWS) < share
    expected, _ = exact_search(scorer, N_QUERIES, np.flatnonzero(kept), 10)
    of_all, _ = exact_search(scorer, N_QUERIES, N_ROWS, 10)
    hits = graph.search(scorer, N_QUERIES, 10, 60, kept=hnsw.Kept.of(kept))
    assert hits.complete.mean() >= 0.9
    assert kept[hits.rows[hits.complete]].all()
    plain = reference.recall(graph.search(scorer, N_QUERIES, 10, 60).rows, of_all)
    assert reference.recall(hits.rows[hits.complete], expected[hits.complete]) >= plain - 0.005


@pytest.mark.parametrize("kept_side", ["near", "far"])
@pytest.mark.parametrize("share", [0.5, 0.3, 0.1])
def test_filters_that_go_with_the_vectors(data, graph, scorer, kept_side, share):
    along = data[0] @ data[1][0]
    kept = along > np.quantile(along, 1 - share) if kept_side == "near" else along < np.quantile(along, share)
    expected, _ = exact_search(scorer, N_QUERIES, np.flatnonzero(kept), 10)
    hits = graph.search(scorer, N_QUERIES, 10, 60, kept=hnsw.Kept.of(kept))
    assert 0 < hits.complete.sum() < N_QUERIES
    assert kept[hits.rows[hits.rows >= 0]].all()
    assert reference.recall(hits.rows[hits.complete], expected[hits.complete]) >= 0.97


def test_queries_far_from_all_that_is_kept_give_up(data, graph, scorer):
    distances = ((data[0][:, None] - data[1][None, :5]) ** 2).sum(axis=2)
    kept = distances.min(axis=1) > np.quantile(distances.min(axis=1), 0.7)
    hits = graph.search(scorer, N_QUERIES, 10, 60, kept=hnsw.Kept.of(kept))
    assert not hits.complete[:5].any()


def test_a_mask_of_all_rows_finds_what_no_mask_finds(graph, scorer):
    plain = graph.search(scorer, N_QUERIES, 10, 200)
    masked = graph.search(scorer, N_QUERIES, 10, 200, kept=hnsw.Kept.of(np.ones(N_ROWS, np.bool_)))
    assert reference.recall(masked.rows, plain.rows) >= 0.999


def test_a_batch_gives_what_single_queries_give(data, graph):
    table = schemes.from_config("int8").fit(data[0])
    together = graph.search(table.scorer(data[1], Metric.L2), N_QUERIES, 10, 40)
    for number in range(0, N_QUERIES, 9):
        alone = graph.search(table.scorer(data[1][number : number + 1], Metric.L2), 1, 10, 40)
        np.testing.assert_array_equal(alone.rows[0], together.rows[number])
        np.testing.assert_array_equal(alone.distances[0], together.distances[number])


def test_ef_beyond_all_rows_finds_everything_connected(rng, build):
    vectors = rng.standard_normal((50, 4), dtype=np.float32)
    graph = build(vectors, Metric.L2, CONFIG)
    scorer = schemes.from_config("full").fit(vectors).scorer(vectors[:3], Metric.L2)
    hits = graph.search(scorer, 3, 60, 1_000)
    expected, distances = exact_search(scorer, 3, 50, 60)
    np.testing.assert_array_equal(hits.rows, expected)
    np.testing.assert_array_equal(hits.distances, distances)


@pytest.mark.parametrize("n_rows", [1, 2, 5])
def test_tiny_graphs(rng, build, n_rows):
    vectors = rng.standard_normal((n_rows, 3), dtype=np.float32)
    graph = build(vectors, Metric.L2, CONFIG)
    scorer = schemes.from_config("full").fit(vectors).scorer(vectors, Metric.L2)
    assert graph.search(scorer, n_rows, 1, 1).rows.ravel().tolist() == list(range(n_rows))


def test_identical_rows(build):
    vectors = np.ones((300, 5), np.float32)
    graph = build(vectors, Metric.L2, CONFIG)
    scorer = schemes.from_config("full").fit(vectors).scorer(vectors[:1], Metric.L2)
    hits = graph.search(scorer, 1, 10, 20)
    assert (hits.distances == 0).all()
    assert len(set(hits.rows[0].tolist())) == 10


def test_the_build_repeats_itself(data, build):
    first, second = (build(data[0][:2_000], Metric.COSINE, CONFIG).arrays() for _ in range(2))
    assert {key: array.tobytes() for key, array in first.items()} == {
        key: array.tobytes() for key, array in second.items()
    }


def test_arrays_survive_storage(graph, scorer, tmp_path):
    np.savez(tmp_path / "graph.npz", **graph.arrays())
    with np.load(tmp_path / "graph.npz", allow_pickle=False) as stored:
        reopened = hnsw.Graph.open(dict(stored), N_ROWS)
    assert reopened.nbytes == graph.nbytes == sum(array.nbytes for array in graph.arrays().values())
    for one, two in zip(reopened.search(scorer, 100, 10, 40), graph.search(scorer, 100, 10, 40), strict=True):
        np.testing.assert_array_equal(one, two)


def test_levels_are_consistent(graph):
    arrays = graph.arrays()
    starts, nodes, down = (arrays[key] for key in ("level_starts", "nodes", "down"))
    upper = np.empty((len(nodes), CONFIG.M), np.int32)
    unpack(graph.links.lists, N_ROWS, upper)
    assert len(starts) >= 3
    for level, (start, stop) in enumerate(itertools.pairwise(starts)):
        assert (np.diff(nodes[start:stop]) > 0).all()
        used = upper[start:stop][upper[start:stop] >= 0]
        assert ((used >= start) & (used < stop)).all()
        below = down[start:stop]
        np.testing.assert_array_equal(below if level == 0 else nodes[below], nodes[start:stop])


def ascending(links):
    """Links in the order of a graph's: ascending, then -1."""
    return np.sort(links.view(np.uint32), axis=1).view(np.int32)


def test_levels_come_back(data):
    index = hnswlib.Index("l2", DIM)
    index.init_index(3_000, M=4, ef_construction=40, random_seed=1)
    index.add_items(data[0][:3_000], num_threads=1)
    levels = export_levels(index.__getstate__()[0])
    again = hnsw._assembled(levels).levels()
    np.testing.assert_array_equal(again.level0, ascending(levels.level0))
    assert again.entry == levels.entry
    assert len(again.nodes) == len(levels.nodes) >= 3
    for one, two in zip(again.nodes, levels.nodes, strict=True):
        np.testing.assert_array_equal(one, two)
    for one, two in zip(again.links, levels.links, strict=True):
        np.testing.assert_array_equal(one, ascending(two))
    twice = hnsw._assembled(again)
    assert twice.arrays().keys() == hnsw._assembled(levels).arrays().keys()
    for name, array in hnsw._assembled(levels).arrays().items():
        np.testing.assert_array_equal(twice.arrays()[name], array)


def test_graphs_stored_before_links_were_packed_open(graph, scorer):
    arrays = unpacked_arrays(graph)
    opened = hnsw.Graph.open(arrays, N_ROWS)
    for name, array in graph.arrays().items():
        np.testing.assert_array_equal(opened.arrays()[name], array)
    for name in ("links", "upper_links", "nodes"):
        with pytest.raises(CorruptionError, match="graph"):
            hnsw.Graph.open({key: array for key, array in arrays.items() if key != name}, N_ROWS)
    for name in ("links", "upper_links"):
        for wrong in (arrays[name][1:], arrays[name].astype(np.int64), np.zeros((len(arrays[name]), 300), np.int32)):
            with pytest.raises(CorruptionError, match="graph"):
                hnsw.Graph.open({**arrays, name: wrong}, N_ROWS)


def unpacked_arrays(graph):
    """Arrays of a graph in the form that was stored before links were packed."""
    arrays = graph.arrays()
    tables = {"links": np.empty((N_ROWS, 2 * CONFIG.M), np.int32)}
    tables["upper_links"] = np.empty((len(arrays["nodes"]), CONFIG.M), np.int32)
    unpack(graph.links.lists, 0, tables["links"])
    unpack(graph.links.lists, N_ROWS, tables["upper_links"])
    return {**tables, **{name: arrays[name] for name in ("nodes", "down", "level_starts", "entry")}}


def test_links_take_less_than_half_of_what_they_did(graph):
    assert graph.nbytes < 0.5 * sum(array.nbytes for array in unpacked_arrays(graph).values())


def test_links_outside_are_noticed_where_all_are_read(graph):
    arrays = graph.arrays()
    for name, place, value in (("lists", 3, 255), ("nodes", 0, N_ROWS), ("nodes", 0, -5)):
        changed = arrays[name].copy()
        changed[place : place + 1] = value
        with pytest.raises(CorruptionError, match="points outside"):
            hnsw.Graph.open({**arrays, name: changed}, N_ROWS).levels()


def test_links_are_those_of_hnswlib(data):
    index = hnswlib.Index("l2", DIM)
    index.init_index(500, M=4, ef_construction=40, random_seed=1)
    index.add_items(data[0][:500], num_threads=1)
    levels = export_levels(index.__getstate__()[0])
    assert levels.level0.shape == (500, 8)
    for row, links in enumerate(levels.level0):
        used = links[links >= 0]
        assert row not in used
        assert len(used)
        assert (links[len(used) :] == -1).all()
    assert levels.entry in levels.nodes[-1]
    for below, above in zip([np.arange(500), *levels.nodes], levels.nodes, strict=False):
        assert np.isin(above, below).all()
    for nodes, links in zip(levels.nodes, levels.links, strict=True):
        assert np.isin(links[links >= 0], nodes).all()


def test_another_layout_is_noticed(data):
    index = hnswlib.Index("l2", DIM)
    index.init_index(100, M=4, ef_construction=40, random_seed=1)
    index.add_items(data[0][:100], num_threads=1)
    state = index.__getstate__()[0]
    for change in (
        {"size_data_per_element": state["size_data_per_element"] + 4},
        {"label_offset": 0},
        {"size_links_per_element": state["size_links_per_element"] + 4},
        {"offset_level0": state["offset_data"]},
    ):
        with pytest.raises(InternalError, match="hnswlib"):
            export_levels({**state, **change})


def test_progress_and_stop(data, build):
    reports = []
    build(data[0][:1_500], Metric.L2, CONFIG, on_progress=lambda *report: reports.append(report))
    assert reports[-1] == (1_500, 1_500)
    assert len(reports) >= 3
    answers = iter([False, True])
    with pytest.raises(StoreClosed, match="stopped"):
        build(data[0], Metric.L2, CONFIG, should_stop=lambda: next(answers))


def test_a_graph_needs_rows(build):
    with pytest.raises(InvalidArgumentError, match="1 to"):
        build(np.empty((0, 4), np.float32), Metric.L2, CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"lists": None},
        {"lists": np.zeros(7, np.uint8)},
        {"lists": np.zeros((2, 8), np.uint8)},
        {"list_starts": np.zeros(3, np.int64)},
        {"list_offsets": np.zeros(N_ROWS, np.uint16)},
        {"most_links": np.array([0], np.int64)},
        {"most_links": np.array([257], np.int64)},
        {"down": np.zeros(3, np.int32)},
        {"level_starts": np.array([0, 5], np.int64)},
        {"level_starts": np.array([], np.int64)},
        {"entry": np.array([-1], np.int64)},
        {"entry": np.array([2**40], np.int64)},
        {"entry": np.array([0], np.int64)},
        {"entry": np.array([0, 0], np.int64)},
    ],
    ids=lambda change: f"{next(iter(change))}-{getattr(next(iter(change.values())), 'shape', None)}",
)
def test_arrays_that_do_not_fit_are_corruption(graph, change):
    arrays = {key: value for key, value in {**graph.arrays(), **change}.items() if value is not None}
    with pytest.raises(CorruptionError, match="graph"):
        hnsw.Graph.open(arrays, N_ROWS)


def test_wrong_arguments_of_search(graph, scorer):
    for arguments, options, message in (
        ((100, 11, 10), {}, "ef"),
        ((100, 0, 10), {}, "ef"),
        ((100, 5, 10), {"kept": hnsw.Kept.of(np.ones(3, np.bool_))}, "kept"),
        ((100, 5, 10), {"reach": Reach(4, 1, np.float32(0.1))}, "reach"),
        ((100, 5, 10), {"reach": Reach(10, 11, np.float32(0.1))}, "reach"),
        ((100, 5, 10), {"reach": Reach(10, 5, np.float32(-0.1))}, "reach"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            graph.search(scorer, *arguments, **options)
    for mask in (np.ones(N_ROWS, np.int8), np.zeros(N_ROWS, np.bool_), np.ones((N_ROWS, 1), np.bool_)):
        with pytest.raises(InvalidArgumentError, match="mask"):
            hnsw.Kept.of(mask)
    scorer.traversal = None
    with pytest.raises(InvalidArgumentError, match="exact"):
        graph.search(scorer, 100, 5, 10)
