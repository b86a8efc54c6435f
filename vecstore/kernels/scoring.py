"""What the indexes need to know of a stored form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vecstore.types import F32, I64, Metric

if TYPE_CHECKING:
    from vecstore.kernels.distance import Operands

__all__ = ["PairwiseTable", "PartedScorer", "Scorer"]


@runtime_checkable
class Scorer(Protocol):
    """Distances between a batch of queries and the rows of one table, in the compressed domain.

    ``operands`` and ``traversal`` are tuples of arrays for the kernels (see ``kernels/distance.py``), or
    None where the scheme has none. ``traversal`` may be coarser than ``operands``: the graph walk uses it,
    and its survivors are scored again. Where both are the same object, that is not needed.
    """

    @property
    def operands(self) -> Operands | None:
        """What ``scan``, ``gather`` and ``rerank`` compute with."""
        ...

    @property
    def traversal(self) -> Operands | None:
        """What a graph walk computes with."""
        ...

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        ...

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        ...

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out`` float32[q, m].

        A row of -1 gets ``inf``.
        """
        ...


class PartedScorer(ABC):
    """A scorer of rows that are in several tables: searches go through them one by one, each as it is done best.

    Attributes
    ----------
    parts : tuple of Scorer
        One a table.
    counts : tuple of int
        Rows of each.
    """

    parts: tuple[Scorer, ...]
    counts: tuple[int, ...]

    @abstractmethod
    def locate(self, rows: I64) -> tuple[I64, I64]:
        """Give the table of each of ``rows`` int64[n], and its row there; both int64[n].

        Raises
        ------
        NotFoundError
            There is no such row.
        """

    @abstractmethod
    def rows_of(self, part: int, places: I64) -> I64:
        """Give the rows, int64 like ``places``, that are at ``places`` int64[...] of a table; -1 stays."""


@runtime_checkable
class PairwiseTable(Protocol):
    """A table whose rows can be compared in their stored form, without a copy."""

    def pairs(self, metric: Metric) -> Operands:
        """Give operands whose query number i is row i."""
        ...
