"""The k nearest of many distances, in a fixed order.

A candidate is one uint64 key: the distance's bits, arranged so that they sort as the numbers do, above the row
number. Comparing keys therefore compares distances, and equal distances by the lower row, so that results never
depend on the order of visits. ``NaN`` counts as ``inf``, and -0 as 0.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, frozen, kernel
from vecstore.kernels.intrinsics import GLANCE, bits_float, count_ones, float_bits, not_above
from vecstore.types import F32, I64, U64

#: Sorts behind every candidate; marks a free place.
FREE = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
#: Rows must be below this: the last number is taken by FREE.
MAX_ROWS = 2**32 - 1

_SIGN = np.uint32(0x8000_0000)
_ALL = np.uint32(0xFFFF_FFFF)
_LOW = np.uint64(0xFFFF_FFFF)
_HALF = np.uint64(32)


@kernel
def pack(distance: np.float32, row: Int) -> np.uint64:
    """Give the key of a float32 distance and a row below 2^32 - 1."""
    value = np.float32(distance) + np.float32(0)
    if np.isnan(value):
        value = np.float32(np.inf)
    bits = float_bits(value)
    ordered = np.uint32(bits ^ (_ALL if bits & _SIGN else _SIGN))
    return (np.uint64(ordered) << _HALF) | np.uint64(row)


@kernel
def distance_of(key: np.uint64) -> np.float32:
    """Give the float32 distance inside a key."""
    ordered = np.uint32(key >> _HALF)
    distance: np.float32 = bits_float(np.uint32(ordered ^ (_SIGN if ordered & _SIGN else _ALL)))
    return distance


@kernel
def row_of(key: np.uint64) -> np.int64:
    """Give the row inside a key."""
    return np.int64(key & _LOW)


@kernel
def replace_largest(heap: U64, key: np.uint64) -> None:
    """Put ``key`` in the place of the largest of a max-heap."""
    place, size = 0, len(heap)
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= key:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = key


def new_heaps(n_queries: int, k: int) -> U64:
    """Give empty heaps uint64[n_queries, k] for :func:`push_block` and :func:`push_rows`; k must be at least 1."""
    heaps = np.empty((n_queries, k), np.uint64)
    heaps.fill(FREE)
    return heaps


@kernel
def offer(heap: U64, distance: np.float32, row: Int) -> None:
    """Keep a row if it is among the nearest."""
    key = pack(distance, row)
    if key < heap[0]:
        replace_largest(heap, key)


@kernel
def push_block(distances: F32, first_row: Int, heaps: U64) -> None:
    """Offer ``distances`` float32[q, m] of rows first_row, first_row + 1, ... to the heaps."""
    one = np.uint64(1)
    width = distances.shape[1]
    whole = width - width % GLANCE
    for query in range(distances.shape[0]):
        heap = heaps[query]
        limit = distance_of(heap[0])
        for start in range(0, whole, GLANCE):
            # FREE reads as NaN, which nothing is above; equal distances need the full key.
            near = not_above(distances, query, start, limit)
            while near:
                place = start + np.int64(count_ones((near & (~near + one)) - one))
                near &= near - one
                offer(heap, distances[query, place], first_row + place)
                limit = distance_of(heap[0])
        for rest in range(whole, width):
            if not distances[query, rest] > limit:
                offer(heap, distances[query, rest], first_row + rest)
                limit = distance_of(heap[0])


@kernel
def push_rows(distances: F32, rows: I64, heaps: U64) -> None:
    """Offer ``distances`` float32[q, m] of ``rows`` int64[m] to the heaps."""
    for query in range(distances.shape[0]):
        heap = heaps[query]
        limit = distance_of(heap[0])
        for place in range(distances.shape[1]):
            if not distances[query, place] > limit:
                offer(heap, distances[query, place], rows[place])
                limit = distance_of(heap[0])


@kernel
def sort_heap(heap: U64) -> None:
    """Sort a max-heap, the smallest first."""
    for end in range(len(heap) - 1, 0, -1):
        largest = heap[0]
        replace_largest(heap[:end], heap[end])
        heap[end] = largest


@kernel
def rank_own_rows(distances: F32, rows: I64, heaps: U64, nearest: I64, nearest_distances: F32) -> None:
    """Write the k nearest of ``rows`` int64[q, m], each query's own, into ``nearest`` int64[q, k], leaving out -1.

    ``heaps`` uint64[q, k] is scratch; free places become -1 and ``inf``.
    """
    for query in range(distances.shape[0]):
        heap = heaps[query]
        heap[:] = FREE
        for place in range(distances.shape[1]):
            if rows[query, place] < 0:
                continue
            offer(heap, distances[query, place], rows[query, place])
        sort_heap(heap)
    unpack(heaps, nearest, nearest_distances)


@kernel
def count_found(rows: I64, counts: I64) -> None:
    """Write how many of each query's ``rows`` int64[q, m] are not -1 into ``counts`` int64[q]."""
    for query in range(rows.shape[0]):
        counts[query] = 0
        for place in range(rows.shape[1]):
            counts[query] += rows[query, place] >= 0


@kernel
def unpack(keys: U64, rows: I64, distances: F32) -> None:
    """Write the rows and distances of ``keys`` uint64[q, k]; free places become -1 and ``inf``."""
    for query in range(keys.shape[0]):
        for place in range(keys.shape[1]):
            key = keys[query, place]
            free = key == FREE
            rows[query, place] = -1 if free else row_of(key)
            distances[query, place] = np.float32(np.inf) if free else distance_of(key)


def drain(heaps: U64) -> tuple[I64, F32]:
    """Give what the heaps hold as rows int64[q, k] and distances float32[q, k], nearest first.

    Free places come last, as -1 and ``inf``. The heaps are used up.
    """
    heaps.sort(axis=1)
    rows = np.empty(heaps.shape, np.int64)
    distances = np.empty(heaps.shape, np.float32)
    unpack(heaps, rows, distances)
    return rows, distances


def k_smallest(distances: F32, k: int) -> tuple[I64, F32]:
    """Give the places of the k smallest of each row of ``distances`` float32[q, m].

    Places with ``inf`` count as empty, so lists of several sources can be merged by putting them side by side.

    Returns
    -------
    places : int64[q, k]
        Columns of ``distances``, the smallest first, the lower column first among equals; -1 past the last.
    distances : float32[q, k]
        Their distances; ``inf`` past the last.
    """
    heaps = new_heaps(len(distances), k)
    push_block(frozen(distances), 0, heaps)
    places, nearest = drain(heaps)
    places[np.isinf(nearest) & (nearest > 0)] = -1
    return places, nearest


def nearest_rows(rows: I64, distances: F32, k: int) -> tuple[I64, F32]:
    """Sort each query's candidates and keep the k nearest.

    Parameters
    ----------
    rows : int64[q, m]
        Candidates, in any order; -1 for none.
    distances : float32[q, m]
        Their distances.
    k : int
        At least 1.

    Returns
    -------
    rows : int64[q, k]
        Nearest first, the lower row first among equals; -1 past the last.
    distances : float32[q, k]
        Their distances; ``inf`` past the last.
    """
    shape = (len(rows), k)
    nearest, nearest_distances = np.empty(shape, np.int64), np.empty(shape, np.float32)
    rank_own_rows(frozen(distances), frozen(rows), np.empty(shape, np.uint64), nearest, nearest_distances)
    return nearest, nearest_distances
