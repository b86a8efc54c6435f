"""Searches that are prepared once: the answers are those of one that prepares everything anew."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import vecstore
from tests import reference
from vecstore import HnswConfig, StoreConfig
from vecstore.index.prepared import Spares
from vecstore.types import Metric

#: Fewer queries than a call has that is scanned.
N_ROWS, DIM, N_QUERIES = 3_000, 20, 20
#: With and without a finer copy; walks that round queries, and walks that do not; bounds that choose what is refined.
KINDS = [
    *(("int8", "float16"), ("int8", None), ("full", None), ("float16", None), ("int4", "int8"), ("int16", "full")),
    *(("rabitq", "int8"), ("rabitq", None)),
]


@pytest.fixture(scope="module")
def rows():
    return reference.clustered(np.random.default_rng(5), N_ROWS + N_QUERIES, DIM)


@pytest.fixture(params=KINDS, ids=str)
def docs(request, rows, tmp_path, metric):
    scheme, refine = request.param
    with vecstore.open(tmp_path / "store", settings=StoreConfig(background=False)) as db:
        index = HnswConfig(M=8, ef_construction=60, ef=30, min_rows=500)
        docs = db.create_collection("docs", dim=DIM, metric=metric, scheme=scheme, refine=refine, index=index)
        docs.insert(np.arange(N_ROWS), rows[:N_ROWS], {"place": np.random.default_rng(6).permutation(N_ROWS)})
        docs.optimize()
        yield docs


@pytest.fixture(params=list(Metric), ids=str)
def metric(request):
    return request.param


def alike(found, expected):
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    np.testing.assert_array_equal(found.counts, expected.counts)


def test_one_query_a_call_answers_as_all_in_one_call(docs, rows):
    queries = rows[N_ROWS:]
    together = docs.search(queries, 5)
    # The first call prepares, the others find it; the settings' ef and one that is given do not mix.
    for _ in range(2):
        for number in range(len(queries)):
            alike(docs.search(queries[number], 5), together[number : number + 1])
    wider = docs.search(queries, 5, ef=35)
    for number in range(len(queries)):
        alike(docs.search(queries[number : number + 1], 5, ef=35), wider[number : number + 1])


def test_searches_are_prepared(docs, rows, monkeypatch):
    docs.search(rows[N_ROWS], 5)
    monkeypatch.setattr("vecstore.preparing._prepared", None)
    docs.search(rows[N_ROWS], 5)


def both_ways(docs, queries, asked):
    """Compare one query a call with all in one, for several arguments in turns."""
    together = [docs.search(queries, **arguments, columns=[]) for arguments in asked]
    for number in range(len(queries)):
        for arguments, expected in zip(asked, together, strict=True):
            alike(docs.search(queries[number], **arguments, columns=[]), expected[number : number + 1])


def test_filters_share_a_search(docs, rows):
    # With ef 1 more than 75 rows are walked, by passing over the others, or stepping over them where few are kept;
    # with ef 30 most filters are scanned. The last has fewer rows than are wanted.
    shares = (0.9, 0.4, 0.12, 0.06, 0.01, 0.0004)
    wheres = [*(f"place < {share * N_ROWS}" for share in shares), "place >= 2400", None]
    both_ways(
        docs, rows[N_ROWS:], [{"k": k, "ef": ef, "where": where} for k, ef in ((1, 1), (5, 30)) for where in wheres]
    )


def test_a_recall_is_aimed_at_either_way(docs, rows):
    both_ways(
        docs, rows[N_ROWS:], [{"k": 5, "recall": 0.9, "where": where} for where in (None, "place < 1500", "place < 90")]
    )


def test_searches_of_many_kinds_do_not_mix(docs, rows):
    kinds = [{"k": k, "ef": 10 + k} for k in range(1, 10)]
    both_ways(
        docs,
        rows[N_ROWS : N_ROWS + 5],
        [*kinds, {"exact": True}, {"funnel": (4, 8)}, {"exact": True, "where": "place < 50"}],
    )


def test_as_many_rows_as_are_wanted_or_hardly_so(docs, rows):
    both_ways(docs, rows[N_ROWS : N_ROWS + 5], [{"k": k, "where": "place < 7"} for k in (6, 7, 8)])


def test_a_walk_that_gives_up_is_followed_by_a_scan(docs, rows):
    # Half of the rows pass, but none of those near the query.
    with_near = docs.search(rows[N_ROWS], N_ROWS // 2, exact=True)
    docs.upsert(np.arange(N_ROWS), rows[:N_ROWS], {"place": np.where(np.isin(np.arange(N_ROWS), with_near.ids), 0, 1)})
    docs.optimize()
    expected = docs.search(rows[[N_ROWS] * 2], 5, where="place = 1", ef=10)
    for _ in range(3):
        alike(docs.search(rows[N_ROWS], 5, where="place = 1", ef=10), expected[:1])
    near = docs.search(rows[N_ROWS], N_ROWS // 10, where="place = 1", exact=True)
    assert np.isin(expected.ids[0], near.ids).all()


@pytest.mark.parametrize("docs", [("int8", "float16")], indirect=True, ids=str)
@pytest.mark.parametrize("metric", [Metric.COSINE], indirect=True, ids=str)
class TestChanges:
    def test_walks_pass_over_deleted_rows(self, docs, rows):
        queries = rows[N_ROWS:]
        docs.delete(where="place < 300")
        both_ways(docs, queries, [{"k": 1, "ef": 10}, {"k": 1, "ef": 10, "where": "place < 2000"}])
        docs.insert(np.arange(5_000, 5_002), queries[:2], {"place": [300, 4_000]})
        both_ways(docs, queries, [{"k": 2, "ef": 10}, {"k": 2, "ef": 10, "where": "place < 2000"}])

    def test_rows_that_come_and_go_are_seen(self, docs, rows):
        query = rows[N_ROWS]
        first = [docs.search(query, 5) for _ in range(3)][-1]
        docs.insert([9_000], query[None], {"place": [N_ROWS]})
        assert docs.search(query, 5).ids[0, 0] == 9_000
        docs.delete(ids=[9_000, int(first.ids[0, 0])])
        np.testing.assert_array_equal(docs.search(query, 5).ids[0, :4], first.ids[0, 1:])

    def test_answers_are_the_callers_own(self, docs, rows):
        found = [docs.search(rows[N_ROWS + number], 5) for number in range(4)]
        copies = [(hits.ids.copy(), hits.distances.copy()) for hits in found]
        for number in range(N_QUERIES):
            docs.search(rows[N_ROWS + number], 5)
        for hits, (ids, distances) in zip(found, copies, strict=True):
            np.testing.assert_array_equal(hits.ids, ids)
            np.testing.assert_array_equal(hits.distances, distances)

    def test_threads_do_not_share_a_search(self, docs, rows):
        queries = rows[N_ROWS:]
        wheres = [None, "place < 1300", "place >= 1300", "place < 100"]
        together = {where: docs.search(queries, 1, ef=10, where=where) for where in wheres}
        failures = []

        def ask(first):
            for number in [*range(first, N_QUERIES), *range(first)] * 5:
                for where, expected in together.items():
                    found = docs.search(queries[number], 1, ef=10, where=where)
                    if not np.array_equal(found.ids, expected.ids[number : number + 1]):
                        failures.append((number, where))

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(0, N_QUERIES, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    @pytest.mark.parametrize("query", [np.zeros(DIM), np.full(DIM, np.nan), np.full(DIM, np.inf), np.zeros(DIM - 1)])
    def test_queries_that_cannot_be_are_refused_as_ever(self, docs, rows, query):
        docs.search(rows[N_ROWS], 5)
        docs.search(rows[N_ROWS], 5)
        with pytest.raises(vecstore.InvalidArgumentError, match="queries"):
            docs.search(query.astype(np.float32), 5)


@pytest.mark.parametrize("metric", [Metric.L2], indirect=True, ids=str)
class TestOthers:
    def test_a_query_whose_square_overflows_is_answered(self, docs, rows):
        for _ in range(2):
            assert docs.search(np.full(DIM, 1e20, np.float32), 5).counts.tolist() == [5]

    def test_rows_without_a_graph_are_scanned(self, tmp_path, metric, rows):
        with vecstore.open(tmp_path / "plain", settings=StoreConfig(background=False)) as db:
            docs = db.create_collection("docs", dim=DIM, metric=metric, scheme="int8", refine="float16", index=None)
            docs.insert(np.arange(N_ROWS), rows[:N_ROWS], {"place": np.arange(N_ROWS)})
            docs.optimize()
            wheres = [None, "place < 2000", "place < 9", "place < 2"]
            both_ways(docs, rows[N_ROWS:], [{"k": 5, "where": where} for where in wheres])

    def test_walks_that_find_too_few_are_followed_by_a_scan(self, tmp_path, metric):
        # Rows that are all alike have links to the first few only, so a walk may end early.
        alike_rows = np.ones((N_ROWS, DIM), np.float32)
        with vecstore.open(tmp_path / "alike", settings=StoreConfig(background=False)) as db:
            index = HnswConfig(M=4, ef_construction=20, min_rows=500)
            docs = db.create_collection("docs", dim=DIM, metric=metric, scheme="int8", index=index)
            docs.insert(np.arange(N_ROWS), alike_rows, {"place": np.arange(N_ROWS)})
            docs.optimize()
            queries = np.random.default_rng(8).standard_normal((4, DIM)).astype(np.float32)
            for where in (None, "place < 2500"):
                for query in queries:
                    found = docs.search(query, 5, ef=5, where=where)
                    assert found.counts.tolist() == [5]
                    assert len(set(found.ids[0].tolist())) == 5


class TestSpares:
    def test_what_is_taken_nobody_else_gets(self):
        spares = Spares(2, 2)
        assert spares.take("a") is None
        spares.give("a", 1)
        assert spares.take("a") == 1
        assert spares.take("a") is None

    def test_only_so_many_are_kept(self):
        spares = Spares(2, 2)
        for number in range(5):
            spares.give("a", number)
        assert [spares.take("a") for _ in range(3)] == [1, 0, None]

    def test_kinds_met_last_stay(self):
        spares = Spares(2, 2)
        for kind in "abc":
            spares.give(kind, kind)
        assert [spares.take(kind) for kind in "abc"] == [None, "b", "c"]
