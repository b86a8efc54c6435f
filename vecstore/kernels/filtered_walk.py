"""Beam search among some of the rows of an HNSW graph.

The walk begins as the plain one, through all rows. Once it has come near, after a third of the rows that a plain walk
expands, it knows what share s of the rows around the query is kept, and goes on in one of two ways (figures:
docs/decisions.md).

Where s is not small, it passes over rows that are not kept and were not met before: their links lead nowhere that
others do not lead too. The kept neighbours lie farther away than those among all rows, so the walk ends once it has
expanded the nearest ef s^-5/8 rows of those it looks at.

Where s is small, kept rows have too few links to each other for that. The walk then expands kept rows only, and steps
over their other neighbours to the kept ones behind, as ACORN's do (Patel et al., "ACORN: Performant and
Predicate-Agnostic Search Over Vector Embeddings and Structured Data", 2024). So it reads more lists of links, but
computes distances to kept rows alone, and rows that are kept meet so many others that far fewer have to be expanded.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.distance import Operands, distance, prefetch
from vecstore.kernels.graph import (
    NO_LIMIT,
    Links,
    Scratch,
    expand_next,
    insert_met,
    mark,
    pool_row,
    unvisited,
    walk_to,
    write_found,
)
from vecstore.kernels.links import gap, prefetch_list, shape_of
from vecstore.kernels.topk import FREE, pack, replace_largest
from vecstore.types import F32, I32, I64, U64, Mask

#: A walk gives up if the share of kept rows around the query is that many times smaller than among all rows, and
#: smaller than this.
FAR_FACTOR = 3
FAR_SHARE = 0.035
#: Rows around a query, at least, in which kept ones are counted for that: of fewer, few may be kept by chance.
NEAR_ROWS = 100
#: The part of ef after which a walk knows that share.
NEAR_PART = 3
#: Where a smaller share is kept, kept rows have too few links to each other to pass over those that are not.
PASSING_SHARE = 0.08
#: The part of the rows that such a walk would expand, of which one that steps over rows expands the kept ones.
STEPPING_PART = 9
#: Kept rows that are expanded together there.
STEPPED_TOGETHER = 2

_EXPANDED = np.uint64(1)
_WORD = np.uint64(6)
_BIT = np.uint64(63)


@kernel
def is_in(bits: U64, number: Int) -> bool:
    """Tell whether a bit is set."""
    return bool((bits[number >> 6] >> np.uint64(number & 63)) & np.uint64(1))


@kernel
def rows_to_expand(ef: Int, share: float, rows: Int) -> Int:
    """Give how many of the nearest of ``rows`` rows a walk expands where a share of them is kept: ef share^-5/8."""
    # By square roots, which are the same everywhere.
    root = np.sqrt(share)
    return min(np.int64(ef / (root * np.sqrt(np.sqrt(root)))), np.int64(rows))


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
def new_scratch(links: Links) -> Scratch:
    """Give memory for walks over ``links`` that may step over rows."""
    met = STEPPED_TOGETHER * links.most * (links.most + 1)
    return Scratch(
        np.empty((links.rows >> 6) + 1, np.uint64),
        np.empty(STEPPED_TOGETHER * links.most + 1, np.int32),
        np.empty(met + 1, np.int32),
        np.empty(met, np.float32),
    )


@kernel
def meet_behind(links: Links, row: Int, visited: U64, dropped: U64, fresh: I32, count: Int) -> Int:
    """Mark the kept neighbours of a row; add the new ones to the ``count`` in ``fresh`` and give their number."""
    outside = np.uint64(links.rows)
    bit, degree, width = shape_of(links.lists, row, links.most)
    neighbour = np.uint64(0)
    for _ in range(degree):
        neighbour += gap(links.lists, bit, width)
        bit += width
        safe = min(neighbour, outside)
        word = visited[safe >> _WORD]
        bit_of = (np.uint64(1) << (safe & _BIT)) & ~dropped[safe >> _WORD]
        fresh[count] = safe
        count += np.int64((word | bit_of) != word)
        visited[safe >> _WORD] = word | bit_of
    return count


@kernel
def step_next(
    operands: Operands, query: int, links: Links, scratch: Scratch, dropped: U64, pool: U64, size: Int, cursor: Int
) -> tuple[Int, Int]:
    """Expand the next rows of a pool of kept ones, as ``expand_next``, by kept neighbours and those one step behind."""
    count: Int = 0
    while count == 0 and cursor < size:
        stepped: Int = 0
        expanded = 0
        while cursor < size and expanded < STEPPED_TOGETHER:
            if not pool[cursor] & _EXPANDED:
                total = unvisited(links, pool_row(pool[cursor]), scratch.visited, scratch.fresh, count)
                for place in range(count, total):
                    row = scratch.fresh[place]
                    scratch.fresh[count] = row
                    scratch.places[stepped] = row
                    is_kept = not is_in(dropped, row)
                    count += is_kept
                    stepped += not is_kept
                pool[cursor] |= _EXPANDED
                expanded += 1
            cursor += 1
        for place in range(stepped):
            prefetch_list(links.lists, scratch.places[place])
        for place in range(count):
            prefetch(operands, scratch.fresh[place])
        for place in range(stepped):
            before = count
            count = meet_behind(links, scratch.places[place], scratch.visited, dropped, scratch.fresh, count)
            for new in range(before, count):
                prefetch(operands, scratch.fresh[new])
    for place in range(count):
        scratch.found[place] = distance(operands, query, scratch.fresh[place])
    return count, cursor


@kernel
def walk_across(
    operands: Operands,
    query: int,
    links: Links,
    scratch: Scratch,
    dropped: U64,
    pool: U64,
    size: Int,
    width: Int,
    best: U64,
) -> None:
    """Go on from the kept ones of the first ``size`` rows of ``pool``, to the nearest ``width``; fill ``best``.

    From each the walk goes to kept neighbours and, over neighbours that are not kept, to the kept ones of those.
    """
    scratch.visited[:] = 0
    mark(scratch.visited, links.rows)
    kept: Int = 0
    for place in range(size):
        row = pool_row(pool[place])
        if not is_in(dropped, row):
            mark(scratch.visited, row)
            pool[kept] = pool[place] & ~_EXPANDED
            kept += 1
    nearest = pool[:width]
    size = min(kept, width)
    count, cursor = step_next(operands, query, links, scratch, dropped, nearest, size, 0)
    while count:
        size, cursor = insert_met(links, scratch, count, nearest, size, cursor, NO_LIMIT)
        count, cursor = step_next(operands, query, links, scratch, dropped, nearest, size, cursor)
    for place in range(len(best)):
        best[place] = nearest[place] & ~_EXPANDED if place < size else FREE


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
    near = min(size, np.int64(max(ef, NEAR_ROWS)))
    among_near = collect(first, 0, near, dropped, best)
    if among_near < near * min(share / FAR_FACTOR, FAR_SHARE):
        return False
    # More rows say more exactly what share is kept; but where few of the nearest are, that share is no help.
    seen = (among_near + collect(first, near, size, dropped, best)) / size
    wide = rows_to_expand(ef, seen, len(pool))
    if seen < PASSING_SHARE:
        width = max(wide // STEPPING_PART, len(best))
        walk_across(operands, query, links, scratch, dropped, pool, size, width, best)
        return True
    nearest = pool[:wide]
    size = min(size, len(nearest))
    cursor = min(cursor, size)
    for word in range(len(dropped)):
        scratch.visited[word] |= dropped[word]
    count, cursor = expand_next(operands, query, links, scratch, nearest, size, cursor)
    while count:
        size, cursor = insert_met(links, scratch, count, nearest, size, cursor, NO_LIMIT)
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
