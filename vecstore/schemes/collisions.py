"""How much of a field shares the rows of a common table, and with whom."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from vecstore.types import I64

__all__ = ["FieldCollisions", "field_collisions"]


class FieldCollisions(msgspec.Struct, frozen=True):
    """Shares of one field, each 0 to 1.

    Attributes
    ----------
    intra : float
        Look-ups whose table row another look-up of the same field has too; a model cannot undo these.
    inter : float
        Look-ups whose table row a look-up of another field has; a model can, as fields have weights of their own.
    alike : float
        Ids all of whose table rows are those of another id of the same field, so that they have one vector.
    """

    intra: float
    inter: float
    alike: float


def field_collisions(places: Sequence[I64], n_rows: int) -> list[FieldCollisions]:
    """Count the collisions of fields.

    Parameters
    ----------
    places : sequence of int64[ids, look-ups]
        Table rows of every id, one array a field.
    n_rows : int
        Rows of the table.
    """
    counts = [np.bincount(own.ravel(), minlength=n_rows) for own in places]
    total = np.sum(counts, axis=0)
    found = []
    for own, count in zip(places, counts, strict=True):
        intra, inter = count[own] > 1, (total - count)[own] > 0
        found.append(FieldCollisions(float(intra.mean()), float(inter.mean()), _alike(own, n_rows)))
    return found


def _alike(places: I64, n_rows: int) -> float:
    """Give the share of ids whose places, in order, are also those of another id."""
    numbers, sizes = np.zeros(len(places), np.int64), np.array([len(places)])
    for column in places.T:
        # Numbers of distinct prefixes stay below the number of ids, so that the product cannot overflow.
        _, numbers, sizes = np.unique(numbers * n_rows + column, return_inverse=True, return_counts=True)
    return float((sizes[numbers] > 1).mean())
