"""Ids and queries of every kind, and handles of collections that were dropped."""

from __future__ import annotations

import array
import enum

import numpy as np
import pyarrow as pa
import pytest

import vecstore
from vecstore import InvalidArgumentError, NotFoundError, StoreConfig
from vecstore.storage.tombstones import Tombstones
from vecstore.types import as_ids, as_queries

QUIET = StoreConfig(background=False)
VECTOR = [[1.0, 2.0]]


class Color(str, enum.Enum):  # noqa: UP042 - str() of this kind is not its text, unlike that of StrEnum
    RED = "red"


@pytest.fixture
def db(tmp_path):
    with vecstore.open(tmp_path / "store", settings=QUIET) as database:
        yield database


# -- ids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (list(np.array(["a", "b"])), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (["a", np.str_("b\0"), Color.RED], ["a", "b\0", "red"]),
        ([np.int8(1), 2, np.uint64(3)], [1, 2, 3]),
        (np.array([1, 2], object), [1, 2]),
        ([-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        (range(3), [0, 1, 2]),
        ([], []),
        (pa.array(["x"]), ["x"]),
    ],
)
def test_ids_of_all_kinds_are_taken(ids, expected):
    found = as_ids(ids).tolist()
    assert found == expected
    assert all(type(value) in (int, str) for value in found)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([True, 5], "got bool, int"),
        ([np.True_, 5], "got bool, int"),
        (np.array([True, 5], object), "got bool, int"),
        ([2**70], f"{2**70} does not fit int64"),
        ([1, -(2**63) - 1], f"{-(2**63) - 1} does not fit int64"),
        ([2**63, -1], f"{2**63} does not fit int64"),
        ([np.uint64(2**63)], f"{2**63} does not fit int64"),
        (np.array([2**63], np.uint64), f"{2**63} does not fit int64"),
        ([1, None], "got NoneType, int"),
        ([1, "a"], "got int, str"),
        ([1, 2.0], "got float64"),
        ([[1], [2]], "one dimension"),
        (np.array([["a"]]), "one dimension"),
        ([b"a"], "expected all int64 or all str"),
    ],
)
def test_what_cannot_be_an_id_is_named(ids, message):
    with pytest.raises(InvalidArgumentError, match=message):
        as_ids(ids)


@pytest.mark.parametrize(("own", "other", "types"), [([1], ["1"], "int64 ids, got string"), (["1"], [1], "got int64")])
def test_ids_of_the_other_type_are_refused_by_every_method(db, own, other, types):
    docs = db.create_collection("docs", dim=2)
    assert (docs.get(other), docs.delete(ids=other)) == ([None], 0)
    docs.insert(own, VECTOR)
    uses = (lambda: docs.get(other), lambda: docs.delete(ids=other), lambda: docs.insert(other, VECTOR))
    for use in uses:
        with pytest.raises(InvalidArgumentError, match=types) as caught:
            use()
        assert caught.value.field == "ids"
    assert (docs.get([]), docs.delete(ids=[]), docs.count()) == ([], 0, 1)


# -- queries --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        [1, 2],
        (1.0, 2.0),
        range(1, 3),
        np.array([1, 2], np.int8),
        array.array("f", [1, 2]),
        pa.array([1.0, 2.0]),
        pa.chunked_array([[1.0], [2.0]]),
        [np.array(1.0), np.array(2.0)],
    ],
)
def test_one_query_may_be_any_flat_sequence(query):
    assert as_queries(query, dim=2).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ([], "none given"),
        ([1], "expected 2 dimensions a row, got 1"),
        ([[1, 2], [3]], "different lengths"),
        (5, r"two dimensions.*got shape \[\]"),
        (["a", "b"], "expected numbers"),
    ],
)
def test_wrong_queries_say_what_is_wrong(queries, message):
    with pytest.raises(InvalidArgumentError, match=message):
        as_queries(queries, dim=2)


# -- handles --------------------------------------------------------------------------------------------------


def test_a_handle_never_speaks_for_the_successor_of_its_collection(db):
    old = db.create_collection("docs", dim=2)
    old.insert([1], VECTOR)
    db.drop_collection("docs")
    new = db.create_collection("docs", dim=3, metric="l2")
    new.insert(["a"], [[1, 2, 3]])
    uses = (
        lambda: old.config,
        lambda: old.insert([2], VECTOR),
        lambda: old.get([1]),
        lambda: old.delete(ids=[1]),
        lambda: old.search(VECTOR),
        lambda: old.count(),
    )
    for use in uses:
        with pytest.raises(NotFoundError, match=r"'docs' was dropped"):
            use()
    assert (new.count(), new.config.dim) == (1, 3)


# -- views ----------------------------------------------------------------------------------------------------


def test_a_commit_without_deletions_does_not_go_through_the_tombstones(db, monkeypatch):
    docs = db.create_collection("docs", dim=2, metric="l2")
    docs.insert(range(4), VECTOR * 4)
    docs.flush()
    docs.insert(range(4, 8), VECTOR * 4)
    docs.delete(ids=[0, 5])
    asked = []
    between = Tombstones.between
    monkeypatch.setattr(Tombstones, "between", lambda *args: asked.append(1) or between(*args))
    assert docs.search(VECTOR, 10).counts.tolist() == [6]
    asked.clear()
    docs.insert([8], VECTOR)
    assert sorted(docs.search(VECTOR, 10).ids[0].tolist()) == [-1, -1, -1, 1, 2, 3, 4, 6, 7, 8]
    assert not asked
    docs.delete(ids=[8])
    docs.upsert([1], VECTOR)
    assert sorted(docs.search(VECTOR, 10).ids[0].tolist()) == [-1, -1, -1, -1, 1, 2, 3, 4, 6, 7]
    docs.flush()
    docs.insert([9], VECTOR)
    assert sorted(docs.search(VECTOR, 10).ids[0].tolist()) == [-1, -1, -1, 1, 2, 3, 4, 6, 7, 9]
