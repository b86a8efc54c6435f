"""The scorer of rows that are chains of rows of a shared, narrower table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vecstore.kernels.distance import Operands
from vecstore.schemes.full import plain_scorer
from vecstore.schemes.scorer import bias_of
from vecstore.types import F32, I64, Metric

__all__ = ["ChunkScorer"]

#: Most distances of shared rows that a scorer keeps; beyond, chunks are scored whenever a row is asked for.
_MOST_KEPT = 1 << 24


class ChunkScorer:
    """Distances of chained rows, as sums over the chunks of the query: products and squared differences both add up.

    The chunks' distances are added in their order, so that every way of asking gives the same bits.
    A few rows for many queries take up to twice as long as decoded ones would, because each chunk is a sum of its own.
    Scans, which searches do, share the sums of all rows and are several times as fast; both must have the same bits.

    Parameters
    ----------
    shared : float32[m, width]
        The narrower table.
    queries : float32[q, k * width]
    metric : Metric
    places_of : callable
        Gives the k rows of the narrower table, int64[n, k], for each of int64[n] rows.
    """

    operands: Operands | None = None
    traversal: Operands | None = None

    def __init__(self, shared: F32, queries: F32, metric: Metric, places_of: Callable[[I64], I64]) -> None:
        chunks = np.split(queries, queries.shape[1] // shared.shape[1], axis=1)
        partial = Metric.L2 if metric is Metric.L2 else Metric.IP
        self._scorers = [plain_scorer(shared, np.ascontiguousarray(chunk), partial) for chunk in chunks]
        self._bias = np.float32(0) if metric is Metric.L2 else bias_of(metric)
        self._places_of = places_of
        self._n_shared = len(shared)
        self._kept: F32 | None = None
        self._asked = 0
        self._keeps = len(chunks) * len(queries) * len(shared) <= _MOST_KEPT

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self.gather(np.arange(start, stop), out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        places = self._places_of(rows)
        self._asked += len(rows)
        # Scoring all shared rows pays only where at least as many were asked for.
        kept = self._all(len(out)) if self._keeps and self._asked >= self._n_shared else None
        part = np.empty_like(out)
        out[:] = self._bias
        for number, scorer in enumerate(self._scorers):
            if kept is None:
                scorer.gather(np.ascontiguousarray(places[:, number]), part)
            else:
                np.take(kept[number], places[:, number], axis=1, out=part, mode="clip")
            out += part

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        places = self._places_of(np.maximum(rows, 0).ravel()).reshape(*rows.shape, len(self._scorers))
        part = np.empty_like(out)
        out[:] = self._bias
        for number, scorer in enumerate(self._scorers):
            scorer.rerank(np.where(rows < 0, -1, places[:, :, number]), part)
            out += part

    def _all(self, n_queries: int) -> F32:
        """Give the distances float32[k, q, m] of all shared rows, computed when first asked for."""
        if self._kept is None:
            kept = np.empty((len(self._scorers), n_queries, self._n_shared), np.float32)
            for number, scorer in enumerate(self._scorers):
                scorer.scan(0, self._n_shared, kept[number])
            self._kept = kept
        return self._kept
