"""Product-quantised rows of two tiers: hot rows choose among 256 centroids a part, cold ones among the first 64.

Codes of hot rows are bytes. Codes of cold rows have 6 bits each, least significant first, without gaps between parts or
rows: code ``i`` starts at bit ``6 i``. A bitmap with rank says which row is of which tier (``kernels/bitmaps.py``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vecstore.kernels.bitmaps import is_set, rank
from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.intrinsics import copy_row, prefetch_element, prefetch_row
from vecstore.kernels.lookup import ROWS_AHEAD
from vecstore.types import F32, I64, U8, U32, U64

#: Centroids of a part.
CENTROIDS = 256
#: Bits of a cold code.
COLD_BITS = 6
#: Cold codes that are read together: they fill 48 bits, and start at bit 6 of a byte at the latest.
WINDOW = 8
#: Bytes that are read for them.
WORD_BYTES = 8

_COLD_MASK, _COLD_SHIFT = np.uint64(63), np.uint64(COLD_BITS)


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
def take_tiered(centroids: F32 | U64, codes: TierCodes, places: I64, row_codes: U8, out: F32 | U64) -> None:
    """Write the parts of rows into ``out`` [n M, w].

    Parameters
    ----------
    centroids : float32[256 M, w] or uint64[256 M, 1]
        Centroids of two floats may be seen as one integer, which is the quickest.
    codes : TierCodes
        ``cold`` is empty or has at least ``WORD_BYTES`` bytes.
    places : int64[n]
        Of the rows within their tiers, as ``bitmaps.fill_places`` gives them.
    row_codes : uint8[M + WINDOW]
        Scratch.
    out : float32[n M, w] or uint64[n M, 1]
    """
    # Taken out of the tuple once, because Numba counts references to an array each time it is taken out.
    hot, cold = codes.hot, codes.cold
    n_parts, width = hot.shape[1], centroids.shape[1]
    last_word = len(cold) - WORD_BYTES
    for number in range(len(places)):
        if number + ROWS_AHEAD < len(places):
            ahead = places[number + ROWS_AHEAD]
            if ahead >= 0:
                prefetch_row(hot, ahead)
            else:
                # Codes of a row may lie in two cache lines.
                prefetch_element(cold, (-1 - ahead) * n_parts * COLD_BITS >> 3)
                prefetch_element(cold, (-ahead * n_parts * COLD_BITS >> 3) - 1)
        place, target = places[number], number * n_parts
        if place >= 0:
            for part in range(n_parts):
                row_codes[part] = hot[place, part]
        else:
            for start in range(0, n_parts, WINDOW):
                bit = ((-1 - place) * n_parts + start) * COLD_BITS
                # Unsigned, so that no index can count from the end: then LLVM makes one load of the eight.
                byte = np.uint64(min(bit >> 3, last_word))
                window = np.uint64(0)
                for offset in range(WORD_BYTES):
                    window |= np.uint64(cold[byte + np.uint64(offset)]) << np.uint64(8 * offset)
                window >>= np.uint64(bit) - (byte << np.uint64(3))
                for part in range(WINDOW):
                    row_codes[start + part] = np.uint8(window & _COLD_MASK)
                    window >>= _COLD_SHIFT
        if width == 1:
            for part in range(n_parts):
                out[target + part, 0] = centroids[part * CENTROIDS + row_codes[part], 0]
        else:
            for part in range(n_parts):
                copy_row(centroids, part * CENTROIDS + np.int64(row_codes[part]), out, target + part)


@kernel
def tier_sum(tables: F32, query: Int, codes: TierCodes, row: Int) -> np.float32:
    """Give the sum over the parts of ``tables[query, part, code of the row]``, float32[q, M, 256], part after part."""
    hot, cold = codes.hot, codes.cold
    n_parts = tables.shape[1]
    before = rank(codes.words, codes.ranks, row)
    total = np.float32(0)
    marked, first = is_set(codes.words, row), (row - before) * n_parts
    for part in range(n_parts):
        total += tables[query, part, np.int64(hot[before, part]) if marked else cold_code(cold, first + part)]
    return total


@kernel
def tier_sum_tile(
    tables: F32, query: Int, codes: TierCodes, row: Int
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Give :func:`tier_sum` for the queries query, ..., query + 3; the codes are read once."""
    hot, cold = codes.hot, codes.cold
    n_parts = tables.shape[1]
    before = rank(codes.words, codes.ranks, row)
    a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    marked, first = is_set(codes.words, row), (row - before) * n_parts
    for part in range(n_parts):
        code = np.int64(hot[before, part]) if marked else cold_code(cold, first + part)
        a += tables[query, part, code]
        b += tables[query + 1, part, code]
        c += tables[query + 2, part, code]
        d += tables[query + 3, part, code]
    return a, b, c, d


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
