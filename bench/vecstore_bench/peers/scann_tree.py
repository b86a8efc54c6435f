"""ScaNN: partitions, anisotropic 4-bit codes scanned in registers, float32 rows to rank again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.peers.base import Peer, Setting

__all__ = ["PEERS", "Scann"]

#: What its documentation recommends: two numbers a code, and this threshold of the anisotropic loss.
_PART, _THRESHOLD = 2, 0.2
#: Second assignment of rows whose residual is orthogonal to the first (SOAR), for inner products.
_SOAR = 1.5
_LEAVES = (2, 3, 4, 5, 6, 8, 10, 12, 14, 17, 20, 24, 28, 34, 40, 50, 60, 75, 90, 120, 150, 200, 300)
_REORDERED = (20, 30, 50, 80, 120, 200, 300)


class _Tree:
    def __init__(self, searcher: Any) -> None:
        self._searcher = searcher
        self._threads = 1

    def use(self, threads: int) -> None:
        self._threads = threads
        self._searcher.set_num_threads(threads)

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        reordered, leaves = setting["reordered"], setting["leaves"]
        if len(queries) == 1:
            found = np.asarray(self._searcher.search(queries[0], k, reordered, leaves)[0])[None]
        elif self._threads == 1:
            found = self._searcher.search_batched(queries, k, reordered, leaves)[0]
        else:
            share = max(1, min(256, -(-len(queries) // self._threads)))
            found = self._searcher.search_batched_parallel(queries, k, reordered, leaves, share)[0]
        return np.asarray(found).astype(np.int64)

    def close(self) -> None:
        """Nothing is open."""


class Scann(Peer):
    """See the module."""

    name = package = "scann"

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:
        """Give leaves that are searched for each number of candidates to rank again."""
        leaves = [value for value in _LEAVES if value <= _n_leaves(shape.rows)]
        return [[{"reordered": reordered, "leaves": value} for value in leaves] for reordered in _REORDERED]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Partition and encode all rows."""
        from scann import scann_ops_pybind

        inner = data.metric is not Metric.L2
        kind = "dot_product" if inner else "squared_l2"
        second = {"soar_lambda": _SOAR, "overretrieve_factor": 2.0} if inner else {}
        threshold = _THRESHOLD if inner else math.nan
        rows = len(data.base)
        builder = scann_ops_pybind.builder(data.base, 10, kind).set_n_training_threads(threads)
        builder = builder.tree(_n_leaves(rows), 20, training_sample_size=rows, **second)
        builder = builder.score_ah(_PART, anisotropic_quantization_threshold=threshold)
        builder.reorder(100).build().serialize(str(folder))

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> _Tree:  # noqa: ARG002
        """Load the folder."""
        from scann import scann_ops_pybind

        return _Tree(scann_ops_pybind.load_searcher(str(folder)))


def _n_leaves(rows: int) -> int:
    """Give the root of the number of rows, as its documentation recommends."""
    return math.isqrt(rows)


PEERS = (Scann(),)
