"""Errors keep class, code, field and message on their way; nothing bad is written; nothing private leaks."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import vecstore
from tests.server.helpers import DIM, Scripted, raising, rows, serving, stubs
from vecstore.errors import BudgetInfeasible, VecstoreError, error_classes
from vecstore.v1 import collections_pb2, points_pb2
from vecstore.wire.arrays import ids_to_message, vectors_to_message
from vecstore.wire.errors import error_from_status, error_to_status


@pytest.mark.parametrize("code", sorted(set(error_classes()) - {"UNAVAILABLE", "STORE_CLOSED"}))
def test_every_class_crosses_the_wire(code):
    cls = error_classes()[code]
    sent = cls("what, where: 'ä' and what to do", field="some.field")
    with serving(Scripted(list_collections=raising(sent))) as address, pytest.raises(VecstoreError) as caught:
        vecstore.connect(address).list_collections()
    assert type(caught.value) is cls
    assert (str(caught.value), caught.value.field, caught.value.code) == (str(sent), "some.field", code)
    assert isinstance(caught.value, cls.__mro__[2])  # the builtin


@pytest.mark.parametrize("code", ["UNAVAILABLE", "STORE_CLOSED"])
def test_unavailable_is_tried_again_where_that_is_safe(code):
    calls = []

    def answer(result):
        calls.append(result)
        if len(calls) < 3:
            raise error_classes()[code]("not yet")
        return result

    database = Scripted(
        list_collections=lambda: answer(["docs"]),
        drop_collection=lambda name: answer(None),
    )
    with serving(database) as address, vecstore.connect(address) as remote:
        assert remote.list_collections() == ["docs"]
        assert len(calls) == 3
        calls.clear()
        with pytest.raises(error_classes()[code], match="not yet"):
            remote.drop_collection("docs")
        assert len(calls) == 1


def test_a_budget_keeps_its_floor():
    status = error_to_status(BudgetInfeasible("too small", floor=12_345, reachable=(12_345, 20_000)))
    back = error_from_status(status)
    assert isinstance(back, BudgetInfeasible)
    assert (back.floor, back.reachable, back.field) == (12_345, (12_345, 20_000), "budget")


def test_a_code_of_a_later_release_becomes_the_class_of_its_status():
    status = error_to_status(vecstore.InvalidArgumentError("odd"))
    info = error_details_pb2.ErrorInfo(reason="FROM_THE_FUTURE", domain="vecstore")
    status.details[0].Pack(info)
    assert type(error_from_status(status)) is vecstore.InvalidArgumentError


def test_details_of_other_services_are_left_alone():
    status = error_to_status(vecstore.NotFoundError("odd"))
    status.details[0].Pack(error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="elsewhere"))
    assert error_from_status(status) is None


@pytest.mark.parametrize("letter", ["a", "ä", "漢", "\U0001f600", "\ud800"])
def test_long_messages_are_cut_to_fit_the_trailers(letter):
    sent = vecstore.InvalidArgumentError(letter * 100_000, field=letter * 100_000)
    with serving(Scripted(list_collections=raising(sent))) as address, pytest.raises(VecstoreError) as caught:
        vecstore.connect(address).list_collections()
    assert type(caught.value) is vecstore.InvalidArgumentError
    assert str(caught.value).endswith("…")
    assert str(caught.value).startswith("?" if letter == "\ud800" else letter)


def test_other_clients_get_standard_details(address):
    with stubs(address) as bare, pytest.raises(grpc.RpcError) as caught:
        bare.collections.Create(
            collections_pb2.CreateRequest(name="docs", dim=0), metadata=[("x-request-id", "trace-7")]
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert (info.reason, info.domain) == ("INVALID_ARGUMENT", "vecstore")
    assert dict(info.metadata) == {"field": "dim", "request_id": "trace-7"}
    assert bad.field_violations[0].field == "dim"


def test_an_unknown_exception_is_logged_and_not_leaked(caplog):
    database = Scripted(list_collections=raising(ZeroDivisionError("secret /path")))
    with serving(database) as address, pytest.raises(vecstore.InternalError, match="reference") as caught:
        vecstore.connect(address).list_collections()
    assert "secret" not in str(caught.value)
    reference = str(caught.value).split("reference ")[1].split(":")[0]
    record = next(r for r in caplog.records if r.name == "vecstore.server")
    assert reference in record.getMessage()
    assert record.exc_info[0] is ZeroDivisionError


def test_nobody_at_the_address_is_said_with_the_address():
    with serving(Scripted()) as address:
        pass
    with pytest.raises(vecstore.UnavailableError, match=address) as caught:
        vecstore.connect(address)
    assert isinstance(caught.value, ConnectionError)


def test_a_server_of_another_kind_is_said():
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(vecstore.InternalError, match="no vecstore server"):
        vecstore.connect(f"127.0.0.1:{port}")
    server.stop(None).wait()


def test_a_call_past_its_deadline():
    release = threading.Event()
    with serving(Scripted(list_collections=lambda: release.wait(30) and [])) as address:
        with vecstore.connect(address, timeout=0.2) as remote, pytest.raises(vecstore.DeadlineError) as caught:
            remote.list_collections()
        release.set()
    assert isinstance(caught.value, TimeoutError)
    assert address in str(caught.value)


def test_work_that_nobody_waits_for_is_not_begun():
    release, entered, done = threading.Event(), threading.Semaphore(0), []

    def slow():
        entered.release()
        release.wait(30)
        return []

    # Both workers are taken, so the third call waits past its deadline.
    database = Scripted(list_collections=slow, drop_collection=done.append)
    with serving(database, workers=2) as address, stubs(address) as bare:
        blocked = [bare.collections.List.future(collections_pb2.ListRequest()) for _ in range(2)]
        assert all(entered.acquire(timeout=30) for _ in blocked)
        with pytest.raises(grpc.RpcError) as caught:
            bare.collections.Drop(collections_pb2.DropRequest(name="docs"), timeout=0.3)
        release.set()
        for call in blocked:
            call.result(timeout=30)
        bare.collections.List(collections_pb2.ListRequest())
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert done == []


# -- bad arguments of our own client: refused before anything is sent ------------------------------------------


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: c.insert([1], [[1.0]]), "vectors"),
        (lambda c: c.insert([1], np.full((1, DIM), np.nan)), "vectors"),
        (lambda c: c.insert([1, 1], np.ones((2, DIM))), "ids"),
        (lambda c: c.insert([1, "a"], np.ones((2, DIM))), "ids"),
        (lambda c: c.insert([1], np.ones((2, DIM))), "vectors"),
        (lambda c: c.insert([1], np.ones((1, DIM)), {"a": [1, 2]}), "metadata.a"),
        (lambda c: c.insert([1], np.ones((1, DIM)), {"id": [1]}), "metadata.id"),
        (lambda c: c.search(np.ones(DIM), 0), "k"),
        (lambda c: c.search(np.ones(DIM), 2**40), "k"),
        (lambda c: c.search(np.ones(DIM), "many"), "k"),
        (lambda c: c.search(np.ones(DIM), ef=-1), "ef"),
        (lambda c: c.search(np.ones(DIM + 1)), "queries"),
        (lambda c: c.search(np.ones(DIM), columns="lang"), "columns"),
        (lambda c: c.scan(batch_size=0), "batch_size"),
        (lambda c: c.delete(), "ids"),
        (lambda c: c.delete(ids=[1], where="year = 1"), "ids"),
        (lambda c: c.compress(7), "scheme"),
        (lambda c: c.compress({"scheme": object()}), "scheme"),
        # and some that only the server can know
        (lambda c: c.search(np.zeros(DIM)), "queries"),
        (lambda c: c.search(np.ones(DIM), columns=["nothing"]), "columns"),
        (lambda c: c.insert(["a"], np.ones((1, DIM))), "ids"),
        (lambda c: c.insert([1], np.ones((1, DIM)), {"lang": [7]}), "metadata.lang"),
        (lambda c: c.compress("nonsense"), "scheme"),
    ],
)
def test_bad_arguments_name_their_field_and_write_nothing(remote, call, field):
    collection = remote.create_collection("docs", dim=DIM)
    collection.insert([5], np.ones((1, DIM)), {"lang": ["de"]})
    with pytest.raises(vecstore.InvalidArgumentError) as caught:
        call(collection)
    assert caught.value.field == field
    assert collection.count() == 1
    assert collection.stats().columns == {"lang": "string"}


@pytest.mark.parametrize("where", ["lang ~ 3", "", "nothing = 1", "lang = 3", "1 = 1; DROP TABLE docs"])
def test_bad_filters(remote, where):
    collection = remote.create_collection("docs", dim=DIM)
    collection.insert(*rows(5))
    for call in (
        lambda: collection.search(np.ones(DIM), where=where),
        lambda: collection.count(where),
        lambda: collection.delete(where=where),
        lambda: collection.scan(where=where),
    ):
        with pytest.raises(vecstore.FilterError):
            call()
    assert collection.count() == 5


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.create_collection("docs", dim=0),
        lambda d: d.create_collection("docs", dim=2**20),
        lambda d: d.create_collection("docs", dim=3, metric="manhattan"),
        lambda d: d.create_collection("docs", dim=3, scheme="nonsense"),
        lambda d: d.create_collection("docs", dim=3, index="hnsw"),
        lambda d: d.create_collection("../docs", dim=3),
        lambda d: d.create_collection(None, dim=3),
    ],
)
def test_bad_collections_are_not_created(remote, call):
    with pytest.raises(vecstore.InvalidArgumentError):
        call(remote)
    assert remote.list_collections() == []


@pytest.mark.parametrize(
    "call",
    [
        lambda d, c: c.search(np.ones(DIM), 0),
        lambda d, c: c.search(np.ones(DIM), 20_000),
        lambda d, c: c.search(np.ones(DIM), ef=200_000),
        lambda d, c: c.scan(batch_size=2**31),
        lambda d, c: c.search(np.ones(DIM), columns=5),
        lambda d, c: d.create_collection("x", dim=0),
        lambda d, c: d.create_collection("x", dim=True),
        lambda d, c: d.create_collection("x", dim=2.0),
        lambda d, c: d.create_collection("x", dim=70_000),
        lambda d, c: d.create_collection("x", dim=3, metric="euclid"),
        lambda d, c: d.create_collection("x", dim=3, index="hnsw"),
        lambda d, c: d.create_collection("x", dim=3, index={"M": 1}),
    ],
)
def test_embedded_and_remote_refuse_in_the_same_words(store, remote, call):
    store.create_collection("docs", dim=DIM)
    told = []
    for database in (store, remote):
        with pytest.raises(vecstore.InvalidArgumentError) as caught:
            call(database, database.collection("docs"))
        told.append((type(caught.value), str(caught.value), caught.value.field))
    assert told[0] == told[1]


def test_settings_may_come_out_of_numpy(store, remote):
    for name, database in (("near", store), ("far", remote)):
        collection = database.create_collection(name, dim=np.int64(3), index={"M": 4})
        assert type(collection.config.dim) is int
        assert collection.config.index == vecstore.HnswConfig(M=np.int32(4))


def test_values_that_are_none_of_a_few_are_answered_with_those():
    with pytest.raises(vecstore.InvalidArgumentError, match="pass one of 'commit', 'relaxed'"):
        vecstore.StoreConfig(durability="maybe")
    with pytest.raises(vecstore.InvalidArgumentError, match="l2, ip, cosine"):
        vecstore.CollectionConfig(dim=3, scheme={"scheme": "full"}, metric="euclid")


def test_objects_say_what_they_are(store, remote, address, tmp_path):
    store.create_collection("docs", dim=DIM)
    assert repr(store) == f"<EmbeddedDatabase {str(tmp_path / 'store')!r} mode='w'>"
    assert repr(store.collection("docs")) == "<EmbeddedCollection 'docs'>"
    assert repr(remote) == f"<RemoteDatabase {address!r}>"
    assert repr(remote.collection("docs")) == f"<RemoteCollection 'docs' at {address!r}>"


def test_addresses_with_a_scheme(address):
    for target in (f"grpc://{address}", f"grpc://{address}/"):
        with vecstore.connect(target) as remote:
            assert remote.target == address
    for target in (f"http://{address}", "grpc://", "https://x"):
        with pytest.raises(vecstore.InvalidArgumentError, match="speaks gRPC") as caught:
            vecstore.connect(target)
        assert caught.value.field == "target"


@pytest.mark.parametrize(
    "options",
    [{"target": ""}, {"target": None}, {"timeout": 0}, {"timeout": "soon"}, {"token": "two words"}, {"ca": "/nowhere"}],
)
def test_bad_connections(options):
    with pytest.raises(vecstore.InvalidArgumentError) as caught:
        vecstore.connect(**({"target": "localhost:1"} | options))
    assert caught.value.field == next(iter(options))


def test_unknown_collections(remote):
    with pytest.raises(vecstore.NotFoundError, match="docs"):
        remote.collection("docs")
    with pytest.raises(KeyError):
        remote.drop_collection("docs")


# -- messages that our own client never sends ------------------------------------------------------------------


def good_rows(**changes):
    ids, vectors, _ = rows(3)
    parts = {"ids": ids_to_message(ids), "vectors": vectors_to_message(vectors)}
    return points_pb2.Rows(**(parts | changes))


def insert(rows, *, mode=points_pb2.WRITE_MODE_UPSERT, collection="docs"):
    return points_pb2.InsertRequest(collection=collection, mode=mode, rows=rows)


def vectors(**changes):
    message = good_rows().vectors
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def nan_vectors():
    return vectors_to_message(np.full((3, DIM), np.nan, np.float32))


BAD_INSERTS = {
    "no mode": (insert(good_rows(), mode=0), "mode"),
    "unknown mode": (insert(good_rows(), mode=9), "mode"),
    "no rows": (points_pb2.InsertRequest(collection="docs", mode=2), "ids"),
    "no ids": (insert(points_pb2.Rows(vectors=vectors())), "ids"),
    "no vectors": (insert(points_pb2.Rows(ids=good_rows().ids)), "vectors.dim"),
    "half an id": (insert(good_rows(ids={"int64_ids": b"12345"})), "ids.int64_ids"),
    "fewer ids": (insert(good_rows(ids={"int64_ids": bytes(8)})), "vectors"),
    "empty string id": (insert(good_rows(ids={"string_ids": {"values": ["a", "", "b"]}})), "ids"),
    "twice the same id": (insert(good_rows(ids={"int64_ids": bytes(24)})), "ids"),
    "dim 0": (insert(good_rows(vectors=vectors(dim=0))), "vectors.dim"),
    "another dim": (insert(good_rows(vectors=vectors(dim=4, count=6))), "vectors"),
    "too few bytes": (insert(good_rows(vectors=vectors(float32=bytes(7)))), "vectors.float32"),
    "count that overflows": (insert(good_rows(vectors=vectors(count=2**31, dim=2**31))), "vectors.float32"),
    "NaN": (insert(good_rows(vectors=nan_vectors())), "vectors"),
    "no Arrow": (insert(good_rows(metadata_arrow=b"not arrow at all")), "metadata"),
    "empty Arrow": (insert(good_rows(metadata_arrow=b"")), "metadata"),
}


@pytest.fixture
def bare(address, remote):
    """Give bare stubs and a collection ``docs``."""
    remote.create_collection("docs", dim=DIM)
    with stubs(address) as given:
        yield given


def refused(call, status):
    """Make a call that must fail with ``status``; give our exception for it."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() is status, caught.value.details()
    return error_from_status(rpc_status.from_call(caught.value))


