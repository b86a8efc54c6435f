"""Tables on the wire: what a client sends, and what a server refuses."""

from __future__ import annotations

import zlib

import grpc
import numpy as np
import pytest

import vecstore
from tests.server.helpers import serving, stubs
from tests.tables.helpers import DIM, SIZES, constant, frozen, some_ids
from vecstore.schemes.single_field import as_fields_table
from vecstore.v1 import points_pb2, tables_pb2
from vecstore.wire.uploads import CHUNK_BYTES, TableUpload, upload_messages

START, CHUNK = 0, 1


@pytest.fixture
def address(store):
    """Give the address of a server over ``store``, which takes tables of up to 1 MB and 100 ids a call."""
    with serving(store, max_table_bytes=1_000_000, max_rows=100, max_queries=4, max_k=20, max_hits=50) as where:
        yield where


def messages(table=None):
    """Give what stores a table."""
    return list(upload_messages("t", as_fields_table(table or constant(1.0)), 3))


def send(address, requests):
    """Send messages as they are; give the error that comes back, or None."""
    with stubs(address) as bare:
        try:
            bare.tables.Put(iter(requests))
        except grpc.RpcError as error:
            return error
    return None


def test_a_large_table_comes_in_many_chunks(store):
    made = frozen(sizes={"a": 20_000, "b": 3}, seed=4)
    with serving(store) as address, vecstore.connect(address) as remote:
        remote.put_table("large", made)
        ids = some_ids(100, sizes={"a": 20_000, "b": 3})
    assert made.nbytes > 4 * CHUNK_BYTES
    np.testing.assert_array_equal(store.table("large").lookup(ids), made.lookup_fields(ids))


@pytest.mark.parametrize("size", [1, 7, 64, 1_000_000])
def test_chunks_of_any_size_are_put_together(size):
    made = frozen("int8", 0.5)
    start = next(upload_messages("t", made, 3)).start
    data = b"".join(request.chunk.data for request in list(upload_messages("t", made, 3))[CHUNK:])[: made.nbytes]
    upload = TableUpload(start, made.nbytes)
    for place in range(0, len(data), size):
        part = data[place : place + size]
        upload.add(tables_pb2.ArrayChunk(data=part, crc32=zlib.crc32(part)))
    ids = some_ids()
    np.testing.assert_array_equal(upload.finish().lookup_fields(ids), made.lookup_fields(ids))


def change_start(**changes):
    """Give the messages of a table with another announcement."""
    sent = messages()
    for name, value in changes.items():
        setattr(sent[START].start, name, value)
    return sent


def renamed(name, **info):
    """Give the messages of a table with another description of its array."""
    sent = messages()
    array = sent[START].start.arrays[0]
    array.name = name
    for key, value in info.items():
        if key == "shape":
            array.shape[:] = value
        else:
            setattr(array, key, value)
    return sent


def damaged():
    """Give the messages of a table with a byte changed on the way."""
    sent = messages()
    sent[CHUNK].chunk.data = b"\x01" + sent[CHUNK].chunk.data[1:]
    return sent


def with_scheme(text):
    """Give the messages of a table with another scheme."""
    sent = messages()
    sent[START].start.scheme.json = text
    return sent


def twice():
    """Give the messages of a table that announces an array twice."""
    sent = messages()
    sent[START].start.arrays.append(sent[START].start.arrays[0])
    return sent


