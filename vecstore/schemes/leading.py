"""Comparing the first numbers of rows alone, where a table stores each row as numbers in the order of dimensions.

Nothing is stored for it: the scorers read the first numbers of the rows that are there. Under ``cosine`` the first
numbers of rows are given the length 1 again, as those of Matryoshka-trained vectors are meant to be compared; queries
need not be, because that would change no order.

References
----------
Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, section 4.3.1 (funnel retrieval).
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.lengths import leading_lengths
from vecstore.kernels.numbers import CodesDot, ScaledDot, ScaledL2
from vecstore.schemes.scorer import KernelScorer, bias_of, rounded_queries
from vecstore.types import F32, Metric

__all__ = ["Leading", "NumberTable", "Numbers", "uniform_scales"]


class Numbers(NamedTuple):
    """Rows as a table stores them: number d of row i is ``scales[i] * rows[i, d]``.

    Attributes
    ----------
    rows : float32[n, dim], uint16[n, dim] (the bits of halves), int8[n, dim] or int16[n, dim]
        Frozen.
    scales : float32[n]
        Frozen; of integers only.
    """

    rows: NDArray[Any]
    scales: F32


@runtime_checkable
class NumberTable(Protocol):
    """A table that stores rows as numbers; those of schemes with ``capabilities.leading``."""

    def numbers(self) -> Numbers:
        """Give the stored numbers, without a copy of the rows."""
        ...


class Leading:
    """The first numbers of all rows of a table.

    Parameters
    ----------
    table : NumberTable
    dims : int
        How many numbers of a row count, below all.
    metric : Metric
    """

    def __init__(self, table: NumberTable, dims: int, metric: Metric) -> None:
        self._rows, self._scales = table.numbers()
        self._dims = dims
        self._metric = metric
        if metric is Metric.COSINE:
            self._scales = _to_unit(self._rows, dims)

    def scorer(self, queries: F32) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim], of which the first numbers count, for quick and approximate scans."""
        given = frozen(np.ascontiguousarray(queries[:, : self._dims]))
        operands: Operands
        if self._metric is Metric.L2:
            operands = ScaledL2(self._rows, self._scales, given)
        elif self._rows.dtype == np.int8:
            operands = CodesDot(self._rows, self._scales, *rounded_queries(given), bias_of(self._metric))
        else:
            operands = ScaledDot(self._rows, self._scales, given, bias_of(self._metric))
        return KernelScorer(len(self._rows), len(given), operands, operands)


def uniform_scales(n_rows: int, scale: float = 1) -> F32:
    """Give one scale for all rows as float32[n_rows], frozen."""
    return frozen(np.full(n_rows, scale, np.float32))


def _to_unit(rows: NDArray[Any], dims: int) -> F32:
    """Give scales float32[n] that give the first ``dims`` numbers of rows the length 1; 0 where they are 0."""
    lengths = np.empty(len(rows))
    leading_lengths(frozen(rows), dims, lengths)
    some = lengths > np.finfo(np.float32).tiny
    return frozen(np.divide(1, lengths, out=np.zeros(len(rows)), where=some).astype(np.float32))
