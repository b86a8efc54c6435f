"""Tokens, roles and TLS."""

from __future__ import annotations

import logging
import shutil
import subprocess

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import vecstore
from tests.server.helpers import DIM, rows, serving, stubs
from vecstore.v1 import admin_pb2, collections_pb2, points_pb2, tables_pb2
from vecstore_server import ServerSettings, VecstoreServer
from vecstore_server.auth import READ_METHODS, Role, Tokens
from vecstore_server.guard import LONG_METHODS
from vecstore_server.server import SERVICES

READ, WRITE = "read-0123456789abcdef", "write-0123456789abcdef"
METHODS = {
    f"/{service.full_name}/{method.name}"
    for module in (collections_pb2, points_pb2, tables_pb2, admin_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@pytest.fixture
def guarded(store, tmp_path):
    """Give the address of a server that asks for tokens."""
    store.create_collection("docs", dim=DIM).insert(*rows(5))
    path = tmp_path / "tokens"
    path.write_text(f"# who\n\nread {READ}\n  write   {WRITE}  \n")
    with serving(store, token_file=str(path)) as address:
        yield address


@pytest.mark.parametrize("token", [None, "wrong-0123456789abcdef", READ[:-1], READ + "x"])
def test_without_a_known_token_nothing_is_answered(guarded, token):
    with pytest.raises(vecstore.AuthenticationError):
        vecstore.connect(guarded, token=token)


def test_every_call_asks_for_a_token(guarded):
    with stubs(guarded) as bare:
        for method in sorted(METHODS):
            call = bare.channel.unary_stream(method)
            with pytest.raises(grpc.RpcError) as caught:
                list(call(b""))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED, method


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", f"Basic {WRITE}", WRITE])
def test_other_authorization_is_refused(guarded, header):
    with stubs(guarded) as bare, pytest.raises(grpc.RpcError) as caught:
        bare.admin.Info(admin_pb2.InfoRequest(), metadata=[("authorization", header)])
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_reader_reads_and_does_not_write(guarded, store):
    with vecstore.connect(guarded, token=READ) as remote:
        docs = remote.collection("docs")
        assert remote.list_collections() == ["docs"]
        assert remote.verify() == []
        assert docs.count() == 5 == len(docs.search([1] * DIM, 5)[0]) == len(docs.get(range(5)))
        assert sum(b.num_rows for b in docs.scan()) == docs.stats().rows == 5
        for call in (
            lambda: docs.insert([9], [[1] * DIM]),
            lambda: docs.upsert([9], [[1] * DIM]),
            lambda: docs.insert_many([([9], [[1] * DIM], None)]),
            lambda: docs.delete(ids=[1]),
            docs.flush,
            docs.optimize,
            lambda: docs.compress("int8"),
            lambda: remote.create_collection("new", dim=3),
            lambda: remote.drop_collection("docs"),
        ):
            with pytest.raises(vecstore.PermissionDeniedError, match="needs write"):
                call()
    assert store.collection("docs").count() == 5


def test_a_writer_writes(guarded):
    with vecstore.connect(guarded, token=WRITE) as remote:
        assert remote.collection("docs").insert([9], [[1] * DIM]) == 1
        assert remote.collection("docs").count() == 6


def test_health_needs_no_token(guarded):
    with stubs(guarded) as bare:
        answer = health_pb2_grpc.HealthStub(bare.channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_the_tables_of_methods_name_real_methods():
    assert METHODS >= READ_METHODS
    assert METHODS >= LONG_METHODS
    assert {method.split("/")[1] for method in METHODS} == set(SERVICES)


def test_tokens_are_not_kept_as_text():
    tokens = Tokens([(Role.READ, READ)])
    assert READ not in repr(vars(tokens))


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "admin 0123456789abcdef\n", "read short\n", "read\n", "read two words0123456789\n"]
)
def test_bad_token_files(tmp_path, text):
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(vecstore.InvalidArgumentError, match="tokens") as caught:
        Tokens.from_file(path)
    assert "0123456789" not in str(caught.value)
    with pytest.raises(vecstore.InvalidArgumentError):
        Tokens.from_file(tmp_path / "nowhere")


def test_an_open_server_on_the_network_is_warned_about(store, caplog, tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"read {READ}")
    for settings, warning in (({}, "without tokens"), ({"token_file": str(path)}, "without TLS")):
        server = VecstoreServer(store, ServerSettings(host="0.0.0.0", port=0, workers=2, **settings))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            server.start()
        server.stop(0)
        assert [warning in record.message for record in caplog.records] == [True]


@pytest.fixture
def certificate(tmp_path):
    """Make a key and a certificate for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the test's certificate, is not installed")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {key} "
        f"-out {cert} -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return str(key), str(cert)


def test_tls(store, certificate):
    key, cert = certificate
    with serving(store, tls_key=key, tls_cert=cert) as address:
        target = address.replace("127.0.0.1", "localhost")
        with vecstore.connect(target, ca=cert) as remote:
            assert remote.list_collections() == []
        with pytest.raises(vecstore.UnavailableError):
            vecstore.connect(target)
        with pytest.raises(vecstore.UnavailableError):
            vecstore.connect(target, tls=True)  # not signed by an authority that the system knows


def test_tls_files_that_cannot_be_read(store):
    with pytest.raises(vecstore.InvalidArgumentError, match="tls_key"):
        VecstoreServer(store, ServerSettings(port=0, tls_key="/nowhere/key", tls_cert="/nowhere/cert"))
