"""usearch: an HNSW graph over rows of float32, or of int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.peers.base import EF_CONSTRUCTION, WIDTHS, M, Peer, Setting, ladder

__all__ = ["PEERS", "Usearch"]

_FILE = "index.usearch"


class _Graph:
    def __init__(self, index: Any, scale: float) -> None:
        self._index = index
        self._scale = np.float32(scale)
        self._threads = 1

    def use(self, threads: int) -> None:
        self._threads = threads

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        self._index.expansion_search = setting["ef"]
        asked = queries if self._scale == 1 else queries * self._scale
        return self._index.search(asked, k, threads=self._threads).keys.astype(np.int64)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Usearch(Peer):
    """An index of one type of numbers, ``f32`` or ``i8``."""

    name: str
    dtype: str
    package: str = "usearch"

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:  # noqa: ARG002
        """Give values of ef."""
        return [ladder("ef", WIDTHS)]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Add all rows; those for int8 are brought to -1 to 1, which is what it rounds."""
        from usearch.index import Index

        scale = float(1 / np.abs(data.base).max()) if self.dtype == "i8" and data.metric is Metric.L2 else 1.0
        kind = {Metric.L2: "l2sq", Metric.IP: "ip", Metric.COSINE: "cos" if self.dtype == "i8" else "ip"}[data.metric]
        index = Index(
            ndim=data.base.shape[1], metric=kind, dtype=self.dtype, connectivity=M, expansion_add=EF_CONSTRUCTION
        )
        index.add(np.arange(len(data.base)), data.base * np.float32(scale), threads=threads)
        index.save(str(folder / _FILE))
        np.save(folder / "scale.npy", scale)

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> _Graph:  # noqa: ARG002
        """Load the file."""
        from usearch.index import Index

        return _Graph(Index.restore(str(folder / _FILE)), float(np.load(folder / "scale.npy")))


PEERS = (Usearch("usearch-f32", "f32"), Usearch("usearch-i8", "i8"))
