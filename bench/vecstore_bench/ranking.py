"""How good ranked answers are: against true neighbours, and against judgements."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from vecstore.types import I64, IdArray

__all__ = ["mrr", "ndcg", "recall"]


def recall(found: IdArray, neighbours: I64, k: int) -> float:
    """Give the share of the true k nearest that are among the first k found, over all queries."""
    hits = (found[:, :k, None] == neighbours[:, None, :k]).any(axis=1)
    return float(hits.mean())


def ndcg(found: I64, relevant: Sequence[Collection[int]], k: int = 10) -> float:
    """Give the mean nDCG@k of rows int64[q, k or more] under judgements of 0 and 1.

    References
    ----------
    Järvelin and Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", TOIS 2002.
    """
    gains = 1 / np.log2(np.arange(2, k + 2))
    hits = _hits(found, relevant, k)
    ideal = [gains[: min(len(wanted), k)].sum() for wanted in relevant]
    return float(np.mean(hits @ gains[: hits.shape[1]] / ideal))


def mrr(found: I64, relevant: Sequence[Collection[int]], k: int = 10) -> float:
    """Give the mean of 1 / place of the first relevant row among the first k, 0 where there is none."""
    hits = _hits(found, relevant, k)
    first = hits.argmax(axis=1)
    return float(np.mean(np.where(hits.any(axis=1), 1 / (first + 1), 0.0)))


def _hits(found: I64, relevant: Sequence[Collection[int]], k: int) -> np.ndarray:
    """Say of each row found whether it is relevant: bool[q, k]."""
    pairs = zip(found[:, :k].tolist(), relevant, strict=True)
    return np.array([[row in wanted for row in rows] for rows, wanted in pairs])
