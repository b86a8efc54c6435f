"""Health, reflection, long calls, and ending in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import vecstore
from tests.server.helpers import DIM, Scripted, rows, serving, stubs
from vecstore.v1 import collections_pb2, points_pb2
from vecstore_server import ServerSettings, VecstoreServer, serve
from vecstore_server.server import SERVICES


def test_health_of_every_service(address):
    with stubs(address) as bare:
        health = health_pb2_grpc.HealthStub(bare.channel)
        for name in ("", *SERVICES):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_the_services(address):
    with stubs(address) as bare:
        stub = reflection_pb2_grpc.ServerReflectionStub(bare.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        names = {s.name for s in next(stub.ServerReflectionInfo(iter([request]))).list_services_response.service}
    assert names == {*SERVICES, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


def test_long_calls_leave_workers_for_searches():
    release, entered = threading.Event(), threading.Semaphore(0)

    def flush():
        entered.release()
        release.wait(30)

    database = Scripted(flush=flush, count=lambda where: 7)
    with serving(database, workers=4) as address, stubs(address) as bare:
        running = [bare.collections.Flush.future(collections_pb2.FlushRequest()) for _ in range(2)]
        assert all(entered.acquire(timeout=30) for _ in running)
        with pytest.raises(grpc.RpcError, match="2 long calls") as caught:
            bare.collections.Flush(collections_pb2.FlushRequest())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert bare.points.Count(points_pb2.CountRequest(collection="docs")).count == 7
        release.set()
        for call in running:
            call.result(timeout=30)
        bare.collections.Flush(collections_pb2.FlushRequest())  # the places are free again


def became_unavailable(address):
    """Tell whether new connections are refused; health says so just before the listener closes."""
    for _ in range(300):
        try:
            vecstore.connect(address).close()
        except vecstore.UnavailableError:
            return True
        time.sleep(0.1)
    return False


def test_stopping_lets_running_calls_finish_and_takes_no_new_ones():
    release, entered = threading.Event(), threading.Event()

    def slow():
        entered.set()
        release.wait(30)
        return ["finished"]

    server = VecstoreServer(Scripted(list_collections=slow), ServerSettings(port=0, workers=4, grace_seconds=30))
    address = f"127.0.0.1:{server.start()}"
    with stubs(address) as bare:
        watched = health_pb2_grpc.HealthStub(bare.channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        running = bare.collections.List.future(collections_pb2.ListRequest())
        assert entered.wait(30)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watched.cancel()
        assert became_unavailable(address)
        release.set()
        assert list(running.result(timeout=30).names) == ["finished"]
        stopper.join(30)
        assert not stopper.is_alive()


def test_stopping_ends_streams_between_chunks(store):
    store.create_collection("docs", dim=DIM).insert(*rows(50))
    server = VecstoreServer(store, ServerSettings(port=0, workers=4, grace_seconds=30))
    stopper = threading.Thread(target=server.stop)
    with vecstore.connect(f"127.0.0.1:{server.start()}") as remote:
        docs = remote.collection("docs")

        def batches():
            for number in range(1_000):
                if number == 20:
                    stopper.start()
                yield rows(10, first=1_000 + 10 * number)

        with pytest.raises(vecstore.UnavailableError) as caught:
            docs.insert_many(batches())
    stopper.join(30)
    assert not stopper.is_alive()
    acknowledged = int(caught.value.__notes__[0].split()[0])
    # What was acknowledged is stored; of what was not, whole chunks.
    assert acknowledged <= store.collection("docs").count() - 50 < 10_000
    assert store.collection("docs").count() % 10 == 0


def test_a_port_that_is_taken_is_refused(store, address):
    with pytest.raises(vecstore.UnavailableError, match="another port") as caught:
        VecstoreServer(store, ServerSettings(port=int(address.split(":")[1]))).start()
    assert caught.value.field == "port"


def test_a_caller_who_leaves_is_not_an_error(store, address, caplog):
    store.create_collection("docs", dim=DIM)
    with stubs(address) as bare:
        hold = threading.Event()

        def messages():
            yield points_pb2.InsertStreamRequest(start={"collection": "docs", "mode": 2})
            hold.wait(30)

        call = bare.points.InsertStream(messages())
        call.cancel()
        hold.set()
    with vecstore.connect(address) as remote:
        assert remote.collection("docs").count() == 0
    assert [r for r in caplog.records if r.name == "vecstore.server"] == []


PROGRAM = """
import sys
from vecstore_server import serve
serve(sys.argv[1], port=0, on_listening=lambda host, port: print(f"listening on {host}:{port}", flush=True))
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_process_in_order(tmp_path, number):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    path = tmp_path / "store"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        address = process.stdout.readline().removeprefix("listening on ").strip()
        with vecstore.connect(address) as remote:
            docs = remote.create_collection("docs", dim=DIM)
            docs.insert(*rows(20))
            with pytest.raises(vecstore.StoreLocked):
                vecstore.open(path)
            process.send_signal(number)
            assert process.stdout.readline() == "ended\n"
            assert process.wait(30) == 0
            with pytest.raises(vecstore.UnavailableError):
                docs.count()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with vecstore.open(path) as database:
        assert database.collection("docs").count() == 20
        np.testing.assert_array_equal(database.collection("docs").get([3])[0].metadata["year"], 2003)
        assert database.verify() == []


def test_serve_gives_the_signals_back_when_it_cannot_start(tmp_path, address):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(vecstore.UnavailableError):
        serve(tmp_path / "other", port=int(address.split(":")[1]))
    assert signal.getsignal(signal.SIGTERM) is before
    vecstore.open(tmp_path / "other").close()  # and lets go of the store
