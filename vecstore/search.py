"""The query plan: which rows are allowed, exact scan or graph, re-ranking, and the merge over all sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecstore.effort import Effort
from vecstore.filters import Filter
from vecstore.funnel import through_funnel
from vecstore.index.bounded import refine_within
from vecstore.index.exact import exact_search, scored_again
from vecstore.index.hnsw import Graph
from vecstore.index.row_set import RowSet
from vecstore.kernels.graph import Reach
from vecstore.kernels.scoring import Scorer
from vecstore.kernels.screens import is_screened
from vecstore.kernels.topk import count_found, nearest_rows
from vecstore.preparing import search_prepared
from vecstore.schemes.scorer import bounding, coarse, quick
from vecstore.segment import RowSource
from vecstore.types import F32, I64, Metric
from vecstore.view import SourceView, View
from vecstore.widths import are_rough, bounded_depth, scan_is_cheaper, scan_width, walk_depth, walk_reach, walk_width

#: Queries of a call that are many.
MANY_QUERIES = 32


@dataclass(frozen=True, slots=True)
class Found:
    """Nearest rows over all sources of a view.

    Attributes
    ----------
    sources : int64[q, k]
        Position in ``view.sources``; -1 past ``counts``.
    rows : int64[q, k]
        Row within the source.
    distances : float32[q, k]
        Ascending; ``inf`` past ``counts``.
    counts : int64[q]
        Rows found for each query.
    """

    sources: I64
    rows: I64
    distances: F32
    counts: I64

    @property
    def is_full(self) -> bool:
        """Whether every query has all its rows."""
        return bool(sum(self.counts.tolist()) == self.rows.size)


def joined(parts: list[Found]) -> Found:
    """Put the results of consecutive queries together."""
    return Found(
        np.concatenate([part.sources for part in parts]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.distances for part in parts]),
        np.concatenate([part.counts for part in parts]),
    )


def search_view(view: View, queries: F32, k: int, *, where: Filter | None, effort: Effort, together: int) -> Found:
    """Find the k nearest live rows of each query.

    Parameters
    ----------
    view : View
        What to search.
    queries : float32[q, dim]
        Unit rows for cosine.
    k : int
        Rows a query.
    where : Filter or None
        Only rows that pass.
    effort : Effort
        Candidates of graph walks, or the recall to reach, or an exact search, or the stages of a funnel; else as the
        collection's settings say.
    together : int
        Queries of the call that these are some of: many are scanned where a few would walk the graph.
    """
    effort = _resolved(effort, view)
    parts = [
        _search_source(source, queries, k, view.settings.metric, where=where, effort=effort, together=together)
        for source in view.sources
    ]
    return _merged(parts, len(queries), k)


def search_alone(view: View, query: F32, k: int, *, where: Filter | None, effort: Effort) -> tuple[I64, F32] | None:
    """Search for one query in the only source, by what is prepared for searches of this kind.

    This is the way of nearly every search of a service that asks for one query at a time.

    Parameters
    ----------
    view : View
        What to search.
    query : float32[1, dim]
        A unit row for cosine.
    k, where, effort
        As for :func:`search_view`, which this gives the answer of.

    Returns
    -------
    rows : int64[1, k]
        Rows of the source, nearest first.
    distances : float32[1, k]
        None instead of both where the view has more sources, or nothing can be prepared.
    """
    sources = view.sources
    if len(sources) != 1:
        return None
    return search_prepared(sources[0], query, k, view.settings.metric, where=where, effort=_resolved(effort, view))


def _resolved(effort: Effort, view: View) -> Effort:
    """Give the effort as the collection's settings have it where ``effort`` says nothing."""
    index = view.settings.index
    return effort.resolved(view.settings.recall, index.ef if index else 1)


def _search_source(
    view: SourceView,
    queries: F32,
    k: int,
    metric: Metric,
    *,
    where: Filter | None,
    effort: Effort,
    together: int,
) -> tuple[I64, F32]:
    """Give rows int64[q, m] (-1 for none) and distances of one source, m <= k."""
    if together == 1:
        found = search_prepared(view, queries, k, metric, where=where, effort=effort)
        if found is not None:
            return found
    allowed = view.rows(where)
    if allowed.count == 0:
        return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    k = min(k, allowed.count)
    source = view.source
    leading = source.leading(metric) if effort.funnel else None
    if leading is not None:
        return through_funnel(leading, source.finest, queries, metric, effort.funnel, allowed.searched, k)
    scorer = source.codes.scorer(queries, metric)
    ef = walk_width(source, k, effort, is_filtered=not allowed.is_all)
    screened = together >= MANY_QUERIES and is_screened(scorer.traversal)
    if ef is not None and scan_is_cheaper(allowed, source.codes, ef, screened=screened):
        ef = None
    depth = scan_width(source, k, effort) if ef is None else 0
    if depth is None:
        return exact_search(source.finest.scorer(queries, metric), len(queries), allowed.searched, k)
    finer = source.finest.scorer(queries, metric) if source.finest is not source.codes else scorer
    graph = source.graph
    if ef is None or graph is None:
        scan = scan_in_stages if effort.recall is None else scan_to_depth
        return scan(scorer, finer, len(queries), allowed.searched, k, depth)
    bounds = bounding(scorer) if finer is not scorer else None
    is_final = finer is scorer and scorer.traversal is scorer.operands
    rough = finer is not scorer and are_rough(source.codes)
    reach = walk_reach(source, k, ef, effort, is_filtered=not allowed.is_all)
    depth = min(walk_depth(k, ef, final=is_final, rough=rough, bounded=bounds is not None), allowed.count)
    rows, distances = _walk(graph, source, scorer, queries, metric, allowed, depth, reach)
    if bounds is not None:
        bounds.rerank(rows, distances)
        return refine_within(*nearest_rows(rows, distances, depth), finer, k)
    if is_final:
        return nearest_rows(rows, distances, k)
    return scored_again(rows, finer, k)


