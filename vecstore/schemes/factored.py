"""The scorer of rows that are made of a part and an inner row (see :mod:`vecstore.kernels.factored`)."""

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
    parts : factored.Parts
        The outer factors, and the queries.
    inner : float32[m, width]
        The inner rows; row ``i`` of the table has the part ``i // m`` and the inner row ``i % m``.
    bias : float32
        Distance = bias - <query, row>.
    n_rows : int
        Rows of the table.
    scratch : tuple of int
        Shape of the buffer that preparing the queries needs.
    """

    operands: Operands | None = None
    traversal: Operands | None = None

    def __init__(
        self, parts: factored.Parts, inner: F32, bias: np.float32, n_rows: int, scratch: tuple[int, int]
    ) -> None:
        self._parts = parts
        self._inner = inner
        self._bias = bias
        self._n_rows = n_rows
        self._scratch = scratch

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self._gather(np.arange(start, stop), np.arange(stop - start), out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        parts = rows // len(self._inner)
        order = sorted_places(parts, -(-self._n_rows // len(self._inner)))[0]
        self._gather(rows, order, out)

    def _gather(self, rows: I64, order: I64, out: F32) -> None:
        factored.gather(self._parts, self._inner, self._bias, frozen(rows), frozen(order), *self._buffers(), out)

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        factored.rerank(self._parts, self._inner, self._bias, frozen(rows), self._n_rows, *self._buffers(), out)

    def _buffers(self) -> tuple[F32, F32]:
        """Give new buffers, because threads may share a scorer."""
        return np.empty(self._scratch, np.float32), np.empty((QUERIES_TOGETHER, self._inner.shape[1]), np.float32)
