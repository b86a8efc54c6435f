"""Every call through a real server gives what the embedded store gives."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

import vecstore
from tests.server.helpers import DIM, rows
from vecstore.api import Collection, Database
from vecstore.config import HnswConfig
from vecstore.filters import col
from vecstore.wire.records import report_from_message, report_to_message


@pytest.fixture
def pair(store, remote):
    """Give one filled collection twice: embedded and remote."""
    far = remote.create_collection("docs", dim=DIM, metric="l2")
    assert far.insert(*rows(50)) == 50
    return store.collection("docs"), far


def assert_same_hits(left, right):
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.distances, right.distances)
    np.testing.assert_array_equal(left.counts, right.counts)
    assert (left.ids.dtype, left.distances.dtype, left.counts.dtype) == (
        right.ids.dtype,
        right.distances.dtype,
        right.counts.dtype,
    )
    assert left.to_arrow().to_pylist() == right.to_arrow().to_pylist()


def assert_same_points(left, right):
    assert [p is None for p in left] == [p is None for p in right]
    for a, b in zip(left, right, strict=True):
        if a is not None:
            assert (a.id, a.metadata) == (b.id, b.metadata)
            np.testing.assert_array_equal(a.vector, b.vector)


def test_remote_objects_implement_the_protocols(pair, remote):
    assert isinstance(remote, Database)
    assert isinstance(pair[1], Collection)
    assert remote.version == vecstore.__version__


def test_collections_are_created_listed_and_dropped(store, remote):
    remote.create_collection("b", dim=3)
    made = remote.create_collection(
        "a",
        dim=4,
        metric="ip",
        scheme="int8",
        refine={"scheme": "float16"},
        index=HnswConfig(M=8, ef=33, builder="hnswlib"),
    )
    assert remote.list_collections() == ["a", "b"] == store.list_collections()
    assert made.name == "a"
    assert made.config == store.collection("a").config
    assert made.config.index == HnswConfig(M=8, ef=33, builder="hnswlib")
    assert remote.collection("b").config == store.collection("b").config
    remote.drop_collection("b")
    assert remote.list_collections() == ["a"]


def test_no_index_is_not_the_default_index(remote):
    assert remote.create_collection("exact", dim=3, index=None).config.index is None
    assert remote.create_collection("graph", dim=3).config.index == HnswConfig()


def test_exist_ok_gives_the_existing_collection(remote):
    remote.create_collection("docs", dim=3).insert([1], [[1, 0, 0]])
    assert remote.create_collection("docs", dim=3, exist_ok=True).count() == 1
    with pytest.raises(vecstore.AlreadyExistsError):
        remote.create_collection("docs", dim=3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 3, "where": "lang = 'de' AND year >= 2015"},
        {"k": 3, "where": col("lang") == "en"},
        {"k": 7, "exact": True, "columns": ["year"]},
        {"k": 7, "columns": []},
        {"k": 200, "ef": 300},
        {"k": 3, "recall": 0.9},
        {"k": 3, "recall": 1},
        {"k": 3, "funnel": (2, 3)},
        {"k": 3, "funnel": {2: 10, 3: None}, "where": "year > 3"},
        {"k": 5, "where": "year > 9000"},
    ],
)
def test_search(pair, options):
    near, far = pair
    queries = np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)
    assert_same_hits(far.search(queries, **options), near.search(queries, **options))
    assert_same_hits(far.search(queries[0].tolist(), **options), near.search(queries[0], **options))


def test_search_for_a_recall(store, remote):
    far = remote.create_collection("many", dim=DIM, metric="l2", scheme="binary", refine="int8", index=None)
    far.insert(*rows(600))
    assert far.stats() == store.collection("many").stats()
    far.optimize()
    assert far.stats() == store.collection("many").stats()
    assert far.stats().segments[0]["calibration"]["scan"]
    queries = np.random.default_rng(1).standard_normal((4, DIM)).astype(np.float32)
    for recall in (0.5, 0.9):
        assert_same_hits(far.search(queries, recall=recall), store.collection("many").search(queries, recall=recall))
    with pytest.raises(vecstore.InvalidArgumentError, match="recall"):
        far.search(queries, recall=0.9, ef=20)


def test_a_scheme_that_is_chosen_by_itself(store, remote):
    far = remote.create_collection("chosen", dim=DIM, metric="l2", scheme={"scheme": "auto", "target_recall": 0.8})
    assert far.config == store.collection("chosen").config
    assert far.config.scheme["scheme"] == "auto"
    far.insert(*rows(1_000))
    far.flush()
    assert far.config == store.collection("chosen").config
    assert far.config.scheme["scheme"] != "auto"
    assert far.config.recall is not None
    assert far.compress("auto").rows == 1_000
    with pytest.raises(vecstore.InvalidArgumentError, match="auto"):
        far.compress("auto", refine="int8")
    with pytest.raises(vecstore.InvalidArgumentError, match="recall"):
        remote.create_collection("wrong", dim=DIM, recall=2)
    assert remote.create_collection("aims", dim=DIM, recall=0.9).config.recall == 0.9


def test_get_keeps_order_gaps_and_choices(pair):
    near, far = pair
    assert_same_points(far.get([3, 999, 1]), near.get([3, 999, 1]))
    assert_same_points(far.get([999]), [None])
    assert far.get([]) == []
    chosen = far.get([4, 5], columns=["lang"], vectors=False)
    assert [(p.id, p.vector, p.metadata) for p in chosen] == [(4, None, {"lang": "en"}), (5, None, {"lang": None})]
    assert far.get([4], columns=[], vectors=False)[0].metadata == {}


def test_string_ids_and_every_column_type(store, remote):
    metadata = pa.table(
        {
            "flag": [True, None],
            "count": [1, 2],
            "weight": [1.0, None],
            "text": ["ä", ""],
            "when": [datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC), None],
            "tags": [["x", "y"], []],
        }
    )
    far = remote.create_collection("docs", dim=3, metric="cosine")
    far.upsert(["müller", "b"], [[3, 0, 4], [0, 1, 0]], metadata)
    near = store.collection("docs")
    assert_same_points(far.get(["b", "nobody", "müller"]), near.get(["b", "nobody", "müller"]))
    assert_same_hits(far.search([1, 0, 0], 5), near.search([1, 0, 0], 5))
    assert far.get(["müller"])[0].metadata == metadata.slice(0, 1).to_pylist()[0]
    np.testing.assert_allclose(far.get(["müller"])[0].vector, [0.6, 0, 0.8], rtol=1e-6)
    assert far.stats().id_type == "string"


def test_search_of_an_empty_collection(store, remote):
    far = remote.create_collection("docs", dim=3)
    assert_same_hits(far.search([1, 0, 0], 5), store.collection("docs").search([1, 0, 0], 5))


def test_insert_refuses_what_exists_and_upsert_replaces(pair):
    near, far = pair
    with pytest.raises(vecstore.AlreadyExistsError):
        far.insert([100, 7], np.ones((2, DIM)))
    assert near.count() == 50
    assert far.upsert([100, 7], np.ones((2, DIM)), [{"lang": "fr"}, {"lang": "it"}]) == 2
    assert near.count() == 51
    assert near.get([7])[0].metadata["lang"] == "it"


def test_count_and_delete(pair):
    near, far = pair
    assert far.count() == 50
    assert far.count("lang = 'de'") == near.count("lang = 'de'") == 17
    assert far.delete(ids=[0, 1, 999]) == 2
    assert far.delete(where=col("year") >= 2040) == 10
    assert far.delete(ids=[]) == 0
    assert near.count() == far.count() == 38


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 7},
        {"where": "lang = 'de'", "columns": ["year"], "vectors": False},
        {"columns": [], "batch_size": 49},
        {"where": "year > 9000"},
    ],
)
def test_scan(pair, options):
    near, far = pair
    expected, found = list(near.scan(**options)), list(far.scan(**options))
    assert [b.to_pydict() for b in found] == [b.to_pydict() for b in expected]
    assert [b.schema for b in found] == [b.schema for b in expected]


def test_scan_is_of_the_moment_of_the_call_and_checks_at_once(pair):
    far = pair[1]
    batches = far.scan(batch_size=10)
    far.delete(ids=np.arange(50))
    assert sum(batch.num_rows for batch in batches) == 50
    with pytest.raises(vecstore.InvalidArgumentError, match="nothing"):
        far.scan(columns=["nothing"])


def test_scans_left_half_way_free_their_place(pair):
    far = pair[1]
    for _ in range(6):  # more than the server runs at once
        batches = far.scan(batch_size=1)
        next(batches)
        batches.close()
    far.flush()
    assert far.count() == 50


def test_insert_many_streams_in_chunks(pair):
    near, far = pair
    seen = []
    batches = [rows(40_000, first=1_000), rows(10, first=100_000), (np.array([], np.int64), np.empty((0, DIM)), None)]
    assert far.insert_many(iter(batches), on_progress=seen.append) == 40_010
    assert near.count() == 40_060
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == 40_010
    ids, vectors, _ = batches[0]
    np.testing.assert_array_equal(near.get([ids[-1]])[0].vector, vectors[-1])
    assert near.get([ids[-1]])[0].metadata == {"lang": "en", "year": int(ids[-1]) + 2000, "score": ids[-1] / 7}


def test_insert_many_says_what_is_stored_when_it_fails(pair):
    near, far = pair
    with pytest.raises(vecstore.AlreadyExistsError) as caught:
        far.insert_many([rows(5, first=200), rows(5, first=48), rows(5, first=300)], upsert=False)
    assert caught.value.__notes__ == ["5 rows of earlier chunks were acknowledged and are stored"]
    assert near.count() == 55


def test_errors_of_the_callers_iterator_reach_the_caller(pair):
    def batches():
        yield rows(5, first=200)
        raise LookupError("the caller's own")

    for collection in pair:
        before = collection.count()
        with pytest.raises(LookupError, match="the caller's own") as caught:
            collection.insert_many(batches())
        assert caught.value.__notes__[0].startswith("5 rows ")
        assert collection.get([204])[0] is not None
        collection.delete(ids=range(200, 205))
        assert collection.count() == before
    with pytest.raises(vecstore.InvalidArgumentError, match="dimensions"):
        pair[1].insert_many([([1], [[1.0]], None)])


def _failing(error):
    def progress(rows):
        raise error

    return progress


@pytest.mark.parametrize("which", [0, 1])
def test_insert_many_keeps_the_batches_before_a_bad_one(pair, which):
    collection = pair[which]
    for bad, message in [
        (([1_001], [[1.0]], None), "dimensions"),
        ((1_001, 1_002), "2 values"),
        ("abc", "str"),
        (([1_001], np.ones((1, DIM)), {"id": [1]}), "column name"),
    ]:
        with pytest.raises(vecstore.InvalidArgumentError, match=message) as caught:
            collection.insert_many([rows(3, first=500), bad, rows(3, first=600)])
        assert caught.value.__notes__[0].startswith("3 rows ")
        assert collection.delete(ids=range(500, 503)) == 3
        assert collection.get([600]) == [None]
    with pytest.raises(vecstore.InvalidArgumentError, match="batches"):
        collection.insert_many(None)


@pytest.mark.parametrize("which", [0, 1])
def test_an_error_of_on_progress_comes_with_the_rows_stored(pair, which):
    with pytest.raises(LookupError, match="enough") as caught:
        pair[which].insert_many([rows(3, first=500)], on_progress=_failing(LookupError("enough")))
    assert caught.value.__notes__[0].startswith("3 rows ")
    assert pair[which].count() == 53


def test_an_interrupt_of_insert_many_is_noted(pair):
    for collection in pair:
        with pytest.raises(KeyboardInterrupt) as caught:
            collection.insert_many([rows(3, first=500)], on_progress=_failing(KeyboardInterrupt()))
        assert caught.value.__notes__[0].startswith("3 rows ")


def test_insert_many_into_a_dropped_collection(pair, remote):
    remote.drop_collection("docs")
    with pytest.raises(vecstore.NotFoundError):
        pair[1].insert_many([])


def test_flush_optimize_compress_and_stats(pair):
    near, far = pair
    far.flush()
    assert far.stats() == near.stats()
    assert far.stats().delta_rows == 0
    assert far.stats().columns == {"lang": "string", "year": "int64", "score": "float64"}
    far.delete(ids=[1])
    far.optimize()
    assert far.stats().deleted_rows == 0
    report = far.compress("int8", refine="float16")
    assert report.rows == 49
    assert report.bytes_before > 0
    assert report.seconds > 0
    assert 0.99 < report.cosine <= 1
    assert far.config.scheme["scheme"] == "int8" == near.stats().segments[0]["scheme"]
    assert far.stats() == near.stats()


def test_queries_that_transforms_are_to_suit_reach_the_server(remote, store, rng):
    far = remote.create_collection("suited", dim=DIM, metric="ip")
    near = store.collection("suited")
    far.compress("int8", transform="pca:2", queries=rng.standard_normal((20, DIM)))
    assert near.config.scheme["transform"] == "pca:2"
    assert near.config.scheme["queries"].startswith(f"{DIM}:")
    assert far.config == near.config
    with pytest.raises(vecstore.InvalidArgumentError, match="queries"):
        far.compress("int8", transform="pca:2", queries=rng.standard_normal((20, DIM + 1)))


def test_a_server_that_is_too_old_for_the_cosine_gives_none():
    message = report_to_message(vecstore.CompressReport(3, 20, 10, 0.5, 1.0))
    assert report_from_message(type(message).FromString(message.SerializeToString())).cosine is None


def test_verify_gives_the_problems(store, remote):
    assert remote.verify() == []


def test_a_closed_connection_says_so(remote, pair):
    remote.close()
    remote.close()
    for call in (pair[1].count, remote.list_collections, lambda: pair[1].scan()):
        with pytest.raises(vecstore.StoreClosed, match="connect again"):
            call()
