"""The embedded API by example: every method, and what it says to wrong input."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

import vecstore
from vecstore import (
    AlreadyExistsError,
    FilterError,
    FormatError,
    HnswConfig,
    InvalidArgumentError,
    NotFoundError,
    StoreClosed,
    StoreConfig,
    col,
    schemes,
)

QUIET = StoreConfig(background=False)
POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [3, 3, 3]], np.float32)


@pytest.fixture
def db(tmp_path):
    with vecstore.open(tmp_path / "store", settings=QUIET) as database:
        yield database


@pytest.fixture
def docs(db):
    """A collection of four rows, two of them sealed."""
    docs = db.create_collection("docs", dim=3, metric="l2")
    docs.insert([10, 11], POINTS[:2], {"lang": ["de", "en"], "year": [2001, None]})
    docs.flush()
    docs.insert([12, 13], POINTS[2:], [{"lang": "de", "year": 2015}, {"tags": ["x", "y"]}])
    return docs


def everything(docs):
    """All rows, as plain values."""
    return [row for batch in docs.scan() for row in batch.to_pylist()]


# -- databases ------------------------------------------------------------------------------------------------


def test_collections_are_created_listed_and_dropped(db):
    assert db.list_collections() == []
    db.create_collection("b", dim=2)
    db.create_collection("a", dim=3, metric="ip", scheme="int8", refine="full", index=None)
    assert db.list_collections() == ["a", "b"]
    config = db.collection("a").config
    assert (config.dim, config.metric, config.scheme["scheme"], config.refine["scheme"]) == (3, "ip", "int8", "full")
    db.drop_collection("a")
    assert db.list_collections() == ["b"]


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "x" * 129, "naïve", "a\0", 5, None])
def test_unusable_names_are_refused_everywhere(db, name):
    for use in (
        lambda: db.create_collection(name, dim=2),
        lambda: db.collection(name),
        lambda: db.drop_collection(name),
    ):
        with pytest.raises(InvalidArgumentError, match="1 to 128 letters") as caught:
            use()
        assert caught.value.field == "name"
    assert db.list_collections() == []


def test_missing_and_existing_collections_are_named(db, docs):
    for use in (db.collection, db.drop_collection):
        with pytest.raises(NotFoundError, match=r"'nope'.*list_collections"):
            use("nope")
    with pytest.raises(AlreadyExistsError, match=r"'docs'.*open it with"):
        db.create_collection("docs", dim=3, metric="l2")
    assert db.create_collection("docs", dim=3, metric="l2", exist_ok=True).count() == 4
    with pytest.raises(AlreadyExistsError):
        db.create_collection("docs", dim=4, metric="l2", exist_ok=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "dim"),
        ({"dim": "3"}, "dim"),
        ({"dim": 70_000}, "dim"),
        ({"metric": "hamming"}, "metric"),
        ({"scheme": "zip"}, "zip.*float16"),
        ({"scheme": {"scheme": "int8", "bits": 3}}, "bits"),
        ({"refine": 7}, "scheme"),
        ({"index": {"M": 1}}, "M"),
        ({"index": 5}, "index"),
    ],
)
def test_wrong_settings_create_nothing(db, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        db.create_collection("c", **({"dim": 3} | settings))
    assert db.list_collections() == []


def test_a_dropped_collection_is_gone_also_for_those_who_hold_it(db, docs, tmp_path):
    db.drop_collection("docs")
    for use in (docs.count, lambda: docs.get([10]), docs.optimize, lambda: docs.insert([1], [[0, 0, 0]])):
        with pytest.raises(NotFoundError, match="docs"):
            use()
    assert list((tmp_path / "store" / "segments").iterdir()) == []
    again = db.create_collection("docs", dim=2)
    assert (again.count(), again.config.dim) == (0, 2)


def test_a_closed_database_says_so(db, docs):
    db.close()
    db.close()
    for use in (docs.count, docs.flush, lambda: docs.insert([1], [[0, 0, 0]]), db.list_collections, db.verify):
        with pytest.raises(StoreClosed, match="open it again"):
            use()


def test_only_stores_are_opened(tmp_path):
    with pytest.raises(NotFoundError, match="mode='w'"):
        vecstore.open(tmp_path / "none", mode="r")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FormatError, match="choose another path"):
        vecstore.open(tmp_path)
    with pytest.raises(InvalidArgumentError, match="'w' or 'r'"):
        vecstore.open(tmp_path / "new", mode="a")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    vecstore.open(tmp_path / "deep" / "store").close()
    (tmp_path / "deep" / "store" / "vecstore.json").write_text('{"format": 2}')
    with pytest.raises(FormatError, match=r"format 2.*reads format 1"):
        vecstore.open(tmp_path / "deep" / "store")


# -- writing --------------------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(docs):
    assert everything(docs) == [
        {"id": 10, "vector": [0, 0, 0], "lang": "de", "year": 2001, "tags": None},
        {"id": 11, "vector": [1, 0, 0], "lang": "en", "year": None, "tags": None},
        {"id": 12, "vector": [0, 2, 0], "lang": "de", "year": 2015, "tags": None},
        {"id": 13, "vector": [3, 3, 3], "lang": None, "year": None, "tags": ["x", "y"]},
    ]


def test_every_kind_of_input_is_taken(db):
    docs = db.create_collection("c", dim=2, metric="l2")
    assert docs.insert(np.array([1, 2], np.uint8), [[1, 2], [3, 4]]) == 2
    assert docs.insert(pa.array([3]), np.ones((1, 2), np.float16), pa.table({"a": [1.5]})) == 1
    assert docs.insert(range(4, 6), np.ones((2, 2), np.int32), {"a": np.array([1, 2]), "b": [True, None]}) == 2
    when = dt.datetime(2020, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert docs.upsert((4,), [[9, 9]], [{"t": when, "s": "x"}]) == 1
    assert docs.insert([], []) == 0
    assert docs.stats().columns == {"a": "float64", "b": "bool", "t": "timestamp", "s": "string"}
    assert docs.get([4, 3])[0].metadata == {"a": None, "b": None, "t": when, "s": "x"}


def test_string_ids_of_any_alphabet(db):
    docs = db.create_collection("c", dim=1, metric="l2")
    ids = ["a", "ä", "日本", "a b", "x" * 480, "\0"]
    docs.insert(ids, [[i] for i in range(6)])
    docs.optimize()
    assert [point.id for point in docs.get(ids)] == ids
    assert docs.search([[2]], k=1).ids.tolist() == [["日本"]]
    assert docs.delete(ids=["ä", "none"]) == 1


def test_upsert_replaces_the_whole_row_and_moves_it_to_the_end(docs):
    assert docs.upsert([10, 99], [[5, 5, 5], [6, 6, 6]], {"year": [1, 2]}) == 2
    assert [row["id"] for row in everything(docs)] == [11, 12, 13, 10, 99]
    assert docs.get([10])[0].metadata == {"lang": None, "year": 1, "tags": None}


VECTOR = [[0.0, 0.0, 0.0]]
WRONG_WRITES = {
    "other dim": ([1], [[1, 2]], None, "vectors.*3 dimensions.*got 2"),
    "flat": ([1], [1, 2, 3], None, r"vectors.*two dimensions.*\[3\]"),
    "ragged": ([1, 2], [[1, 2, 3], [1]], None, "vectors.*lengths"),
    "text": ([1], [["a", "b", "c"]], None, "vectors.*expected numbers"),
    "nothing": ([1], None, None, "vectors.*expected numbers"),
    "nan": ([1, 2], [[0, 0, 0], [0, np.nan, 0]], None, "vectors.*row 1.*NaN"),
    "too large": ([1], [[1e39, 0, 0]], None, "vectors.*row 0.*float32"),
    "more vectors": ([1], [[0, 0, 0]] * 2, None, "vectors: 2 rows for 1 ids"),
    "twice": ([1, 2, 1], VECTOR * 3, None, "ids.*1 occurs twice.*position 2"),
    "mixed ids": ([1, "a"], VECTOR * 2, None, "ids.*int, str"),
    "float ids": ([1.0], VECTOR, None, "ids.*float"),
    "bool ids": ([True], VECTOR, None, "ids.*bool"),
    "huge id": ([2**63], VECTOR, None, "ids.*int64"),
    "one id": (7, VECTOR, None, r"ids.*single value 7; pass \[7\]"),
    "one text id": ("ab", VECTOR, None, r"ids.*single value 'ab'; pass \['ab'\]"),
    "empty id": ([""], VECTOR, None, "ids.*position 0 is empty"),
    "long id": (["ü" * 241], VECTOR, None, "ids.*longer than 480 bytes"),
    "surrogate id": (["\ud800"], VECTOR, None, "ids.*surrogate"),
    "other type of ids": (["a"], VECTOR, None, "ids.*int64 ids, got string"),
    "short column": ([1], VECTOR, {"lang": []}, "metadata.*'lang' has 0 values for 1 ids"),
    "text column": ([1], VECTOR, {"lang": "d"}, "metadata.*'lang' must be a sequence"),
    "other type of column": ([1], VECTOR, {"lang": [5]}, "metadata.*'lang' is string.*got int64"),
    "mixed column": ([1, 2], VECTOR * 2, {"x": [1, "a"]}, "metadata.*'x'.*mixed"),
    "unknown type": ([1], VECTOR, {"x": [{"a": 1}]}, "metadata.*'x'.*not stored; use one of"),
    "reserved name": ([1], VECTOR, {"id": [1]}, "metadata.*'id' cannot be used"),
    "fewer rows": ([1], VECTOR, [], "metadata: 0 rows for 1 ids"),
    "no metadata": ([1], VECTOR, 5, "metadata.*got int"),
}


@pytest.mark.parametrize("case", WRONG_WRITES)
def test_wrong_writes_say_what_and_where_and_write_nothing(docs, case):
    ids, vectors, metadata, message = WRONG_WRITES[case]
    before, stats = everything(docs), docs.stats()
    for write in (docs.insert, docs.upsert):
        with pytest.raises(InvalidArgumentError, match=message) as caught:
            write(ids, vectors, metadata)
        assert caught.value.field.split(".")[0] == message.split(".")[0].split(":")[0]
        assert isinstance(caught.value, ValueError)
    assert everything(docs) == before
    assert docs.stats() == stats


def test_insert_refuses_existing_ids_as_a_whole(docs):
    before = everything(docs)
    with pytest.raises(AlreadyExistsError, match=r"2 of 3 exist already, e\.g\. 11.*upsert"):
        docs.insert([98, 11, 13], VECTOR * 3, {"new": [1, 2, 3]})
    assert everything(docs) == before
    assert "new" not in docs.stats().columns


def test_cosine_refuses_rows_without_direction(db):
    docs = db.create_collection("c", dim=2)
    with pytest.raises(InvalidArgumentError, match="row 1 is all zeros"):
        docs.insert([1, 2], [[1, 0], [0, 0]])
    docs.insert([1], [[3, 4]])
    with pytest.raises(InvalidArgumentError, match=r"queries.*zeros"):
        docs.search([[0, 0]])
    assert docs.get([1])[0].vector == pytest.approx([0.6, 0.8])
    assert docs.search([[-30, -40]]).distances[0, 0] == pytest.approx(2)


def test_values_that_a_scheme_cannot_hold_are_refused_at_once(db):
    docs = db.create_collection("c", dim=1, metric="l2", scheme="float16")
    with pytest.raises(InvalidArgumentError, match="65504"):
        docs.insert([1, 2], [[1], [1e5]])
    assert docs.count() == 0


def test_insert_many_reports_progress_batch_by_batch(docs):
    progress = []
    batches = [([1, 2], VECTOR * 2, None), ([2, 3], VECTOR * 2, {"year": [1, 2]})]
    assert docs.insert_many(batches, on_progress=progress.append) == 4
    assert progress == [2, 4]
    assert docs.count() == 7


# -- deleting -------------------------------------------------------------------------------------------------


def test_delete_by_ids_and_by_filter(docs):
    assert docs.delete(ids=[10, 77]) == 1
    assert docs.delete(where="lang = 'de'") == 1
    assert docs.delete(where=col("lang") == "de") == 0
    assert docs.delete(ids=[]) == 0
    assert [row["id"] for row in everything(docs)] == [11, 13]


def test_delete_by_filter_over_segments_and_delta_is_one_commit(db, docs, monkeypatch):
    commits = []
    run = db._commits.run
    monkeypatch.setattr(db._commits, "run", lambda operation: commits.append(operation) or run(operation))
    assert docs.delete(where="lang = 'de'") == 2
    assert len(commits) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of ids and where"),
        ({"ids": [10], "where": "year = 1"}, "exactly one of ids and where"),
        ({"ids": "ab"}, "ids.*single value"),
        ({"ids": [1.5]}, "ids.*float"),
        ({"where": "year >"}, "where"),
        ({"where": "colour = 1"}, "colour.*lang"),
        ({"where": "year = 'x'"}, "year"),
        ({"where": 5}, "where.*int"),
    ],
)
def test_wrong_deletes_delete_nothing(docs, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        docs.delete(**arguments)
    assert docs.count() == 4


# -- reading --------------------------------------------------------------------------------------------------


def test_get_gives_points_in_the_order_asked_for(docs):
    points = docs.get([13, 5, 10, 13], columns=["tags"])
    assert [point and point.id for point in points] == [13, None, 10, 13]
    assert points[0].vector.tolist() == [3, 3, 3]
    assert points[0].metadata == {"tags": ["x", "y"]}
    assert docs.get([10], columns=[], vectors=False) == [vecstore.Point(10, None, {})]
    assert docs.get([]) == []


def test_count_and_scan_take_filters(docs):
    assert docs.count() == 4
    assert docs.count("lang = 'de'") == docs.count(col("lang") == "de") == 2
    assert [row["id"] for b in docs.scan(where="year > 2010", vectors=False) for row in b.to_pylist()] == [12]
    batches = list(docs.scan(batch_size=1, columns=["year"]))
    assert [batch.num_rows for batch in batches] == [1, 1, 1, 1]
    assert batches[0].schema.names == ["id", "vector", "year"]


def test_scan_is_of_the_moment_of_the_call(docs):
    scan = docs.scan(batch_size=1)
    docs.delete(ids=[13])
    docs.insert([50], VECTOR)
    assert [batch.column("id")[0].as_py() for batch in scan] == [10, 11, 12, 13]


def test_search_gives_nearest_first_and_pads(docs):
    hits = docs.search([[0, 0, 0], [3, 3, 2]], k=6)
    assert hits.ids.tolist() == [[10, 11, 12, 13, -1, -1], [13, 12, 11, 10, -1, -1]]
    assert hits.distances[0].tolist() == [0, 1, 4, 27, np.inf, np.inf]
    assert hits.counts.tolist() == [4, 4]
    assert hits[1][0] == vecstore.Hit(13, 1.0, {"lang": None, "year": None, "tags": ["x", "y"]})
    assert docs.search([0, 0, 0], k=2, columns=[]).metadata is None
    assert docs.search([0, 0, 0], k=1, columns=["year"])[0][0].metadata == {"year": 2001}
    assert docs.search([0, 0, 0], where="lang = 'de'", exact=True).ids[0, :2].tolist() == [10, 12]
    assert hits.to_arrow().num_rows == 8


def test_ties_go_to_the_row_written_first(db):
    docs = db.create_collection("c", dim=1, metric="l2")
    docs.insert([3, 1, 2], [[1], [1], [1]])
    docs.flush()
    docs.insert([0], [[1]])
    docs.upsert([3], [[1]])
    for exact in (True, False):
        assert docs.search([[0]], k=4, exact=exact).ids.tolist() == [[1, 2, 0, 3]]


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_an_empty_collection_answers_with_nothing(db, metric):
    docs = db.create_collection("c", dim=2, metric=metric)
    hits = docs.search([[1, 2]], k=3)
    assert (hits.ids.shape, hits.counts.tolist(), len(hits[0])) == ((1, 3), [0], 0)
    assert (docs.count(), docs.get([1]), list(docs.scan()), docs.delete(ids=[1])) == (0, [None], [], 0)
    docs.flush()
    docs.optimize()
    assert docs.compress("float16").rows == 0
    assert docs.stats().rows == 0


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda docs: docs.search([[1, 2]]), "queries.*3 dimensions.*got 2"),
        (lambda docs: docs.search([[1, 2, np.inf]]), "queries.*row 0.*infinity"),
        (lambda docs: docs.search([]), "queries.*none given"),
        (lambda docs: docs.search("abc"), "queries"),
        (lambda docs: docs.search([1, 2, 3], k=0), "k: expected an integer from 1 to 10000, got 0"),
        (lambda docs: docs.search([1, 2, 3], k=2.5), "k: expected an integer.*got 2.5"),
        (lambda docs: docs.search([1, 2, 3], k="3"), "k: expected an integer.*got '3'"),
        (lambda docs: docs.search([1, 2, 3], k=10**6), "k: expected.*10000"),
        (lambda docs: docs.search([1, 2, 3], ef=0), "ef: expected"),
        (lambda docs: docs.search([1, 2, 3], columns=["nope"]), "columns.*'nope'.*lang, tags, year"),
        (lambda docs: docs.search([1, 2, 3], columns="lang"), "columns.*list of names"),
        (lambda docs: docs.search([1, 2, 3], columns=5), "columns.*list of names"),
        (lambda docs: docs.get(10), "ids.*single value"),
        (lambda docs: docs.get([10], columns=["nope"]), "columns.*'nope'"),
        (lambda docs: docs.scan(batch_size=0), "batch_size"),
        (lambda docs: docs.scan(batch_size=True), "batch_size"),
        (lambda docs: docs.scan(columns=["nope"]), "columns.*'nope'"),
    ],
)
def test_wrong_reads_say_what_and_where(docs, read, message):
    with pytest.raises(InvalidArgumentError, match=message):
        read(docs)


@pytest.mark.parametrize("where", ["lang", "lang = 5", "nope = 1", "lang = 'de' AND", "count(*) > 1", 5, True])
def test_wrong_filters_are_refused_by_every_method(docs, where):
    for use in (docs.count, lambda w: docs.scan(where=w), lambda w: docs.search([1, 2, 3], where=w)):
        with pytest.raises(FilterError, match="where"):
            use(where)


# -- upkeep ---------------------------------------------------------------------------------------------------


def test_stats_count_rows_segments_and_bytes(docs, tmp_path):
    docs.delete(ids=[10, 12])
    stats = docs.stats()
    assert (stats.rows, stats.delta_rows, stats.deleted_rows, stats.id_type) == (2, 2, 1, "int64")
    assert stats.columns == {"lang": "string", "year": "int64", "tags": "list<string>"}
    (segment,) = stats.segments
    assert (segment["rows"], segment["deleted"], segment["scheme"], segment["graph"]) == (2, 1, "full", False)
    folder = tmp_path / "store" / "segments" / segment["segment"]
    files = sum(file.stat().st_size for file in folder.iterdir() if file.name != "segment.json")
    assert sum(segment["bytes"].values()) == files
    assert stats.bytes_per_vector["codes"] == 12


def test_optimize_purges_and_builds_the_graph(db):
    docs = db.create_collection("c", dim=2, metric="l2", index=HnswConfig(min_rows=20, M=4))
    for start in range(0, 60, 20):
        docs.insert(range(start, start + 20), [[i, 0] for i in range(start, start + 20)])
        docs.flush()
    docs.delete(ids=range(0, 60, 2))
    docs.optimize()
    stats = docs.stats()
    assert [(s["rows"], s["deleted"], s["graph"]) for s in stats.segments] == [(30, 0, True)]
    assert docs.search([[7, 0]], k=3).ids.tolist() == [[7, 5, 9]]
    assert len(docs._views.current().tombstones.between(0, 1000)) == 0
    generation = docs.stats().generation
    docs.optimize()
    assert docs.stats().generation == generation


def test_compress_switches_the_scheme_and_reports(docs):
    report = docs.compress("int8", refine="full")
    assert report.rows == 4
    assert report.bytes_after > 0
    assert report.relative_error == 0
    assert {s["scheme"] for s in docs.stats().segments} == {"int8"}
    assert docs.get([13])[0].vector.tolist() == [3, 3, 3]
    assert docs.config.refine["scheme"] == "full"
    docs.insert([14], [[0.5, 0, 0]])
    docs.flush()
    assert {s["scheme"] for s in docs.stats().segments} == {"int8"}


def test_transforms_go_on_suiting_queries_after_a_merge(db, rng):
    docs = db.create_collection("suited", dim=12, metric="ip", index=None)
    rows, queries = rng.standard_normal((200, 12)), rng.standard_normal((50, 12)) * np.linspace(0.01, 1, 12)
    docs.insert(np.arange(100), rows[:100])
    docs.compress("full", transform="pca:4", queries=queries, refine="full")
    sketch = docs.config.scheme["queries"]
    docs.insert(np.arange(100, 200), rows[100:])
    docs.optimize()
    codes = docs._views.current().segments[0].source.codes
    assert codes.scheme.queries == sketch
    expected = schemes.from_config(docs.config.scheme).fit(rows.astype(np.float32))
    np.testing.assert_array_equal(codes.lookup(np.arange(200)), expected.lookup(np.arange(200)))
    for wrong in ({"transform": "centre"}, {}):
        with pytest.raises(InvalidArgumentError, match="queries"):
            docs.compress("full", queries=queries, **wrong)
    with pytest.raises(InvalidArgumentError, match="queries"):
        docs.compress("auto", queries=queries)
    assert docs.config.scheme["queries"] == sketch


@pytest.mark.parametrize("scheme", ["zip", {"scheme": "int8", "version": 9}, {}, None, 5])
def test_a_wrong_scheme_compresses_nothing(docs, scheme):
    before = docs.stats()
    with pytest.raises(InvalidArgumentError, match=r"scheme|version"):
        docs.compress(scheme)
    assert docs.stats() == before


def test_everything_is_there_after_opening_again(tmp_path):
    path = tmp_path / "store"
    with vecstore.open(path, settings=QUIET) as database:
        docs = database.create_collection("c", dim=2, metric="ip", index=None)
        docs.insert([1, 2], [[1, 2], [3, 4]], {"a": [1, 2]})
        docs.flush()
        docs.upsert([2, 3], [[5, 6], [7, 8]], {"b": ["x", "y"]})
        docs.delete(ids=[1])
        before = (everything(docs), docs.stats(), docs.config)
    for mode in ("w", "r"):
        with vecstore.open(path, mode=mode, settings=QUIET) as database:
            docs = database.collection("c")
            assert (everything(docs), docs.stats(), docs.config) == before
            assert database.verify() == []


@pytest.mark.parametrize(
    "scheme", [{"scheme": "mgqe", "parts": 7}, {"scheme": "pq", "parts": 7}, {"scheme": "mde", "width": 9}]
)
def test_settings_that_do_not_fit_the_dimensions_are_refused_before_anything_is_written(db, scheme):
    with pytest.raises(InvalidArgumentError, match=r"7 does not divide 8|width"):
        db.create_collection("a", dim=8, scheme=scheme)
    assert db.list_collections() == []
    docs = db.create_collection("a", dim=8)
    docs.insert(np.arange(3), np.eye(3, 8, dtype=np.float32))
    for settings in ({"scheme": scheme}, {"scheme": "int8", "refine": scheme}):
        with pytest.raises(InvalidArgumentError, match=r"7 does not divide 8|width"):
            docs.compress(**settings)
    assert docs.config.scheme["scheme"] == "full"
