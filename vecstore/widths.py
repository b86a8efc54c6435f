"""How wide a search goes: rows kept while walking a graph, rows that are scored again, and when a scan is cheaper."""

from __future__ import annotations

import math

import numpy as np

from vecstore.effort import Effort
from vecstore.index.row_set import RowSet
from vecstore.kernels.graph import Reach
from vecstore.schemes.base import CompressedTable
from vecstore.segment import RowSource

__all__ = [
    "SCANNED_PER_EXPANDED",
    "are_rough",
    "bounded_depth",
    "most_scanned",
    "scan_depth",
    "scan_is_cheaper",
    "scan_width",
    "walk_depth",
    "walk_reach",
    "walk_width",
    "widest_walk",
]

#: Survivors re-ranked on the finer copy, as a multiple of k, and at least so many. By int8 codes the 10 or 100 nearest
#: rows are among the nearest 1.4 times as many, and the nearest is among three, on all sets that were looked at.
RERANK_FACTOR = 1.5
RERANK_MIN = 8
#: The same for codes of less than a byte a number, which may be far off.
COARSE_FACTOR = 10
COARSE_MIN = 100
#: Candidates that a scan keeps by the bounds of their distances, as a multiple of k, and at least so many; how many of
#: them are re-ranked, the bounds decide.
BOUNDED_FACTOR = 64
BOUNDED_MIN = 512
#: Rows that are scanned in the time in which a graph search expands one: that reads the vectors of a dozen neighbours
#: at random, where a scan streams.
SCANNED_PER_EXPANDED = 50
#: The same for a call of many queries, where a screen passes over rows for sixteen of them at once.
SCREENED_PER_EXPANDED = 130
#: Bytes of a row where a filtered scan takes as long for a row as said above. Of wider rows fewer are scanned in that
#: time, and of narrower ones more, up to MOST_NARROW times as many because walks also read links: in proportion where a
#: screen computes, and by the square root where a scan of a few queries waits for memory as walks do.
SCANNED_BYTES = 384
MOST_NARROW = 1.5
#: Rows kept at most by walks that end by distance.
WIDEST = 2048
#: Rows kept, as a multiple of k, and at least so many, by walks whose ef must do for any number of hits or for filters.
WIDENED_FACTOR = 2
WIDENED_MIN = 24
#: Candidates of a filtered walk that aims for a recall, as a multiple of those that were measured without a filter.
FILTERED_FACTOR = 2


def walk_width(source: RowSource, k: int, effort: Effort, *, is_filtered: bool) -> int | None:
    """Give the ef of a graph walk; None where there is no graph to walk, or nothing says how far.

    An ef that a search gives is kept, but for walks that leave rows out, by a filter or because they are deleted: those
    lose more with a small one.
    """
    if effort.exact or source.graph is None or not source.codes.scheme.capabilities.graph:
        return None
    if effort.recall is None:
        is_given = not (effort.widened or is_filtered)
        return max(effort.ef or 1, k if is_given else max(WIDENED_FACTOR * k, WIDENED_MIN))
    measured = source.calibration.walk_effort(k, effort.recall) if source.calibration else None
    if measured is None:
        return None
    return max(FILTERED_FACTOR * measured if is_filtered else measured, k)


def walk_reach(source: RowSource, k: int, ef: int, effort: Effort, *, is_filtered: bool) -> Reach:
    """Give how far a walk of :func:`walk_width` ``ef`` goes.

    Where a slack is known to find the recall asked for, it ends by distance: not where an ef was given, nor where rows
    are left out. Whether to walk at all is decided by the ef that finds as much, which is the longer way.
    """
    measured = None
    if effort.recall is not None and not is_filtered and source.calibration is not None:
        measured = source.calibration.walk_slack(k, effort.recall)
    if measured is None:
        return Reach(ef, k, np.float32(np.inf))
    return Reach(max(ef, widest_walk(len(source))), k, np.float32(measured))


def widest_walk(n_rows: int) -> int:
    """Give the rows that a walk keeps at most which ends by distance: a scan takes no longer than expanding more."""
    return max(1, min(n_rows // SCANNED_PER_EXPANDED, WIDEST))


def scan_width(source: RowSource, k: int, effort: Effort) -> int | None:
    """Give the rows that a scan in stages scores again; None where nothing but an exact scan is known to be enough."""
    if effort.exact:
        return None
    if effort.recall is None:
        return scan_depth(source.codes, k, refined=source.finest is not source.codes)
    return source.calibration.scan_effort(k, effort.recall) if source.calibration else None


def are_rough(codes: CompressedTable) -> bool:
    """Tell whether the codes have less than a byte a number, so that the distances they give may be far off."""
    return codes.nbytes < codes.shape.rows * codes.shape.dim


def walk_depth(k: int, ef: int, *, final: bool, rough: bool, bounded: bool) -> int:
    """Give how many rows that a graph walk of width ``ef``, at least ``k``, found are looked at again.

    None but the k wanted where distances of the walk are ``final``. More where codes are ``rough``, as far as the walk
    found them; where distances are ``bounded`` the bounds choose among all of them.
    """
    if final:
        return k
    if bounded:
        return ef
    return min(ef, _survivors(k, rough=rough))


def _survivors(k: int, *, rough: bool) -> int:
    return max(COARSE_FACTOR * k, COARSE_MIN) if rough else max(math.ceil(RERANK_FACTOR * k), RERANK_MIN)


def scan_depth(codes: CompressedTable, k: int, *, refined: bool) -> int:
    """Give how many rows that a quick scan of ``codes`` found are scored again.

    On a finer copy (``refined``) they are more where codes are rough, and beside a scan it costs little. On the codes
    themselves only what the quick scan rounded is put right.
    """
    return _survivors(k, rough=refined and are_rough(codes))


def bounded_depth(k: int) -> int:
    """Give how many rows that a scan found by bounds are looked at again; how many are scored, the bounds decide."""
    return max(BOUNDED_FACTOR * k, BOUNDED_MIN)


def scan_is_cheaper(allowed: RowSet, codes: CompressedTable, ef: int, *, screened: bool) -> bool:
    """Compare the rows to scan with a graph search; beside a screen that is taken to expand ef share^-1/4 rows."""
    if screened:
        per_expanded = SCREENED_PER_EXPANDED * min(MOST_NARROW, SCANNED_BYTES / _row_bytes(codes))
        return allowed.count**5 <= (per_expanded * ef) ** 4 * allowed.size
    return allowed.count <= most_scanned(codes, ef, allowed.is_all)


def most_scanned(codes: CompressedTable, ef: int, is_all: bool) -> int:
    """Give the number of rows, all or some, up to which a scan without a screen is quicker than a graph search."""
    narrow = 1.0 if is_all else min(MOST_NARROW, math.sqrt(SCANNED_BYTES / _row_bytes(codes)))
    return int(narrow * SCANNED_PER_EXPANDED * ef)


def _row_bytes(codes: CompressedTable) -> float:
    return max(1.0, codes.nbytes / codes.shape.rows)
