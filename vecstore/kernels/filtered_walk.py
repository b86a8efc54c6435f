"""Beam search among some of the rows of an HNSW graph.

The walk is the plain one, through all rows, and collects those that are kept. It has to go further than among all rows,
because the nearest that are kept are farther away; but expanding rows until ef of them are kept would be more than it
takes. Where a share s of the rows around the query is kept, the walk ends once it has expanded the nearest ef s^-0.4
rows: measured on three data sets, with s from 0.2 to 1, that loses at most .003 of recall near .99 (figures:
docs/decisions.md). What s is around a query it sees on its way.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.distance import Operands
from vecstore.kernels.graph import (
    Links,
    Scratch,
    begin_walk,
    expand_next,
    insert_sorted,
    new_scratch,
    pool_row,
    write_found,
)
from vecstore.kernels.links import prefetch_list
from vecstore.kernels.topk import FREE, pack, replace_largest
from vecstore.types import F32, I64, U64, Mask

#: A walk gives up once the share of kept rows around the query is that many times smaller than among all rows.
FAR_FACTOR = 3


@kernel
def kept_among(pool: U64, count: Int, kept: Mask) -> Int:
    """Count the kept rows among the first ``count`` of ``pool``."""
    total: Int = 0
    for place in range(count):
        total += np.int64(kept[pool_row(pool[place])])
    return total


@kernel
def is_enough(expanded: Int, share: float, ef: Int) -> bool:
    """Tell whether so many expanded rows, of which a share is kept, are at least ef share^-0.4."""
    times = expanded / ef
    return bool(times * times * times * times * times * share * share >= 1)


@kernel
def walk_kept(
    operands: Operands,
    query: int,
    links: Links,
    scratch: Scratch,
    ef: Int,
    kept: Mask,
    share: float,
    pool: U64,
    best: U64,
) -> bool:
    """Search level 0 through all rows and collect those in ``kept`` bool[n], a share of all, as a max-heap in ``best``.

    Returns
    -------
    bool
        Whether the walk ended by itself; False means that it gave up, because hardly any row around is kept.
    """
    best[:] = FREE
    count = begin_walk(operands, query, links, scratch)
    size: Int = 0
    cursor: Int = 0
    while count:
        for place in range(count):
            row = np.int64(scratch.fresh[place])
            key = pack(scratch.found[place], row << 1)
            if size < len(pool) or key < pool[size - 1]:
                cursor = min(cursor, insert_sorted(pool, size, key))
                size = min(size + 1, len(pool))
                prefetch_list(links.lists, row)
            if key < best[0] and kept[row]:
                replace_largest(best, key)
        if cursor >= ef:
            seen = kept_among(pool, cursor, kept) / cursor
            if FAR_FACTOR * seen < share:
                return False
            if is_enough(cursor, seen, ef) and best[0] != FREE:
                return True
        count, cursor = expand_next(operands, query, links, scratch, pool, size, cursor)
    return True


@kernel
def beam_search_kept(
    operands: Operands,
    links: Links,
    ef: int,
    longest: int,
    kept: Mask,
    rows: I64,
    distances: F32,
    complete: Mask,
) -> None:
    """Search every query among the rows of ``kept`` bool[n]; otherwise as :func:`vecstore.kernels.graph.beam_search`.

    Parameters
    ----------
    operands, links, ef, rows, distances
        As there.
    longest : int
        Rows that a walk expands at most, at least ef.
    kept : bool[n]
    complete : bool[q]
        Out: which queries did not give up. What the others have found is written too, but may miss near rows.
    """
    scratch = new_scratch(links)
    pool = np.empty(longest, np.uint64)
    best = np.empty(rows.shape[1], np.uint64)
    share = kept.sum() / len(kept)
    for query in range(rows.shape[0]):
        complete[query] = walk_kept(operands, query, links, scratch, ef, kept, share, pool, best)
        best.sort()
        write_found(best, np.searchsorted(best, FREE), rows[query], distances[query])
