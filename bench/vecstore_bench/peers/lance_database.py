"""lancedb: an embedded database; one HNSW graph over int8 codes, the float32 rows on disk to rank again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.peers.base import EF_CONSTRUCTION, WIDTHS, M, Peer, Setting

__all__ = ["PEERS", "Lance"]

_TABLE, _ROWS, _VECTOR = "rows", "row", "vector"
#: It refuses fewer candidates than rows that are ranked again, of which there are this many times the factor.
_MOST = 10
_DISTANCES = {Metric.COSINE: "dot", Metric.IP: "dot", Metric.L2: "l2"}


class _Opened:
    def __init__(self, table: Any) -> None:
        self._table = table

    def use(self, threads: int) -> None:
        """Its pool of threads has one size a process; the processors that it may run on are limited from outside."""

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        asked = self._table.search(queries, vector_column_name=_VECTOR).ef(setting["ef"]).limit(k)
        if setting["refine"]:
            asked = asked.refine_factor(setting["refine"])
        found = asked.select([_ROWS, "_distance"]).to_arrow()
        rows = np.full((len(queries), k), -1, np.int64)
        numbers = found.column(_ROWS).to_numpy()
        # A call with several queries says of each row which one it answers.
        of = found.column("query_index").to_numpy() if len(queries) > 1 else np.zeros(len(numbers), np.int64)
        order = np.argsort(of, kind="stable")
        of, numbers = of[order], numbers[order]
        starts = np.searchsorted(of, np.arange(len(queries)))
        rows[of, np.arange(len(of)) - starts[of]] = numbers
        return rows

    def close(self) -> None:
        """Nothing is held."""


class Lance(Peer):
    """See the module."""

    name = package = "lancedb"

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:  # noqa: ARG002
        """Give values of ef, without and with ranking again."""
        return [
            [{"refine": refined, "ef": width} for width in WIDTHS if width >= _MOST * refined] for refined in (0, 1, 2)
        ]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:  # noqa: ARG002
        """Write the table and make its index."""
        from lancedb.index import HnswSq

        dim = data.base.shape[1]
        column = pa.FixedSizeListArray.from_arrays(pa.array(data.base.ravel()), dim)
        table = self._connect(folder).create_table(
            _TABLE, pa.table({_ROWS: np.arange(len(data.base)), _VECTOR: column})
        )
        config = HnswSq(distance_type=_DISTANCES[data.metric], num_partitions=1, m=M, ef_construction=EF_CONSTRUCTION)
        table.create_index(_VECTOR, config=config)

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> _Opened:  # noqa: ARG002
        """Open the table."""
        return _Opened(self._connect(folder).open_table(_TABLE))

    def memory_bytes(self, folder: Path) -> int:
        """Give the bytes of the index; the rows stay on disk."""
        return int(self._connect(folder).open_table(_TABLE).list_indices()[0].size_bytes)

    @staticmethod
    def _connect(folder: Path) -> Any:
        import lancedb

        return lancedb.connect(str(folder))


PEERS = (Lance(),)
