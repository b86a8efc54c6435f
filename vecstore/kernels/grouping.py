"""Places sorted by the group that each belongs to."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import frozen, kernel
from vecstore.types import F32, I64


@kernel
def sort_places(groups: I64, starts: I64, order: I64) -> None:
    """Write the places 0..n-1 into ``order`` int64[n], ascending by group and then by place: a counting sort.

    Parameters
    ----------
    groups : int64[n]
        Group of each place, 0..g-1.
    starts : int64[g + 1]
        Overwritten: group ``j`` has ``order[starts[j] : starts[j + 1]]``.
    order : int64[n]
    """
    starts[:] = 0
    for group in groups:
        starts[group] += 1
    total = 0
    for group in range(len(starts)):
        count = starts[group]
        starts[group] = total
        total += count
    for place in range(len(groups)):
        group = groups[place]
        order[starts[group]] = place
        starts[group] += 1
    # Each start has moved on to the next one.
    for group in range(len(starts) - 1, 0, -1):
        starts[group] = starts[group - 1]
    starts[0] = 0


def sorted_places(groups: I64, n_groups: int) -> tuple[I64, I64]:
    """Give ``order`` int64[n] and ``starts`` int64[g + 1] of ``groups`` int64[n], all of 0..g-1.

    Group ``j`` has the places ``order[starts[j] : starts[j + 1]]``, which ascend.
    """
    order, starts = np.empty(len(groups), np.int64), np.empty(n_groups + 1, np.int64)
    sort_places(frozen(groups), starts, order)
    return order, starts


@kernel
def put_columns(columns: F32, places: I64, out: F32) -> None:
    """Write column i of ``columns`` float32[q, m] into column ``places[i]`` of ``out`` float32[q, n]."""
    for row in range(len(columns)):
        for number in range(len(places)):
            out[row, places[number]] = columns[row, number]
