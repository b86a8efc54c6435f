"""Distances to product-quantised rows: sums over the parts of what their centroids add.

The tables at the end are what :mod:`vecstore.kernels.distance` dispatches on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.intrinsics import prefetch_element, prefetch_row
from vecstore.kernels.tiers import TierCodes, tier_sum, tier_sum_tile
from vecstore.types import F32, U8


class TierSums(NamedTuple):
    """Sums over the parts of product-quantised rows.

    Attributes
    ----------
    tables : float32[q, M, 256]
        What each centroid of each part adds to the distance.
    codes : TierCodes
    bias : float32
        Distance = bias + the sum over the parts.
    """

    tables: F32
    codes: TierCodes
    bias: np.float32


class PartSums(NamedTuple):
    """Sums over the parts of product-quantised rows with one byte a part.

    Attributes
    ----------
    tables : float32[q, M, 256]
        What each centroid of each part adds to the distance.
    codes : uint8[n, M]
    bias : float32
        Distance = bias + the sum over the parts.
    """

    tables: F32
    codes: U8
    bias: np.float32


@kernel
def part_sum(tables: F32, query: Int, codes: U8, row: Int) -> np.float32:
    """Give the sum over the parts of ``tables[query, part, codes[row, part]]``, part after part."""
    total = np.float32(0)
    for part in range(codes.shape[1]):
        total += tables[query, part, codes[row, part]]
    return total


def _tier_sums(operands: Any, query: Any, row: Any) -> Any:
    return operands.bias + tier_sum(operands.tables, query, operands.codes, row)


def _part_sums(operands: Any, query: Any, row: Any) -> Any:
    return operands.bias + part_sum(operands.tables, query, operands.codes, row)


def _tier_sums_tile(operands: Any, first: Any, row: Any) -> Any:
    a, b, c, d = tier_sum_tile(operands.tables, first, operands.codes, row)
    return operands.bias + a, operands.bias + b, operands.bias + c, operands.bias + d


def _prefetch_tiers(operands: Any, row: Any) -> Any:
    prefetch_element(operands.codes.words, row >> 6)


def _prefetch_codes(operands: Any, row: Any) -> Any:
    prefetch_row(operands.codes, row)


DISTANCES: dict[Any, Any] = {TierSums: _tier_sums, PartSums: _part_sums}
TILES: dict[Any, Any] = {TierSums: _tier_sums_tile}
PREFETCHES: dict[Any, Any] = {TierSums: _prefetch_tiers, PartSums: _prefetch_codes}
