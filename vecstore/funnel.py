"""Funnel search: all rows by their first few dimensions, the best of them by more, and the best of those by all.

For vectors whose first dimensions say the most: Matryoshka-trained ones, or rows turned to their principal axes.

References
----------
Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, section 4.3.1 (funnel retrieval).
"""

from __future__ import annotations

import numpy as np

from vecstore.effort import Stage
from vecstore.errors import InvalidArgumentError
from vecstore.index.exact import exact_search, scored_again
from vecstore.schemes.base import CompressedTable
from vecstore.schemes.leading import LeadingTables
from vecstore.types import F32, I64, Metric

__all__ = ["check_funnel", "through_funnel"]

#: Rows that the last stage keeps unless it says how many, as a multiple of k, and at least so many.
LAST_FACTOR = 10
LAST_MIN = 100
#: Each stage before it keeps so many times as many as the next.
STAGE_FACTOR = 4


def check_funnel(stages: tuple[Stage, ...], dim: int) -> None:
    """Check that stages have fewer dimensions than the vectors.

    Raises
    ------
    InvalidArgumentError
        The last has not.
    """
    if stages and stages[-1].dims >= dim:
        raise InvalidArgumentError(
            f"funnel: {stages[-1].dims} dimensions are not fewer than the {dim} of the vectors, by which rows are "
            "compared at the end in any case; leave them out",
            field="funnel",
        )


def through_funnel(
    leading: LeadingTables,
    finest: CompressedTable,
    queries: F32,
    metric: Metric,
    stages: tuple[Stage, ...],
    rows: int | I64,
    k: int,
) -> tuple[I64, F32]:
    """Find the k nearest rows of a source in stages, and last on its finest copy.

    Parameters
    ----------
    leading : LeadingTables
        The first dimensions of the rows.
    finest : CompressedTable
        All dimensions.
    queries : float32[q, dim]
        Unit rows for cosine. Their first dimensions need no other length, which would change no order.
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
    first, *others = [
        leading.of(stage.dims).scorer(np.ascontiguousarray(queries[:, : stage.dims]), metric) for stage in stages
    ]
    total = rows if isinstance(rows, int) else len(rows)
    kept, *left = [min(count, total) for count in [*_kept_rows(stages, k), k]]
    found, distances = exact_search(first, len(queries), rows, kept)
    for scorer, count in zip([*others, finest.scorer(queries, metric)], left, strict=True):
        found, distances = scored_again(found, scorer, min(count, found.shape[1]))
    return found, distances


def _kept_rows(stages: tuple[Stage, ...], k: int) -> list[int]:
    """Give how many rows each stage keeps for the next, never fewer than ``k``."""
    last = max(LAST_FACTOR * k, LAST_MIN)
    usual = [last * STAGE_FACTOR**later for later in range(len(stages))][::-1]
    return [max(stage.rows or count, k) for stage, count in zip(stages, usual, strict=True)]
