"""What the indexes need to know of a stored form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from vecstore.types import F32, I64, Metric

if TYPE_CHECKING:
    from vecstore.kernels.distance import Operands

__all__ = ["PairwiseTable", "Scorer"]


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


@runtime_checkable
class PairwiseTable(Protocol):
    """A table whose rows can be compared in their stored form, without a copy."""

    def pairs(self, metric: Metric) -> Operands:
        """Give operands whose query number i is row i."""
        ...
