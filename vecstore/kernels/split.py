"""Distances to rows of two kinds, each kept in arrays of its own; a bitmap with rank says which row is where.

The tables at the end are what :mod:`vecstore.kernels.distance` dispatches on.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from vecstore.kernels.bitmaps import is_set, rank
from vecstore.kernels.distance import distance
from vecstore.kernels.intrinsics import prefetch_element
from vecstore.types import U32, U64


class SplitRows(NamedTuple):
    """Marked rows and the others, both numbered in their order.

    Attributes
    ----------
    words : uint64[ceil(n / 64)]
        Bitmap of the marked rows.
    ranks : uint32[ceil(n / 512)]
        Marked rows before each block of 512.
    marked, others : Operands
        Any of the other classes, or this one again, which makes three kinds of two.
    """

    words: U64
    ranks: U32
    marked: Any
    others: Any


def _split(operands: Any, query: Any, row: Any) -> Any:
    before = rank(operands.words, operands.ranks, row)
    if is_set(operands.words, row):
        found = distance(operands.marked, query, before)
    else:
        found = distance(operands.others, query, row - before)
    return found


def _prefetch_split(operands: Any, row: Any) -> Any:
    prefetch_element(operands.words, row >> 6)


DISTANCES: dict[Any, Any] = {SplitRows: _split}
PREFETCHES: dict[Any, Any] = {SplitRows: _prefetch_split}
