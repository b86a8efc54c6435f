"""Product-quantised rows of two tiers: hot rows choose among 256 centroids a part, cold ones among the first 64.

Codes of hot rows are bytes. Codes of cold rows have 6 bits each, least significant first, without gaps between parts or
rows: code ``i`` starts at bit ``6 i``. A bitmap with rank says which row is of which tier (``kernels/bitmaps.py``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vecstore.kernels.bitmaps import is_set, rank
from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.intrinsics import decode_row
from vecstore.types import F32, I64, U8, U32, U64

#: Centroids of a part.
CENTROIDS = 256
#: Bits of a cold code.
COLD_BITS = 6


class TierCodes(NamedTuple):
    """The codes of all rows.

    Attributes
    ----------
    hot : uint8[h, M]
    cold : uint8[ceil(6 M c / 8)]
        Packed codes of the c other rows.
    words : uint64[ceil(n / 64)]
        Bitmap of the hot rows.
    ranks : uint32[ceil(n / 512)]
        Hot rows before each block of 512.
    """

    hot: U8
    cold: U8
    words: U64
    ranks: U32


@kernel
def cold_code(cold: U8, number: Int) -> Int:
    """Give a packed code, 0..63."""
    start = number * COLD_BITS
    byte = start >> 3
    # The byte after is needed for some codes only, but reading it always is faster than a branch.
    after = min(byte + 1, len(cold) - 1)
    both = np.int64(cold[byte]) | np.int64(cold[after]) << 8
    return both >> (start & 7) & ((1 << COLD_BITS) - 1)


@kernel
def take_tiered(centroids: F32, codes: TierCodes, rows: I64, out: F32) -> None:
    """Write the parts of ``rows`` int64[n] into ``out`` float32[n M, w]; ``centroids`` are float32[256 M, w]."""
    n_parts = codes.hot.shape[1]
    for place in range(len(rows)):
        row = rows[place]
        before = rank(codes.words, codes.ranks, row)
        target = place * n_parts
        if is_set(codes.words, row):
            for part in range(n_parts):
                decode_row(
                    centroids, part * CENTROIDS + np.int64(codes.hot[before, part]), np.float32(1), out, target + part
                )
        else:
            first = (row - before) * n_parts
            for part in range(n_parts):
                code = cold_code(codes.cold, first + part)
                decode_row(centroids, part * CENTROIDS + code, np.float32(1), out, target + part)


@kernel
def tier_sum(tables: F32, query: Int, codes: TierCodes, row: Int) -> np.float32:
    """Give the sum over the parts of ``tables[query, part, code of the row]``, float32[q, M, 256], part after part."""
    n_parts = tables.shape[1]
    before = rank(codes.words, codes.ranks, row)
    total = np.float32(0)
    if is_set(codes.words, row):
        for part in range(n_parts):
            total += tables[query, part, codes.hot[before, part]]
    else:
        first = (row - before) * n_parts
        for part in range(n_parts):
            total += tables[query, part, cold_code(codes.cold, first + part)]
    return total


@kernel
def negative_dots(codebook: F32, queries: F32, out: F32) -> None:
    """Write minus the inner products of the parts of float32[q, d] queries with all centroids, float32[q, M, 256]."""
    n_parts, n_centroids, width = codebook.shape
    for query in range(len(queries)):
        for part in range(n_parts):
            for centroid in range(n_centroids):
                total = np.float32(0)
                for element in range(width):
                    total -= queries[query, part * width + element] * codebook[part, centroid, element]
                out[query, part, centroid] = total


@kernel
def squared_distances(codebook: F32, queries: F32, out: F32) -> None:
    """Write the squared distances of the parts of float32[q, d] queries to all centroids, float32[q, M, 256]."""
    n_parts, n_centroids, width = codebook.shape
    for query in range(len(queries)):
        for part in range(n_parts):
            for centroid in range(n_centroids):
                total = np.float32(0)
                for element in range(width):
                    difference = queries[query, part * width + element] - codebook[part, centroid, element]
                    total += difference * difference
                out[query, part, centroid] = total


@kernel
def nearest_centroids(vectors: F32, centroids: F32, distances: F32, codes: U8, errors: F32) -> None:
    """Write the number of the nearest centroid of each vector, the first of equals, and its squared distance.

    Parameters
    ----------
    vectors : float32[n, w]
    centroids : float32[w, K]
        One a column, so that all K distances grow together, element after element.
    distances : float32[K]
        Scratch.
    codes : uint8[n]
    errors : float32[n]
    """
    for row in range(vectors.shape[0]):
        distances[:] = 0
        for element in range(vectors.shape[1]):
            value = vectors[row, element]
            for centroid in range(len(distances)):
                difference = value - centroids[element, centroid]
                distances[centroid] += difference * difference
        best = 0
        for centroid in range(1, len(distances)):
            if distances[centroid] < distances[best]:
                best = centroid
        codes[row] = best
        errors[row] = distances[best]
