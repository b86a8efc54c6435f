"""Beam search over the links of an HNSW graph, on any stored form.

The walk is that of Malkov & Yashunin (2018), algorithms 2 and 5: greedy through the upper levels, then best-first on
level 0 until the nearest row that was not expanded is farther than all ``ef`` found. Found rows live in one sorted
array instead of two heaps, because rows that fell out of the best ``ef`` can never be expanded.

Links are data from a file: every number is checked against the number of rows before it is followed, so damaged
links can spoil results but never read outside an array.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.distance import Operands, distance, prefetch
from vecstore.kernels.intrinsics import prefetch_row
from vecstore.kernels.topk import FREE, distance_of, pack, replace_largest
from vecstore.types import F32, I32, I64, U64, Mask

#: Rows must be below this: a pool entry keeps one bit of the row's half for "expanded".
MAX_ROWS = 2**31 - 1

_ONE = np.uint64(1)
_ROW = np.uint64(0xFFFF_FFFF)
_WORD = np.uint64(6)
_BIT = np.uint64(63)


@kernel
def descend(
    operands: Operands, query: int, nodes: I32, links: I32, down: I32, entry: int, levels: int, n_rows: int
) -> int:
    """Walk greedily from the top level down and give the row to start from on level 0.

    Parameters
    ----------
    operands : Operands
    query : int
    nodes : int32[t]
        The row of each place of the upper levels.
    links : int32[t, M]
        Places of neighbours on the same level, -1 for none.
    down : int32[t]
        The same row's place one level below (unused on level 1).
    entry : int
        The place to start from; the row itself where there are no upper levels.
    levels : int
        Levels above 0.
    n_rows : int
    """
    if levels == 0:
        return entry
    place = entry
    best = distance(operands, query, nodes[place])
    for level in range(levels, 0, -1):
        moved = True
        while moved:
            moved = False
            for neighbour in links[place]:
                if neighbour < 0 or neighbour >= len(nodes) or nodes[neighbour] < 0 or nodes[neighbour] >= n_rows:
                    continue
                found = distance(operands, query, nodes[neighbour])
                if found < best:
                    best, place, moved = found, neighbour, True
        if level > 1:
            below = down[place]
            if below < 0 or below >= len(nodes) or nodes[below] != nodes[place]:
                break
            place = below
    return nodes[place]


@kernel
def unvisited(links: I32, row: int, visited: U64, n_rows: int, fresh: I32) -> int:
    """Mark the neighbours of ``row`` as visited; write the new ones into ``fresh`` and give their number.

    There is no branch on the data: a place in ``fresh`` is always written, and kept by moving on.
    """
    count = 0
    for column in range(links.shape[1]):
        neighbour = np.uint64(np.uint32(links[row, column]))
        inside = neighbour < np.uint64(n_rows)
        neighbour = neighbour if inside else np.uint64(0)
        word = visited[neighbour >> _WORD]
        bit = np.uint64(inside) << (neighbour & _BIT)
        fresh[count] = neighbour
        count += np.int64((word & bit) != bit)
        visited[neighbour >> _WORD] = word | bit
    return count


@kernel
def insert_sorted(pool: U64, size: int, key: int) -> int:
    """Insert ``key`` into the first ``size`` ascending entries of ``pool``, dropping the last of a full pool.

    Gives the place; the caller has made sure that the key belongs in the pool.
    """
    low, high = 0, size
    while low < high:
        middle = (low + high) >> 1
        if pool[middle] < key:
            low = middle + 1
        else:
            high = middle
    for place in range(min(size, len(pool) - 1), low, -1):
        pool[place] = pool[place - 1]
    pool[low] = key
    return low


@kernel
def entry_key(found: float, row: int) -> int:
    """Give a pool entry: the key of topk with the row shifted up, so that bit 0 can say "expanded"."""
    return pack(found, np.uint64(row) << _ONE)


@kernel
def walk(
    operands: Operands, query: int, start: int, links: I32, n_rows: int, visited: U64, fresh: I32, pool: U64
) -> int:
    """Search level 0 from ``start``; leave the nearest rows in ``pool`` uint64[ef], ascending, and give their number."""
    visited[:] = 0
    visited[start >> 6] = _ONE << np.uint64(start & 63)
    pool[0] = entry_key(distance(operands, query, start), start)
    size, cursor = 1, 0
    while cursor < size:
        row = np.int64((pool[cursor] & _ROW) >> _ONE)
        pool[cursor] |= _ONE
        count = unvisited(links, row, visited, n_rows, fresh)
        for place in range(count):
            prefetch(operands, fresh[place])
        first_change = size
        for place in range(count):
            key = entry_key(distance(operands, query, fresh[place]), fresh[place])
            if size < len(pool) or key < pool[size - 1]:
                first_change = min(first_change, insert_sorted(pool, size, key))
                size = min(size + 1, len(pool))
        cursor = min(cursor + 1, first_change)
        while cursor < size and pool[cursor] & _ONE:
            cursor += 1
        if cursor < size:
            prefetch_row(links, np.int64((pool[cursor] & _ROW) >> _ONE))
    return size


@kernel
def push_heap(heap: U64, size: int, key: int) -> None:
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
def pop_heap(heap: U64, size: int) -> int:
    """Take the smallest key out of a min-heap of ``size`` entries."""
    smallest, last = heap[0], heap[size - 1]
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
    start: int,
    links: I32,
    n_rows: int,
    visited: U64,
    fresh: I32,
    kept: Mask,
    frontier: U64,
    best: U64,
) -> bool:
    """Search level 0 through all rows but collect only those in ``kept`` bool[n_rows], as a max-heap in ``best``.

    It ends as the plain walk does, counting only collected rows; or when the next step could find ``frontier``
    uint64[e] too small, which therefore limits the distances computed.

    Returns
    -------
    bool
        Whether the walk ended by itself; False means that it gave up.
    """
    visited[:] = 0
    visited[start >> 6] = _ONE << np.uint64(start & 63)
    best[:] = FREE
    key = pack(distance(operands, query, start), start)
    frontier[0] = key
    waiting, computed = 1, 1
    if kept[start]:
        replace_largest(best, key)
    while waiting > 0:
        key = pop_heap(frontier, waiting)
        waiting -= 1
        if key > best[0]:
            break
        count = unvisited(links, np.int64(key & _ROW), visited, n_rows, fresh)
        if computed + count > len(frontier):
            return False
        computed += count
        for place in range(count):
            prefetch(operands, fresh[place])
        for place in range(count):
            key = pack(distance(operands, query, fresh[place]), fresh[place])
            if key < best[0]:
                push_heap(frontier, waiting, key)
                waiting += 1
                if kept[fresh[place]]:
                    replace_largest(best, key)
    return True


@kernel
def write_found(keys: U64, count: int, shift: int, rows: I64, distances: F32) -> None:
    """Write the first ``count`` of ascending ``keys`` to ``rows`` int64[m] and ``distances``; -1 and ``inf`` after."""
    for place in range(len(rows)):
        if place < count:
            rows[place] = np.int64((keys[place] & _ROW) >> np.uint64(shift))
            distances[place] = distance_of(keys[place])
        else:
            rows[place] = -1
            distances[place] = np.float32(np.inf)


@kernel
def beam_search(
    operands: Operands,
    links: I32,
    nodes: I32,
    upper_links: I32,
    down: I32,
    entry: int,
    levels: int,
    ef: int,
    visited: U64,
    rows: I64,
    distances: F32,
) -> None:
    """Search every query of ``operands``; write the nearest rows into ``rows`` int64[q, m] and ``distances``, m <= ef.

    Parameters
    ----------
    operands : Operands
    links : int32[n, 2 M]
        Neighbours on level 0, -1 for none.
    nodes, upper_links, down, entry, levels
        As for :func:`descend`.
    ef : int
        Rows kept while searching.
    visited : uint64[ceil(n / 64)]
        Scratch.
    rows : int64[q, m]
        Out: nearest first, -1 past the last.
    distances : float32[q, m]
        Out: ``inf`` past the last.
    """
    n_rows = links.shape[0]
    fresh = np.empty(links.shape[1] + 1, np.int32)
    pool = np.empty(ef, np.uint64)
    for query in range(rows.shape[0]):
        start = descend(operands, query, nodes, upper_links, down, entry, levels, n_rows)
        found = walk(operands, query, start, links, n_rows, visited, fresh, pool)
        write_found(pool, found, 1, rows[query], distances[query])


@kernel
def beam_search_filtered(
    operands: Operands,
    links: I32,
    nodes: I32,
    upper_links: I32,
    down: I32,
    entry: int,
    levels: int,
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
    n_rows = links.shape[0]
    fresh = np.empty(links.shape[1] + 1, np.int32)
    frontier = np.empty(max_evals, np.uint64)
    best = np.empty(ef, np.uint64)
    for query in range(rows.shape[0]):
        start = descend(operands, query, nodes, upper_links, down, entry, levels, n_rows)
        complete[query] = walk_filtered(operands, query, start, links, n_rows, visited, fresh, kept, frontier, best)
        best.sort()
        found = np.searchsorted(best, FREE)
        write_found(best, found, 0, rows[query], distances[query])
