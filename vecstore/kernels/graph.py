"""Beam search over the links of an HNSW graph, on any stored form.

The walk is that of Malkov & Yashunin (2018), algorithms 2 and 5: greedy through the upper levels, then best-first on
level 0 until the nearest row that was not expanded is farther than all ``ef`` found. Found rows live in one sorted
array instead of two heaps, because rows that fell out of the best ``ef`` can never be expanded.

A walk may end earlier, by distance: no row is expanded that is farther than the k-th nearest by more than a *slack* of
its distance (Al-Jazzazi et al., "Distance Adaptive Beam Search for Provably Accurate Graph-Based Nearest Neighbor
Search", 2025). So a query with a clear answer takes few rows, and one with many rows about as near takes many, where an
``ef`` takes as many for each: for the same mean recall that is up to 40 % fewer (docs/decisions.md).

Links are data from a file: every number is checked against the number of rows before it is followed, so damaged
links can spoil results but never read outside an array.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, inlined, kernel
from vecstore.kernels.distance import Operands, distance, prefetch
from vecstore.kernels.intrinsics import count_below
from vecstore.kernels.links import Lists, gap, prefetch_list, prefetch_place, shape_of
from vecstore.kernels.topk import distance_of, pack
from vecstore.types import F32, I32, I64, U64

#: Rows must be below this: a pool entry keeps one bit of the row's half for "expanded".
MAX_ROWS = 2**31 - 1

#: Rows of the pool expanded together.
EXPANDED_TOGETHER = 4
#: Rows between asking for a row and computing its distance; more crowd each other out of the nearest cache.
ROWS_AHEAD = 4

#: Entries of a pool that are compared with a key without bisecting them further.
GLANCED_AT = 64

#: Above the key of every row.
NO_LIMIT = np.uint64(2**64 - 1)

_ONE = np.uint64(1)
_ROW = np.uint64(0xFFFF_FFFF)
_WORD = np.uint64(6)
_BIT = np.uint64(63)


class Links(NamedTuple):
    """The links of a graph.

    Rows that also are on upper levels have a *place* there for each level.

    Attributes
    ----------
    lists : Lists
        Neighbours of the ``rows`` rows on level 0, and behind them, of each place, the places of neighbours on the same
        level.
    rows : int
        Number of rows.
    most : int
        Most links of a row.
    nodes : int32[t]
        The row of each place.
    down : int32[t]
        The same row's place one level below; on level 1 the row itself.
    entry : int
        The place to start from; the row itself where there are no upper levels.
    levels : int
        Levels above 0.
    """

    lists: Lists
    rows: int
    most: int
    nodes: I32
    down: I32
    entry: int
    levels: int


class Reach(NamedTuple):
    """How far a walk goes.

    Attributes
    ----------
    ef : int
        Rows kept at most.
    k : int
        The row whose distance counts, at most ``ef``.
    slack : float32
        No row is expanded that is farther than the k-th nearest by more than this times its distance; ``inf`` where
        all that are kept are expanded.
    """

    ef: int
    k: int
    slack: np.float32

    def among(self, rows: int) -> Reach:
        """Give the same for a graph of so many rows."""
        return Reach(min(self.ef, rows), min(self.k, rows), self.slack)


class Scratch(NamedTuple):
    """Memory of a walk.

    Attributes
    ----------
    visited : uint64[n // 64 + 1]
        A bit for each row, and one behind them, which is always set and stands for all rows outside.
    places : int32[most]
        Places of neighbours on an upper level.
    fresh : int32[4 most + 1]
        Rows met for the first time.
    found : float32[4 most]
        Their distances.
    """

    visited: U64
    places: I32
    fresh: I32
    found: F32


@kernel
def new_scratch(links: Links) -> Scratch:
    """Give memory for walks over ``links``."""
    together = EXPANDED_TOGETHER * links.most
    return Scratch(
        np.empty((links.rows >> 6) + 1, np.uint64),
        np.empty(links.most, np.int32),
        np.empty(together + 1, np.int32),
        np.empty(together, np.float32),
    )


@inlined
def mark(bits: U64, number: Int) -> None:
    """Set a bit."""
    bits[number >> 6] |= _ONE << np.uint64(number & 63)


@kernel
def unvisited(links: Links, row: Int, visited: U64, fresh: I32, count: Int) -> Int:
    """Mark the neighbours of ``row`` as visited; add the new ones to the ``count`` in ``fresh`` and give their number.

    There is no branch on the data: a place in ``fresh`` is always written, and kept by moving on.
    """
    outside = np.uint64(links.rows)
    bit, degree, width = shape_of(links.lists, row, links.most)
    neighbour = np.uint64(0)
    for _ in range(degree):
        neighbour += gap(links.lists, bit, width)
        bit += width
        safe = min(neighbour, outside)
        word = visited[safe >> _WORD]
        bit_of = _ONE << (safe & _BIT)
        fresh[np.uint64(count)] = safe
        count += np.int64((word & bit_of) == 0)
        visited[safe >> _WORD] = word | bit_of
    return count


@kernel
def measure(operands: Operands, query: Int, fresh: I32, count: Int, found: F32) -> None:
    """Write the distances of the first ``count`` rows of ``fresh`` into ``found``.

    The rows lie anywhere in memory, so they are asked for some places ahead.
    """
    for place in range(min(count, ROWS_AHEAD)):
        prefetch(operands, np.uint32(fresh[place]))
    for place in range(count):
        if place + ROWS_AHEAD < count:
            prefetch(operands, np.uint32(fresh[np.uint64(place + ROWS_AHEAD)]))
        found[place] = distance(operands, query, np.uint32(fresh[place]))


@kernel
def neighbours_above(links: Links, place: Int, places: I32, rows: I32) -> Int:
    """Write the neighbours of a place, as ``places`` and as ``rows``, and give their number."""
    bit, degree, width = shape_of(links.lists, links.rows + place, links.most)
    neighbour = np.uint64(0)
    count: Int = 0
    for _ in range(degree):
        neighbour += gap(links.lists, bit, width)
        bit += width
        if neighbour < np.uint64(len(links.nodes)) and np.uint32(links.nodes[neighbour]) < np.uint32(links.rows):
            places[count] = neighbour
            rows[count] = links.nodes[neighbour]
            count += 1
    return count


@kernel
def descend(operands: Operands, query: int, links: Links, scratch: Scratch) -> Int:
    """Walk greedily from the top level down and give the row to start from on level 0."""
    if links.levels == 0:
        return np.int64(links.entry)
    nodes, found = links.nodes, scratch.found
    place = np.int64(links.entry)
    best = distance(operands, query, nodes[place])
    for level in range(links.levels, 0, -1):
        moved = True
        while moved:
            moved = False
            count = neighbours_above(links, place, scratch.places, scratch.fresh)
            measure(operands, query, scratch.fresh, count, found)
            for number in range(count):
                if found[number] < best:
                    best, place, moved = found[number], np.int64(scratch.places[number]), True
        below = np.int64(links.down[place])
        if level == 1 or below < 0 or below >= len(nodes) or nodes[below] != nodes[place]:
            break
        place = below
    return np.int64(nodes[place])


@kernel
def pool_row(key: np.uint64) -> np.int64:
    """Give the row of a pool entry, which is a key of topk with the row shifted up; bit 0 says "expanded"."""
    return np.int64((key & _ROW) >> _ONE)


@kernel
def insert_sorted(pool: U64, size: Int, key: np.uint64) -> Int:
    """Insert ``key`` into the first ``size`` ascending entries of ``pool``, dropping the last of a full pool.

    Gives the place; the caller has made sure that the key belongs in the pool.
    """
    first, last = np.int64(0), np.int64(size)
    while last - first > GLANCED_AT:
        middle = (first + last) >> 1
        if pool[middle] < key:
            first = middle + 1
        else:
            last = middle
    low = np.uint64(first + count_below(pool, first, last, np.int64(key)))
    # Unsigned places, because Numba lets signed ones count from the end, which keeps this from moving many at once.
    place = np.uint64(min(size, len(pool) - 1))
    while place > low:
        pool[place] = pool[place - _ONE]
        place -= _ONE
    pool[low] = key
    return np.int64(low)


@kernel
def begin_walk(operands: Operands, query: int, links: Links, scratch: Scratch) -> Int:
    """Forget the last walk; leave where to start on level 0, and its distance, as the first of ``scratch``. Gives 1."""
    scratch.visited[:] = 0
    mark(scratch.visited, links.rows)
    start = descend(operands, query, links, scratch)
    mark(scratch.visited, start)
    scratch.fresh[0] = start
    scratch.found[0] = distance(operands, query, start)
    return 1


@kernel
def expand_next(
    operands: Operands, query: int, links: Links, scratch: Scratch, pool: U64, size: Int, cursor: Int
) -> tuple[Int, Int]:
    """Expand the next rows of the first ``size`` of ``pool`` from ``cursor`` on that were not.

    Some rows are expanded together, so that memory is read for all of them at once. Nearly every row that enters the
    pool is expanded in the end, so this computes hardly more distances.

    Returns
    -------
    count : int
        Rows met for the first time, which are in ``scratch`` with their distances. 0 where the walk is at its end.
    cursor : int
        Where the pool has not been looked at.
    """
    count: Int = 0
    while count == 0 and cursor < size:
        expanded = 0
        while cursor < size and expanded < EXPANDED_TOGETHER:
            if not pool[cursor] & _ONE:
                count = unvisited(links, pool_row(pool[cursor]), scratch.visited, scratch.fresh, count)
                pool[cursor] |= _ONE
                expanded += 1
            cursor += 1
    for place in range(count):
        prefetch_place(links.lists, scratch.fresh[place])
    measure(operands, query, scratch.fresh, count, scratch.found)
    return count, cursor


@kernel
def insert_met(
    links: Links, scratch: Scratch, count: Int, pool: U64, size: Int, cursor: Int, limit: np.uint64
) -> tuple[Int, Int]:
    """Insert those of ``count`` rows in ``scratch`` that belong in ``pool``; give its new ``size`` and ``cursor``.

    Rows with keys from ``limit`` on do not.
    """
    bar = limit if size < len(pool) else min(limit, pool[-1])
    for place in range(count):
        key = pack(scratch.found[place], np.int64(scratch.fresh[place]) << 1)
        if key < bar:
            cursor = min(cursor, insert_sorted(pool, size, key))
            size = min(size + 1, len(pool))
            if size == len(pool):
                bar = min(limit, pool[-1])
            prefetch_list(links.lists, np.uint32(scratch.fresh[place]))
    return size, cursor


@kernel
def walk_to(
    operands: Operands, query: int, links: Links, scratch: Scratch, pool: U64, furthest: Int
) -> tuple[Int, Int]:
    """Search level 0 until more than the nearest ``furthest`` of the rows found are expanded, or all in ``pool`` are.

    Returns
    -------
    size : int
        Rows in the pool, ascending.
    cursor : int
        Of them, those that are expanded.
    """
    count = begin_walk(operands, query, links, scratch)
    size: Int = 0
    cursor: Int = 0
    while count:
        size, cursor = insert_met(links, scratch, count, pool, size, cursor, NO_LIMIT)
        if cursor > furthest:
            break
        count, cursor = expand_next(operands, query, links, scratch, pool, size, cursor)
    return size, cursor


@kernel
def limit_of(pool: U64, size: Int, reach: Reach, kept: Int) -> np.uint64:
    """Give the key from which on rows are not expanded, by the k-th of the ``size`` rows found.

    There is none before ``kept`` are found.
    """
    if size < max(reach.k, kept) or reach.slack == np.inf:
        return NO_LIMIT
    nearest = distance_of(pool[reach.k - 1])
    return pack(nearest + reach.slack * abs(nearest), MAX_ROWS << 1)


@kernel
def walk(operands: Operands, query: int, links: Links, scratch: Scratch, reach: Reach, pool: U64, kept: Int) -> Int:
    """Search level 0; leave the nearest rows in ``pool`` uint64[ef], ascending, and give their number.

    That is at least ``kept`` where so many can be reached.
    """
    count = begin_walk(operands, query, links, scratch)
    size: Int = 0
    cursor: Int = 0
    limit = NO_LIMIT
    while count:
        size, cursor = insert_met(links, scratch, count, pool, size, cursor, limit)
        limit = limit_of(pool, size, reach, kept)
        # Limits fall as distances do (those that are not below 0), so that what is beyond one is never expanded.
        while size > kept and pool[size - 1] >= limit:
            size -= 1
        within = size
        while within > cursor and pool[within - 1] >= limit:
            within -= 1
        count, cursor = expand_next(operands, query, links, scratch, pool, within, cursor)
    return size


@kernel
def write_found(keys: U64, count: Int, rows: I64, distances: F32) -> None:
    """Write the first ``count`` of ascending pool entries to ``rows`` int64[m] and ``distances``; -1, ``inf`` after."""
    for place in range(len(rows)):
        if place < count:
            rows[place] = pool_row(keys[place])
            distances[place] = distance_of(keys[place])
        else:
            rows[place] = -1
            distances[place] = np.float32(np.inf)


@kernel
def beam_search(operands: Operands, links: Links, reach: Reach, rows: I64, distances: F32) -> None:
    """Search every query of ``operands``; write the nearest rows into ``rows`` int64[q, m] and ``distances``, m <= ef.

    Parameters
    ----------
    operands : Operands
    links : Links
    reach : Reach
        How far walks go.
    rows : int64[q, m]
        Out: nearest first, -1 past the last.
    distances : float32[q, m]
        Out: ``inf`` past the last.
    """
    scratch = new_scratch(links)
    pool = np.empty(reach.ef, np.uint64)
    for query in range(rows.shape[0]):
        count = walk(operands, query, links, scratch, reach, pool, rows.shape[1])
        write_found(pool, count, rows[query], distances[query])
