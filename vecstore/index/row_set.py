"""Some rows of one table, in the forms that searches want them in, each made once for many searches."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from vecstore.index.hnsw import Kept
from vecstore.kernels.compiling import sealed
from vecstore.types import I64, Mask

__all__ = ["RowSet"]


class RowSet:
    """Some rows of one table.

    Parameters
    ----------
    size : int
        Rows in the table.
    mask : bool[size] or None
        Which rows are in; None for all.

    Attributes
    ----------
    size : int
    mask : bool[size] or None
    count : int
        How many rows are in.
    is_all : bool
        Whether every row is.
    """

    def __init__(self, size: int, mask: Mask | None) -> None:
        self.size = size
        self.mask = mask
        self.count = size if mask is None else int(np.count_nonzero(mask))
        self.is_all = self.count == size

    @cached_property
    def rows(self) -> I64:
        """The rows, ascending; read-only."""
        return sealed(np.arange(self.size) if self.mask is None else np.flatnonzero(self.mask))

    @property
    def searched(self) -> int | I64:
        """The rows as scans take them: their number where all are in."""
        return self.size if self.is_all else self.rows

    @cached_property
    def kept(self) -> Kept | None:
        """The rows, at least one, as graph walks want them; None for all."""
        return None if self.mask is None or self.is_all else Kept.of(self.mask)
