"""How near rows are to what they were before they were compressed: the figures of every report."""

from __future__ import annotations

import math

import numpy as np

from vecstore.types import F32

__all__ = ["Fidelity"]


class Fidelity:
    """Compares rows with their originals, block by block.

    Sums are float64, so that neither the size of a table nor that of its numbers matters.
    """

    def __init__(self) -> None:
        self._error = self._total = self._cosines = 0.0
        self._directed = 0

    def add(self, original: F32, stored: F32) -> None:
        """Take ``original`` float32[n, dim] and what became of it, ``stored`` float32[n, dim]."""
        before, after = original.astype(np.float64), stored.astype(np.float64)
        self._error += float(((after - before) ** 2).sum())
        squares = (before**2).sum(axis=1)
        self._total += float(squares.sum())
        directed = squares > 0
        lengths = np.sqrt(squares[directed] * (after[directed] ** 2).sum(axis=1))
        products = (before[directed] * after[directed]).sum(axis=1)
        # A row that became 0 has no direction; it counts as one at a right angle.
        self._cosines += float(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0).sum())
        self._directed += int(directed.sum())

    @property
    def relative_error(self) -> float:
        """Sum of squared differences over the sum of squares of the originals: 0 is exact, 1 is no better than zeros.

        0 where both are 0, infinite where only the originals are.
        """
        if self._total:
            return self._error / self._total
        return math.inf if self._error else 0.0

    @property
    def cosine(self) -> float:
        """Mean cosine of the angle between an original and what became of it, over originals that are not 0.

        1 where there are none.
        """
        return self._cosines / self._directed if self._directed else 1.0
