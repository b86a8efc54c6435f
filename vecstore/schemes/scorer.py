"""The scorer of every scheme whose distances the kernels compute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from vecstore.errors import InvalidArgumentError, NotFoundError
from vecstore.kernels import distance
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.lookup import first_outside
from vecstore.kernels.scoring import Scorer
from vecstore.types import F32, I64, Metric

__all__ = [
    "CheckedScorer",
    "KernelScorer",
    "StagedScorer",
    "bias_of",
    "bounding",
    "check_out",
    "check_own_rows",
    "check_rows",
    "check_span",
    "coarse",
    "quick",
    "renewal",
    "unchanged",
]


def coarse(scorer: Scorer) -> Scorer:
    """Give the scorer that computes what graph walks compute: quicker, for results that are scored again."""
    return scorer.coarse() if isinstance(scorer, StagedScorer) else scorer


def quick(scorer: Scorer) -> Scorer:
    """Give the scorer for scans of all rows without a finer copy; the same one where that is quick enough."""
    return scorer.quick() if isinstance(scorer, StagedScorer) else scorer


class StagedScorer(ABC):
    """A scorer that may have others which are quicker, for results that are scored again."""

    @abstractmethod
    def coarse(self) -> Scorer:
        """Give the scorer that computes what graph walks compute; this one where nothing is coarser."""

    @abstractmethod
    def quick(self) -> Scorer:
        """Give the scorer for scans of all rows without a finer copy; this one where that is quick enough."""


def bounding(scorer: Scorer) -> Scorer | None:
    """Give the scorer of what the true distances are hardly ever below; None where the scheme does not know that."""
    if not isinstance(scorer, KernelScorer) or scorer.bounds is None:
        return None
    return scorer.with_operands(scorer.bounds())


def renewal(scorer: Scorer) -> Callable[[], None] | None:
    """Give what makes the scorer one of other queries, which were written over its own; None where nothing does."""
    return scorer.renew if isinstance(scorer, KernelScorer) else None


def unchanged() -> None:
    """Do nothing: the renewal of operands in which nothing follows from the queries but the queries themselves."""


def bias_of(metric: Metric) -> np.float32:
    """Give b such that a distance is b - <query, row>; for ``ip`` and ``cosine``."""
    return np.float32(1 if metric is Metric.COSINE else 0)


def check_rows(rows: I64, n_rows: int) -> I64:
    """Give ``rows`` as frozen int64[n], all of them inside a table of ``n_rows``.

    Raises
    ------
    InvalidArgumentError
        Not one-dimensional integers.
    NotFoundError
        A row outside the table.
    """
    given = np.asarray(rows)
    if given.ndim != 1 or (given.dtype.kind not in "iu" and given.size):
        raise InvalidArgumentError(f"rows: expected int64[n], got {given.dtype}{list(given.shape)}", field="rows")
    checked = frozen(given if given.dtype == np.int64 else given.astype(np.int64))
    outside = first_outside(checked, n_rows)
    if outside >= 0:
        raise NotFoundError(f"rows: there is no row {given[outside]} in a table of {n_rows} rows", field="rows")
    return checked


class KernelScorer(StagedScorer):
    """Distances by the generic kernels.

    Parameters
    ----------
    n_rows, n_queries : int
        Rows of the table, and queries.
    operands : Operands
        Arrays for exact distances to the stored rows.
    traversal : Operands
        Arrays for graph walks; the same object where there is nothing coarser.
    bounds : callable, optional
        Gives arrays for what the true distances of rows are hardly ever below, where the scheme knows that.
    scanned : Operands, optional
        Arrays for scans without a finer copy, whose results are scored again with ``operands``; for codes whose exact
        distances take many times as long. Either ``traversal`` or ``operands``, which it is where not given.
    renew : callable, optional
        Computes again what follows from queries that were changed in place: in ``operands``, in ``traversal``, and in
        what ``bounds`` gave.
    """

    def __init__(
        self,
        n_rows: int,
        n_queries: int,
        operands: Operands,
        traversal: Operands,
        bounds: Callable[[], Operands] | None = None,
        scanned: Operands | None = None,
        *,
        renew: Callable[[], None] | None = None,
    ) -> None:
        self.operands = operands
        self.traversal = traversal
        self.bounds = bounds
        self.scanned = operands if scanned is None else scanned
        self.renew = renew
        self._n_rows = n_rows
        self._n_queries = n_queries

    def with_operands(self, operands: Operands) -> KernelScorer:
        """Give the scorer of the same queries that computes everything with ``operands``."""
        return KernelScorer(self._n_rows, self._n_queries, operands, operands)

    def coarse(self) -> KernelScorer:
        """Give the scorer of what graph walks compute; see :class:`StagedScorer`."""
        return self if self.traversal is self.operands else self.with_operands(self.traversal)

    def quick(self) -> KernelScorer:
        """Give the scorer for scans without a finer copy; see :class:`StagedScorer`."""
        return self if self.scanned is self.operands else self.with_operands(self.scanned)

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start].

        Raises
        ------
        InvalidArgumentError
            Rows outside the table, or ``out`` of another shape or dtype.
        """
        check_span(start, stop, self._n_rows)
        check_out(out, self._n_queries, stop - start)
        distance.scan(self.operands, start, stop, out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n].

        Raises
        ------
        InvalidArgumentError
            ``rows`` are not integers, or ``out`` has another shape or dtype.
        NotFoundError
            A row outside the table.
        """
        checked = check_rows(rows, self._n_rows)
        check_out(out, self._n_queries, len(checked))
        distance.gather(self.operands, checked, out)

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out`` float32[q, m].

        A row of -1 gets ``inf``.

        Raises
        ------
        InvalidArgumentError
            ``rows`` or ``out`` have another shape or dtype.
        """
        check_own_rows(rows, self._n_queries)
        check_out(out, self._n_queries, rows.shape[1])
        distance.rerank(self.operands, frozen(rows), self._n_rows, out)


