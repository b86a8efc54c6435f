"""rabitqlib: SymphonyQG, a graph whose nodes hold one-bit codes of their neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.peers.base import EF_CONSTRUCTION, WIDTHS, M, Peer, Setting, ladder

__all__ = ["PEERS", "SymphonyQG"]

_FILE = "index.symqg"


class _Graph:
    def __init__(self, index: Any) -> None:
        self._index = index
        self._threads = 1

    def use(self, threads: int) -> None:
        self._threads = threads

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        found = self._index.search_batch(queries, k, setting["ef"], self._threads)[0]
        return np.asarray(found).astype(np.int64)

    def close(self) -> None:
        """Nothing is open."""


class SymphonyQG(Peer):
    """See the module."""

    name = "symphonyqg"
    package = "rabitqlib"

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:  # noqa: ARG002
        """Give values of ef."""
        return [ladder("ef", WIDTHS)]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Build the graph."""
        import rabitqlib

        index = rabitqlib.SymqgIndex(data.base.shape[1], 2 * M, "l2" if data.metric is Metric.L2 else "ip")
        index.build(data.base, EF_CONSTRUCTION, threads)
        index.save(str(folder / _FILE))

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> _Graph:  # noqa: ARG002
        """Load the file."""
        import rabitqlib

        return _Graph(rabitqlib.SymqgIndex.load(str(folder / _FILE)))


PEERS = (SymphonyQG(),)
