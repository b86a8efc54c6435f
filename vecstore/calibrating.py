"""Measuring how much effort the searches of a segment need for a recall, on rows that are held out as queries.

Rows of the segment are the queries, each without itself as an answer. In the graph a row's own links lead straight to
its neighbours, which no real query has; so walks are measured on the graph without the links of the rows held out. What
is true is what an exact search on the finest copy says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vecstore.calibration import CALIBRATED_K, Calibration, Curve
from vecstore.index.exact import exact_search
from vecstore.index.hnsw import Graph
from vecstore.kernels.graph import Reach
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.base import CompressedTable
from vecstore.schemes.scorer import bounding, coarse, quick
from vecstore.types import F32, F64, I64, Metric
from vecstore.widths import SCANNED_PER_EXPANDED, are_rough, walk_depth, widest_walk

__all__ = ["calibrate"]

#: Rows held out as queries.
_QUERIES = 256
#: Fewer tell too little.
_FEWEST_QUERIES = 64
_SEED = 20_260_101
#: Efforts that are tried, each about a third more than the one before.
_EFFORTS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
#: How much farther than the k-th nearest row walks are tried to look, in thousandths of its distance.
_SLACKS = (10, 20, 40, 60, 80, 110, 150, 200, 270, 360, 480, 640, 850, 1130)
#: Steps of that ladder without a gain after which no other is tried.
_IDLE_STEPS = 2
#: A loss that is not worth measuring more effort for.
_ENOUGH = 0.0005


def calibrate(
    codes: CompressedTable, finest: CompressedTable, graph: Graph | None, vectors: F32, metric: Metric
) -> Calibration:
    """Measure recall by effort; there are no curves where there are too few rows for that, or every search is exact.

    Parameters
    ----------
    codes : CompressedTable
        What is searched.
    finest : CompressedTable
        What candidates are scored again on, and whose distances are the truth; may be ``codes``.
    graph : Graph or None
        Over ``codes``.
    vectors : float32[n, dim]
        The rows, of which some become queries.
    metric : Metric
    """
    rows = _held_out(len(vectors), graph)
    if len(rows) < _FEWEST_QUERIES:
        return Calibration(queries=0)
    queries = vectors[rows]
    scorer = codes.scorer(queries, metric)
    finer = scorer if finest is codes else finest.scorer(queries, metric)
    most = min(max(CALIBRATED_K), len(vectors) - 1)
    truth = _without(exact_search(finer, len(rows), len(vectors), most + 1)[0], rows)[:, :most]
    sample = _Sample(rows, truth)
    scan = _scan_curves(scorer, finer, len(vectors), sample)
    rough = finer is not scorer and are_rough(codes)
    if graph is None or scorer.traversal is None:
        return Calibration(queries=len(rows), scan=scan)
    bypassing = graph.bypassing(sample.rows)
    depths = _Depths(
        final=finer is scorer and scorer.traversal is scorer.operands,
        rough=rough,
        bounded=finer is not scorer and bounding(scorer) is not None,
    )
    walk = _walk_curves(scorer, bypassing, sample, depths)
    # Inner products are no distances, and those of few bits say too little of how far a single row is.
    ends_by_distance = metric is not Metric.IP and not depths.bounded
    slack = _slack_curves(scorer, bypassing, sample, depths) if walk and ends_by_distance else []
    return Calibration(queries=len(rows), walk=walk, scan=scan, slack=slack)


def _held_out(n_rows: int, graph: Graph | None) -> I64:
    """Draw the rows that become queries, ascending."""
    usable = np.arange(n_rows) if graph is None else graph.lower_rows
    drawn = np.random.default_rng(_SEED).choice(usable, min(_QUERIES, n_rows // 4, len(usable)), replace=False)
    return np.sort(drawn)


def _without(found: I64, rows: I64) -> I64:
    """Take each query's own row out of int64[q, m]; where it is not there, the last goes: int64[q, m - 1]."""
    is_own = found == rows[:, None]
    is_own[~is_own.any(axis=1), -1] = True
    others: I64 = found[~is_own].reshape(len(found), -1)
    return others


class _Sample:
    """Queries and their true nearest rows.

    Parameters
    ----------
    rows : int64[q]
        The rows held out.
    truth : int64[q, m]
        Their nearest other rows, nearest first.
    """

    def __init__(self, rows: I64, truth: I64) -> None:
        self.rows = rows
        self._truth = truth

    @property
    def sizes(self) -> list[int]:
        """The numbers of hits that there are enough rows for."""
        return [k for k in CALIBRATED_K if k <= self._truth.shape[1]]

    def recalls(self, found: I64, k: int, depth: int) -> F64:
        """Give the share of the k nearest that are among the first ``depth`` of int64[q, m], own rows left out."""
        candidates = _without(found, self.rows)[:, :depth]
        recalls: F64 = (candidates[:, :, None] == self._truth[:, None, :k]).any(axis=1).mean(axis=1)
        return recalls


