"""Figures of merit of a search: agreement with exact search, right answers, and latency."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from vecstore.types import F32, I64

__all__ = ["hit_share", "nearest", "percentiles", "recall"]


def nearest(vectors: F32, queries: F32, k: int) -> I64:
    """Give the rows of the k largest inner products, largest first, lower rows first among equals.

    Parameters
    ----------
    vectors : float32[n, dim]
        Unit rows.
    queries : float32[q, dim]
        Unit rows.
    k : int
        Rows a query; all n where n is less.

    Returns
    -------
    int64[q, min(k, n)]
    """
    scores = queries @ vectors.T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k].astype(np.int64)


def recall(found: Sequence[Collection[str]], truth: Sequence[Collection[str]]) -> float:
    """Give the mean share of the true ids that were found; queries without any true id do not count."""
    shares = [len(set(one) & set(other)) / len(set(other)) for one, other in zip(found, truth, strict=True) if other]
    return float(np.mean(shares)) if shares else float("nan")


def hit_share(found: Sequence[Sequence[str]], expected: Sequence[Collection[str]], k: int) -> float:
    """Give the share of queries with at least one expected id among their first k."""
    hits = [not set(ids[:k]).isdisjoint(names) for ids, names in zip(found, expected, strict=True)]
    return float(np.mean(hits)) if hits else float("nan")


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """Give the 50th and the 99th percentile of ``seconds``."""
    p50, p99 = np.percentile(np.asarray(seconds, np.float64), [50, 99])
    return float(p50), float(p99)
