"""What filters cost vecstore, against its own search without one at the same recall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vecstore.schemes.base import TableShape
from vecstore.types import F32
from vecstore_bench.data_sets import DataSet, Filtered, exact_neighbours
from vecstore_bench.measure import interleaved, ratio
from vecstore_bench.peers.base import Setting
from vecstore_bench.peers.ours import PLACE, Opened, places
from vecstore_bench.ranking import recall
from vecstore_bench.search_systems import System
from vecstore_bench.search_tuning import K, smallest

__all__ = ["MARK", "SHARES", "measure_filters"]

#: Recall that a search without a filter reaches, with the same setting.
MARK = 0.99
#: Shares of the rows, drawn at random, that pass.
SHARES = (0.5, 0.1, 0.01, 0.001)


def measure_filters(
    systems: Sequence[System], data: DataSet, timed: slice, single: slice, *, threads: int, rounds: int
) -> list[dict[str, Any]]:
    """Measure random filters, and those of the data set, with the first configuration of vecstore that has a graph.

    Returns
    -------
    list of dict
        One a filter: ``name``, ``where``, ``share`` of the rows, ``recall``, ``complete`` (whether every query got as
        many rows as there are, up to k), and ``batch`` and ``single``: time against unfiltered, median, low and high.
    """
    for system in systems:
        index = system.index
        if isinstance(index, Opened) and "ef" in system.peer.ladders(TableShape(*data.base.shape))[0][0]:
            return [
                {"system": system.name, "threads": threads, "filter": name, **line}
                for name, line in _lines(system, index, data, timed, single, rounds)
            ]
    return []


def _lines(
    system: System, index: Opened, data: DataSet, timed: slice, single: slice, rounds: int
) -> list[tuple[str, dict[str, Any]]]:
    asked, one_by_one = data.queries[timed], data.queries[single]
    steps = system.peer.ladders(TableShape(*data.base.shape))[:1]
    tuned = smallest(index, steps, asked, data.neighbours[timed], MARK)
    setting = tuned[0].setting if tuned else steps[0][-1]
    found = []
    for name, one in _filters(data, timed).items():
        rows = index.search(asked, K, setting, one.where)
        count = index.collection.count(one.where)
        seconds = interleaved(
            {
                "all": _search(index, asked, setting, one.where),
                "all, unfiltered": _search(index, asked, setting, None),
                "one": _each(index, one_by_one, setting, one.where),
                "one, unfiltered": _each(index, one_by_one, setting, None),
            },
            rounds=rounds,
        )
        batch, each = (ratio(seconds[way], seconds[f"{way}, unfiltered"]) for way in ("all", "one"))
        line = {
            "where": one.where,
            "share": count / len(data.base),
            "recall": recall(rows, one.neighbours[:, :K], min(K, count)),
            "complete": bool((np.count_nonzero(rows >= 0, axis=1) == min(K, count)).all()),
            "batch": [batch.median, batch.low, batch.high],
            "single": [each.median, each.low, each.high],
        }
        found.append((name, line))
    return found


def _filters(data: DataSet, timed: slice) -> dict[str, Filtered]:
    """Give the filters with the neighbours of the timed queries."""
    rows = len(data.base)
    place = places(rows)
    found = {}
    for share in SHARES:
        passing = np.flatnonzero(place < max(1, round(share * rows)))
        near = passing[exact_neighbours(data.base[passing], data.queries[timed], data.metric, K)]
        found[f"{share:.1%} at random"] = Filtered(f"{PLACE} < {len(passing)}", near)
    return found | {name: Filtered(one.where, one.neighbours[timed]) for name, one in data.filters.items()}


def _search(index: Opened, queries: F32, setting: Setting, where: str | None) -> Callable[[], object]:
    return lambda: index.search(queries, K, setting, where)


def _each(index: Opened, queries: F32, setting: Setting, where: str | None) -> Callable[[], object]:
    return lambda: [index.search(query, K, setting, where) for query in queries[:, np.newaxis]]