@pytest.mark.parametrize("case", BAD_INSERTS)
def test_malformed_inserts_write_nothing(bare, store, case):
    request, field = BAD_INSERTS[case]
    if case == "count that overflows":
        # The number of rows is refused first, whatever the bytes.
        assert refused(lambda: bare.points.Insert(request), grpc.StatusCode.RESOURCE_EXHAUSTED).field == "vectors"
    else:
        assert refused(lambda: bare.points.Insert(request), grpc.StatusCode.INVALID_ARGUMENT).field == field
    assert store.collection("docs").count() == 0


def test_arrow_with_wild_offsets_is_refused(bare, store):
    import pyarrow as pa

    from vecstore.wire.arrays import table_to_bytes

    data = bytearray(table_to_bytes(pa.table({"text": ["abc", "def", "ghi"]})))
    at = bytes(data).index(np.array([0, 3, 6, 9], np.int32).tobytes())
    data[at + 4 : at + 8] = np.array([2**30], np.int32).tobytes()
    request = insert(good_rows(metadata_arrow=bytes(data)))
    assert refused(lambda: bare.points.Insert(request), grpc.StatusCode.INVALID_ARGUMENT).field == "metadata"
    assert store.collection("docs").count() == 0


@pytest.mark.parametrize(
    ("method", "request_", "status"),
    [
        ("Insert", insert(good_rows(), collection="other"), "NOT_FOUND"),
        ("Delete", points_pb2.DeleteRequest(collection="docs"), "INVALID_ARGUMENT"),
        ("Delete", points_pb2.DeleteRequest(collection="docs", ids={}), "INVALID_ARGUMENT"),
        ("Get", points_pb2.GetPointsRequest(collection="docs"), "INVALID_ARGUMENT"),
        ("Count", points_pb2.CountRequest(), "INVALID_ARGUMENT"),
        ("Count", points_pb2.CountRequest(collection="other"), "NOT_FOUND"),
        ("Search", points_pb2.SearchRequest(collection="docs", k=1), "INVALID_ARGUMENT"),
        ("Search", points_pb2.SearchRequest(collection="docs", queries=vectors()), "INVALID_ARGUMENT"),
        ("Search", points_pb2.SearchRequest(collection="docs", k=1, queries=nan_vectors()), "INVALID_ARGUMENT"),
        ("Search", points_pb2.SearchRequest(collection="docs", k=1, queries=vectors(), ef=0), "INVALID_ARGUMENT"),
    ],
)
def test_malformed_requests(bare, method, request_, status):
    error = refused(lambda: getattr(bare.points, method)(request_), grpc.StatusCode[status])
    assert error.status == status


