"""Taking over the links of a graph whose rows get new numbers, and mending them where rows were deleted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.distance import Operands
from vecstore.kernels.graph_build import Growth, Scratch, choose_links, link_back, mark, place_of, used
from vecstore.types import I32, I64, U64

_ONE = np.uint64(1)


class Kept(NamedTuple):
    """One level of a graph whose rows get new numbers.

    Attributes
    ----------
    nodes : int32[t]
        Its rows.
    links : int32[t, w]
        Their neighbours, -1 for none.
    places : int32[n]
        Where in ``nodes`` each row of the graph is; -1 for nowhere.
    renumbered : int64[n]
        The new number of each row of the graph; -1 for rows that are deleted.
    """

    nodes: I32
    links: I32
    places: I32
    renumbered: I64


@kernel
def add_kept(kept: Kept, place: Int, visited: U64, out: I32, count: Int) -> Int:
    """Add the neighbours at a place that are not deleted to the ``count`` in ``out``, each once; give their number."""
    for neighbour in kept.links[place]:
        if neighbour < 0 or kept.renumbered[neighbour] < 0:
            continue
        row = kept.renumbered[neighbour]
        if not visited[row >> 6] & (_ONE << np.uint64(row & 63)):
            mark(visited, row)
            out[count] = row
            count += 1
    return count


@kernel
def carry_over(growth: Growth, level: Int, kept: Kept) -> None:
    """Take over the links of one level between rows that are not deleted."""
    links = growth.level0 if level == 0 else growth.upper
    for number in range(len(kept.nodes)):
        row = kept.renumbered[kept.nodes[number]]
        if row < 0:
            continue
        count: Int = 0
        for neighbour in kept.links[number]:
            if neighbour >= 0 and kept.renumbered[neighbour] >= 0:
                links[place_of(growth, level, row), count] = kept.renumbered[neighbour]
                count += 1


@kernel
def mend(operands: Operands, growth: Growth, level: Int, kept: Kept, scratch: Scratch) -> None:
    """Link the rows of one level that have lost neighbours to neighbours of those lost.

    They keep the links that are left; the others are chosen as any links, and linked back. (After Singh et al.,
    "FreshDiskANN", 2021, algorithm 4, which chooses all links of such rows anew and links nothing back. Measured, that
    loses much recall even where few rows are deleted: links were never compared with each other before.)
    """
    visited, fresh = scratch.visited, scratch.fresh
    links = growth.level0 if level == 0 else growth.upper
    for number in range(len(kept.nodes)):
        row = kept.renumbered[kept.nodes[number]]
        if row < 0:
            continue
        own = links[place_of(growth, level, row)]
        left = used(own)
        mark(visited, row)
        for place in range(left):
            mark(visited, own[place])
        count: Int = 0
        for neighbour in kept.links[number]:
            if neighbour >= 0 and kept.renumbered[neighbour] < 0 and kept.places[neighbour] >= 0:
                count = add_kept(kept, kept.places[neighbour], visited, fresh, count)
        visited[row >> 6] = 0
        for place in range(left):
            visited[own[place] >> 6] = 0
        for place in range(count):
            visited[fresh[place] >> 6] = 0
        if count == 0:
            continue
        choose_links(operands, own, left, row, count, scratch)
        for place in range(left, used(own)):
            neighbour = own[place]
            link_back(operands, links[place_of(growth, level, neighbour)], neighbour, row, scratch)
