"""Sums, distances, hashes and rotations, and made vectors to try them on."""

from __future__ import annotations

import numpy as np

LANES = 16

ACCUMULATORS = 4


def lane_sum(terms):
    """Sum float32[..., d] over the last axis in the order that kernels/intrinsics fixes, step by step in float32."""
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


def mixed(key, salt):
    """The 64-bit hash of an id under a salt, in Python's integers."""
    z = (int(key) + int(salt)) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def bucket(hashed, size):
    """The place of a 64-bit hash in a table of that size."""
    return (hashed >> 32) * size >> 32


def unit_hashes(keys, salts):
    """The inputs float32[n, k] of the scheme dhe."""
    return np.float32([[(2 * (mixed(key, salt) >> 40) + 1 - 2**24) / 2**24 for salt in salts] for key in keys])


def bits_of(words):
    """The bits of uint64 words, least significant first, as bool."""
    return np.array([int(word) >> bit & 1 for word in words for bit in range(64)], bool)


def _hadamard(rows):
    """float32[n, m] times the Walsh-Hadamard matrix over sqrt(m), in float32."""
    size, half = rows.shape[1], 1
    while half < size:
        pairs = rows.reshape(len(rows), -1, 2, half)
        rows = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        rows, half = rows.reshape(len(rows), size), 2 * half
    return rows * (np.float32(1) / np.sqrt(np.float32(size)))


def _turned(rows, salt, turns, flip_first):
    """Rows after those rounds of the rotation of kernels/rotation.py, as its documentation says, in float32."""
    rows, dim = rows.copy(), rows.shape[1]
    size = 1 << (dim.bit_length() - 1)
    for turn in turns:
        signs = bits_of([mixed((turn << 32) + word, salt) for word in range(-(-dim // 64))])[:dim]
        if flip_first:
            rows = np.where(signs, -rows, rows)
        block = slice(dim - size, dim) if turn % 2 else slice(0, size)
        rows[:, block] = _hadamard(rows[:, block])
        if not flip_first:
            rows = np.where(signs, -rows, rows)
    return rows


def rotated(rows, salt):
    """Rows float32[n, d] after the rotation."""
    return _turned(rows, salt, (0, 1, 2, 3), flip_first=True)


def rotated_back(rows, salt):
    """Rows float32[n, d] before the rotation."""
    return _turned(rows, salt, (3, 2, 1, 0), flip_first=False)
