"""Merging of blocks that are nearly equal until a wanted number is left."""

from __future__ import annotations

import numpy as np

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import dedup as kernels
from vecstore.kernels.compiling import frozen
from vecstore.types import F32, F64, I64

__all__ = ["merged_blocks"]

#: The smallest tolerance tried, as a share of the largest weight: rows that differ by rounding only.
_SMALLEST = 2.0**-20
#: Weights of which the first tolerance tried is the lower quartile. It is near the one sought where most rows stayed
#: near their initial weights, and each tolerance costs a walk over all blocks.
_SAMPLED = 2**20
#: Halvings of the interval that the tolerance is known to lie in (a factor of 4 wide at first).
_STEPS = 8
#: Width of a hash group, in distances of two blocks whose elements all differ by the tolerance.
_WIDTH = 4.0


def merged_blocks(blocks: F32, wanted: int, seed: int) -> I64:
    """Give the kept block int64[n] that each block is mapped onto, itself where it is kept; ``wanted`` are kept.

    The tolerance within which elements are called close follows from the weights: it is the smallest found, by
    bisection, that merges enough. A block is only ever compared with kept blocks, so what was compared is what is read.

    Parameters
    ----------
    blocks : float32[n, b]
    wanted : int
        Blocks to keep, at least 1; all are kept where there are no more.
    seed : int
        Of the hash functions.

    Raises
    ------
    InvalidArgumentError
        A weight is NaN or infinite.
    """
    if not np.isfinite(blocks).all():
        raise InvalidArgumentError("blocks: NaN or infinite weights cannot be compared; did the training diverge?")
    everything = np.arange(len(blocks))
    if wanted >= len(blocks):
        return everything
    walk = _Walk(blocks, len(blocks) - wanted, seed)
    smallest = _SMALLEST * (float(np.abs(blocks).max()) or 1.0)
    target, low, high = _bracket(walk, smallest, max(smallest, _typical(blocks)))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        found = walk.merged(middle)
        if found is None:
            low = middle
        else:
            target, high = found, middle
    return target


def _typical(blocks: F32) -> float:
    """Give the lower quartile of the magnitudes of evenly spaced weights."""
    flat = blocks.reshape(-1)
    return float(np.quantile(np.abs(flat[:: -(-len(flat) // _SAMPLED)]), 0.25))


def _bracket(walk: _Walk, smallest: float, first: float) -> tuple[I64, float, float]:
    """Give a map, the tolerance that made it, at least ``smallest``, and before it one that merges too few, or 0."""
    low, high = 0.0, first
    found = walk.merged(high)
    # Ends: all elements are close and all blocks are in one group once the tolerance is large enough.
    while found is None:
        low, high = high, 4 * high
        found = walk.merged(high)
    while low == 0 and high > smallest:
        lower = max(smallest, high / 4)
        fewer = walk.merged(lower)
        if fewer is None:
            low = lower
        else:
            found, high = fewer, lower
    return found, low, high


class _Walk:
    """All that does not depend on the tolerance, computed once.

    Blocks are walked by the 75th percentile of their values, as the paper does: those whose weights stayed small come
    first and are merged first.
    """

    def __init__(self, blocks: F32, needed: int, seed: int) -> None:
        self._blocks = frozen(blocks)
        self._needed = needed
        generator = np.random.default_rng(seed)
        directions = generator.standard_normal((blocks.shape[1], kernels.BANDS))
        self._offsets: F64 = frozen(generator.random(kernels.BANDS))
        projections = np.empty((len(blocks), kernels.BANDS))
        kernels.project(self._blocks, frozen(directions), projections)
        self._projections: F64 = frozen(projections)
        self._order = frozen(np.argsort(np.percentile(blocks, 75, axis=1), kind="stable"))

    def merged(self, tolerance: float) -> I64 | None:
        """Give the map int64[n] of the blocks onto kept ones, None where the tolerance merges too few."""
        width = _WIDTH * tolerance * np.sqrt(self._blocks.shape[1])
        shape = (kernels.BANDS, len(self._blocks))
        groups = np.empty(shape, np.int32)
        kernels.fill_groups(self._projections, self._offsets, width, groups)
        heads, nexts = np.full(shape, -1, np.int32), np.empty(shape, np.int32)
        target = np.empty(len(self._blocks), np.int64)
        merges = kernels.merge(self._blocks, frozen(groups), self._order, tolerance, self._needed, heads, nexts, target)
        return target if merges == self._needed else None
