"""Beam search over the links of an HNSW graph, on any stored form.

The walk is that of Malkov & Yashunin (2018), algorithms 2 and 5: greedy through the upper levels, then best-first on
level 0 until the nearest row that was not expanded is farther than all ``ef`` found. Found rows live in one sorted
array instead of two heaps, because rows that fell out of the best ``ef`` can never be expanded.

Links are data from a file: every number is checked against the number of rows before it is followed, so damaged
links can spoil results but never read outside an array.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.distance import Operands, distance, prefetch
from vecstore.kernels.intrinsics import prefetch_row
from vecstore.kernels.topk import FREE, distance_of, pack, replace_largest, row_of
from vecstore.types import F32, I32, I64, U64, Mask

#: Rows must be below this: a pool entry keeps one bit of the row's half for "expanded".
MAX_ROWS = 2**31 - 1

#: Rows of the pool expanded together.
EXPANDED_TOGETHER = 4
#: Rows between asking for a row and computing its distance.
ROWS_AHEAD = 16

_ONE = np.uint64(1)
_ROW = np.uint64(0xFFFF_FFFF)
_WORD = np.uint64(6)
_BIT = np.uint64(63)


class Links(NamedTuple):
    """The links of a graph.

    Rows that also are on upper levels have a *place* there for each level.

    Attributes
    ----------
    level0 : int32[n, 2 M]
        Neighbours of each row, -1 for none.
    nodes : int32[t]
        The row of each place.
    upper : int32[t, M]
        Places of neighbours on the same level, -1 for none.
    down : int32[t]
        The same row's place one level below; on level 1 the row itself.
    entry : int
        The place to start from; the row itself where there are no upper levels.
    levels : int
        Levels above 0.
    """

    level0: I32
    nodes: I32
    upper: I32
    down: I32
    entry: int
    levels: int


@kernel
def descend(operands: Operands, query: int, links: Links) -> Int:
    """Walk greedily from the top level down and give the row to start from on level 0."""
    if links.levels == 0:
        return np.int64(links.entry)
    nodes = links.nodes
    n_rows = np.uint32(links.level0.shape[0])
    place = np.int64(links.entry)
    best = distance(operands, query, nodes[place])
    for level in range(links.levels, 0, -1):
        moved = True
        while moved:
            moved = False
            for neighbour in links.upper[place]:
                if neighbour < 0 or neighbour >= len(nodes) or np.uint32(nodes[neighbour]) >= n_rows:
                    continue
                found = distance(operands, query, nodes[neighbour])
                if found < best:
                    best, place, moved = found, np.int64(neighbour), True
        below = np.int64(links.down[place])
        if level == 1 or below < 0 or below >= len(nodes) or nodes[below] != nodes[place]:
            break
        place = below
    return np.int64(nodes[place])


@kernel
def unvisited(level0: I32, row: Int, visited: U64, fresh: I32, count: Int) -> Int:
    """Mark the neighbours of ``row`` as visited; add the new ones to the ``count`` in ``fresh`` and give their number.

    There is no branch on the data: a place in ``fresh`` is always written, and kept by moving on.
    """
    n_rows = np.uint64(level0.shape[0])
    for column in range(level0.shape[1]):
        neighbour = np.uint64(np.uint32(level0[row, column]))
        inside = neighbour < n_rows
        neighbour = neighbour if inside else np.uint64(0)
        word = visited[neighbour >> _WORD]
        bit = np.uint64(inside) << (neighbour & _BIT)
        fresh[count] = neighbour
        count += np.int64((word & bit) != bit)
        visited[neighbour >> _WORD] = word | bit
    return count


@kernel
def measure(operands: Operands, query: Int, fresh: I32, count: Int, found: F32) -> None:
    """Write the distances of the first ``count`` rows of ``fresh`` into ``found``.

    The rows lie anywhere in memory, so they are asked for some places ahead.
    """
    for place in range(min(count, ROWS_AHEAD)):
        prefetch(operands, fresh[place])
    for place in range(count):
        if place + ROWS_AHEAD < count:
            prefetch(operands, fresh[place + ROWS_AHEAD])
        found[place] = distance(operands, query, fresh[place])


@kernel
def pool_row(key: np.uint64) -> np.int64:
    """Give the row of a pool entry, which is a key of topk with the row shifted up; bit 0 says "expanded"."""
    return np.int64((key & _ROW) >> _ONE)


@kernel
def insert_sorted(pool: U64, size: Int, key: np.uint64) -> Int:
    """Insert ``key`` into the first ``size`` ascending entries of ``pool``, dropping the last of a full pool.

    Gives the place; the caller has made sure that the key belongs in the pool.
    """
    low, high = np.uint64(0), np.uint64(size)
    while low < high:
        middle = (low + high) >> _ONE
        if pool[middle] < key:
            low = middle + _ONE
        else:
            high = middle
    # Unsigned places, because Numba lets signed ones count from the end, which keeps this from moving many at once.
    place = np.uint64(min(size, len(pool) - 1))
    while place > low:
        pool[place] = pool[place - _ONE]
        place -= _ONE
    pool[low] = key
    return np.int64(low)


@kernel
def walk(operands: Operands, query: int, links: Links, visited: U64, fresh: I32, found: F32, pool: U64) -> Int:
    """Search level 0; leave the nearest rows in ``pool`` uint64[ef], ascending, and give their number.

    Some of the nearest rows that were not expanded are expanded together, so that memory is read for all of them at
    once. Nearly every row that enters the pool is expanded in the end, so this computes hardly more distances.
    """
    visited[:] = 0
    start = descend(operands, query, links)
    visited[start >> 6] = _ONE << np.uint64(start & 63)
    pool[0] = pack(distance(operands, query, start), start << 1)
    size: Int = 1
    cursor: Int = 0
    while cursor < size:
        count: Int = 0
        expanded = 0
        while cursor < size and expanded < EXPANDED_TOGETHER:
            if not pool[cursor] & _ONE:
                count = unvisited(links.level0, pool_row(pool[cursor]), visited, fresh, count)
                pool[cursor] |= _ONE
                expanded += 1
            cursor += 1
        measure(operands, query, fresh, count, found)
        for place in range(count):
            key = pack(found[place], np.int64(fresh[place]) << 1)
            if size < len(pool) or key < pool[size - 1]:
                entered = insert_sorted(pool, size, key)
                size = min(size + 1, len(pool))
                prefetch_row(links.level0, fresh[place])
                cursor = min(cursor, entered)
    return size


@kernel
def push_heap(heap: U64, size: Int, key: np.uint64) -> None:
    """Add ``key`` to a min-heap of ``size`` entries with room for one more."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        if heap[parent] <= key:
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = key


