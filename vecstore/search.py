"""The query plan: which rows are allowed, exact scan or graph, re-ranking, and the merge over all sources."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vecstore.effort import Effort
from vecstore.filters import Filter
from vecstore.funnel import through_funnel
from vecstore.index.bounded import refine_within
from vecstore.index.exact import exact_search, scored_again
from vecstore.index.hnsw import Graph
from vecstore.index.prepared import PreparedWalk
from vecstore.kernels.compiling import frozen
from vecstore.kernels.scoring import Scorer
from vecstore.kernels.screening import is_screened
from vecstore.kernels.topk import count_found, nearest_rows
from vecstore.schemes.base import CompressedTable
from vecstore.schemes.scorer import bounding, coarse, quick, renewal, unchanged
from vecstore.segment import RowSource
from vecstore.types import F32, I64, Metric
from vecstore.view import RowSet, SourceView, View

#: Survivors re-ranked on the finer copy, as a multiple of k, and at least so many.
RERANK_FACTOR = 2
RERANK_MIN = 24
#: The same for codes of less than a byte a number, which may be far off.
COARSE_FACTOR = 10
COARSE_MIN = 100
#: Candidates that a scan keeps by the bounds of their distances, as a multiple of k, and at least so many; how many of
#: them are re-ranked, the bounds decide.
BOUNDED_FACTOR = 64
BOUNDED_MIN = 512
#: Rows that are scanned in the time in which a graph search expands one: that reads the vectors of a dozen neighbours
#: at random, where a scan streams.
SCANNED_PER_EXPANDED = 80
#: The same for a call of many queries, where a screen passes over rows for sixteen of them at once.
SCREENED_PER_EXPANDED = 190
#: Bytes of a row where a filtered scan takes as long for a row as said above. Of wider rows fewer are scanned in that
#: time, and of narrower ones more, by the square root, up to MOST_SCANNED times as many: walks also read links.
SCANNED_BYTES = 384
MOST_SCANNED = 1.5
#: Queries of a call that are many.
MANY_QUERIES = 32
#: Candidates of a filtered walk that aims for a recall, as a multiple of those that were measured without a filter.
FILTERED_FACTOR = 2


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


def search_alone(view: View, query: F32, k: int, effort: Effort) -> tuple[I64, F32] | None:
    """Search for one query, without a filter, by a walk that an earlier search left ready.

    This is the way of nearly every search of a service that asks for one query at a time.

    Parameters
    ----------
    view : View
        What to search.
    query : float32[1, dim]
        A unit row for cosine.
    k : int
    effort : Effort
        As for :func:`search_view`, which this gives the answer of.

    Returns
    -------
    rows : int64[1, k]
        Rows of the only source, nearest first.
    distances : float32[1, k]
        None instead of both where the view has more sources, or there is no such walk.
    """
    sources = view.sources
    found = _walked_as_before(sources[0], query, (k, _resolved(effort, view))) if len(sources) == 1 else None
    return found if found is not None and found[0].shape[1] == k else None


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
    kind = k, effort
    if together == 1 and where is None and (found := _walked_as_before(view, queries, kind)) is not None:
        return found
    allowed = view.rows(where)
    if allowed.count == 0:
        return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    k = min(k, allowed.count)
    source = view.source
    leading = source.leading(metric) if effort.funnel else None
    if leading is not None:
        return through_funnel(leading, source.finest, queries, metric, effort.funnel, _searched(allowed), k)
    ef = _walk_width(source, allowed, k, effort, screened=False)
    scorer = source.codes.scorer(queries, metric)
    if ef is not None and together >= MANY_QUERIES and is_screened(scorer.traversal):
        ef = _walk_width(source, allowed, k, effort, screened=True)
    depth = _scan_width(source, k, effort) if ef is None else 0
    if depth is None:
        return exact_search(source.finest.scorer(queries, metric), len(queries), _searched(allowed), k)
    finer = source.finest.scorer(queries, metric) if source.finest is not source.codes else scorer
    graph = source.graph
    if ef is None or graph is None:
        scan = scan_in_stages if effort.recall is None else scan_to_depth
        return scan(scorer, finer, len(queries), _searched(allowed), k, depth)
    bounds = bounding(scorer) if finer is not scorer else None
    rough = finer is not scorer and are_rough(source.codes)
    depth = min(walk_depth(k, ef, rough=rough, bounded=bounds is not None), allowed.count)
    rows, distances = _walk(graph, source, scorer, queries, metric, allowed, depth, max(ef, depth))
    if bounds is not None:
        bounds.rerank(rows, distances)
        return refine_within(*nearest_rows(rows, distances, depth), finer, k)
    # Schemes that prepare anew for each query have no walk to leave.
    if together == 1 and where is None and allowed.is_all and None not in (renewal(scorer), renewal(finer)):
        _leave_walk(view, metric, kind, k, ef, depth)
    if finer is scorer and scorer.traversal is scorer.operands:
        return nearest_rows(rows, distances, k)
    return scored_again(rows, finer, k)


def _walked_as_before(view: SourceView, query: F32, kind: tuple[int, Effort]) -> tuple[I64, F32] | None:
    """Search for one query by a walk that an earlier search of this kind left; None where there is none."""
    walk = view.walks.take(kind)
    if walk is None:
        return None
    found = walk.search(query)
    view.walks.give(kind, walk)
    return found


def _leave_walk(view: SourceView, metric: Metric, kind: tuple[int, Effort], k: int, ef: int, depth: int) -> None:
    """Leave a walk that gives the answer of :func:`_search_source` to searches of this kind."""
    source = view.source
    graph = source.graph
    queries = np.zeros((1, source.codes.shape.dim), np.float32)
    codes = source.codes.scorer(frozen(queries), metric)
    finest = codes if source.finest is source.codes else source.finest.scorer(frozen(queries), metric)
    renewals = renewal(codes), renewal(finest)
    if graph is None or codes.traversal is None or None in renewals:
        return
    exact = None if finest is codes and codes.traversal is codes.operands else finest.operands
    renew = [part for part in dict.fromkeys(renewals) if part is not None and part is not unchanged]
    ef = max(ef, depth)
    walk = PreparedWalk(
        graph, len(source), queries, renew, traversal=codes.traversal, exact=exact, ef=ef, depth=depth, k=k
    )
    view.walks.give(kind, walk)


def _walk_width(source: RowSource, allowed: RowSet, k: int, effort: Effort, *, screened: bool) -> int | None:
    """Give the ef of a graph walk; None where the rows are scanned instead, with a screen or without."""
    if effort.exact or source.graph is None or not source.codes.scheme.capabilities.graph:
        return None
    if effort.recall is None:
        ef = effort.ef or 1
    else:
        measured = source.calibration.walk_effort(k, effort.recall) if source.calibration else None
        if measured is None:
            return None
        ef = measured if allowed.is_all else FILTERED_FACTOR * measured
    ef = max(ef, k)
    return None if _scan_is_cheaper(allowed, source.codes, ef, screened=screened) else ef


def _scan_width(source: RowSource, k: int, effort: Effort) -> int | None:
    """Give the rows that a scan in stages scores again; None where nothing but an exact scan is known to be enough."""
    if effort.exact:
        return None
    if effort.recall is None:
        return scan_depth(source.codes, k, refined=source.finest is not source.codes)
    return source.calibration.scan_effort(k, effort.recall) if source.calibration else None


def are_rough(codes: CompressedTable) -> bool:
    """Tell whether the codes have less than a byte a number, so that the distances they give may be far off."""
    return codes.nbytes < codes.shape.rows * codes.shape.dim


def walk_depth(k: int, ef: int, *, rough: bool, bounded: bool) -> int:
    """Give how many rows that a graph walk of width ``ef`` found are scored again.

    They are more where codes are rough, as far as the walk found them; bounds choose among all of them.
    """
    wanted = max(RERANK_FACTOR * k, RERANK_MIN)
    if bounded:
        return max(wanted, ef)
    return max(wanted, min(ef, max(COARSE_FACTOR * k, COARSE_MIN))) if rough else wanted


def scan_depth(codes: CompressedTable, k: int, *, refined: bool) -> int:
    """Give how many rows that a quick scan of ``codes`` found are scored again.

    On a finer copy (``refined``) they are more where codes are rough, and beside a scan it costs little. On the codes
    themselves only what the quick scan rounded is put right.
    """
    if refined and are_rough(codes):
        return max(COARSE_FACTOR * k, COARSE_MIN)
    return max(RERANK_FACTOR * k, RERANK_MIN)


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
        bounded = min(max(BOUNDED_FACTOR * k, BOUNDED_MIN), total)
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


def _scan_is_cheaper(allowed: RowSet, codes: CompressedTable, ef: int, *, screened: bool) -> bool:
    """Compare the rows to scan with a graph search; beside a screen that is taken to expand ef share^-1/4 rows."""
    if screened:
        return allowed.count**5 <= (SCREENED_PER_EXPANDED * ef) ** 4 * allowed.size
    row_bytes = max(1.0, codes.nbytes / codes.shape.rows)
    narrow = 1.0 if allowed.is_all else min(MOST_SCANNED, math.sqrt(SCANNED_BYTES / row_bytes))
    return allowed.count <= narrow * SCANNED_PER_EXPANDED * ef


def _searched(allowed: RowSet) -> int | I64:
    """Give the rows as scans take them: their number where all are allowed."""
    return allowed.size if allowed.is_all else allowed.rows


def _walk(
    graph: Graph, source: RowSource, scorer: Scorer, queries: F32, metric: Metric, allowed: RowSet, depth: int, ef: int
) -> tuple[I64, F32]:
    """Search the graph; queries that gave up, or found fewer rows than there are, are scanned."""
    rows, distances, complete = graph.search(scorer, len(queries), depth, ef, kept=allowed.kept)
    if not all(complete.tolist()) or min(rows[:, -1].tolist()) < 0:
        again = np.flatnonzero(~complete | (rows[:, -1] < 0))
        rest = scorer if len(again) == len(queries) else source.codes.scorer(queries[again], metric)
        rows[again], distances[again] = exact_search(coarse(rest), len(again), _searched(allowed), depth)
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