BAD = {
    "nothing": ([], "must be start"),
    "no start": (messages()[CHUNK:], "must be start"),
    "two starts": (messages()[:1] * 2, "is not a chunk"),
    "no chunks": (messages()[:1], "0 bytes came, 800 were announced"),
    "too many": (messages() + messages()[CHUNK:], "1600 bytes came, 800 were announced"),
    "damaged": (damaged(), "do not match their checksum"),
    "no dim": (change_start(dim=0), "dim: expected 1 to"),
    "other dim": (change_start(dim=5), "do not fit the scheme"),
    "no name": (change_start(name=""), "name: '' cannot be used"),
    "path as name": (change_start(name="../x"), "cannot be used"),
    "keeps none": (change_start(keep=0), "keep: expected"),
    "objects": (renamed("0.rows", dtype="object"), "dtype 'object'; known are"),
    "other array": (renamed("0.codes"), "array 'rows' is missing"),
    "other dtype": (renamed("0.rows", dtype="int32"), "do not fit the scheme"),
    "other shape": (renamed("0.rows", shape=[4, 50]), "do not fit the scheme"),
    "many axes": (renamed("0.rows", shape=[1] * 9 + [200]), "at most 8"),
    "huge": (renamed("0.rows", shape=[2**63, 2**62]), "the limit is 1000000"),
    "twice": (twice(), "a name occurs twice"),
    "a name": (with_scheme('"full"'), "JSON"),
    "other scheme": (with_scheme('{"scheme": "full"}'), "'fields'"),
    "bad fields": (with_scheme('{"scheme": "fields", "fields": [], "parts": []}'), "fields: expected unique names"),
    "unknown part": (
        with_scheme('{"scheme":"fields","fields":[{"name":"a","size":50}],"parts":[{"scheme":{"scheme":"zip"}}]}'),
        "there is no scheme 'zip'",
    ),
    "no part": (
        with_scheme('{"scheme":"fields","fields":[{"name":"a","size":50}],"parts":[{"scheme":{"scheme":"hash"}}]}'),
        "buckets",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_what_is_not_a_sound_table_is_refused(address, store, case):
    requests, message = BAD[case]
    error = send(address, requests)
    assert error is not None
    assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert message in error.details()
    assert store.list_tables() == []
    assert list((store.path / "tables").iterdir()) == []


def test_an_extra_array_is_refused(address):
    sent = messages()
    sent[START].start.arrays.add(name="0.more", dtype="uint8", shape=[4])
    sent.append(tables_pb2.PutTableRequest(chunk=tables_pb2.ArrayChunk(data=b"more", crc32=zlib.crc32(b"more"))))
    assert "804 bytes came, the scheme has 800" in send(address, sent).details()


def test_a_chunk_over_the_limit_is_refused(address):
    data = bytes(2**20 + 1)
    sent = [messages()[START], tables_pb2.PutTableRequest(chunk=tables_pb2.ArrayChunk(data=data, crc32=0))]
    assert "the limit is 1048576" in send(address, sent).details()


def test_a_table_over_the_limit_is_refused_before_it_is_sent(address, store):
    with vecstore.connect(address) as remote, pytest.raises(vecstore.LimitError, match="takes 1000000"):
        remote.put_table("t", frozen(sizes={"a": 20_000}))
    assert store.list_tables() == []


def test_an_upload_that_breaks_off_leaves_nothing(address, store):
    with stubs(address) as bare:

        def half():
            yield messages()[START]
            raise LookupError("the client's own")

        with pytest.raises(grpc.RpcError):
            bare.tables.Put(half())
    assert store.list_tables() == []
    assert list((store.path / "tables").iterdir()) == []


def test_calls_over_a_limit(address, store):
    store.put_table("ctr", frozen())
    with vecstore.connect(address) as remote, stubs(address) as bare:
        table = remote.table("ctr")
        assert table.lookup(some_ids(33)).shape == (33, 3, DIM)
        with pytest.raises(vecstore.LimitError, match="takes 100"):
            table.lookup(some_ids(34))
        lookup = tables_pb2.TableLookup(table="ctr", field="user", ids=bytes(8 * 51))
        with pytest.raises(grpc.RpcError, match="limit is 100"):
            bare.tables.Lookup(tables_pb2.LookupRequest(lookups=[lookup, lookup]))
        for count, k, limit in ((5, 1, 4), (1, 21, 20), (4, 13, 50)):
            with pytest.raises(vecstore.LimitError, match=f"limit is {limit}"):
                table.search(np.ones((count, DIM)), k, field="user")


def test_other_clients_must_say_what_their_ids_are(address, store):
    store.put_table("ctr", frozen())
    with stubs(address) as bare:
        for lookup, message in (
            (tables_pb2.TableLookup(table="ctr", field="user", ids=bytes(7)), "7 bytes are not rows"),
            (tables_pb2.TableLookup(table="ctr", ids=bytes(24)), "set field, or columns"),
            (tables_pb2.TableLookup(table="ctr", ids=bytes(32), columns=3), "32 bytes are not rows"),
            (tables_pb2.TableLookup(table="ctr", ids=bytes(48), columns=2), "one column for each"),
            (tables_pb2.TableLookup(table="", ids=bytes(24), columns=3), "name: '' cannot be used"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                bare.tables.Lookup(tables_pb2.LookupRequest(lookups=[lookup]))
            assert message in caught.value.details()
        with pytest.raises(grpc.RpcError, match="on_unknown: 9 is not known"):
            bare.tables.Lookup(tables_pb2.LookupRequest(on_unknown=9))
        answer = bare.tables.Search(
            tables_pb2.SearchTableRequest(
                table="ctr", field="tag", k=2, queries={"float32": bytes(4 * DIM), "dim": DIM, "count": 1}
            )
        )
        assert isinstance(answer, points_pb2.SearchResponse)
        assert list(answer.counts) == [2]


def test_a_reader_looks_up_and_does_not_write(store, tmp_path):
    read = "read-0123456789abcdef"
    path = tmp_path / "tokens"
    path.write_text(f"read {read}\n")
    store.put_table("ctr", frozen())
    with serving(store, token_file=str(path)) as address, vecstore.connect(address, token=read) as remote:
        table = remote.table("ctr")
        assert remote.list_tables() == ["ctr"]
        assert table.fields == SIZES
        assert table.lookup(some_ids()).shape == (20, 3, DIM)
        assert len(table.search(np.ones(DIM), 3, field="item")[0]) == 3
        assert len(table.versions()) == table.stats().version == 1
        for call in (
            lambda: remote.put_table("new", constant(1.0)),
            lambda: remote.drop_table("ctr"),
            lambda: table.roll_back(1),
        ):
            with pytest.raises(vecstore.PermissionDeniedError, match="needs write"):
                call()
    assert store.list_tables() == ["ctr"]
