"""Distances to rows that are in several tables, each of which scores its own in its stored form."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from vecstore.kernels.distance import Operands
from vecstore.kernels.scoring import PartedScorer, Scorer
from vecstore.kernels.split import SplitRows
from vecstore.schemes.scorer import StagedScorer, check_out, check_own_rows, check_rows, check_span, coarse, quick
from vecstore.schemes.tier_map import TierMap
from vecstore.types import F32, I64

__all__ = ["TierScorer"]


class TierScorer(StagedScorer, PartedScorer):
    """Exact searches and scans go through the tiers one by one; graph walks find a row's tier in the bitmaps.

    Parameters
    ----------
    tier_map : TierMap
    parts : tuple of Scorer
        One a tier.
    counts : tuple of int
        Rows of each.
    n_queries : int
    """

    operands: Operands | None = None

    def __init__(self, tier_map: TierMap, parts: tuple[Scorer, ...], counts: tuple[int, ...], n_queries: int) -> None:
        self.parts = parts
        self.counts = counts
        self._map = tier_map
        self._n_rows = sum(counts)
        self._n_queries = n_queries

    @cached_property
    def traversal(self) -> Operands | None:
        """Give the operands of all tiers, chained by the bitmaps; None where a tier has none."""
        walked = [part.traversal for part in self.parts]
        found = walked[-1]
        for (words, ranks), own in zip(reversed(self._map.levels), reversed(walked[:-1]), strict=True):
            if own is None or found is None:
                return None
            found = SplitRows(words, ranks, own, found)
        return found

    def coarse(self) -> Scorer:
        """Give the scorer of what graph walks compute; see :class:`~vecstore.schemes.scorer.StagedScorer`."""
        return self._with(coarse)

    def quick(self) -> Scorer:
        """Give the scorer for scans without a finer copy; see :class:`~vecstore.schemes.scorer.StagedScorer`."""
        return self._with(quick)

    def _with(self, quicker: Callable[[Scorer], Scorer]) -> TierScorer:
        parts = tuple(quicker(part) for part in self.parts)
        same = all(one is other for one, other in zip(parts, self.parts, strict=True))
        return self if same else TierScorer(self._map, parts, self.counts, self._n_queries)

    def locate(self, rows: I64) -> tuple[I64, I64]:
        """Give the tier of each of ``rows`` int64[n] and its place there; see :class:`PartedScorer`."""
        return self._map.locate(check_rows(rows, self._n_rows))

    def rows_of(self, part: int, places: I64) -> I64:
        """Give the rows at ``places`` int64[...] of a tier; see :class:`PartedScorer`."""
        there = places >= 0
        rows = np.full(places.shape, -1, np.int64)
        rows[there] = self._map.rows_of(part, places[there])
        return rows

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop; see :meth:`KernelScorer.scan`."""
        check_span(start, stop, self._n_rows)
        check_out(out, self._n_queries, stop - start)
        owners, within = self._map.locate(np.arange(start, stop))
        for tier, part in enumerate(self.parts):
            places = np.flatnonzero(owners == tier)
            if len(places):
                # Rows of a tier keep their order, so those of neighbouring rows are neighbours.
                first = int(within[places[0]])
                distances = np.empty((len(out), len(places)), np.float32)
                part.scan(first, first + len(places), distances)
                out[:, places] = distances

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n]; see :meth:`KernelScorer.gather`."""
        owners, within = self.locate(rows)
        check_out(out, self._n_queries, len(owners))
        for tier, part in enumerate(self.parts):
            places = np.flatnonzero(owners == tier)
            distances = np.empty((len(out), len(places)), np.float32)
            part.gather(within[places], distances)
            out[:, places] = distances

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own; see :meth:`KernelScorer.rerank`."""
        check_own_rows(rows, self._n_queries)
        check_out(out, self._n_queries, rows.shape[1])
        there = (rows >= 0) & (rows < self._n_rows)
        owners, within = (found.reshape(rows.shape) for found in self._map.locate(np.where(there, rows, 0).ravel()))
        out[:] = np.inf
        for tier, part in enumerate(self.parts):
            own = there & (owners == tier)
            if own.any():
                distances = np.empty(rows.shape, np.float32)
                part.rerank(np.where(own, within, -1), distances)
                out[own] = distances[own]
