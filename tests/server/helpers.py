"""Servers on free ports, over real stores and over databases that do what a test says."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import grpc
import numpy as np

from vecstore.v1.admin_pb2_grpc import AdminStub
from vecstore.v1.collections_pb2_grpc import CollectionsStub
from vecstore.v1.points_pb2_grpc import PointsStub
from vecstore.v1.tables_pb2_grpc import TablesStub
from vecstore_server import ServerSettings, VecstoreServer

DIM = 8


@contextmanager
def serving(database, **settings):
    """Serve ``database`` on a free port; give its address."""
    server = VecstoreServer(database, ServerSettings(**({"port": 0, "workers": 4, "grace_seconds": 5.0} | settings)))
    address = f"127.0.0.1:{server.start()}"
    try:
        yield address
    finally:
        server.stop()


@contextmanager
def stubs(address):
    """Give the bare stubs, for messages that our client would never send."""
    with grpc.insecure_channel(address) as channel:
        yield SimpleNamespace(
            admin=AdminStub(channel),
            collections=CollectionsStub(channel),
            points=PointsStub(channel),
            tables=TablesStub(channel),
            channel=channel,
        )


def rows(count, *, seed=0, first=0):
    """Give ids, vectors and metadata of ``count`` rows."""
    random = np.random.default_rng(seed)
    numbers = np.arange(first, first + count)
    return (
        numbers,
        random.standard_normal((count, DIM)).astype(np.float32),
        {"lang": [("de", "en", None)[n % 3] for n in numbers], "year": numbers + 2000, "score": numbers / 7},
    )


class Scripted:
    """A database, or collection, with just the methods that a test gives."""

    def __init__(self, **methods):
        self.__dict__.update(methods)

    def collection(self, name):
        """Be one's own collection."""
        return self


def raising(error):
    """Give a function that raises ``error`` whatever it is called with."""

    def fail(*arguments, **options):
        raise error

    return fail
