"""hnswlib: the HNSW graph of the paper's authors, over float32 rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.peers.base import EF_CONSTRUCTION, SEED, WIDTHS, M, Peer, Setting, ladder

__all__ = ["PEERS", "Hnswlib"]

_SPACES = {Metric.COSINE: "ip", Metric.IP: "ip", Metric.L2: "l2"}
_FILE = "index.bin"


class _Graph:
    def __init__(self, index: Any) -> None:
        self._index = index

    def use(self, threads: int) -> None:
        self._index.set_num_threads(threads)

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        self._index.set_ef(setting["ef"])
        labels, _ = self._index.knn_query(queries, k)
        return labels.astype(np.int64)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Nothing is open."""


class Hnswlib(Peer):
    """See the module."""

    name = package = "hnswlib"

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:  # noqa: ARG002
        """Give values of ef."""
        return [ladder("ef", WIDTHS)]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Add all rows."""
        import hnswlib

        index = hnswlib.Index(_SPACES[data.metric], data.base.shape[1])
        index.init_index(len(data.base), M=M, ef_construction=EF_CONSTRUCTION, random_seed=SEED)
        index.add_items(data.base, num_threads=threads)
        index.save_index(str(folder / _FILE))

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> _Graph:
        """Load the file."""
        import hnswlib

        index = hnswlib.Index(_SPACES[metric], shape.dim)
        index.load_index(str(folder / _FILE), max_elements=shape.rows)
        return _Graph(index)


PEERS = (Hnswlib(),)
