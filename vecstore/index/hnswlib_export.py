"""Reading the links out of a finished hnswlib index.

``Index.__getstate__()`` gives (state,), a dict of numbers and three arrays, which hnswlib 0.6 to 0.8 lay out so:

* ``data_level0`` int8: one record of ``size_data_per_element`` bytes for each element. At ``offset_level0`` a uint16
  count (with two bytes of flags after it) and ``max_M0`` int32 neighbours, at ``offset_data`` the float32 vector,
  at ``label_offset`` the uint64 label.
* ``element_levels`` int32: the top level of each element.
* ``link_lists`` int8: for each element in turn, for each of its levels from 1 up, a record of
  ``size_links_per_element`` bytes: the count and ``max_M`` int32 neighbours.

Neighbours past the count are left over from earlier and mean nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vecstore.errors import InternalError
from vecstore.types import I8, I32, I64

__all__ = ["Levels", "export_levels"]


class Levels(NamedTuple):
    """The links of a graph, by level.

    Attributes
    ----------
    level0 : int32[n, 2 M]
        Neighbours of every row, -1 for none.
    nodes : list of int32[t]
        For each upper level from 1: its rows, ascending.
    links : list of int32[t, M]
        For each upper level: neighbours of these rows, as rows, -1 for none.
    entry : int
        The row where searches start, which is on the top level.
    """

    level0: I32
    nodes: list[I32]
    links: list[I32]
    entry: int


def export_levels(state: dict[str, Any]) -> Levels:
    """Give the links in ``state``, what ``__getstate__`` of an index holds.

    Raises
    ------
    InternalError
        The layout is not the one described above.
    """
    n_rows = int(state["cur_element_count"])
    level0 = _records(state["data_level0"], n_rows, int(state["size_data_per_element"]))
    label = int(state["label_offset"])
    labels = np.ascontiguousarray(level0[:, label : label + 8]).view(np.uint64).ravel()
    if not np.array_equal(labels, np.arange(n_rows, dtype=np.uint64)):
        raise InternalError("hnswlib numbered the rows in another order than they were added; is it a new version?")
    tops: I32 = state["element_levels"]
    upper = _records(state["link_lists"], int(tops.sum()), int(state["size_links_per_element"]))
    first = np.cumsum(tops, dtype=np.int64) - tops
    nodes, links = [], []
    for level in range(1, int(state["max_level"]) + 1):
        rows = np.flatnonzero(tops >= level)
        nodes.append(rows.astype(np.int32))
        links.append(_neighbours(upper, first[rows] + level - 1, 0, int(state["max_M"]), n_rows))
    everything = np.arange(n_rows, dtype=np.int64)
    return Levels(
        _neighbours(level0, everything, int(state["offset_level0"]), int(state["max_M0"]), n_rows),
        nodes,
        links,
        int(state["enterpoint_node"]),
    )


def _records(data: I8, count: int, size: int) -> I8:
    if data.size != count * size:
        raise InternalError(
            f"hnswlib's index has {data.size} bytes of links where {count} records of {size} were expected; "
            "is it a new version?"
        )
    return data.reshape(count, size)


def _neighbours(records: I8, chosen: I64, offset: int, width: int, n_rows: int) -> I32:
    """Give int32[len(chosen), width] of the chosen records, with -1 past each one's count."""
    area = np.ascontiguousarray(records[chosen, offset : offset + 4 + 4 * width])
    counts = area[:, :2].copy().view(np.uint16)
    links = area[:, 4:].copy().view(np.int32)
    links[np.arange(width) >= counts] = -1
    if links.size and not (links.min() >= -1 and links.max() < n_rows and counts.max() <= width):
        raise InternalError("hnswlib's links point outside the index; is it a new version?")
    return links
