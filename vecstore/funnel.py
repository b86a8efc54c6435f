"""Funnel search: all rows by their first few numbers, the best of them by more, and the best of those by all.

For vectors whose first numbers say the most, such as Matryoshka-trained ones, or rows turned to their principal axes.

References
----------
Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, section 4.3.1 (funnel retrieval).
"""

from __future__ import annotations

from collections.abc import Callable

from vecstore import schemes
from vecstore.config import CollectionConfig
from vecstore.effort import Stage
from vecstore.errors import InvalidArgumentError
from vecstore.index.exact import exact_search
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.leading import Leading
from vecstore.schemes.scorer import coarse
from vecstore.segment import RowSource
from vecstore.staged import COARSE_FACTOR, COARSE_MIN, scan_depth, scored_again
from vecstore.types import F32, I64, Metric

__all__ = ["check_funnel", "kept_rows", "through_funnel"]

#: Each stage keeps so many times as many rows as the next unless it says how many; the last as many as coarse codes do.
STAGE_FACTOR = 4


def check_funnel(stages: tuple[Stage, ...], settings: CollectionConfig) -> None:
    """Check that a collection can be searched in these stages.

    Raises
    ------
    InvalidArgumentError
        A stage has as many dimensions as the vectors, or the scheme does not store rows as numbers.
    """
    if not stages:
        return
    if stages[-1].dims >= settings.dim:
        raise InvalidArgumentError(
            f"funnel: {stages[-1].dims} dimensions are not fewer than the {settings.dim} of the vectors, which are "
            "compared at the end in any case; leave them out",
            field="funnel",
        )
    name = settings.scheme["scheme"]
    # ``auto`` is none of them: rows are stored as numbers until it is replaced.
    if name in schemes.names() and not schemes.get(name).capabilities.leading:
        able = [other for other in schemes.names() if schemes.get(other).capabilities.leading]
        raise InvalidArgumentError(
            f"funnel: rows of the scheme {name!r} cannot be compared by their first dimensions; search without, or "
            f"compress to one of {', '.join(able)}",
            field="funnel",
        )


def kept_rows(stages: tuple[Stage, ...], k: int) -> list[int]:
    """Give how many rows each stage keeps for the next."""
    usual = max(COARSE_FACTOR * k, COARSE_MIN)
    after = range(len(stages) - 1, -1, -1)
    return [
        usual * STAGE_FACTOR**later if stage.rows is None else max(stage.rows, k)
        for stage, later in zip(stages, after, strict=True)
    ]


def through_funnel(
    source: RowSource,
    leading: Callable[[int, Metric], Leading],
    queries: F32,
    metric: Metric,
    stages: tuple[Stage, ...],
    rows: int | I64,
    k: int,
) -> tuple[I64, F32]:
    """Find the k nearest rows of a source in stages, then on its codes, and last on its finest copy.

    Parameters
    ----------
    source : RowSource
    leading : callable
        Its ``leading``.
    queries : float32[q, dim]
    metric : Metric
    stages : tuple of Stage
        At least one.
    rows : int or int64[m]
        The number of rows, to scan all of them; or the rows to scan.
    k : int
        At most the number of rows scanned.

    Returns
    -------
    rows : int64[q, k]
        Nearest first.
    distances : float32[q, k]
    """
    scorers: list[Scorer] = [leading(stage.dims, metric).scorer(queries) for stage in stages]
    kept = kept_rows(stages, k)
    if source.finest is not source.codes:
        scorers.append(coarse(source.codes.scorer(queries, metric)))
        kept.append(scan_depth(source.codes, k, refined=True))
    scorers.append(source.finest.scorer(queries, metric))
    kept.append(k)
    total = rows if isinstance(rows, int) else len(rows)
    found, distances = exact_search(scorers[0], len(queries), rows, min(kept[0], total))
    for scorer, count in zip(scorers[1:], kept[1:], strict=True):
        found, distances = scored_again(found, scorer, min(count, found.shape[1]))
    return found, distances
