"""Insertion of rows into an HNSW graph, by distances between the rows of a table.

The insertion is that of Malkov & Yashunin (2018), algorithms 1, 2 and 4. Operands are such that query number i is row
i, so that one ``distance`` serves the search for a row's neighbours and the choice among them. Everything follows from
the distances and the order of insertion; equal distances count by the lower row.

Equal rows need care. All their distances to each other are 0, so the choice would keep them and nothing else, until a
group of more than 2 M has no way out, and, as the lowest rows are kept, no way in to most of its rows. So only the
first of them is inserted. It is the *twin* of the others, which are hung to it as a tree after all others have links.

Links are rows here, and nobody checks them: those of a stored graph are checked before they come here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, inlined, kernel
from vecstore.kernels.distance import Operands, distance
from vecstore.kernels.graph import EXPANDED_TOGETHER, insert_sorted, measure, pool_row
from vecstore.kernels.intrinsics import prefetch_row
from vecstore.kernels.topk import distance_of, pack, row_of
from vecstore.types import F32, I8, I32, I64, U64

_ONE = np.uint64(1)
_WORD = np.uint64(6)
_BIT = np.uint64(63)


class Growth(NamedTuple):
    """The links of a graph that is being built, as rows; -1 for none, after those in use.

    Attributes
    ----------
    level0 : int32[n, 2 M]
        Neighbours of each row.
    upper : int32[s, M]
        Neighbours on the levels above, those of a row side by side.
    first : int64[n]
        Where in ``upper`` level 1 of each row is.
    tops : int8[n]
        The top level of each row.
    """

    level0: I32
    upper: I32
    first: I64
    tops: I8


class Scratch(NamedTuple):
    """Memory that insertions use.

    Attributes
    ----------
    visited : uint64[ceil(n / 64)]
        A bit a row; all 0 between uses.
    pool : uint64[ef_construction]
        Rows found by a search.
    keys : uint64[c]
        Candidates for one row's links.
    fresh : int32[c]
        Their rows.
    found : float32[c]
        Their distances.
    chosen : int32[levels, M]
        Links of the row that is inserted, on each level.
    counts : int64[levels]
        How many.
    """

    visited: U64
    pool: U64
    keys: U64
    fresh: I32
    found: F32
    chosen: I32
    counts: I64


@kernel
def place_of(growth: Growth, level: Int, row: Int) -> Int:
    """Give where the links of ``row`` on ``level`` are, in ``level0`` or ``upper``."""
    return np.int64(row) if level == 0 else growth.first[row] + level - 1


@inlined
def mark(visited: U64, row: Int) -> None:
    """Set the bit of a row."""
    visited[row >> 6] |= _ONE << np.uint64(row & 63)


@kernel
def used(links: I32) -> Int:
    """Give how many of int32[m] are links."""
    count = 0
    while count < len(links) and links[count] >= 0:
        count += 1
    return count


@kernel
def greedy(operands: Operands, growth: Growth, level: Int, row: Int, start: Int) -> Int:
    """Walk from ``start`` to nearer rows, ``row`` aside, on an upper level while there are any; give the last."""
    best = distance(operands, row, start)
    moved = True
    while moved:
        moved = False
        links = growth.upper[place_of(growth, level, start)]
        for neighbour in links:
            if neighbour < 0:
                break
            found = distance(operands, row, neighbour)
            if found < best and neighbour != row:
                best, start, moved = found, np.int64(neighbour), True
    return start


@inlined
def newly_met(links: I32, place: Int, visited: U64, fresh: I32, count: Int) -> Int:
    """Mark the neighbours at a place as visited; add the new ones to the ``count`` in ``fresh`` and give their number.

    There is no branch on whether a row was visited: it is always written, and kept by moving on.
    """
    for column in range(np.uint64(links.shape[1])):
        neighbour = links[np.uint64(place), column]
        if neighbour < 0:
            break
        word = visited[np.uint64(neighbour) >> _WORD]
        bit = _ONE << (np.uint64(neighbour) & _BIT)
        fresh[np.uint64(count)] = neighbour
        count += np.int64((word & bit) == 0)
        visited[np.uint64(neighbour) >> _WORD] = word | bit
    return count


@kernel
def search_level(operands: Operands, growth: Growth, level: Int, row: Int, start: Int, scratch: Scratch) -> Int:
    """Leave the other rows of a level nearest to ``row`` in ``scratch.pool``, ascending, and give their number.

    Some are expanded together, as in searches.
    """
    visited, pool, fresh, found = scratch.visited, scratch.pool, scratch.fresh, scratch.found
    links = growth.level0 if level == 0 else growth.upper
    mark(visited, row)
    mark(visited, start)
    pool[0] = pack(distance(operands, row, start), start << 1)
    size: Int = 1
    cursor: Int = 0
    while cursor < size:
        count: Int = 0
        expanded = 0
        while cursor < size and expanded < EXPANDED_TOGETHER:
            if not pool[cursor] & _ONE:
                count = newly_met(links, place_of(growth, level, pool_row(pool[cursor])), visited, fresh, count)
                pool[cursor] |= _ONE
                expanded += 1
            cursor += 1
        measure(operands, row, fresh, count, found)
        for place in range(count):
            key = pack(found[place], np.int64(fresh[place]) << 1)
            if size < len(pool) or key < pool[size - 1]:
                entered = insert_sorted(pool, size, key)
                size = min(size + 1, len(pool))
                prefetch_row(links, place_of(growth, level, fresh[place]))
                cursor = min(cursor, entered)
    visited[:] = 0
    return size


@kernel
def select(operands: Operands, keys: U64, count: Int, shift: Int, chosen: I32, kept: Int) -> Int:
    """Choose links among candidates: those that no nearer chosen one is nearer to than the row itself (algorithm 4).

    Parameters
    ----------
    operands : Operands
    keys : uint64[m]
        Keys of topk of distance and candidate, ascending.
    count : int
        How many there are.
    shift : int
        Bits under the row in a key.
    chosen : int32[most]
        In and out: the choice, nearest first.
    kept : int
        How many are chosen already.

    Returns
    -------
    int
        How many are chosen now.
    """
    for place in range(count):
        if kept == len(chosen):
            break
        candidate = row_of(keys[place]) >> shift
        limit = distance_of(keys[place])
        is_apart = True
        for other in range(kept):
            if distance(operands, candidate, chosen[other]) < limit:
                is_apart = False
                break
        if is_apart:
            chosen[kept] = candidate
            kept += 1
    return kept


@kernel
def choose_links(operands: Operands, links: I32, kept: Int, row: Int, count: Int, scratch: Scratch) -> None:
    """Choose the links of ``row`` past the first ``kept`` among the first ``count`` rows of ``scratch.fresh``."""
    keys = scratch.keys[:count]
    measure(operands, row, scratch.fresh, count, scratch.found)
    for place in range(count):
        keys[place] = pack(scratch.found[place], scratch.fresh[place])
    keys.sort()
    links[select(operands, keys, count, 0, links, kept) :] = -1


@kernel
def link_back(operands: Operands, links: I32, row: Int, added: Int, scratch: Scratch) -> None:
    """Add a link, unless it is there, to the ``links`` int32[m] of ``row``; choose anew where there is no room."""
    count = used(links)
    for place in range(count):
        if links[place] == added:
            return
    if count < len(links):
        links[count] = added
        return
    scratch.fresh[:count] = links
    scratch.fresh[count] = added
    choose_links(operands, links, np.int64(0), row, count + 1, scratch)


@kernel
def twin_among(operands: Operands, row: Int, pool: U64, size: Int) -> Int:
    """Give the last of the rows found that no distance tells from ``row``; -1 for none.

    For vectors a and b, <a, a> = <b, b> = <a, b> says that they are equal, as |a - b| = 0 does.
    """
    own = distance(operands, row, row)
    twin: Int = -1
    for place in range(size):
        found = distance_of(pool[place])
        if found > own:
            break
        if found == own:
            other = pool_row(pool[place])
            if distance(operands, other, other) == own:
                twin = other
    return twin


@kernel
def insert(operands: Operands, growth: Growth, row: Int, entry: Int, scratch: Scratch) -> Int:
    """Link one row into the graph and the graph to it, unless it has a twin there; give the twin or -1."""
    top, highest = growth.tops[row], growth.tops[entry]
    start: Int = np.int64(entry)
    for level in range(highest, top, -1):
        start = greedy(operands, growth, level, row, start)
    for level in range(min(top, highest), -1, -1):
        size = search_level(operands, growth, level, row, start, scratch)
        start = pool_row(scratch.pool[0])
        scratch.counts[level] = select(operands, scratch.pool, size, 1, scratch.chosen[level], np.int64(0))
        if level == 0:
            twin = twin_among(operands, row, scratch.pool, size)
            if twin >= 0:
                growth.tops[row] = 0
                return twin
    for level in range(min(top, highest), -1, -1):
        links = growth.level0 if level == 0 else growth.upper
        count = scratch.counts[level]
        links[place_of(growth, level, row), :count] = scratch.chosen[level, :count]
        links[place_of(growth, level, row), count:] = -1
        for place in range(count):
            neighbour = scratch.chosen[level, place]
            link_back(operands, links[place_of(growth, level, neighbour)], neighbour, row, scratch)
    return np.int64(-1)


@kernel
def insert_rows(operands: Operands, growth: Growth, rows: I64, twins: I32, entry: int, scratch: Scratch) -> Int:
    """Insert ``rows`` int64[m], each not in the graph yet; give the row to start searches from.

    Parameters
    ----------
    operands : Operands
    growth : Growth
    rows : int64[m]
    twins : int32[n]
        Out: for each inserted row its twin, -1 for none. Rows with one are left without links.
    entry : int
        The row to start searches from; -1 where the graph is empty.
    scratch : Scratch
    """
    last: Int = np.int64(entry)
    for row in rows:
        if last < 0:
            last = row
            continue
        twins[row] = insert(operands, growth, row, last, scratch)
        if growth.tops[row] > growth.tops[last]:
            last = row
    return last


@kernel
def hang_twins(level0: I32, rows: I64, twins: I64) -> None:
    """Link rows that were left out because they have a twin in the graph.

    Those of one twin become a tree: each has its parent and up to 2 M - 1 children as neighbours. The first is the
    twin's nearest neighbour, in the place of its farthest where there is no room.

    Parameters
    ----------
    level0 : int32[n, 2 M]
        In and out.
    rows, twins : int64[m]
        The rows, and the twin of each, ascending by twin.
    """
    width = level0.shape[1]
    first = 0
    for place in range(len(rows)):
        if twins[place] != twins[first]:
            first = place
        number = place - first
        parent = twins[place]
        if number:
            parent = rows[first + (number - 1) // (width - 1)]
            level0[parent, used(level0[parent])] = rows[place]
        else:
            for column in range(width - 1, 0, -1):
                level0[parent, column] = level0[parent, column - 1]
            level0[parent, 0] = rows[place]
        level0[rows[place], 0] = parent
