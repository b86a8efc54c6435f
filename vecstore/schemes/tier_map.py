"""Which tier each row of a table is of, and its place among the rows of that tier: a chain of bitmaps with rank.

A bitmap over all rows marks those of tier 0, the next one, over the rows that are left, those of tier 1, and so on; the
last tier has what no bitmap marks. Two tiers take 1.0625 bits a row, where a remap would take 32; each further tier
takes as much for the rows that are left. Rows of a tier keep their order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.schemes.ranked_bitmap import bitmap_forms, pack, places, selected, stored_bitmap
from vecstore.types import I64, U32, U64, ArrayForm

__all__ = ["TierMap"]


@dataclass(frozen=True, slots=True)
class TierMap:
    """The bitmaps of all tiers but the last.

    Attributes
    ----------
    levels : tuple of (uint64[words], uint32[ranks])
        Of each tier: which of the rows that are left are of it.
    """

    levels: tuple[tuple[U64, U32], ...]

    @classmethod
    def of(cls, owners: I64, n_tiers: int) -> Self:
        """Make the map of tiers int64[n], each below ``n_tiers``."""
        levels = []
        for tier in range(n_tiers - 1):
            marked = owners == tier
            levels.append(pack(marked))
            owners = owners[~marked]
        return cls(tuple(levels))

    @classmethod
    def open(cls, counts: Sequence[int], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make a map of the stored arrays of tiers with these numbers of rows.

        Raises
        ------
        CorruptionError
            An array is missing, has the wrong form, or marks another number of rows.
        """
        left = [sum(counts[tier:]) for tier in range(len(counts))]
        return cls(
            tuple(
                stored_bitmap(arrays, f"map.{tier}.words", f"map.{tier}.ranks", left[tier], counts[tier])
                for tier in range(len(counts) - 1)
            )
        )

    @staticmethod
    def forms(counts: Sequence[int]) -> dict[str, ArrayForm]:
        """Give the forms of the arrays of tiers with these numbers of rows."""
        return {
            f"map.{tier}.{name}": form
            for tier in range(len(counts) - 1)
            for name, form in bitmap_forms(sum(counts[tier:])).items()
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give the bitmaps, named ``map.<tier>.words`` and ``map.<tier>.ranks``."""
        found: dict[str, NDArray[Any]] = {}
        for tier, (words, ranks) in enumerate(self.levels):
            found |= {f"map.{tier}.words": words, f"map.{tier}.ranks": ranks}
        return found

    def locate(self, rows: I64) -> tuple[I64, I64]:
        """Give the tier of each of ``rows`` int64[n] and its place within the tier; both int64[n]."""
        owners = np.full(len(rows), len(self.levels), np.int64)
        within = rows.copy()
        left = np.arange(len(rows))
        for tier, (words, ranks) in enumerate(self.levels):
            found = places(words, ranks, within[left])
            marked = found >= 0
            owners[left[marked]] = tier
            within[left] = np.where(marked, found, -1 - found)
            left = left[~marked]
        return owners, within

    def rows_of(self, tier: int, places: I64) -> I64:
        """Give the rows int64[n] at ``places`` int64[n] of a tier."""
        rows = places
        for level in reversed(range(min(tier + 1, len(self.levels)))):
            rows = selected(*self.levels[level], rows, marked=level == tier)
        return rows
