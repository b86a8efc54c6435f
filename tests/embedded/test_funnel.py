"""Funnel searches: the stages are those of a plain numpy twin, and results keep the promises of every search."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore
from tests import reference
from vecstore import InvalidArgumentError, StoreConfig
from vecstore.schemes.leading import LeadingTables
from vecstore.types import Metric

ROWS, DIM = 3_000, 40
#: Later dimensions say less.
WEIGHTS = np.geomspace(3, 0.1, DIM)


@pytest.fixture(scope="module")
def vectors():
    return (np.random.default_rng(3).normal(size=(ROWS, DIM)) * WEIGHTS).astype(np.float32)


@pytest.fixture(scope="module")
def queries():
    return (np.random.default_rng(4).normal(size=(25, DIM)) * WEIGHTS).astype(np.float32)


@pytest.fixture
def db(tmp_path):
    with vecstore.open(tmp_path / "store", settings=StoreConfig(background=False)) as database:
        yield database


def filled(db, vectors, scheme="full", metric="cosine", **settings):
    """A collection whose rows are all in one segment; row i has the id i."""
    docs = db.create_collection("docs", dim=DIM, metric=metric, scheme=scheme, **settings)
    docs.insert(np.arange(len(vectors)), vectors, {"part": np.arange(len(vectors)) % 10})
    docs.flush()
    return docs


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def rounded(rows):
    """Rows as int8 with a scale each stores them."""
    scales = np.abs(rows).max(axis=1, keepdims=True).astype(np.float32) / np.float32(127)
    return np.rint(rows.astype(np.float32) / scales) * scales


def twin(stored, queries, stages, k, metric):
    """Ids int64[q, k] of a funnel over decoded rows, query by query."""
    found = []
    for query in unit(queries) if metric == "cosine" else queries:
        kept = np.arange(len(stored))
        for dims, count in stages.items():
            leading = stored[:, :dims].astype(np.float32)
            leading = rounded(unit(leading) if metric == "cosine" else leading)[kept]
            distances = reference.distances(leading, query[None, :dims], metric)[0]
            kept = np.sort(kept[np.argsort(distances, kind="stable")[:count]])
        distances = reference.distances(stored[kept], query[None], metric)[0]
        found.append(kept[np.argsort(distances, kind="stable")[:k]])
    return np.array(found)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("scheme", ["full", "int8", "float16"])
def test_stages_are_those_of_the_twin(db, vectors, queries, scheme, metric):
    docs = filled(db, vectors, scheme, metric.value)
    stored = np.stack([point.vector for point in docs.get(range(ROWS))])
    for stages in ({6: 40}, {3: 200, 12: 30}):
        found = docs.search(queries, 10, funnel=stages)
        np.testing.assert_array_equal(found.ids, twin(stored, queries, stages, 10, metric.value))
        exact = docs.search(queries, ROWS, exact=True)
        for row in range(len(queries)):
            known = dict(zip(exact.ids[row].tolist(), exact.distances[row].tolist(), strict=True))
            assert [known[i] for i in found.ids[row].tolist()] == found.distances[row].tolist()
    # One query alone is answered as among many.
    np.testing.assert_array_equal(
        docs.search(queries[7], 10, funnel={6: 40}).ids[0], docs.search(queries, 10, funnel={6: 40}).ids[7]
    )


def test_without_numbers_of_rows_the_usual_ones_go_on(db, vectors, queries):
    docs = filled(db, vectors)
    np.testing.assert_array_equal(
        docs.search(queries, 5, funnel=(4, 10)).ids, docs.search(queries, 5, funnel={4: 400, 10: 100}).ids
    )
    np.testing.assert_array_equal(
        docs.search(queries, 20, funnel=[8]).ids, docs.search(queries, 20, funnel={8: 200}).ids
    )


@pytest.mark.parametrize(
    ("scheme", "refine"),
    [({"scheme": "pq", "parts": 20}, "int8"), ("int4", None), ("binary", "full"), ("int8", "full")],
)
def test_any_stored_form_can_be_searched(db, vectors, queries, scheme, refine):
    docs = filled(db, vectors, scheme, refine=refine)
    true = docs.search(queries, 10, exact=True).ids
    found = docs.search(queries, 10, funnel={12: 400, 20: 200}).ids
    assert (found[:, :, None] == true[:, None, :]).any(axis=1).mean() > 0.9


def test_unit_lengths_of_first_dimensions_decide_under_cosine(db):
    angles = np.linspace(0, np.pi, 21)
    rows = np.zeros((21, DIM), np.float32)
    rows[:, 0], rows[:, 1] = np.cos(angles), np.sin(angles)
    # Every other row has most of its length in the last dimension; its direction counts all the same.
    rows[::2, -1] = 40
    docs = filled(db, rows)
    found = docs.search(rows[9], 5, funnel={2: 5}).ids[0]
    assert set(found.tolist()) == {7, 8, 9, 10, 11}
    assert set(docs.search(rows[9], 5).ids[0].tolist()) == {5, 7, 9, 11, 13}


def test_first_dimensions_may_be_all_zeros(db, vectors):
    rows = vectors[:50].copy()
    rows[10:20, :4] = 0
    docs = filled(db, rows)
    found = docs.search(rows[:3], 50, funnel=(4,))
    assert [sorted(row) for row in found.ids.tolist()] == [list(range(50))] * 3
    assert np.isfinite(found.distances).all()


def test_filters_deletes_segments_and_unsealed_rows(db, vectors, queries):
    docs = filled(db, vectors[:1_000])
    docs.insert(np.arange(1_000, 2_000), vectors[1_000:2_000], {"part": np.arange(1_000) % 10})
    docs.flush()
    docs.insert(np.arange(2_000, 2_500), vectors[2_000:2_500], {"part": np.arange(500) % 10})
    docs.delete(ids=np.arange(0, 2_500, 7))
    where = "part = 3"
    true = docs.search(queries, 20, where=where, exact=True)
    found = docs.search(queries, 20, where=where, funnel={15: 150})
    assert (found.ids % 10 == 3).all()
    assert (found.ids % 7 != 0).all()
    assert (found.ids[:, :, None] == true.ids[:, None, :]).any(axis=1).mean() > 0.95
    everything = docs.search(queries, 250, where=where, funnel={2: 1})
    assert (everything.counts == docs.count(where)).all()
    assert (docs.search(queries, 5, where="part = 99", funnel=(2,)).counts == 0).all()


def test_stages_keep_at_least_k_rows(db, vectors, queries):
    docs = filled(db, vectors)
    assert (docs.search(queries, 300, funnel={4: 5, 8: 2}).counts == 300).all()
    assert (docs.search(queries, ROWS + 5, funnel=(4,)).counts == ROWS).all()


@pytest.mark.parametrize(
    ("funnel", "message"),
    [
        ((), "1 to 4"),
        ((3, 4, 5, 6, 7), "1 to 4"),
        ((8, 4), "ascend"),
        ((4, 4), "ascend"),
        ((0,), "1 to"),
        ((4.5,), "integer"),
        ({4: 0}, "1 to"),
        ({4: "all"}, "integer"),
        ("4,8", r"such as \(64, 128\)"),
        (4, r"such as \(64, 128\)"),
        ((4, DIM), "fewer than the 40"),
        ((99,), "fewer than the 40"),
    ],
)
def test_wrong_stages_are_refused(db, vectors, funnel, message):
    docs = filled(db, vectors[:20])
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        docs.search(vectors[0], funnel=funnel)
    assert caught.value.field == "funnel"


@pytest.mark.parametrize("other", [{"ef": 5}, {"recall": 0.9}, {"exact": True}])
def test_a_funnel_is_instead_of_other_efforts(db, vectors, other):
    docs = filled(db, vectors[:20])
    with pytest.raises(InvalidArgumentError, match=f"either funnel or {next(iter(other))}"):
        docs.search(vectors[0], funnel=(4,), **other)


def test_a_funnel_goes_before_the_recall_of_the_settings(db, vectors, queries):
    docs = filled(db, vectors, recall=0.9)
    # A scan for a recall is exact here; this funnel is not.
    assert (docs.search(queries, funnel={1: 10}).ids != docs.search(queries).ids).any()


def test_dimensions_are_copied_once_and_as_many_tables_as_one_search_takes_are_kept(vectors):
    asked = []

    def lookup(rows):
        asked.append(len(rows))
        return vectors[rows]

    tables = LeadingTables(lookup, ROWS, Metric.L2)
    first = tables.of(3)
    assert tables.of(3) is first
    assert sum(asked) == ROWS
    assert first.nbytes == ROWS * (3 + 4)
    for dims in (4, 5, 6):
        tables.of(dims)
    assert tables.of(3) is first
    tables.of(7)
    assert tables.of(3) is first
    tables.of(4)
    assert sum(asked) == 6 * ROWS
