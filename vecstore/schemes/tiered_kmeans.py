"""k-means for product quantisation with two tiers of rows, of which one may use only a prefix of the codebook."""

from __future__ import annotations

import numpy as np

from vecstore.kernels import tiers as kernels
from vecstore.kernels.compiling import frozen
from vecstore.types import F32, I64, U8

__all__ = ["nearest", "tiered_centroids"]

#: Rounds of assigning and averaging, at most.
_ROUNDS = 16
#: Rows a centroid that the centroids are computed from.
_SAMPLED = 100


def nearest(vectors: F32, centroids: F32) -> tuple[U8, F32]:
    """Give for each of vectors float32[n, w] its nearest of centroids float32[K, w], uint8[n], and their distance."""
    codes, errors = np.empty(len(vectors), np.uint8), np.empty(len(vectors), np.float32)
    scratch = np.empty(len(centroids), np.float32)
    kernels.nearest_centroids(frozen(vectors), frozen(centroids.T), scratch, codes, errors)
    return codes, errors


def tiered_centroids(hot: F32, cold: F32, n_centroids: int, n_prefix: int, generator: np.random.Generator) -> F32:
    """Give centroids float32[n_centroids, w] for which the sum of all squared errors is low (Lloyd's algorithm).

    They begin as vectors that are far apart (Arthur and Vassilvitskii, "k-means++", SODA 2007, section 2.2).
    Hot vectors are assigned to any centroid and cold ones to the first ``n_prefix``; each centroid becomes the mean of
    all vectors assigned to it. One that nobody is assigned to takes the place of a vector with the largest error.
    Centroids that no vector needs are 0.

    Parameters
    ----------
    hot : float32[h, w]
    cold : float32[c, w]
    n_centroids, n_prefix : int
    generator : numpy.random.Generator
        Draws the samples and the first centroids.
    """
    hot = _drawn(hot, _SAMPLED * n_centroids, generator)
    cold = _drawn(cold, _SAMPLED * n_prefix, generator)
    vectors = np.concatenate([cold, hot])
    centroids = np.zeros((n_centroids, vectors.shape[1]), np.float32)
    _spread(centroids, 0, n_prefix, cold if len(cold) else hot, generator)
    _spread(centroids, n_prefix, n_centroids, hot, generator)
    before: U8 | None = None
    for _ in range(_ROUNDS):
        cold_codes, cold_errors = nearest(cold, centroids[:n_prefix])
        hot_codes, hot_errors = nearest(hot, centroids)
        codes = np.concatenate([cold_codes, hot_codes])
        if before is not None and np.array_equal(codes, before):
            break
        before = codes
        counts = np.bincount(codes, minlength=n_centroids)
        sums = np.zeros(centroids.shape)
        np.add.at(sums, codes, vectors)
        centroids[counts > 0] = (sums[counts > 0] / counts[counts > 0, None]).astype(np.float32)
        unused = np.flatnonzero(counts == 0)
        if len(cold):
            _move(centroids, unused[unused < n_prefix], cold, cold_errors)
            unused = unused[unused >= n_prefix]
        _move(centroids, unused, hot, hot_errors)
    return centroids


def _drawn(vectors: F32, count: int, generator: np.random.Generator) -> F32:
    """Give ``count`` vectors drawn without repetition, in their order; all where there are no more."""
    if len(vectors) <= count:
        return vectors
    return vectors[np.sort(generator.choice(len(vectors), count, replace=False))]


def _spread(centroids: F32, start: int, stop: int, vectors: F32, generator: np.random.Generator) -> None:
    """Draw centroids start..stop from the vectors, by the squared distances to all centroids before."""
    if not len(vectors):
        return
    if start == 0:
        centroids[0] = vectors[generator.integers(len(vectors))]
        start = 1
    errors = nearest(vectors, centroids[:start])[1]
    for place in range(start, stop):
        sums = np.cumsum(errors, dtype=np.float64)
        if sums[-1] == 0:
            return
        drawn = np.searchsorted(sums, generator.random() * sums[-1], side="right")
        centroids[place] = vectors[min(int(drawn), len(vectors) - 1)]
        errors = np.minimum(errors, nearest(vectors, centroids[place : place + 1])[1])


def _move(centroids: F32, unused: I64, vectors: F32, errors: F32) -> None:
    """Put unused centroids where the worst served vectors are."""
    worst = np.argsort(-errors, kind="stable")[: len(unused)]
    worst = worst[errors[worst] > 0]
    centroids[unused[: len(worst)]] = vectors[worst]
