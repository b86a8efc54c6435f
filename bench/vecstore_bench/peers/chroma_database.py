"""chromadb: an embedded database with an HNSW graph over float32 rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.peers.base import EF_CONSTRUCTION, WIDTHS, M, Peer, Setting, ladder

__all__ = ["PEERS", "Chroma"]

_NAME = "rows"
_BATCH = 5_000
_SPACES = {Metric.COSINE: "ip", Metric.IP: "ip", Metric.L2: "l2"}


class _Opened:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._collection = _collection(folder)
        self._width = 0

    def use(self, threads: int) -> None:
        """Its pool of threads has one size a process; the processors that it may run on are limited from outside."""

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        if setting["ef"] != self._width:
            self._collection.modify(configuration={"hnsw": {"ef_search": setting["ef"]}})
            # A graph that is in memory keeps the ef that it was loaded with.
            _forget()
            self._collection = _collection(self._folder)
            self._width = setting["ef"]
        found = self._collection.query(query_embeddings=queries, n_results=k, include=[])
        return np.array(found["ids"], np.int64)

    def close(self) -> None:
        """Let go of the client."""
        _forget()


class Chroma(Peer):
    """See the module."""

    name = package = "chromadb"

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:  # noqa: ARG002
        """Give values of ef."""
        return [ladder("ef", WIDTHS)]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Add all rows in batches; its ids are strings."""
        settings = {
            "space": _SPACES[data.metric],
            "ef_construction": EF_CONSTRUCTION,
            "max_neighbors": M,
            "num_threads": threads,
        }
        collection = _client(folder).create_collection(_NAME, configuration={"hnsw": settings}, embedding_function=None)
        for start in range(0, len(data.base), _BATCH):
            rows = data.base[start : start + _BATCH]
            collection.add(ids=[str(row) for row in range(start, start + len(rows))], embeddings=rows)

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> _Opened:  # noqa: ARG002
        """Open the collection."""
        return _Opened(folder)


def _client(folder: Path) -> Any:
    import chromadb

    return chromadb.PersistentClient(str(folder), settings=chromadb.Settings(anonymized_telemetry=False))


def _collection(folder: Path) -> Any:
    return _client(folder).get_collection(_NAME, embedding_function=None)


def _forget() -> None:
    """Let the library forget its clients, which it shares."""
    from chromadb.api.shared_system_client import SharedSystemClient

    SharedSystemClient.clear_system_cache()


PEERS = (Chroma(),)
