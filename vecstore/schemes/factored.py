"""The scorer of rows that are a part and an inner row multiplied (see :mod:`vecstore.kernels.factored`)."""

from __future__ import annotations

import numpy as np

from vecstore.kernels import factored
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.factored import QUERIES_TOGETHER
from vecstore.kernels.grouping import sorted_places
from vecstore.types import F32, I64

__all__ = ["FactoredScorer"]


class FactoredScorer:
    """Inner products of queries with rows that stay in two factors.

    Parameters
    ----------
    parts : float32[k, d]
        The outer factors.
    queries : float32[q, d]
    inner : float32[m, d]
        The inner rows; row ``i`` of the table has the part ``i // m`` and the inner row ``i % m``.
    bias : float32
        Distance = bias - <query, row>.
    n_rows : int
        Rows of the table.
    """

    operands: Operands | None = None
    traversal: Operands | None = None

    def __init__(self, parts: F32, queries: F32, inner: F32, bias: np.float32, n_rows: int) -> None:
        self._parts = parts
        self._queries = queries
        self._inner = inner
        self._bias = bias
        self._n_rows = n_rows

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self._gather(np.arange(start, stop), np.arange(stop - start), out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        parts = rows // len(self._inner)
        order = sorted_places(parts, -(-self._n_rows // len(self._inner)))[0]
        self._gather(rows, order, out)

    def _gather(self, rows: I64, order: I64, out: F32) -> None:
        factored.gather(
            self._parts, self._queries, self._inner, self._bias, frozen(rows), frozen(order), self._buffer(), out
        )

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        factored.rerank(
            self._parts, self._queries, self._inner, self._bias, frozen(rows), self._n_rows, self._buffer(), out
        )

    def _buffer(self) -> F32:
        """Give a new buffer, because threads may share a scorer."""
        return np.empty((QUERIES_TOGETHER, self._inner.shape[1]), np.float32)
