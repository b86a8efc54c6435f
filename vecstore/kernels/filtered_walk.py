"""Beam search among some of the rows of an HNSW graph.

The walk begins as the plain one, through all rows. Once it has come near, after a third of the rows that a plain walk
expands, it knows what share s of the rows around the query is kept. Unless that is small, it passes over rows from
there on that are not kept and were not met before: their links lead nowhere that others do not lead too. The kept
neighbours lie farther away than those among all rows, so the walk ends once it has expanded the nearest ef s^-1/2 rows
of those it looks at (figures: docs/decisions.md).
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.distance import Operands
from vecstore.kernels.graph import (
    Links,
    Scratch,
    expand_next,
    insert_met,
    new_scratch,
    pool_row,
    walk_to,
    write_found,
)
from vecstore.kernels.topk import FREE, pack, replace_largest
from vecstore.types import F32, I64, U64, Mask

#: A walk gives up if the share of kept rows around the query is that many times smaller than among all rows.
FAR_FACTOR = 3
#: The part of ef after which a walk knows that share.
NEAR_PART = 3
#: Where a smaller share is kept, kept rows have too few links to each other to pass over those that are not.
PASSING_SHARE = 0.15

_EXPANDED = np.uint64(1)


@kernel
def is_in(bits: U64, number: Int) -> bool:
    """Tell whether a bit is set."""
    return bool((bits[number >> 6] >> np.uint64(number & 63)) & np.uint64(1))


@kernel
def rows_to_expand(ef: Int, share: float, rows: Int) -> Int:
    """Give how many of the nearest of ``rows`` rows a walk expands where a share of them is kept: ef share^-1/2."""
    return min(np.int64(ef / np.sqrt(share)), np.int64(rows))


@kernel
def collect(pool: U64, start: Int, stop: Int, dropped: U64, best: U64) -> Int:
    """Offer the kept rows of ``pool[start:stop]`` to the max-heap ``best``; give how many they are."""
    total: Int = 0
    for place in range(start, stop):
        if not is_in(dropped, pool_row(pool[place])):
            total += 1
            if pool[place] < best[0]:
                replace_largest(best, pool[place] & ~_EXPANDED)
    return total


@kernel
def walk_kept(
    operands: Operands,
    query: int,
    links: Links,
    scratch: Scratch,
    ef: Int,
    share: float,
    dropped: U64,
    pool: U64,
    best: U64,
) -> bool:
    """Search level 0 and collect rows that are not ``dropped``, a share of all, as a max-heap in ``best``.

    Parameters
    ----------
    operands, query, links, scratch, ef
        As for other walks.
    share : float
        Of all rows, how many are kept.
    dropped : uint64[n // 64 + 1]
        A bit for each row that is not.
    pool : uint64[m]
        Room for the rows that the smallest share asks for with which a walk does not give up.
    best : uint64[k]
        Out.

    Returns
    -------
    bool
        Whether the walk ended by itself; False means that it gave up, because hardly any row around is kept.
    """
    best[:] = FREE
    first = pool[: rows_to_expand(ef, share, len(pool))]
    size, cursor = walk_to(operands, query, links, scratch, first, ef // NEAR_PART)
    near = min(size, np.int64(ef))
    among_near = collect(first, 0, near, dropped, best)
    if FAR_FACTOR * among_near < share * near:
        return False
    # More rows say more exactly what share is kept; but where few of the nearest are, that share is no help.
    seen = (among_near + collect(first, near, size, dropped, best)) / size
    nearest = pool[: rows_to_expand(ef, seen, len(pool))]
    size = min(size, len(nearest))
    cursor = min(cursor, size)
    if seen >= PASSING_SHARE:
        for word in range(len(dropped)):
            scratch.visited[word] |= dropped[word]
    count, cursor = expand_next(operands, query, links, scratch, nearest, size, cursor)
    while count:
        size, cursor = insert_met(links, scratch, count, nearest, size, cursor)
        for place in range(count):
            row = np.int64(scratch.fresh[place])
            key = pack(scratch.found[place], row << 1)
            if key < best[0] and not is_in(dropped, row):
                replace_largest(best, key)
        count, cursor = expand_next(operands, query, links, scratch, nearest, size, cursor)
    return True


@kernel
def beam_search_kept(
    operands: Operands,
    links: Links,
    ef: int,
    share: float,
    dropped: U64,
    rows: I64,
    distances: F32,
    complete: Mask,
) -> None:
    """Search every query among some rows; otherwise as :func:`vecstore.kernels.graph.beam_search`.

    Parameters
    ----------
    operands, links, ef, rows, distances
        As there.
    share : float
        Of all rows, how many are kept; above 0.
    dropped : uint64[n // 64 + 1]
        A bit for each row that is not.
    complete : bool[q]
        Out: which queries did not give up. What the others have found is written too, but may miss near rows.
    """
    scratch = new_scratch(links)
    pool = np.empty(rows_to_expand(ef, share / FAR_FACTOR, links.rows), np.uint64)
    best = np.empty(rows.shape[1], np.uint64)
    for query in range(rows.shape[0]):
        complete[query] = walk_kept(operands, query, links, scratch, ef, share, dropped, pool, best)
        best.sort()
        write_found(best, np.searchsorted(best, FREE), rows[query], distances[query])
