"""Searches that aim for a recall: what is measured, what is read off it, and that real queries get what was asked."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore
from vecstore import HnswConfig, InvalidArgumentError, StoreConfig
from vecstore.calibration import Calibration, Curve, effort_for
from vecstore.index import hnsw
from vecstore.schemes import from_config
from vecstore.types import Metric

ROWS, DIM = 6_000, 16
QUIET = StoreConfig(background=False)
INDEX = HnswConfig(min_rows=1_000)


@pytest.fixture(scope="module")
def vectors():
    """Rows around 40 centres."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(40, DIM))
    return (centres[rng.integers(0, 40, ROWS)] + 0.5 * rng.normal(size=(ROWS, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def queries(vectors):
    """Points near rows, none of them stored."""
    rng = np.random.default_rng(6)
    return vectors[rng.choice(ROWS, 300, replace=False)] + (0.3 * rng.normal(size=(300, DIM))).astype(np.float32)


@pytest.fixture
def db(tmp_path):
    with vecstore.open(tmp_path / "store", settings=QUIET) as database:
        yield database


def filled(db, vectors, scheme, refine, index=INDEX):
    """A merged collection of all rows."""
    docs = db.create_collection("docs", dim=DIM, metric="l2", scheme=scheme, refine=refine, index=index)
    docs.insert(np.arange(ROWS), vectors, {"part": np.arange(ROWS) % 10})
    docs.optimize()
    return docs


def share_found(docs, queries, k, recall, where=None):
    """The recall of a search that aims for ``recall``."""
    true = docs.search(queries, k, exact=True, where=where, columns=[]).ids
    found = docs.search(queries, k, recall=recall, where=where, columns=[]).ids
    return (found[:, :, None] == true[:, None, :]).any(axis=1).mean()


@pytest.mark.parametrize(
    ("scheme", "refine", "index", "curves"),
    [
        ("int8", "float16", INDEX, {"walk", "scan", "slack"}),
        ("full", None, INDEX, {"walk", "slack"}),
        ({"scheme": "rabitq", "bits": 1}, "int8", INDEX, {"walk", "scan"}),
        ({"scheme": "rabitq", "bits": 1}, "int8", None, {"scan"}),
        ("int8", None, None, set()),
    ],
    ids=["int8 and float16", "full", "graph over rabitq and int8", "rabitq and int8", "exact anyway"],
)
def test_searches_find_the_share_that_was_asked_for(db, vectors, queries, scheme, refine, index, curves):
    docs = filled(db, vectors, scheme, refine, index)
    (segment,) = docs.stats().segments
    assert {name for name in ("walk", "scan", "slack") if segment["calibration"][name]} == curves
    for recall in (0.8, 0.9, 0.95, 0.99):
        for k in (1, 7, 10, 40, 150):
            assert share_found(docs, queries, k, recall) >= recall
        for where in ("part < 5", "part = 0"):
            assert share_found(docs, queries, 10, recall, where) >= recall


def test_less_recall_is_less_work(db, vectors, queries):
    docs = filled(db, vectors, {"scheme": "rabitq", "bits": 1}, "full", None)
    assert share_found(docs, queries, 10, 0.7) < 1
    calibration = Calibration.from_dict(docs.stats().segments[0]["calibration"])
    efforts = [calibration.scan_effort(10, recall) for recall in (0.7, 0.8, 0.9, 0.95)]
    assert efforts == sorted(set(efforts))
    assert calibration.scan_effort(10, 0.9999) is None


def test_what_is_not_measured_is_scanned_exactly(db, vectors, queries):
    docs = db.create_collection("docs", dim=DIM, metric="l2", scheme="binary", refine="full")
    docs.insert(np.arange(ROWS - 10), vectors[:-10])
    docs.flush()
    docs.insert(np.arange(ROWS - 10, ROWS), vectors[-10:])
    assert docs.stats().segments[0]["calibration"] is None
    assert share_found(docs, queries, 10, 0.5) == 1
    docs.optimize()
    assert share_found(docs, queries, 10, 0.5) < 1
    generation = docs.stats().generation
    docs.optimize()  # all is measured: nothing is left to do
    assert docs.stats().generation == generation


def test_compressed_segments_are_measured_and_keep_their_curves(db, vectors):
    docs = filled(db, vectors, "int8", None)
    before = docs.stats().segments[0]["calibration"]
    docs.compress({"scheme": "rabitq", "bits": 1}, refine="int8")
    after = docs.stats().segments[0]["calibration"]
    assert after["scan"]
    assert not before["scan"]
    db.close()
    with vecstore.open(db.path, mode="r") as reader:
        assert reader.collection("docs").stats().segments[0]["calibration"] == after


def test_a_recall_of_one_is_exact(db, vectors, queries):
    docs = filled(db, vectors, "binary", "int8")
    exact, asked = docs.search(queries, exact=True), docs.search(queries, recall=1)
    np.testing.assert_array_equal(asked.ids, exact.ids)
    np.testing.assert_array_equal(asked.distances, exact.distances)


@pytest.mark.parametrize(
    "arguments",
    [{"recall": value} for value in (0, -0.1, 1.01, float("nan"), "0.9", True, [0.9])]
    + [{"recall": 0.9, "ef": 20}, {"recall": 0.9, "exact": True}, {"recall": 1, "ef": 20}],
    ids=str,
)
def test_wrong_recalls_are_refused(db, arguments):
    docs = db.create_collection("docs", dim=2)
    with pytest.raises(InvalidArgumentError, match="recall") as caught:
        docs.search([1, 0], **arguments)
    assert caught.value.field == "recall"


# -- curves -----------------------------------------------------------------------------------------------------


def curve(k, *points, error=0.0):
    efforts, recalls = zip(*points, strict=True)
    return Curve(k=k, efforts=list(efforts), recalls=list(recalls), errors=[error] * len(points))


def test_an_effort_is_read_off_on_the_safe_side():
    plain = curve(10, (10, 0.8), (20, 0.95), (40, 0.999))
    assert plain.needed(0.5, 10**6) == 10
    assert 20 < plain.needed(0.95, 10**6) < 40
    assert plain.needed(0.95, 10**6) < curve(10, (10, 0.8), (20, 0.95), (40, 0.999), error=0.005).needed(0.95, 10**6)
    assert plain.needed(0.95, 10**6) < plain.needed(0.95, 20)
    assert plain.needed(0.999, 10**6) is None


def test_efforts_for_other_k_lie_between_the_measured_ones():
    curves = [curve(1, (10, 1.0)), curve(10, (20, 1.0)), curve(100, (200, 1.0))]
    assert [effort_for(curves, 10**6, k, 0.9) for k in (1, 10, 100)] == [10, 20, 200]
    between = [effort_for(curves, 10**6, k, 0.9) for k in (10, 20, 40, 80, 100)]
    assert between == sorted(between)
    assert all(effort >= 20 + 180 * (k - 10) / 90 for k, effort in zip((10, 20, 40, 80), between, strict=False))
    assert effort_for(curves, 10**6, 300, 0.9) == 600
    assert effort_for([], 100, 10, 0.9) is None
    assert effort_for(curves[:2], 10**6, 50, 0.9) == 100


def test_a_slack_lies_between_those_of_the_measured_k():
    measured = Calibration(queries=10**6, slack=[curve(k, (20 * k, 1.0)) for k in (1, 10, 100)])
    assert [measured.walk_slack(k, 0.9) for k in (1, 10, 100, 500)] == [0.02, 0.2, 2, 2]
    assert 0.2 < measured.walk_slack(11, 0.9) < measured.walk_slack(60, 0.9) < 2
    unreached = Calibration(queries=10**6, slack=[curve(1, (20, 1.0)), curve(10, (20, 0.5))])
    assert unreached.walk_slack(1, 0.9) == 0.02
    assert unreached.walk_slack(5, 0.9) is None
    assert Calibration(queries=10**6).walk_slack(10, 0.9) is None


def test_walks_of_inner_products_do_not_end_by_distance(db, vectors):
    docs = db.create_collection("docs", dim=DIM, metric="ip", scheme="int8", refine="float16", index=INDEX)
    docs.insert(np.arange(ROWS), vectors)
    docs.optimize()
    calibration = docs.stats().segments[0]["calibration"]
    assert calibration["walk"]
    assert not calibration["slack"]


def test_noise_in_few_hits_does_not_raise_the_effort():
    curves = [curve(1, (10, 0.9), (500, 0.97)), curve(10, (20, 1.0))]
    assert effort_for(curves, 10**6, 1, 0.95) == 20


# -- walks past rows ----------------------------------------------------------------------------------------------


def test_walks_past_rows_find_them_without_using_their_links(vectors):
    graph = hnsw.build(vectors, Metric.L2, INDEX)
    rows = graph.lower_rows[:200]
    assert not np.isin(graph.links.nodes, rows).any()
    scorer = from_config("full").fit(vectors).scorer(vectors[rows], Metric.L2)
    past = graph.bypassing(rows)
    assert (past.levels().level0[rows] == -1).all()
    assert (graph.levels().level0[rows] >= 0).any(axis=1).all()
    found = past.search(scorer, len(rows), 10, 100).rows
    assert (found[:, 0] == rows).mean() > 0.95  # they are still where links of others lead
    with_links = graph.search(scorer, len(rows), 10, 10).rows
    without = past.search(scorer, len(rows), 10, 10).rows
    truth = graph.search(scorer, len(rows), 10, 400).rows
    share = lambda found: (found[:, :, None] == truth[:, None, :]).any(axis=1).mean()  # noqa: E731
    assert share(without) < share(with_links)
