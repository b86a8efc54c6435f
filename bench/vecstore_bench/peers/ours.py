"""vecstore's own configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import vecstore
from vecstore import HnswConfig, StoreConfig
from vecstore.api import Collection
from vecstore.schemes.base import TableShape
from vecstore.schemes.requested import requested
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.peers.base import EF_CONSTRUCTION, SEED, WIDTHS, M, Peer, Setting, ladder

__all__ = ["PEERS", "PLACE", "Opened", "Vecstore", "places"]

_NAME = "rows"
_BATCH = 1_000
#: Bytes of an id in a segment.
_ID_BYTES = 8
#: Metadata column: the rows' places in a random order, by which filters of any share can be made.
PLACE = "place"
#: Recalls that searches are asked to find; what they find of real queries is measured.
_RECALLS = (0.5, 0.6, 0.7, 0.75, *(place / 200 for place in range(160, 200)))
_GRAPH = HnswConfig(M=M, ef_construction=EF_CONSTRUCTION, seed=SEED)


def places(rows: int) -> I64:
    """Give the places of all rows in a random order, int64[rows]."""
    return np.random.default_rng(0).permutation(rows)


class Opened:
    """A collection that is open."""

    def __init__(self, folder: Path, exact: bool) -> None:
        self._folder = folder
        self._exact = exact
        self._database = vecstore.open(folder, settings=StoreConfig(background=False))
        self._docs = self._database.collection(_NAME)

    @property
    def collection(self) -> Collection:
        """The collection itself."""
        return self._docs

    def use(self, threads: int) -> None:
        """Open the store again."""
        self._database.close()
        self._database = vecstore.open(self._folder, settings=StoreConfig(threads=threads, background=False))
        self._docs = self._database.collection(_NAME)

    def search(self, queries: F32, k: int, setting: Setting, where: str | None = None) -> I64:
        """Search, without metadata."""
        ef, recall = setting.get("ef"), setting.get("recall")
        found = self._docs.search(queries, k, ef=ef, recall=recall, exact=self._exact, where=where, columns=[])
        return found.ids.astype(np.int64)

    def close(self) -> None:
        """Close the store."""
        self._database.close()


@dataclass(frozen=True)
class Vecstore(Peer):
    """A collection.

    Attributes
    ----------
    scheme, refine
        See :meth:`vecstore.api.Collection.compress`.
    share : float or None
        Of the float32 rows' bytes, what codes and ids may take together; None where the scheme has all its parameters.
    graph : bool
        Whether it has one.
    exact : bool
        Whether a search compares with every row.
    """

    name: str
    scheme: str | Mapping[str, Any]
    refine: str | None = None
    share: float | None = None
    graph: bool = True
    exact: bool = False
    package: str = field(default="vecstore")

    @property
    def version(self) -> str:
        """Give the version of this library, installed or not."""
        return vecstore.__version__

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:
        """Give values of ef, and recalls to ask for, which may be missed or exceeded; a scan has nothing to choose."""
        if not self.graph or shape.rows < _GRAPH.min_rows:
            return [[{}]]
        return [ladder("ef", WIDTHS), ladder("recall", _RECALLS)]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Insert all rows in batches, and seal them into one segment."""
        rows, dim = data.base.shape
        column = pa.array(places(rows))
        metadata = pa.table({PLACE: column}) if data.metadata is None else data.metadata.append_column(PLACE, column)
        scheme = self.scheme if isinstance(self.scheme, str) else dict(self.scheme)
        budget = None if self.share is None else int(rows * (4 * dim * self.share - _ID_BYTES))
        config = requested(scheme, transform=None, budget=budget, shape=TableShape(rows, dim))
        settings = StoreConfig(threads=threads, background=False, durability="relaxed")
        with vecstore.open(folder, settings=settings) as database:
            docs = database.create_collection(
                _NAME,
                dim=dim,
                metric=data.metric,
                scheme=config.to_dict(),
                refine=self.refine,
                index=_GRAPH if self.graph else None,
            )
            for start in range(0, rows, _BATCH):
                part = data.base[start : start + _BATCH]
                ids = np.arange(start, start + len(part))
                docs.insert(ids, part, metadata.slice(start, len(part)))
            docs.optimize()

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> Opened:  # noqa: ARG002
        """Open the store, for writing too as is usual, so that one run at a time uses a folder."""
        return Opened(folder, self.exact)

    def memory_bytes(self, folder: Path) -> int:
        """Give the bytes of codes, graph and ids; metadata and the finer copy stay on disk."""
        with vecstore.open(folder, mode="r") as database:
            stats = database.collection(_NAME).stats()
        parts = ("codes", "graph", "ids", "overhead")
        return round(stats.rows * sum(stats.bytes_per_vector.get(part, 0.0) for part in parts))


PEERS = (
    Vecstore("int8-graph", "int8", refine="float16"),
    Vecstore("int4-graph", "int4", refine="int8"),
    Vecstore("full-graph", "full"),
    Vecstore("rabitq-graph", {"scheme": "rabitq", "bits": 1}, refine="int8"),
    Vecstore("rabitq-scan", {"scheme": "rabitq", "bits": 1}, refine="int8", graph=False),
    Vecstore("pq-scan", {"scheme": "pq", "bits": 4}, refine="int8", share=1 / 16, graph=False),
    Vecstore("exact", "full", graph=False, exact=True),
)
