"""Searches in stages: how many rows a quick stage leaves, and how the next scores them again."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.scoring import Scorer
from vecstore.kernels.topk import nearest_rows
from vecstore.schemes.base import CompressedTable
from vecstore.types import F32, I64

__all__ = ["COARSE_FACTOR", "COARSE_MIN", "RERANK_FACTOR", "RERANK_MIN", "scan_depth", "scored_again"]

#: Survivors re-ranked on the finer copy, as a multiple of k, and at least so many.
RERANK_FACTOR = 2
RERANK_MIN = 24
#: The same for scans of codes of less than a byte a number, which may be far off.
COARSE_FACTOR = 10
COARSE_MIN = 100


def scan_depth(codes: CompressedTable, k: int, *, refined: bool) -> int:
    """Give how many rows that a quick scan of ``codes`` found are scored again.

    On a finer copy (``refined``) they are more where codes have less than a byte a number: these may be far off, and
    beside a scan it costs little. On the codes themselves only what the quick scan rounded is put right.
    """
    if refined and codes.nbytes < codes.shape.rows * codes.shape.dim:
        return max(COARSE_FACTOR * k, COARSE_MIN)
    return max(RERANK_FACTOR * k, RERANK_MIN)


def scored_again(rows: I64, finer: Scorer, k: int) -> tuple[I64, F32]:
    """Give the k nearest of ``rows`` int64[q, m], each query its own, and their distances, by another scorer."""
    distances = np.empty(rows.shape, np.float32)
    finer.rerank(rows, distances)
    return nearest_rows(rows, distances, k)