@kernel
def pop_heap(heap: U64, size: Int) -> np.uint64:
    """Take the smallest key out of a min-heap of ``size`` entries."""
    smallest: np.uint64 = heap[0]
    last = heap[size - 1]
    place, size = 0, size - 1
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= last:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = last
    return smallest


@kernel
def walk_filtered(
    operands: Operands,
    query: int,
    links: Links,
    visited: U64,
    fresh: I32,
    found: F32,
    kept: Mask,
    frontier: U64,
    best: U64,
) -> bool:
    """Search level 0 through all rows but collect only those in ``kept`` bool[n], as a max-heap in ``best``.

    Some rows are expanded together, and the walk ends as the plain one does, counting only collected rows; or when
    the next step would not fit ``frontier`` uint64[e], whose length therefore limits the distances computed.

    Returns
    -------
    bool
        Whether the walk ended by itself; False means that it gave up.
    """
    visited[:] = 0
    best[:] = FREE
    start = descend(operands, query, links)
    visited[start >> 6] = _ONE << np.uint64(start & 63)
    key = pack(distance(operands, query, start), start)
    frontier[0] = key
    waiting, computed = 1, 1
    if kept[start]:
        replace_largest(best, key)
    while waiting > 0 and frontier[0] <= best[0]:
        count: Int = 0
        expanded = 0
        while waiting > 0 and expanded < EXPANDED_TOGETHER and frontier[0] <= best[0]:
            key = pop_heap(frontier, waiting)
            count = unvisited(links.level0, row_of(key), visited, fresh, count)
            waiting -= 1
            expanded += 1
        if computed + count > len(frontier):
            return False
        computed += count
        measure(operands, query, fresh, count, found)
        for place in range(count):
            key = pack(found[place], fresh[place])
            if key < best[0]:
                push_heap(frontier, waiting, key)
                prefetch_row(links.level0, fresh[place])
                waiting += 1
                if kept[fresh[place]]:
                    replace_largest(best, key)
    return True


@kernel
def write_found(keys: U64, count: Int, shift: int, rows: I64, distances: F32) -> None:
    """Write the first ``count`` of ascending ``keys`` to ``rows`` int64[m] and ``distances``; -1 and ``inf`` after."""
    for place in range(len(rows)):
        if place < count:
            rows[place] = row_of(keys[place]) >> shift
            distances[place] = distance_of(keys[place])
        else:
            rows[place] = -1
            distances[place] = np.float32(np.inf)


@kernel
def beam_search(operands: Operands, links: Links, ef: int, visited: U64, rows: I64, distances: F32) -> None:
    """Search every query of ``operands``; write the nearest rows into ``rows`` int64[q, m] and ``distances``, m <= ef.

    Parameters
    ----------
    operands : Operands
    links : Links
    ef : int
        Rows kept while searching.
    visited : uint64[ceil(n / 64)]
        Scratch.
    rows : int64[q, m]
        Out: nearest first, -1 past the last.
    distances : float32[q, m]
        Out: ``inf`` past the last.
    """
    widest = links.level0.shape[1] * EXPANDED_TOGETHER
    fresh = np.empty(widest + 1, np.int32)
    found = np.empty(widest, np.float32)
    pool = np.empty(ef, np.uint64)
    for query in range(rows.shape[0]):
        count = walk(operands, query, links, visited, fresh, found, pool)
        write_found(pool, count, 1, rows[query], distances[query])


@kernel
def beam_search_filtered(
    operands: Operands,
    links: Links,
    ef: int,
    visited: U64,
    kept: Mask,
    max_evals: int,
    rows: I64,
    distances: F32,
    complete: Mask,
) -> None:
    """Search every query among the rows of ``kept`` bool[n]; otherwise as :func:`beam_search`.

    ``complete`` bool[q] says which queries ended within ``max_evals`` distances. What the others have found so far
    is written too, but may miss near rows.
    """
    widest = links.level0.shape[1] * EXPANDED_TOGETHER
    fresh = np.empty(widest + 1, np.int32)
    found = np.empty(widest, np.float32)
    frontier = np.empty(max_evals, np.uint64)
    best = np.empty(ef, np.uint64)
    for query in range(rows.shape[0]):
        complete[query] = walk_filtered(operands, query, links, visited, fresh, found, kept, frontier, best)
        best.sort()
        write_found(best, np.searchsorted(best, FREE), 0, rows[query], distances[query])
