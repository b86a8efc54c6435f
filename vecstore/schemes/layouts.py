"""What is left of a table when its rows are taken out: which stored rows a row reads, and what it makes of them.

Schemes that share or shorten rows (:class:`LaidOut`) say it apart from the rows, so that another scheme can hold these
(:mod:`vecstore.schemes.composed`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels.compiling import frozen
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.base import CompressedTable, Scheme, TableShape
from vecstore.schemes.checks import queries_matrix
from vecstore.schemes.indirect import SharedScorer
from vecstore.schemes.scorer import CheckedScorer
from vecstore.types import F32, I64, Metric

__all__ = ["LaidOut", "Layout", "SharedRows"]


class Layout(ABC):
    """How the rows of a table are made of stored rows.

    Parameters
    ----------
    shape : TableShape
        Of the table.
    arrays : mapping of str to array
        All of its arrays but the stored rows, frozen.
    """

    def __init__(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.shape = shape
        self.arrays = arrays

    @abstractmethod
    def take(self, stored: CompressedTable, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n], frozen and inside the table, into ``out`` float32[n, dim]."""

    @abstractmethod
    def scorer(self, stored: CompressedTable, queries: F32, metric: Metric) -> Scorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""


class SharedRows(Layout):
    """Each row is one of the stored rows.

    Parameters
    ----------
    shape : TableShape
    arrays : mapping of str to array
    places : callable
        Gives the stored row int64[n] of each of int64[n] rows.
    """

    def __init__(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]], places: Callable[[I64], I64]) -> None:
        super().__init__(shape, arrays)
        self.places = places

    def take(self, stored: CompressedTable, rows: I64, out: F32) -> None:
        """Write rows; see :meth:`Layout.take`."""
        stored.lookup(frozen(self.places(rows)), out)

    def scorer(self, stored: CompressedTable, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare queries; each stored row is scored once, where many are asked for."""
        given = queries_matrix(queries, self.shape.dim)
        shared = SharedScorer(stored.scorer(given, metric), stored.shape.rows, len(given), self.places)
        return CheckedScorer(shared, self.shape.rows, len(given))


class LaidOut(Scheme, frozen=True, kw_only=True):
    """A scheme whose tables are stored float32 rows, and what says how to read them.

    ``stored_rows`` is the name of the array of the rows.
    """

    stored_rows: ClassVar[str]

    @abstractmethod
    def layout(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> Layout:
        """Give how rows are read, of the arrays of a table of ``shape`` without the stored rows.

        Raises
        ------
        CorruptionError
            As for :meth:`~vecstore.schemes.base.Scheme.open`.
        """

    def stored_shape(self, shape: TableShape) -> TableShape:
        """Give how many rows are stored in a table of ``shape``, and of how many numbers."""
        *counts, width = self.array_forms(shape)[self.stored_rows].shape
        return TableShape(math.prod(counts), width)

    def other_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Give ``arrays`` of a table without the stored rows."""
        return {name: array for name, array in arrays.items() if name != self.stored_rows}

    def largest(self, vectors: F32) -> F32:
        """Give float32[n, 1] that no number of a stored row that is fitted to ``vectors`` float32[n, dim] is beyond."""
        found: F32 = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
        return found
