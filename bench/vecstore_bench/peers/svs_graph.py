"""scalable-vs (Intel SVS): the Vamana graph, over float32 rows and over its own codes (LVQ)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.machines import cpu_facts
from vecstore_bench.peers.base import EF_CONSTRUCTION, WIDTHS, M, Peer, Setting, Unavailable, ladder

__all__ = ["PEERS", "Svs"]

#: Bits of the codes that are searched, and of what is left, with which the result is ranked again.
_LVQ_BITS = (4, 8)


class _Graph:
    def __init__(self, index: Any) -> None:
        self._index = index

    def use(self, threads: int) -> None:
        self._index.num_threads = threads

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        self._index.search_window_size = setting["window"]
        return self._index.search(queries, k)[0].astype(np.int64)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Svs(Peer):
    """A Vamana graph; with ``coded`` over LVQ codes, which the library offers on Intel processors only."""

    name: str
    coded: bool
    package: str = "scalable-vs"

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:  # noqa: ARG002
        """Give sizes of the search window."""
        return [ladder("window", WIDTHS)]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Build the graph."""
        import svs

        if self.coded and cpu_facts()["vendor"] != "GenuineIntel":
            # It would end the process.
            raise Unavailable("its LVQ refuses processors that are not Intel's")
        # The library's own defaults of alpha: above 1 where less is nearer.
        settings = svs.VamanaBuildParameters(
            alpha=1.2 if data.metric is Metric.L2 else 0.95, graph_max_degree=2 * M, window_size=EF_CONSTRUCTION
        )
        stored: Any = data.base
        if self.coded:
            svs.write_vecs(data.base, str(folder / "rows.fvecs"))
            rows = svs.VectorDataLoader(str(folder / "rows.fvecs"), svs.DataType.float32)
            stored = svs.LVQLoader(rows, primary=_LVQ_BITS[0], residual=_LVQ_BITS[1])
        index = svs.Vamana.build(settings, stored, _distance(data.metric), num_threads=threads)
        index.save(*(str(folder / part) for part in ("config", "graph", "data")))
        if self.coded:
            (folder / "rows.fvecs").unlink()

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> _Graph:  # noqa: ARG002
        """Load the folders."""
        import svs

        data = str(folder / "data")
        rows = svs.LVQLoader(data) if self.coded else svs.VectorDataLoader(data, svs.DataType.float32)
        graph = svs.GraphLoader(str(folder / "graph"))
        return _Graph(svs.Vamana(str(folder / "config"), graph, rows, _distance(metric), num_threads=1))


def _distance(metric: Metric) -> Any:
    import svs

    return svs.DistanceType.L2 if metric is Metric.L2 else svs.DistanceType.MIP


PEERS = (Svs("svs-vamana", coded=False), Svs("svs-vamana-lvq", coded=True))
