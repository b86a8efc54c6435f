"""Bitmaps with rank: which rows are marked, and how many marked rows lie before a row, in constant time.

Bit ``row % 64`` (least significant first) of word ``row // 64`` says whether a row is marked; ``ranks[b]`` counts the
marked rows before block ``b`` of 512 rows (Gonzalez et al., "Practical implementation of rank and select queries",
2005, with one level). That is 1.0625 bits a row.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, inlined, kernel
from vecstore.types import I64, U32, U64

#: Words of 64 bits in a block that has one rank.
BLOCK_WORDS = 8

_ONE, _TWO, _FOUR, _LAST = np.uint64(1), np.uint64(2), np.uint64(4), np.uint64(56)
_PAIRS, _NIBBLES = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
_BYTES, _SUM = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)
_LOW_BITS, _ALL = np.uint64(63), np.uint64(0xFFFFFFFFFFFFFFFF)


@inlined
def ones(word: Int) -> Int:
    """Give the number of set bits of a uint64; LLVM makes one instruction of it."""
    x = np.uint64(word)
    x -= (x >> _ONE) & _PAIRS
    x = (x & _NIBBLES) + ((x >> _TWO) & _NIBBLES)
    x = (x + (x >> _FOUR)) & _BYTES
    return np.int64((x * _SUM) >> _LAST)


@inlined
def is_set(words: U64, row: Int) -> bool:
    """Tell whether ``row`` is marked."""
    return bool((words[row >> 6] >> (np.uint64(row) & _LOW_BITS)) & _ONE != 0)


@inlined
def rank(words: U64, ranks: U32, row: Int) -> Int:
    """Give the number of marked rows before ``row``."""
    word = np.int64(row) >> 6
    block = word >> 3
    total = np.int64(ranks[block])
    first = block << 3
    if first + BLOCK_WORDS <= len(words):
        # All words of the block are counted, because no processor can predict how many of them lie before the row.
        for near in range(BLOCK_WORDS):
            before = np.uint64(0) - np.uint64(first + near < word)
            total += ones(words[first + near] & before)
    else:
        for earlier in range(first, word):
            total += ones(words[earlier])
    return total + ones(words[word] & ((_ONE << (np.uint64(row) & _LOW_BITS)) - _ONE))


@kernel
def bits_from(words: U64, place: Int, count: Int) -> np.uint64:
    """Give the bits of the 1 to 64 places from ``place`` on, the first of them lowest, as uint64."""
    word = place >> 6
    shift = np.uint64(place) & _LOW_BITS
    bits = words[word] >> shift
    if np.int64(shift) + count > 64:
        bits |= words[word + 1] << (np.uint64(64) - shift)
    return np.uint64(bits & (_ALL >> np.uint64(64 - count)))


@kernel
def fill_places(words: U64, ranks: U32, rows: I64, out: I64) -> None:
    """Write the place of each of ``rows`` int64[n] among the rows of its kind into ``out`` int64[n].

    A marked row gets its rank r >= 0; any other gets ``-1 - r``, where r counts the unmarked rows before it.
    """
    for place in range(len(rows)):
        row = rows[place]
        marked = rank(words, ranks, row)
        out[place] = marked if is_set(words, row) else marked - row - 1
