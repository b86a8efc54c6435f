"""A random rotation that is a number to store and O(d log d) to apply.

It has :data:`ROUNDS` rounds; each flips signs by the bits of a hash and then applies the Walsh-Hadamard transform,
scaled to keep lengths, to a block of the largest power of two that fits: in even rounds the first numbers of a row, in
odd rounds the last ones, so that all are mixed for any number of dimensions. Every step is one addition, subtraction
or multiplication in float32 in a fixed order, so results have the same bits on every processor.

References
----------
Ailon and Chazelle, "The Fast Johnson-Lindenstrauss Transform and Approximate Nearest Neighbors", SIAM J. Computing
2009, section 2 (random signs and a Hadamard matrix); several rounds as in Andoni et al., "Practical and Optimal LSH for
Angular Distance", NIPS 2015, section 4.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.hashing import mix
from vecstore.kernels.intrinsics import LANES, mix_lanes, mix_spans
from vecstore.types import F32

#: Rounds of flipping and mixing; even, so that both ends of a row are treated alike.
ROUNDS = 4

_WORD_BITS = 64


@kernel
def flip_signs(row: F32, turn: Int, salt: Int) -> None:
    """Negate the numbers j of float32[d] for which bit j mod 64 of the hash of (turn, j / 64) is set."""
    for first in range(0, len(row), _WORD_BITS):
        bits = mix((turn << 32) + first // _WORD_BITS, salt)
        for place in range(first, min(first + _WORD_BITS, len(row))):
            value = row[place]
            row[place] = -value if (bits >> np.uint64(place - first)) & np.uint64(1) else value


@kernel
def hadamard(block: F32) -> None:
    """Apply the Walsh-Hadamard transform over sqrt(m) to float32[m], m a power of two, in place."""
    size = len(block)
    half = 1
    if size >= LANES:
        for place in range(0, size, LANES):
            mix_lanes(block, place)
        half = LANES
    while half < size:
        for start in range(0, size, 2 * half):
            if half >= LANES:
                for place in range(start, start + half, LANES):
                    mix_spans(block, place, place + half)
            else:
                for place in range(start, start + half):
                    a, b = block[place], block[place + half]
                    block[place], block[place + half] = a + b, a - b
        half *= 2
    scale = np.float32(1) / np.sqrt(np.float32(size))
    for place in range(size):
        block[place] *= scale


@kernel
def block_start(dim: Int, turn: Int) -> Int:
    """Give where the block of a round starts; its size is the largest power of two up to ``dim``."""
    size = 1
    while 2 * size <= dim:
        size *= 2
    return dim - size if turn % 2 else 0


@kernel
def rotate(rows: F32, salt: Int) -> None:
    """Rotate every row of float32[n, d] in place by the rotation that ``salt`` uint64 names."""
    dim = rows.shape[1]
    size = dim - block_start(dim, 1)
    for number in range(len(rows)):
        for turn in range(ROUNDS):
            flip_signs(rows[number], turn, salt)
            start = block_start(dim, turn)
            hadamard(rows[number, start : start + size])


@kernel
def rotate_back(rows: F32, salt: Int) -> None:
    """Undo :func:`rotate`, in place; the steps are their own inverses and run backwards."""
    dim = rows.shape[1]
    size = dim - block_start(dim, 1)
    for number in range(len(rows)):
        for turn in range(ROUNDS - 1, -1, -1):
            start = block_start(dim, turn)
            hadamard(rows[number, start : start + size])
            flip_signs(rows[number], turn, salt)
