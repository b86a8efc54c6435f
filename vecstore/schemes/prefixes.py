"""Which rows to keep, and how many columns of each field, so that most of a table's energy fits a number of values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.types import F32, I64, Mask

__all__ = ["choose_dims", "select"]

#: Numbers of kept rows that are tried.
_LEVELS = 16


def select(
    matrix: F32, starts: I64, margins: NDArray[np.float64], weights: NDArray[np.float64], values: int
) -> tuple[Mask, I64]:
    """Choose the kept rows and the prefix length of each field; at most ``values`` numbers are inside both.

    Rows are kept in order of their margins, the positive ones at most. Sixteen numbers of rows are tried; for each,
    :func:`choose_dims` gives the lengths; the pair that holds the largest sum of weighted squares wins, and of equal
    ones that with fewer rows.

    Parameters
    ----------
    matrix : float32[n, dim]
    starts : int64[fields + 1]
        First row of each field, and the number of rows.
    margins : float64[n]
        How far each row is above its field's threshold.
    weights : float64[n]
        How much a row's squares count, such as how often it is used.
    values : int
        Numbers that may be stored.

    Returns
    -------
    keep : bool[n]
    dims : int64[fields]
        0 for a field of which no row is kept.
    """
    n_fields, dim = len(starts) - 1, matrix.shape[1]
    owners = np.repeat(np.arange(n_fields), np.diff(starts))
    ordered = np.argsort(-margins, kind="stable")
    most = min(int(np.count_nonzero(margins > 0)), values)
    energies, kept = np.zeros((n_fields, dim)), np.zeros(n_fields, np.int64)
    best, best_count, best_dims = -1.0, 0, np.zeros(n_fields, np.int64)
    done = 0
    for count in sorted({most * level // _LEVELS for level in range(1, _LEVELS + 1)}):
        added = ordered[done:count]
        np.add.at(energies, owners[added], matrix[added].astype(np.float64) ** 2 * weights[added, None])
        kept += np.bincount(owners[added], minlength=n_fields)
        done = count
        dims = choose_dims(energies, kept, values)
        held = float(energies[np.arange(dim) < dims[:, None]].sum())
        if held > best:
            best, best_count, best_dims = held, count, dims
    keep = np.zeros(len(matrix), np.bool_)
    keep[ordered[:best_count]] = True
    return keep, best_dims


def choose_dims(energies: NDArray[np.float64], kept: I64, values: int) -> I64:
    """Choose prefix lengths that hold most energy while ``sum(kept * dims) <= values``, greedily by energy a value.

    A column that holds less than a later one is taken together with it (pooled, as in isotonic regression), which makes
    the energy a value of each field's steps fall, and the greedy choice optimal up to the last step.

    Parameters
    ----------
    energies : float64[fields, dim]
        What each column of each field holds.
    kept : int64[fields]
        Kept rows; their sum is at most ``values``.
    values : int

    Returns
    -------
    dims : int64[fields]
        At least 1 where rows are kept, else 0.
    """
    dims = (kept > 0).astype(np.int64)
    left = values - int(kept.sum())
    steps = [
        (-total / width / kept[field], field, width)
        for field in np.flatnonzero(dims).tolist()
        for width, total in _falling_steps(energies[field, 1:].tolist())
    ]
    # Sorting is stable and a field's steps fall, so each field's steps stay in order.
    steps.sort(key=lambda step: step[0])
    full: set[int] = set()
    for _, field, width in steps:
        if field in full:
            continue
        taken = min(width, left // int(kept[field]))
        dims[field] += taken
        left -= taken * int(kept[field])
        if taken < width:
            full.add(field)
    return dims


def _falling_steps(gains: list[float]) -> list[tuple[int, float]]:
    """Pool neighbouring columns until the mean gain of each pool is below that of the one before: (width, gain)."""
    pools: list[tuple[int, float]] = []
    for gain in gains:
        width, total = 1, gain
        while pools and total * pools[-1][0] >= pools[-1][1] * width:
            earlier_width, earlier_total = pools.pop()
            width, total = width + earlier_width, total + earlier_total
        pools.append((width, total))
    return pools