@pytest.mark.parametrize(
    "request_",
    [
        collections_pb2.CreateRequest(name="new", dim=3, metric=77),
        collections_pb2.CreateRequest(name="new", dim=3, scheme={"json": "{"}),
        collections_pb2.CreateRequest(name="new", dim=3, scheme={"json": "[1]"}),
        collections_pb2.CreateRequest(name="new", dim=3, scheme={}),
        collections_pb2.CreateRequest(name="new", dim=3, hnsw={"m": 1}),
    ],
)
def test_malformed_collections(bare, store, request_):
    refused(lambda: bare.collections.Create(request_), grpc.StatusCode.INVALID_ARGUMENT)
    assert store.list_collections() == ["docs"]


def test_defaults_of_other_clients(bare, store):
    bare.collections.Create(collections_pb2.CreateRequest(name="new", dim=3, hnsw={"ef": 99}))
    config = store.collection("new").config
    assert (config.metric, config.scheme["scheme"], config.index.ef, config.index.M) == ("cosine", "full", 99, 16)


@pytest.mark.parametrize("method", ["/vecstore.v1.Points/Insert", "/vecstore.v1.Collections/Create"])
def test_bytes_that_are_no_protobuf(bare, method):
    call = bare.channel.unary_unary(method)
    error = refused(lambda: call(b"\xff\xff\xff"), grpc.StatusCode.INVALID_ARGUMENT)
    assert "protobuf" in str(error)


def test_bytes_that_are_no_protobuf_in_a_stream(bare):
    call = bare.channel.stream_stream("/vecstore.v1.Points/InsertStream")
    refused(lambda: list(call(iter([b"\xff\xff"]))), grpc.StatusCode.INVALID_ARGUMENT)


START = points_pb2.InsertStreamRequest(start={"collection": "docs", "mode": 2})


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [points_pb2.InsertStreamRequest()],
        [points_pb2.InsertStreamRequest(chunk=good_rows())],
        [START, START],
        [START, points_pb2.InsertStreamRequest(chunk={})],
        [points_pb2.InsertStreamRequest(start={"collection": "docs"})],
    ],
)
def test_malformed_streams(bare, store, messages):
    refused(lambda: list(bare.points.InsertStream(iter(messages))), grpc.StatusCode.INVALID_ARGUMENT)
    assert store.collection("docs").count() == 0
