"""Sign bits, and how many of them differ: words of 64 bits, in blocks of 64 rows.

Word ``[block, w, r]`` has the bits of the numbers 64 w to 64 w + 63 of row ``64 block + r``, least significant first; a
set bit is a number of at least 0. So one vector holds the same word of several rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.intrinsics import count_differing, count_ones
from vecstore.types import F32, I64, U64

#: Rows of a block.
BLOCK_ROWS = 64


class SignProducts(NamedTuple):
    """Products of float32 queries with rows of signs.

    Attributes
    ----------
    words : uint64[ceil(n / 64), ceil(d / 64), 64]
    tables : float32[q, 16 ceil(d / 64), 16]
        What each value of four bits adds to the distance.
    offsets : float32[q]
        Distance = offset + the sum.
    """

    words: U64
    tables: F32
    offsets: F32


class SignCounts(NamedTuple):
    """The same where only the signs of a query count: Hamming distances, to scan and to walk.

    Attributes
    ----------
    words : uint64[ceil(n / 64), ceil(d / 64), 64]
    queries : uint64[q, ceil(d / 64)]
    steps, bases : float32[q]
        Distance = base + step * the number of bits that differ.
    """

    words: U64
    queries: U64
    steps: F32
    bases: F32


@kernel
def signed_sum(words: U64, tables: F32, query: Int, row: Int) -> np.float32:
    """Give the sum of the entries of all four bits of a row, in order."""
    total = np.float32(0)
    for place in range(words.shape[1]):
        word = words[row >> 6, place, row & 63]
        for part in range(16):
            total += tables[query, 16 * place + part, np.int64((word >> np.uint64(4 * part)) & np.uint64(15))]
    return total


@kernel
def differing(words: U64, queries: U64, query: Int, row: Int) -> np.int64:
    """Give the number of bits in which a row differs from a query."""
    total = np.int64(0)
    for place in range(words.shape[1]):
        total += np.int64(count_ones(words[row >> 6, place, row & 63] ^ queries[query, place]))
    return total


@kernel
def take_signs(words: U64, rows: I64, size: np.float32, out: F32) -> None:
    """Write ``size`` or ``-size`` for each bit of ``rows`` int64[n] into ``out`` float32[n, d]."""
    for place in range(len(rows)):
        row = rows[place]
        for column in range(out.shape[1]):
            bit = words[row >> 6, column >> 6, row & 63] >> np.uint64(column & 63)
            out[place, column] = size if bit & np.uint64(1) else -size


def sign_products_distance(operands: Any, query: Any, row: Any) -> Any:
    """Give the distance of :class:`SignProducts`."""
    return operands.offsets[query] + signed_sum(operands.words, operands.tables, query, row)


def sign_counts_distance(operands: Any, query: Any, row: Any) -> Any:
    """Give the distance of :class:`SignCounts`."""
    count = differing(operands.words, operands.queries, query, row)
    return operands.bases[query] + operands.steps[query] * np.float32(count)


def scan_sign_counts(operands: Any, first: Any, last: Any, start: Any, stop: Any, out: Any) -> Any:
    """Write the distances of rows start..stop to queries first..last into ``out[first:last]``, block by block."""
    counts = np.empty(BLOCK_ROWS, np.int32)
    for low in range(start - start % BLOCK_ROWS, stop, BLOCK_ROWS):
        begin, end = max(low, start), min(low + BLOCK_ROWS, stop)
        for query in range(first, last):
            count_differing(operands.words, low >> 6, operands.queries, query, counts)
            base, step = operands.bases[query], operands.steps[query]
            found, line = counts[begin - low : end - low], out[query, begin - start : end - start]
            for place in range(len(line)):
                line[place] = base + step * np.float32(found[place])


#: Class -> distance of one query to one row.
DISTANCES = {SignProducts: sign_products_distance, SignCounts: sign_counts_distance}
#: Class -> distances of a span of rows, where that is not done row by row.
SCANS = {SignCounts: scan_sign_counts}
