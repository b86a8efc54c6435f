"""Advice by measuring, collections that are made by it, and the scheme that is chosen by itself."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import vecstore
from vecstore import BudgetInfeasible, InvalidArgumentError, StoreConfig
from vecstore.advising import grown, loss_of

ROWS, DIM = 2_000, 16
QUIET = StoreConfig(background=False)


def drawn(count, seed):
    """Rows around 30 centres, with most of what they differ by in a few directions."""
    rng = np.random.default_rng(1)
    centres, spread = 2 * rng.normal(size=(30, DIM)), np.linspace(1, 0.1, DIM)
    rng = np.random.default_rng(seed)
    return (centres[rng.integers(0, 30, count)] + spread * rng.normal(size=(count, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    return drawn(ROWS, 2)


@pytest.fixture(scope="module")
def queries():
    return drawn(200, 3)


@pytest.fixture
def db(tmp_path):
    with vecstore.open(tmp_path / "store", settings=QUIET) as database:
        yield database


def share_found(docs, vectors, queries, k=10):
    """The recall of plain searches against the vectors as they were inserted."""
    squared = ((queries[:, None, :] - vectors[None, :, :]) ** 2).sum(axis=2)
    true = np.argsort(squared, axis=1, kind="stable")[:, :k]
    found = docs.search(queries, k, columns=[]).ids
    return (found[:, :, None] == true[:, None, :]).any(axis=1).mean()


@pytest.fixture(scope="module")
def advised(vectors):
    """Give the advice for a recall, for queries that are given where they are asked for; the same one every time."""

    @cache
    def advise(target, max_bytes=None, given=False):
        asked = drawn(150, 4) if given else None
        return vecstore.advise(vectors, asked, metric="l2", target_recall=target, max_bytes=max_bytes)

    return advise


@pytest.mark.parametrize(
    ("target", "max_bytes", "given"),
    [(0.7, None, False), (0.95, None, True), (0.99, None, False), (0.95, 1 / 8, True)],
)
def test_a_collection_as_advised_reaches_the_recall(db, vectors, queries, advised, target, max_bytes, given):
    advice = advised(target, max_bytes, given)
    docs = advice.create(db, "docs")
    docs.insert(np.arange(ROWS), vectors)
    docs.optimize()
    assert share_found(docs, vectors, queries) >= target
    parts = docs.stats().bytes_per_vector
    assert parts["codes"] == pytest.approx(advice.chosen.memory_bytes)
    assert parts["codes"] + parts["refine"] == pytest.approx(advice.chosen.disk_bytes)
    if max_bytes is not None:
        assert parts["codes"] + parts["graph"] <= max_bytes * DIM * 4


def test_less_recall_takes_fewer_bytes_and_advice_is_repeatable(vectors, advised):
    least, most = advised(0.7), advised(0.99)
    assert least.chosen.disk_bytes < most.chosen.disk_bytes < DIM * 4
    again = vecstore.advise(vectors, metric="l2", target_recall=0.7)
    assert again.arguments == least.arguments
    measured = [(one.recall, one.expected, one.checked, one.verdict) for one in least.candidates]
    assert [(one.recall, one.expected, one.checked, one.verdict) for one in again.candidates] == measured


def test_advice_says_what_was_tried_and_why(advised):
    advice = advised(0.7)
    text = str(advice)
    assert "chosen" in text
    assert advice.reason in text
    assert advice.chosen.verdict == "chosen"
    tried = {(one.codec.split()[0], bool(one.transform), one.refine is not None) for one in advice.candidates}
    assert {("full", False, False), ("rabitq", False, True), ("int8", True, False), ("binary", True, True)} <= tried
    sizes = [one.disk_bytes for one in advice.candidates]
    assert sizes == sorted(sizes)
    assert not any(
        one.beats(best) for one in advice.best for best in advice.best if one.checked and best.checked is None
    )


def test_what_does_not_fit_is_refused_with_what_would(vectors):
    with pytest.raises(BudgetInfeasible, match=r"recall@10 of 0\.99 .* raise max_bytes") as caught:
        vecstore.advise(vectors, metric="l2", target_recall=0.99, max_bytes=100)
    assert caught.value.field == "max_bytes"
    floor = caught.value.floor
    assert 100 < floor < ROWS * DIM * 4
    assert (
        vecstore.advise(vectors, metric="l2", target_recall=0.99, max_bytes=floor).chosen.memory_bytes * ROWS <= floor
    )


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"vectors": np.ones((999, 4))}, "vectors"),
        ({"vectors": [1.0, 2.0]}, "vectors"),
        ({"target_recall": 0}, "target_recall"),
        ({"target_recall": "high"}, "target_recall"),
        ({"k": 0}, "k"),
        ({"k": 101}, "k"),
        ({"max_bytes": 1.5}, "max_bytes"),
        ({"metric": "angle"}, "metric"),
        ({"queries": np.ones((3, DIM + 1))}, "queries"),
        ({"total_rows": 0}, "total_rows"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(vectors, arguments, field):
    with pytest.raises(InvalidArgumentError) as caught:
        vecstore.advise(**({"vectors": vectors, "metric": "l2"} | arguments))
    assert caught.value.field == field


def test_losses_are_taken_on_the_safe_side():
    recalls = np.array([1.0, 1.0, 0.8, 1.0])
    assert loss_of(recalls, 10) > 0.05
    assert loss_of(np.ones(100), 10) == pytest.approx(1 / 1000)
    few, many = np.full(10, 0.99), np.full(10, 0.98)
    assert grown(few, many, (100, 400), 400) == pytest.approx(0.02)
    assert grown(few, many, (100, 400), 1600) == pytest.approx(0.04)  # twice as much for four times the rows


# -- the scheme "auto" --------------------------------------------------------------------------------------------


def test_auto_is_decided_by_the_first_rows_that_are_enough(tmp_path, vectors, queries):
    asked = {"scheme": "auto", "target_recall": 0.9}
    with vecstore.open(tmp_path / "store", settings=QUIET) as db:
        docs = db.create_collection("docs", dim=DIM, metric="l2", scheme=asked)
        docs.insert(np.arange(500), vectors[:500])
        docs.flush()
        assert docs.config.scheme["scheme"] == "auto"
        assert docs.config.scheme["target_recall"] == 0.9
        assert docs.stats().segments[0]["scheme"] == "full"
        docs.insert(np.arange(500, ROWS), vectors[500:])
        docs.flush()
        decided = docs.config
        assert decided.scheme["scheme"] != "auto"
        assert decided.recall is not None
        assert docs.stats().segments[1]["scheme"] == decided.scheme["scheme"]
    with vecstore.open(tmp_path / "store", settings=QUIET) as db:
        docs = db.collection("docs")
        assert docs.config == decided
        docs.optimize()
        assert len(docs.stats().segments) == 1
        assert share_found(docs, vectors, queries) >= 0.9
        assert docs.stats().bytes_per_vector["codes"] < DIM * 4


def test_auto_is_decided_by_a_merge_of_small_segments(db, vectors):
    docs = db.create_collection("docs", dim=DIM, metric="l2", scheme="auto")
    for start in range(0, 1_500, 500):
        docs.insert(np.arange(start, start + 500), vectors[start : start + 500])
        docs.flush()
    assert docs.config.scheme["scheme"] == "auto"
    docs.optimize()
    assert docs.config.scheme["scheme"] != "auto"


def test_rows_are_stored_where_nothing_does_what_auto_was_asked_for(db, vectors, caplog):
    docs = db.create_collection("docs", dim=DIM, metric="l2", scheme={"scheme": "auto", "max_bytes": 10})
    docs.insert(np.arange(1_200), vectors[:1_200])
    docs.flush()
    assert docs.config.scheme["scheme"] == "auto"
    assert docs.stats().segments[0]["scheme"] == "full"
    assert any("max_bytes" in record.getMessage() for record in caplog.records)
    caplog.clear()
    docs.optimize()
    docs.insert(np.arange(1_200, 2_300), vectors[:1_100])
    docs.flush()
    # That would take as long each time, with the same result.
    assert not caplog.records
    docs.insert(np.arange(2_300, 2_400), vectors[:100])
    docs.optimize()
    assert any("max_bytes" in record.getMessage() for record in caplog.records)
    with pytest.raises(BudgetInfeasible):
        docs.compress({"scheme": "auto", "max_bytes": 10})


def test_auto_takes_what_can_hold_large_numbers(db, vectors, queries):
    scale = np.float32(1e6)
    docs = db.create_collection("docs", dim=DIM, metric="l2", scheme={"scheme": "auto", "target_recall": 0.9})
    docs.insert(np.arange(ROWS), vectors * scale)
    docs.optimize()
    assert docs.config.scheme["scheme"] != "auto"
    assert share_found(docs, vectors * scale, queries * scale) >= 0.9


def test_compress_auto_chooses_for_the_rows_there_are(db, vectors, queries):
    docs = db.create_collection("docs", dim=DIM, metric="l2")
    docs.insert(np.arange(ROWS), vectors)
    report = docs.compress({"scheme": "auto", "target_recall": 0.9})
    assert report.rows == ROWS
    assert docs.config.recall is not None
    assert docs.stats().bytes_per_vector["codes"] < DIM * 4
    docs.optimize()
    assert share_found(docs, vectors, queries) >= 0.9


def test_a_collection_may_aim_for_a_recall_by_itself(db, vectors, queries):
    docs = db.create_collection("docs", dim=DIM, metric="l2", scheme="binary", refine="full", recall=0.6)
    docs.insert(np.arange(ROWS), vectors - vectors.mean(axis=0))
    docs.optimize()
    asked = docs.search(queries, recall=0.6)
    np.testing.assert_array_equal(docs.search(queries).ids, asked.ids)
    np.testing.assert_array_equal(docs.search(queries, recall=1).ids, docs.search(queries, exact=True).ids)
    assert (docs.search(queries, exact=True).ids != asked.ids).any()


@pytest.mark.parametrize("other", [{"refine": "int8"}, {"transform": "rotate"}])
def test_auto_chooses_alone(db, other):
    with pytest.raises(InvalidArgumentError, match="auto"):
        db.create_collection("docs", dim=DIM, scheme="auto", **other)
    docs = db.create_collection("docs", dim=DIM)
    with pytest.raises(InvalidArgumentError, match="auto"):
        docs.compress("auto", **other)
    with pytest.raises(InvalidArgumentError, match="at least 1000 rows"):
        docs.compress("auto")
    for wrong in ({"target_recall": 2.0}, {"speed": 1}, {"k": 0}, {"max_bytes": "small"}, {"max_bytes": 1.5}):
        with pytest.raises(InvalidArgumentError):
            db.create_collection("wrong", dim=DIM, scheme={"scheme": "auto", **wrong})
