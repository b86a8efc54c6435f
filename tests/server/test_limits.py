"""Limits are stated, kept before storage is touched, and never split what was promised to be whole."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore
from tests.server.helpers import DIM, rows, serving, stubs
from vecstore.v1 import admin_pb2, points_pb2
from vecstore.wire.arrays import ids_to_message, vectors_to_message

SMALL = {
    "max_message_bytes": 65_536,
    "max_rows": 100,
    "max_queries": 4,
    "max_k": 20,
    "max_hits": 50,
    "max_table_bytes": 5_000,
}


@pytest.fixture
def small(store):
    """Give a remote database with small limits, and its address."""
    with serving(store, **SMALL) as address, vecstore.connect(address) as remote:
        remote.create_collection("docs", dim=DIM).insert(*rows(30))
        yield remote, address


def test_limits_are_stated(small):
    with stubs(small[1]) as bare:
        limits = bare.admin.Info(admin_pb2.InfoRequest()).limits
    assert {name.name: value for name, value in limits.ListFields()} == SMALL


def test_an_insert_over_the_limit_is_refused_whole(small, store):
    docs = small[0].collection("docs")
    for write in (docs.insert, docs.upsert):
        with pytest.raises(vecstore.LimitError, match=r"takes 100.*insert_many"):
            write(*rows(101, first=1000))
    wide = {"text": ["x" * 3_000] * 30}
    with pytest.raises(vecstore.LimitError, match=r"takes 65536.*insert_many"):
        docs.insert(np.arange(1000, 1030), np.ones((30, DIM)), wide)
    assert store.collection("docs").count() == 30


def test_insert_many_keeps_within_the_limits(small, store):
    assert small[0].collection("docs").insert_many([rows(950, first=1000)]) == 950
    assert store.collection("docs").count() == 980


@pytest.mark.parametrize(
    ("count", "k", "limit"), [(5, 1, "limit is 4"), (1, 21, "limit is 20"), (4, 13, "limit is 50")]
)
def test_searches_over_a_limit(small, count, k, limit):
    docs = small[0].collection("docs")
    with pytest.raises(vecstore.LimitError, match=limit):
        docs.search(np.ones((count, DIM)), k)
    assert len(docs.search(np.ones((4, DIM)), 12)) == 4


def test_reads_and_deletes_over_a_limit(small):
    docs = small[0].collection("docs")
    for call in (docs.get, lambda ids: docs.delete(ids=ids)):
        with pytest.raises(vecstore.LimitError, match="limit is 100"):
            call(np.arange(101))
    assert docs.count() == 30


def test_a_reply_over_the_limit(store, small):
    docs = store.collection("docs")
    docs.upsert(np.arange(30), np.ones((30, DIM)), {"text": ["y" * 5_000] * 30})
    far = small[0].collection("docs")
    for call in (lambda: far.get(np.arange(30)), lambda: far.search(np.ones(DIM), 20)):
        with pytest.raises(vecstore.LimitError, match="fewer rows or columns"):
            call()
    assert len(far.get(np.arange(30), columns=["year"])) == 30


def test_messages_over_the_limit_are_refused_by_the_transport(small, store):
    with stubs(small[1]) as bare:
        request = points_pb2.CountRequest(collection="docs", where="x" * 200_000)
        with pytest.raises(Exception, match="larger than max"):
            bare.points.Count(request)
    with pytest.raises(vecstore.LimitError, match="larger than max"):
        small[0].collection("docs").count("x" * 200_000)


def test_other_clients_meet_the_same_limits(small, store):
    ids, vectors, _ = rows(101, first=1000)
    message = points_pb2.Rows(ids=ids_to_message(ids), vectors=vectors_to_message(vectors))
    with stubs(small[1]) as bare:
        with pytest.raises(Exception, match="limit is 100"):
            bare.points.Insert(points_pb2.InsertRequest(collection="docs", mode=2, rows=message))
        messages = [
            points_pb2.InsertStreamRequest(start={"collection": "docs", "mode": 2}),
            points_pb2.InsertStreamRequest(chunk=message),
        ]
        with pytest.raises(Exception, match="limit is 100"):
            list(bare.points.InsertStream(iter(messages)))
    assert store.collection("docs").count() == 30


def test_wide_rows_are_scanned_in_parts(store):
    docs = store.create_collection("wide", dim=60_000, index=None)
    vectors = np.random.default_rng(3).standard_normal((40, 60_000)).astype(np.float32)
    docs.insert(np.arange(40), vectors)
    with serving(store) as address, vecstore.connect(address) as remote:
        batches = list(remote.collection("wide").scan(batch_size=40))
    assert len(batches) > 1
    assert [i for b in batches for i in b.column("id").to_pylist()] == list(range(40))
    found = np.concatenate([b.column("vector").flatten().to_numpy().reshape(-1, 60_000) for b in batches])
    np.testing.assert_array_equal(found, np.stack([p.vector for p in docs.get(np.arange(40))]))