class _Depths(NamedTuple):
    """What decides how many rows that a walk found are looked at again; see :func:`~vecstore.widths.walk_depth`."""

    final: bool
    rough: bool
    bounded: bool

    def of(self, k: int, ef: int) -> int:
        """Give the rows for ``k`` hits of a walk of width ``ef``."""
        return walk_depth(k, ef, final=self.final, rough=self.rough, bounded=self.bounded)


def _walk_curves(scorer: Scorer, graph: Graph, sample: _Sample, depths: _Depths) -> list[Curve]:
    """Measure walks of growing width; a walk gives the recall for every k at once.

    What is scored again is in its true order afterwards, so a true neighbour is an answer if it is a candidate.
    """
    measured: dict[int, list[tuple[int, F64]]] = {k: [] for k in sample.sizes}
    for ef in _EFFORTS:
        if SCANNED_PER_EXPANDED * ef >= graph.links.rows:  # a scan takes no longer
            break
        found = graph.search(scorer, len(sample.rows), ef + 1, ef + 1).rows
        for k, points in measured.items():
            if k <= ef:
                points.append((ef, sample.recalls(found, k, depths.of(k, ef))))
        if all(points and _is_enough(points[-1][1]) for points in measured.values()):
            break
    return _curves(measured)


def _slack_curves(scorer: Scorer, graph: Graph, sample: _Sample, depths: _Depths) -> list[Curve]:
    """Measure walks that look farther and farther beyond the k-th nearest row, of as many rows as a scan is worth.

    As many rows as walks of any width look at again are looked at here. Searches take as many as their recall's ef
    says, which for rough codes and little recall are fewer: what that loses is in what is allowed for harder queries.
    """
    ef = widest_walk(graph.links.rows)
    measured: dict[int, list[tuple[int, F64]]] = {k: [] for k in sample.sizes if k < ef}
    for k, points in measured.items():
        depth = depths.of(k, ef)
        for slack in _SLACKS:
            # One row more each time, because each query finds its own.
            reach = Reach(ef + 1, k + 1, np.float32(slack / 1000))
            found = graph.search(scorer, len(sample.rows), depth + 1, ef + 1, reach=reach).rows
            points.append((slack, sample.recalls(found, k, depth)))
            if _is_enough(points[-1][1]) or _stands_still([recalls.mean() for _, recalls in points]):
                break
    return _curves(measured)


def _scan_curves(scorer: Scorer, finer: Scorer, n_rows: int, sample: _Sample) -> list[Curve]:
    """Measure what a scan of the codes ranks first; none where it computes the finest distances itself."""
    first = quick(scorer) if finer is scorer else coarse(scorer)
    if first is finer:
        return []
    efforts = [effort for effort in _EFFORTS if effort < n_rows]
    found = exact_search(first, len(sample.rows), n_rows, efforts[-1] + 1)[0]
    return _curves(
        {k: [(effort, sample.recalls(found, k, effort)) for effort in efforts if effort >= k] for k in sample.sizes}
    )


def _stands_still(recalls: Sequence[float]) -> bool:
    """Tell whether the last steps of a ladder brought nothing, as where some neighbours are out of reach."""
    return len(recalls) > _IDLE_STEPS and recalls[-1] <= recalls[-1 - _IDLE_STEPS]


def _is_enough(recalls: F64) -> bool:
    return bool(1 - recalls.mean() <= _ENOUGH)


def _curves(measured: dict[int, list[tuple[int, F64]]]) -> list[Curve]:
    """Give the curves of recalls float64[q] by k and effort, each up to the first effort that is enough."""
    curves = []
    for k, points in measured.items():
        enough = next((place for place, (_, recalls) in enumerate(points) if _is_enough(recalls)), len(points))
        kept = points[: enough + 1]
        if kept:
            curves.append(_curve(k, kept))
    return curves


def _curve(k: int, points: Sequence[tuple[int, F64]]) -> Curve:
    return Curve(
        k=k,
        efforts=[effort for effort, _ in points],
        recalls=[round(float(recalls.mean()), 6) for _, recalls in points],
        errors=[round(float(recalls.std(ddof=1) / np.sqrt(len(recalls))), 6) for _, recalls in points],
    )
