"""Finding blocks of a table that are nearly equal: projections, and the walk that merges.

Candidates come from locality-sensitive hashing with 2-stable projections (Datar, Immorlica, Indyk and Mirrokni,
"Locality-sensitive hashing scheme based on p-stable distributions", SCG 2004, section 3), one function a band.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.hashing import bucket, mix
from vecstore.types import F32, F64, I32, I64

#: Bands of the hash.
BANDS = 32
#: Bands in which a candidate must be in the same group: pairs within the tolerance are so in four of five.
ENOUGH_HITS = 16
#: Most recent members of a group that are looked at, and candidates that are compared in full.
LISTED, COMPARED = 64, 32
#: Blocks merge where at least this many tenths of their elements are within the tolerance.
CLOSE_TENTHS = 7


@kernel
def project(blocks: F32, directions: F64, out: F64) -> None:
    """Write the products of ``blocks`` float32[n, b] and ``directions`` float64[b, f] into ``out`` float64[n, f].

    Products are added in the order of the elements, so the sums are the same on every machine.
    """
    for block in range(blocks.shape[0]):
        out[block] = 0.0
        for element in range(blocks.shape[1]):
            value = np.float64(blocks[block, element])
            for function in range(directions.shape[1]):
                out[block, function] += value * directions[element, function]


@kernel
def fill_groups(projections: F64, offsets: F64, width: float, out: I32) -> None:
    """Write the group of each block in each band into ``out`` int32[f, n], a number from 0 to n - 1.

    Blocks whose ``floor(projection / width + offset)`` is the same are in one group. Numbers are hashed into as many
    groups as there are blocks; the few that meet by accident are compared in vain.

    Parameters
    ----------
    projections : float64[n, f]
    offsets : float64[f]
    width : float
    out : int32[f, n]
    """
    for block in range(out.shape[1]):
        for band in range(out.shape[0]):
            number = np.int64(np.floor(projections[block, band] / width + offsets[band]))
            out[band, block] = bucket(mix(number, band), out.shape[1])


@kernel
def close_elements(blocks: F32, one: Int, other: Int, tolerance: float) -> Int:
    """Count the elements of two blocks that differ by at most ``tolerance``."""
    count = np.int64(0)
    for element in range(blocks.shape[1]):
        count += np.int64(abs(blocks[one, element] - blocks[other, element]) <= tolerance)
    return count


@kernel
def merge(
    blocks: F32,
    groups: I32,
    order: I64,
    tolerance: float,
    needed: int,
    heads: I32,
    nexts: I32,
    target: I64,
) -> Int:
    """Walk the blocks, map each onto the kept block that is most like it or keep it, and give the number of merges.

    Ends early, with fewer merges than ``needed``, once more blocks are kept than the need allows; when the need is met,
    all further blocks are kept.

    Parameters
    ----------
    blocks : float32[n, b]
    groups : int32[BANDS, n]
        The group of each block in each band, from 0 to n - 1.
    order : int64[n]
        The order of the walk.
    tolerance : float
        Largest difference of two elements that are called close.
    needed : int
    heads, nexts : int32[BANDS, n]
        Room for the lists of kept blocks a group; ``heads`` must be -1.
    target : int64[n]
        Gets the kept block that each block is mapped onto, itself where it is kept.
    """
    n_blocks = len(order)
    candidates = np.empty(BANDS * LISTED, np.int32)
    hits = np.zeros(n_blocks, np.int32)
    merges = np.int64(0)
    for place in range(n_blocks):
        block = order[place]
        target[block] = block
        if merges == needed:
            continue
        count = np.int64(0)
        for band in range(BANDS):
            other = heads[band, groups[band, block]]
            listed = 0
            while other >= 0 and listed < LISTED:
                if hits[other] == 0:
                    candidates[count] = other
                    count += 1
                hits[other] += 1
                other = nexts[band, other]
                listed += 1
        most, compared = np.int64(0), 0
        for number in range(count):
            other = candidates[number]
            if hits[other] >= ENOUGH_HITS and compared < COMPARED:
                compared += 1
                close = close_elements(blocks, block, other, tolerance)
                if 10 * close >= CLOSE_TENTHS * blocks.shape[1] and close > most:
                    most = np.int64(close)
                    target[block] = other
            hits[other] = 0
        if most > 0:
            merges += 1
            continue
        if place + 1 - merges > n_blocks - needed:
            break
        for band in range(BANDS):
            group = groups[band, block]
            nexts[band, block] = heads[band, group]
            heads[band, group] = block
    return merges
