"""faiss: exact search, graphs, and inverted lists of codes that are scanned in registers and re-ranked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.peers.base import EF_CONSTRUCTION, WIDTHS, M, Peer, Setting, ladder

__all__ = ["PEERS", "Faiss"]

_FILE = "index.faiss"
_PROBES = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 192, 256, 512)
#: Candidates that are re-ranked, as a multiple of k.
_REFINED = (2, 4, 8, 16, 32)


class _Searched:
    def __init__(self, index: Any) -> None:
        self._index = index

    def use(self, threads: int) -> None:
        import faiss

        faiss.omp_set_num_threads(threads)

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        import faiss

        if "ef" in setting:
            self._index.hnsw.efSearch = setting["ef"]
        if "refine" in setting:
            self._index.k_factor = setting["refine"]
        if "probes" in setting:
            faiss.extract_index_ivf(self._index).nprobe = setting["probes"]
        return self._index.search(queries, k)[1]  # type: ignore[no-any-return]

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Faiss(Peer):
    """An index that its factory makes.

    Attributes
    ----------
    factory : str
        Description for ``faiss.index_factory``; ``{lists}``, ``{parts}`` and ``{M}`` are filled in.
    """

    name: str
    factory: str
    package: str = "faiss-cpu"

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:
        """Give values of ef, or of lists that are probed for each number of candidates to re-rank."""
        if "HNSW" in self.factory:
            return [ladder("ef", WIDTHS)]
        if "IVF" in self.factory:
            probes = [value for value in _PROBES if value <= _lists(shape.rows)]
            return [[{"refine": refined, "probes": value} for value in probes] for refined in _REFINED]
        return [ladder("refine", (*_REFINED, 64))] if "Refine" in self.factory else [[{}]]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Train and add all rows."""
        import faiss

        faiss.omp_set_num_threads(threads)
        rows, dim = data.base.shape
        # Codes of 4 bits for parts of 4 numbers: 1/32 of float32.
        description = self.factory.format(lists=_lists(rows), parts=-(-dim // 4), M=M)
        kind = faiss.METRIC_L2 if data.metric is Metric.L2 else faiss.METRIC_INNER_PRODUCT
        # Product quantisation takes dimensions that its parts divide.
        padding = f"Pad{4 * -(-dim // 4)}," if dim % 4 and "PQ" in description else ""
        index = faiss.index_factory(dim, padding + description, kind)
        if "HNSW" in self.factory:
            index.hnsw.efConstruction = EF_CONSTRUCTION
        index.train(data.base)
        index.add(data.base)
        faiss.write_index(index, str(folder / _FILE))

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> _Searched:  # noqa: ARG002
        """Read the file."""
        import faiss

        return _Searched(faiss.read_index(str(folder / _FILE)))


def _lists(rows: int) -> int:
    """Give lists of an inverted file: the power of two at 2 to 4 times the root of the rows."""
    return int(2 ** math.ceil(math.log2(2 * math.sqrt(rows))))


PEERS = (
    Faiss("faiss-flat", "Flat"),
    Faiss("faiss-hnsw", "HNSW{M}"),
    Faiss("faiss-hnsw-sq8", "HNSW{M}_SQ8"),
    Faiss("faiss-ivf-pq", "IVF{lists},PQ{parts}x4fs,Refine(SQ8)"),
    Faiss("faiss-ivf-rabitq", "IVF{lists},RaBitQfs,Refine(SQ8)"),
    Faiss("faiss-rabitq", "RaBitQfs,Refine(SQ8)"),
)