class CheckedScorer:
    """A scorer that checks what it is asked, before another answers.

    Parameters
    ----------
    scorer : Scorer
        Gets rows as frozen int64 inside the table, and buffers of the right shape; where it has kernel operands, so has
        this one.
    n_rows, n_queries : int
        Rows of the table, and queries.
    """

    def __init__(self, scorer: Scorer, n_rows: int, n_queries: int) -> None:
        self._scorer = scorer
        self._n_rows = n_rows
        self._n_queries = n_queries

    @property
    def operands(self) -> Operands | None:
        """Those of the other scorer."""
        return self._scorer.operands

    @property
    def traversal(self) -> Operands | None:
        """Those of the other scorer."""
        return self._scorer.traversal

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop; see :meth:`KernelScorer.scan`."""
        check_span(start, stop, self._n_rows)
        check_out(out, self._n_queries, stop - start)
        self._scorer.scan(start, stop, out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n]; see :meth:`KernelScorer.gather`."""
        checked = check_rows(rows, self._n_rows)
        check_out(out, self._n_queries, len(checked))
        self._scorer.gather(checked, out)

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own; see :meth:`KernelScorer.rerank`."""
        check_own_rows(rows, self._n_queries)
        check_out(out, self._n_queries, rows.shape[1])
        self._scorer.rerank(frozen(np.where(rows < self._n_rows, rows, -1)), out)


def check_span(start: int, stop: int, n_rows: int) -> None:
    """Check that the rows start..stop are inside a table."""
    if not 0 <= start <= stop <= n_rows:
        raise InvalidArgumentError(f"rows {start}..{stop} are outside a table of {n_rows} rows", field="rows")


def check_own_rows(rows: I64, n_queries: int) -> None:
    """Check that ``rows`` are int64[n_queries, m]."""
    if rows.ndim != 2 or rows.dtype != np.int64 or len(rows) != n_queries:
        raise InvalidArgumentError(
            f"rows: expected int64[{n_queries}, m], got {rows.dtype}{list(rows.shape)}", field="rows"
        )


def check_out(out: F32, n_queries: int, width: int) -> None:
    """Check that ``out`` is a writable C-contiguous float32[n_queries, width]."""
    expected = (n_queries, width)
    if out.shape != expected or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidArgumentError(
            f"out: expected a writable C-contiguous float32{list(expected)}, got {out.dtype}{list(out.shape)}",
            field="out",
        )
