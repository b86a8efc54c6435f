"""Re-ranking of as many candidates as a bound on their distances asks for."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands, nearest_within
from vecstore.kernels.scoring import Scorer
from vecstore.kernels.topk import nearest_rows
from vecstore.types import F32, I64

__all__ = ["refine_within"]

#: Candidates of a query in the first round, as a multiple of k, and at least so many; each further round has twice
#: as many.
FIRST_FACTOR = 2
FIRST_MIN = 24


def refine_within(rows: I64, bounds: F32, finer: Scorer, k: int) -> tuple[I64, F32]:
    """Give the k nearest of candidates by a finer scorer, which is asked only for those that can be among them.

    Candidates are scored in the order of their bounds until the next bound is above the k-th distance: no row after it
    can be nearer, if its bound holds. They go in rounds where no kernel computes the distances.

    Parameters
    ----------
    rows : int64[q, m]
        Candidates; -1 for none.
    bounds : float32[q, m]
        What their distances are not below, ascending; ``inf`` for none.
    finer : Scorer
        Prepared for the queries.
    k : int
        At least 1.

    Returns
    -------
    rows : int64[q, k]
        Nearest first, the lower row first among equals; -1 past the last.
    distances : float32[q, k]
        By the finer scorer; ``inf`` past the last.
    """
    if finer.operands is not None:
        return _in_turn(rows, bounds, finer.operands, k)
    n_queries, width = rows.shape
    scored = np.full(rows.shape, -1, np.int64)
    distances = np.full(rows.shape, np.inf, np.float32)
    limits = np.full(n_queries, np.inf, np.float32)
    start, step = 0, max(FIRST_FACTOR * k, FIRST_MIN)
    while start < width and (bounds[:, start] <= limits).any():
        stop = min(start + step, width)
        part = np.ascontiguousarray(np.where(bounds[:, start:stop] <= limits[:, None], rows[:, start:stop], -1))
        found = np.empty(part.shape, np.float32)
        finer.rerank(part, found)
        scored[:, start:stop], distances[:, start:stop] = part, found
        if stop >= k:
            limits = np.partition(distances[:, :stop], k - 1, axis=1)[:, k - 1]
        start, step = stop, 2 * step
    return nearest_rows(scored, distances, k)


def _in_turn(rows: I64, bounds: F32, exact: Operands, k: int) -> tuple[I64, F32]:
    """Score candidates as long as bounds say so."""
    shape = (len(rows), k)
    nearest, distances = np.empty(shape, np.int64), np.empty(shape, np.float32)
    nearest_within(exact, frozen(rows), frozen(bounds), np.empty(shape, np.uint64), nearest, distances)
    return nearest, distances
