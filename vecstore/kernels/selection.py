"""Selection of the numbers of largest magnitude in two passes of counting, without a copy of the table.

Magnitudes of float32 are ordered as the 31 bits behind the sign. The first pass counts them by their upper 16 bits, the
second those of one upper half by their lower 15 (radix selection, MSD first). What is not a number counts as 0.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.types import I64, U32, Mask

#: Bits of the lower half, and how many upper and lower halves there are.
LOWER_BITS = 15
UPPER_HALVES, LOWER_HALVES = 1 << 16, 1 << LOWER_BITS

_MAGNITUDE, _INFINITY = np.uint32(0x7FFFFFFF), np.uint32(0x7F800000)
_SHIFT, _LOWER = np.uint32(LOWER_BITS), np.uint32(LOWER_HALVES - 1)


@kernel
def magnitude(word: Int) -> Int:
    """Give the ordered bits of the magnitude of a float32, given as its bits."""
    bits = np.uint32(word) & _MAGNITUDE
    return bits if bits <= _INFINITY else np.uint32(0)


@kernel
def count_upper(words: U32, counts: I64) -> None:
    """Add the number of magnitudes with each upper half to ``counts`` int64[UPPER_HALVES]."""
    for place in range(len(words)):
        counts[magnitude(words[place]) >> _SHIFT] += 1


@kernel
def count_lower(words: U32, upper: Int, counts: I64) -> None:
    """Add the number of magnitudes with the half ``upper`` and each lower half to ``counts`` int64[LOWER_HALVES]."""
    for place in range(len(words)):
        bits = magnitude(words[place])
        if (bits >> _SHIFT) == upper:
            counts[bits & _LOWER] += 1


@kernel
def mark(words: U32, threshold: Int, equals: Int, out: Mask) -> None:
    """Mark the magnitudes above ``threshold`` in ``out`` bool[n], and the first ``equals`` of those that equal it."""
    left = np.int64(equals)
    for place in range(len(words)):
        bits = magnitude(words[place])
        out[place] = bits > threshold
        if bits == threshold and left > 0:
            out[place] = True
            left -= 1
