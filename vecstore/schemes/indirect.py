"""Scorers of tables whose rows share a smaller table, and of tables that must be decoded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.full import plain_scorer
from vecstore.types import F32, I64, Metric

__all__ = ["DecodingScorer", "SharedScorer"]

#: Rows decoded at a time.
_BLOCK_ROWS = 2_048


class SharedScorer:
    """Distances of rows that are rows of a smaller table: each shared row is scored once, where many are asked for.

    Parameters
    ----------
    shared : Scorer
        Scorer of the smaller table.
    n_shared, n_queries : int
        Rows of the smaller table, and queries.
    place_of : callable
        Gives the row of the smaller table, int64[n], for each of int64[n] rows.
    """

    operands: Operands | None = None
    traversal: Operands | None = None

    def __init__(self, shared: Scorer, n_shared: int, n_queries: int, place_of: Callable[[I64], I64]) -> None:
        self._shared = shared
        self._n_shared = n_shared
        self._n_queries = n_queries
        self._place_of = place_of
        self._all: F32 | None = None
        self._asked = 0

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self.gather(np.arange(start, stop), out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        places = self._place_of(rows)
        self._asked += len(rows)
        if self._all is None and self._asked < self._n_shared:
            # Too few rows so far to pay for the scores of all shared ones.
            self._shared.gather(places, out)
            return
        # Places are inside; with numpy's check of them, the result would be made in a buffer first.
        np.take(self._distances(), places, axis=1, out=out, mode="clip")

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        places = self._place_of(np.maximum(rows, 0).ravel()).reshape(rows.shape)
        self._shared.rerank(np.where(rows < 0, -1, places), out)

    def _distances(self) -> F32:
        """Give the distances of all shared rows, float32[q, m], computed when first asked for."""
        if self._all is None:
            distances = np.empty((self._n_queries, self._n_shared), np.float32)
            self._shared.scan(0, self._n_shared, distances)
            self._all = distances
        return self._all


class DecodingScorer:
    """Distances by decoding rows in blocks, for forms whose algebra allows nothing quicker.

    Parameters
    ----------
    lookup : callable
        Writes the rows int64[n] into float32[n, dim], and gives it.
    queries : float32[q, dim]
    metric : Metric
    """

    operands: Operands | None = None

    def __init__(self, lookup: Callable[[I64, F32], F32], queries: F32, metric: Metric) -> None:
        self._lookup = lookup
        self._queries = queries
        self._metric = metric

    @property
    def traversal(self) -> Operands | None:
        """Give nothing: rows of a graph walk are asked for one by one. Subclasses may have something better."""
        return None

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self.gather(np.arange(start, stop), out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        block_rows = min(_BLOCK_ROWS, len(rows))
        decoded = np.empty((block_rows, self._queries.shape[1]), np.float32)
        score = plain_scorer(frozen(decoded), self._queries, self._metric).scan
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            self._lookup(block, decoded[: len(block)])
            part = out[:, start : start + len(block)]
            if part.flags.c_contiguous:
                score(0, len(block), part)
                continue
            distances = np.empty(part.shape, np.float32)
            score(0, len(block), distances)
            part[:] = distances

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        wanted, places = np.unique(rows[rows >= 0], return_inverse=True)
        own = np.full(rows.shape, -1, np.int64)
        own[rows >= 0] = places
        decoded = self._lookup(wanted, np.empty((len(wanted), self._queries.shape[1]), np.float32))
        plain_scorer(frozen(decoded), self._queries, self._metric).rerank(own, out)
