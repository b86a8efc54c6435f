"""Plain numpy twins of the kernels: slow, obvious, and written from the documented formulas."""

from __future__ import annotations

import numpy as np

LANES = 16
ACCUMULATORS = 4


def lane_sum(terms):
    """Sum float32[..., d] over the last axis in the order that kernels/intrinsics.py fixes, step by step in float32."""
    block = LANES * ACCUMULATORS
    padding = -terms.shape[-1] % block
    padded = np.pad(terms, [(0, 0)] * (terms.ndim - 1) + [(0, padding)])
    blocks = padded.reshape(*terms.shape[:-1], -1, ACCUMULATORS, LANES)
    totals = np.zeros((*terms.shape[:-1], ACCUMULATORS, LANES), np.float32)
    for number in range(blocks.shape[-3]):
        totals = totals + blocks[..., number, :, :]
    lanes = (totals[..., 0, :] + totals[..., 1, :]) + (totals[..., 2, :] + totals[..., 3, :])
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]


def dots(rows, queries):
    """Inner products float32[q, n] by the lane rule."""
    return lane_sum(queries[:, None, :] * rows.astype(np.float32)[None, :, :])


def squared_distances(rows, queries):
    """Squared Euclidean distances float32[q, n] by the lane rule."""
    difference = queries[:, None, :] - rows.astype(np.float32)[None, :, :]
    return lane_sum(difference * difference)


def quantise(matrix):
    """Codes and scales of the scheme int8."""
    scales = np.abs(matrix).max(axis=1, initial=0) / np.float32(127)
    with np.errstate(divide="ignore", invalid="ignore"):
        codes = np.clip(np.rint(matrix / scales[:, None]), -127, 127)
    codes[scales == 0] = 0
    return codes.astype(np.int8), scales


def decoded(name, matrix):
    """What a scheme gives back for float32[n, d]."""
    if name == "full":
        return matrix
    if name == "float16":
        return matrix.astype(np.float16).astype(np.float32)
    if name == "int8":
        codes, scales = quantise(matrix)
        return codes.astype(np.float32) * scales[:, None]
    raise NotImplementedError(f"scheme {name!r} has no twin in tests/reference.py; write one")


def distances(matrix, queries, metric):
    """Distances float64[q, n] in full precision."""
    rows, asked = matrix.astype(np.float64), queries.astype(np.float64)
    if metric == "l2":
        return ((asked[:, None, :] - rows[None, :, :]) ** 2).sum(axis=-1)
    return (1.0 if metric == "cosine" else 0.0) - asked @ rows.T


def nearest(found, k, rows=None):
    """The k nearest by distance, then by row: rows int64[q, k] and distances, padded with -1 and inf."""
    rows = np.arange(found.shape[1]) if rows is None else rows
    places = np.full((len(found), k), -1, np.int64)
    values = np.full((len(found), k), np.inf, np.float32)
    for query, line in enumerate(found):
        order = np.lexsort((rows, line))[:k]
        places[query, : len(order)] = rows[order]
        values[query, : len(order)] = line[order]
    return places, values


def recall(found, expected):
    """Share of the expected rows that were found; -1 counts for neither."""
    hits = sum(len((set(a) & set(b)) - {-1}) for a, b in zip(found.tolist(), expected.tolist(), strict=True))
    return hits / (expected >= 0).sum()


def clustered(rng, n_rows, dim, n_clusters=40):
    """Gaussian clusters, which have the uneven neighbourhoods that random vectors lack."""
    centres = rng.standard_normal((n_clusters, dim))
    return (centres[rng.integers(0, n_clusters, n_rows)] + 0.5 * rng.standard_normal((n_rows, dim))).astype(np.float32)
