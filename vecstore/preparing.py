"""Searches for one query a call: what does not depend on the query is prepared by the first of a kind, and kept."""

from __future__ import annotations

import numpy as np

from vecstore.effort import Effort
from vecstore.filters import Filter
from vecstore.index.prepared import SCANNED_AT_ONCE, Finish, PreparedScan, PreparedSearch, PreparedWalk
from vecstore.kernels.compiling import frozen
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.scorer import bounding, coarse, quick, renewal, unchanged
from vecstore.segment import RowSource
from vecstore.types import F32, I64, Metric
from vecstore.view import SourceView
from vecstore.widths import are_rough, bounded_depth, most_scanned, scan_width, walk_depth, walk_reach, walk_width

__all__ = ["search_prepared"]

#: Most rows wanted: what is kept for more takes memory, and preparing is no part of the time.
MOST_PREPARED = 1000


def search_prepared(
    view: SourceView, query: F32, k: int, metric: Metric, *, where: Filter | None, effort: Effort
) -> tuple[I64, F32] | None:
    """Search one source for one query.

    Parameters
    ----------
    view : SourceView
        What to search; the prepared search stays there.
    query : float32[1, dim]
        A unit row for cosine.
    k : int
    metric : Metric
    where : Filter or None
        Only rows that pass.
    effort : Effort
        As the collection's settings have it where the call says nothing.

    Returns
    -------
    rows : int64[1, k]
        Nearest first.
    distances : float32[1, k]
        None instead of both where nothing is prepared: for exact searches and funnels, scans of all rows or of very
        many, fewer than k rows, more than ``MOST_PREPARED`` wanted, and schemes that prepare anew for each query.
    """
    if effort.exact or effort.funnel or k > MOST_PREPARED or not view.is_preparable:
        return None
    allowed = view.rows(where)
    kind = k, effort, allowed.is_all
    search = view.searches.take(kind) or _prepared(view.source, k, metric, effort, is_filtered=not allowed.is_all)
    if search is None:
        view.is_preparable = False
        return None
    found = search.search(query, allowed)
    view.searches.give(kind, search)
    return found


def _prepared(source: RowSource, k: int, metric: Metric, effort: Effort, *, is_filtered: bool) -> PreparedSearch | None:
    """Prepare a search that gives the answers of one that prepares nothing; None where the schemes do not allow that.

    The choices are those of :mod:`vecstore.search`.
    """
    queries = np.zeros((1, source.codes.shape.dim), np.float32)
    codes = source.codes.scorer(frozen(queries), metric)
    if renewal(codes) is None:
        return None
    finest = codes if source.finest is source.codes else source.finest.scorer(frozen(queries), metric)
    renewals = dict.fromkeys([renewal(codes), renewal(finest)])
    if None in renewals:
        return None
    return PreparedSearch(
        queries,
        [part for part in renewals if part is not None and part is not unchanged],
        k,
        _prepared_walk(source, codes, finest, k, effort, is_filtered=is_filtered),
        _prepared_scan(source, codes, finest, k, effort) if is_filtered else None,
    )


def _prepared_walk(
    source: RowSource, codes: Scorer, finest: Scorer, k: int, effort: Effort, *, is_filtered: bool
) -> PreparedWalk | None:
    """Prepare a walk of the graph, if there is one."""
    ef = walk_width(source, k, effort, is_filtered=is_filtered)
    if ef is None or source.graph is None or codes.traversal is None:
        return None
    finish = _finish(codes, finest, again=codes.traversal is not codes.operands)
    rough = finest is not codes and are_rough(source.codes)
    reach = walk_reach(source, k, ef, effort, is_filtered=is_filtered)
    depth = walk_depth(k, ef, final=finish.exact is None, rough=rough, bounded=finish.bounds is not None)
    return PreparedWalk(
        source.graph,
        len(source),
        codes.traversal,
        finish,
        reach=reach.among(len(source)),
        depth=depth,
        k=k,
        least=max(depth, most_scanned(source.codes, ef, is_all=not is_filtered) + 1),
    )


def _prepared_scan(source: RowSource, codes: Scorer, finest: Scorer, k: int, effort: Effort) -> PreparedScan | None:
    """Prepare scans of some rows, if they are known to be enough."""
    depth = scan_width(source, k, effort)
    first = quick(codes) if finest is codes else coarse(codes)
    if depth is None or first.operands is None:
        return None
    finish = _finish(codes, finest, again=first is not finest)
    if effort.recall is not None or finish.bounds is None:
        return PreparedScan(len(source), first.operands, Finish(finish.exact), max(depth, k), k)
    return PreparedScan(len(source), finish.bounds, finish, min(bounded_depth(k), SCANNED_AT_ONCE), k)


def _finish(codes: Scorer, finest: Scorer, *, again: bool) -> Finish:
    """Give how the nearest of the rows that were found are chosen.

    ``again`` says whether what found them is coarser than the distances of the codes.
    """
    bounds = bounding(codes) if finest is not codes else None
    return Finish(
        finest.operands if again or finest is not codes else None, None if bounds is None else bounds.operands
    )
