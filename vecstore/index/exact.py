"""Exact search: every distance, the k smallest."""

from __future__ import annotations

import numpy as np

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import distance, screening, screens, topk
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.lookup import first_outside
from vecstore.kernels.scoring import PartedScorer, Scorer
from vecstore.kernels.screening import PANEL_ROWS, Screen
from vecstore.types import F32, I64, U64

__all__ = ["exact_search", "scored_again"]

#: Distances kept at a time: 256 KiB, which stay in the second-level cache until they are ranked.
_BLOCK_CELLS = 65_536
_MIN_BLOCK_ROWS = 64
#: Most rows at a time: for one query no more memory is asked for than stays in the nearest cache.
_MAX_BLOCK_ROWS = 4_096
#: Distances kept at a time where kernels rank them: 16 KiB, which stay in the nearest cache; and at least so many rows,
#: because a group of queries is ranked before the next.
_FUSED_CELLS = 4_096
_MIN_FUSED_ROWS = 512
#: Fewer queries are quicker without a screen, which takes sixteen at a time.
_SCREENED_QUERIES = 6
#: At least so many rows for each of the k nearest, or a screen lets too many pass.
_SCREENED_SHARE = 50
#: From so many queries on a screen that rounds the rows first takes less time.
_ROUNDED_QUERIES = 96
#: Rows of a call of the screen's kernel.
_CALL_ROWS = 4_096
#: A screen that lets more than this share pass costs more than it saves: what passes is scored row by row.
_USELESS_SHARE = 0.25
#: The same for a screen that rounds rows, after which another goes on.
_USELESS_ROUNDED = 0.05
#: Rows before that is looked at, as a multiple of k.
_SETTLED_FACTOR = 16


def exact_search(scorer: Scorer, n_queries: int, rows: int | I64, k: int) -> tuple[I64, F32]:
    """Give the k nearest rows of each query, by computing every distance.

    Parameters
    ----------
    scorer : Scorer
        Prepared for the queries.
    n_queries : int
    rows : int or int64[m]
        The number of rows of the table, to search all of them; or the rows to search, each at most once.
    k : int
        At least 1.

    Returns
    -------
    rows : int64[n_queries, k]
        Nearest first, the lower row first among equals; -1 past the last.
    distances : float32[n_queries, k]
        ``inf`` past the last.

    Raises
    ------
    InvalidArgumentError
        ``k`` is below 1.
    """
    if k < 1:
        raise InvalidArgumentError(f"k: expected at least 1, got {k}", field="k")
    if isinstance(scorer, PartedScorer):
        return _search_parts(scorer, n_queries, rows, k)
    kept = None if isinstance(rows, int) else frozen(rows)
    total = rows if isinstance(rows, int) else len(rows)
    if total > topk.MAX_ROWS:
        raise InvalidArgumentError(f"rows: a table has at most {topk.MAX_ROWS}, got {total}", field="rows")
    heaps = topk.new_heaps(n_queries, k)
    operands = scorer.operands
    start = 0
    if operands is not None and n_queries >= _SCREENED_QUERIES and total >= max(PANEL_ROWS, _SCREENED_SHARE * k):
        if n_queries >= _ROUNDED_QUERIES:
            rounding = screens.rounding_screen_of(operands)
            start = _screen_all(rounding, operands, start, total, kept, heaps, _USELESS_ROUNDED)
        if start < total:
            start = _screen_all(screens.screen_of(operands), operands, start, total, kept, heaps, _USELESS_SHARE)
    _score_all(scorer, n_queries, start, total, kept, heaps)
    return topk.drain(heaps)


def scored_again(rows: I64, finer: Scorer, k: int) -> tuple[I64, F32]:
    """Give the k nearest of ``rows`` int64[q, m], each query its own, and their distances by another scorer."""
    distances = np.empty(rows.shape, np.float32)
    finer.rerank(rows, distances)
    return topk.nearest_rows(rows, distances, k)


def _search_parts(scorer: PartedScorer, n_queries: int, rows: int | I64, k: int) -> tuple[I64, F32]:
    """Search the tables of a scorer one by one, and merge what is found."""
    owners, within = (None, None) if isinstance(rows, int) else scorer.locate(rows)
    all_rows, all_distances = [], []
    for part, (own, count) in enumerate(zip(scorer.parts, scorer.counts, strict=True)):
        searched = count if owners is None or within is None else within[owners == part]
        places, distances = exact_search(own, n_queries, searched, k)
        all_rows.append(scorer.rows_of(part, places))
        all_distances.append(distances)
    if len(all_rows) == 1:
        return all_rows[0], all_distances[0]
    return topk.nearest_rows(np.concatenate(all_rows, axis=1), np.concatenate(all_distances, axis=1), k)


def _screen_all(
    screen: Screen | None,
    operands: Operands,
    start: int,
    total: int,
    kept: I64 | None,
    heaps: U64,
    useless: float,
) -> int:
    """Offer to the heaps what a screen lets pass, from the row ``start`` on; give up to where that was done.

    It is given up where more than a share of ``useless`` passes: where rows are equally far from a query, none is sure
    not to be among its nearest.
    """
    # Scorers say what is wrong with rows that are not in the table.
    if screen is None or (kept is not None and first_outside(kept, len(screen.rows)) >= 0):
        return start
    direct = kept is None and screening.is_direct(screen)
    buffer = None if direct else screening.new_buffer(screen)
    while total - start >= PANEL_ROWS:
        stop = total if total - start < _CALL_ROWS + PANEL_ROWS else start + _CALL_ROWS
        if buffer is None:
            scored = screening.screen_span(screen, operands, start, stop, heaps)
        else:
            rows = frozen(np.arange(start, stop)) if kept is None else kept[start:stop]
            scored = screening.screen_rows(screen, operands, rows, buffer, heaps)
        # The first rows are all scored, whatever the screen.
        is_settled = start >= _SETTLED_FACTOR * heaps.shape[1]
        offered, start = len(heaps) * (stop - start), stop
        if is_settled and scored > useless * offered:
            break
    return start


def _score_all(scorer: Scorer, n_queries: int, first: int, total: int, kept: I64 | None, heaps: U64) -> None:
    """Offer all distances to the heaps, from the row ``first`` on."""
    if kept is None and scorer.operands is not None and n_queries:
        span = max(_MIN_FUSED_ROWS, _FUSED_CELLS // n_queries)
        distance.nearest(scorer.operands, first, total, np.empty(n_queries * span, np.float32), heaps)
        return
    step = min(max(_MIN_BLOCK_ROWS, _BLOCK_CELLS // max(1, n_queries)), _MAX_BLOCK_ROWS)
    cells = np.empty(n_queries * min(step, total), np.float32)
    for start in range(first, total, step):
        stop = min(start + step, total)
        block = cells[: n_queries * (stop - start)].reshape(n_queries, stop - start)
        if kept is None:
            scorer.scan(start, stop, block)
            topk.push_block(frozen(block), start, heaps)
        else:
            scorer.gather(kept[start:stop], block)
            topk.push_rows(frozen(block), kept[start:stop], heaps)
