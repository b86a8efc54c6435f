"""How much effort a segment's searches need for a recall: what was measured, and what is read off it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from vecstore.config import Config

__all__ = ["CALIBRATED_K", "Calibration", "Curve", "effort_for"]

#: Numbers of hits that are measured; efforts for others are interpolated.
CALIBRATED_K = (1, 10, 100)
#: Standard errors that are added to a measured loss: one-sided, 95 of 100 samples are on the safe side.
_CONFIDENCE = 1.645
#: How many times the loss of real queries may be that of rows held out. Rows are like the rows they look for; queries
#: may be of another kind. Measured on mlanthology: 1.1 to 2 times where the loss is above 0.01, 3 times below.
_MARGIN = 2.0


class Curve(Config, frozen=True, kw_only=True):
    """Recall of the k nearest rows as a function of effort.

    Attributes
    ----------
    k : int
        Hits a query.
    efforts : list of int
        Ascending: ef of a graph walk, how much farther than the k-th nearest row it looks, in thousandths of that
        distance, or rows that a scan in stages scores again.
    recalls : list of float
        Mean recall@k at each.
    errors : list of float
        Standard error of each mean.
    """

    k: int
    efforts: list[int]
    recalls: list[float]
    errors: list[float]

    def needed(self, recall: float, queries: int) -> int | None:
        """Give the smallest effort that reaches ``recall`` on the safe side; None where no measured one does.

        The loss (1 - recall) is taken to be larger than measured by what the sample may be off, by one miss that a
        sample without a miss could not show, and by what real queries may be harder. Between two efforts, its logarithm
        is taken to fall evenly with that of the effort.
        """
        allowed = 1 - recall
        before = None
        for effort, mean, error in zip(self.efforts, self.recalls, self.errors, strict=True):
            loss = _MARGIN * ((1 - mean) + _CONFIDENCE * error + 1 / (queries * self.k))
            if loss <= allowed:
                return effort if before is None else _between(*before, effort, loss, allowed)
            before = effort, loss
        return None


def _between(low: int, high_loss: float, high: int, low_loss: float, allowed: float) -> int:
    """Give the effort from ``low`` to ``high`` at which the loss has come down to what is allowed."""
    share = math.log(high_loss / allowed) / math.log(high_loss / low_loss)
    return math.ceil(low * math.pow(high / low, share))


class Calibration(Config, frozen=True, kw_only=True):
    """What was measured on rows of a segment that were held out as queries.

    Attributes
    ----------
    queries : int
        Rows held out.
    walk : list of Curve
        Of graph walks, ascending by k; empty where there is no graph.
    scan : list of Curve
        Of scans in stages, ascending by k; empty where a scan computes exact distances anyway.
    slack : list of Curve
        Of graph walks that end by distance (:mod:`vecstore.kernels.graph`), ascending by k; empty where none were
        measured.
    """

    queries: int
    walk: list[Curve] = msgspec.field(default_factory=list)
    scan: list[Curve] = msgspec.field(default_factory=list)
    slack: list[Curve] = msgspec.field(default_factory=list)

    def walk_effort(self, k: int, recall: float) -> int | None:
        """Give the ef of a walk that finds ``recall`` of the ``k`` nearest rows; None where none is known to."""
        return effort_for(self.walk, self.queries, k, recall)

    def walk_slack(self, k: int, recall: float) -> float | None:
        """Give how much farther than the k-th nearest row a walk has to look, as a part of that distance.

        Between two measured k it grows or falls evenly with the logarithm of k; beyond the last it stays. None where
        none is known to find ``recall``.
        """
        below = [curve for curve in self.slack if curve.k <= k][-1:]
        above = [curve for curve in self.slack if curve.k >= k][:1]
        needed = [curve.needed(recall, self.queries) for curve in (below or above) + (above or below)]
        if not needed or None in needed:
            return None
        low, high = (float(thousandths or 0) / 1000 for thousandths in needed)
        if not below or not above or below == above:
            return max(low, high)
        share = math.log(k / below[0].k) / math.log(above[0].k / below[0].k)
        return low + share * (high - low)

    def scan_effort(self, k: int, recall: float) -> int | None:
        """Give the rows that a scan in stages has to score again; None where no number is known to be enough."""
        return effort_for(self.scan, self.queries, k, recall)


def effort_for(curves: Sequence[Curve], queries: int, k: int, recall: float) -> int | None:
    """Give the effort for ``k`` hits from curves ascending by their k; None where they do not reach the recall.

    What finds the recall among more rows finds it among fewer, which are nearer: of a curve and those of larger k, the
    least effort is enough, and noise in the few hits of a small k does not matter. Between two curves the logarithm of
    the effort grows evenly with that of k, which is above the straight line; beyond the last, effort grows as k does.
    """
    above = [needed for curve in curves if curve.k >= k and (needed := curve.needed(recall, queries)) is not None]
    below = [curve for curve in curves if curve.k < k]
    if not above:
        most = below[-1].needed(recall, queries) if below and below[-1] is curves[-1] else None
        return None if most is None else math.ceil(most * k / below[-1].k)
    high = max(min(above), k)
    low = below[-1].needed(recall, queries) if below else None
    upper = next(curve.k for curve in curves if curve.k >= k)
    if low is None or low >= high or upper == k:
        return high
    share = math.log(k / below[-1].k) / math.log(upper / below[-1].k)
    return max(math.ceil(low * math.pow(high / low, share)), k)