def scan_in_stages(
    scorer: Scorer, finer: Scorer, n_queries: int, rows: int | I64, k: int, depth: int
) -> tuple[I64, F32]:
    """Find the k nearest of all rows by a quick scan, and score again what it finds, where that is worth it.

    Parameters
    ----------
    scorer : Scorer
        Of the codes, prepared for the queries. Where it bounds distances, the bounds decide how many are scored again.
    finer : Scorer
        Of the finer copy; the same object where there is none.
    n_queries : int
    rows : int or int64[m]
        The number of rows, to scan all of them; or the rows to scan.
    k : int
        At most the number of rows scanned.
    depth : int
        Rows that are scored again where no bounds say how many.

    Returns
    -------
    rows : int64[n_queries, k]
        Nearest first.
    distances : float32[n_queries, k]
    """
    total = rows if isinstance(rows, int) else len(rows)
    bounds = bounding(scorer) if finer is not scorer else None
    if bounds is not None:
        bounded = min(bounded_depth(k), total)
        return refine_within(*exact_search(bounds, n_queries, rows, bounded), finer, k)
    return scan_to_depth(scorer, finer, n_queries, rows, k, depth)


def scan_to_depth(
    scorer: Scorer, finer: Scorer, n_queries: int, rows: int | I64, k: int, depth: int
) -> tuple[I64, F32]:
    """Find the k nearest by a quick scan whose best ``depth`` rows are scored again, bounds or not."""
    first = quick(scorer) if finer is scorer else coarse(scorer)
    if first is finer:
        return exact_search(scorer, n_queries, rows, k)
    total = rows if isinstance(rows, int) else len(rows)
    return scored_again(exact_search(first, n_queries, rows, min(depth, total))[0], finer, k)


def _walk(
    graph: Graph,
    source: RowSource,
    scorer: Scorer,
    queries: F32,
    metric: Metric,
    allowed: RowSet,
    depth: int,
    reach: Reach,
) -> tuple[I64, F32]:
    """Search the graph; queries that gave up, or found fewer rows than there are, are scanned."""
    rows, distances, complete = graph.search(scorer, len(queries), depth, reach.ef, kept=allowed.kept, reach=reach)
    if not all(complete.tolist()) or min(rows[:, -1].tolist()) < 0:
        again = np.flatnonzero(~complete | (rows[:, -1] < 0))
        rest = scorer if len(again) == len(queries) else source.codes.scorer(queries[again], metric)
        rows[again], distances[again] = exact_search(coarse(rest), len(again), allowed.searched, depth)
    return rows, distances


def _merged(parts: list[tuple[I64, F32]], queries: int, k: int) -> Found:
    """Merge the sorted results of all sources; ties go to the row written first."""
    if len(parts) == 1:
        rows, distances = parts[0]
        sources = np.minimum(rows, 0)
    elif parts:
        rows, distances, sources = _nearest_of_all(parts, k)
    else:
        rows, sources = np.empty((2, queries, 0), np.int64)
        distances = np.empty((queries, 0), np.float32)
    if (missing := k - rows.shape[1]) > 0:
        none = np.full((queries, missing), -1, np.int64)
        rows, sources = np.hstack([rows, none]), np.hstack([sources, none])
        distances = np.hstack([distances, np.full((queries, missing), np.inf, np.float32)])
    counts = np.empty(queries, np.int64)
    count_found(rows, counts)
    return Found(sources, rows, distances, counts)


def _nearest_of_all(parts: list[tuple[I64, F32]], k: int) -> tuple[I64, F32, I64]:
    """Give the k nearest rows over several sources, their distances, and which source each is of."""
    rows = np.concatenate([rows for rows, _ in parts], axis=1)
    distances = np.concatenate([distances for _, distances in parts], axis=1)
    sources = np.repeat(np.arange(len(parts)), [rows.shape[1] for rows, _ in parts])
    # Sources ascend by sequence number and each is sorted, so a stable sort keeps the order of writing.
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    rows = np.take_along_axis(rows, order, 1)
    return rows, np.take_along_axis(distances, order, 1), np.where(rows < 0, -1, sources[order])
