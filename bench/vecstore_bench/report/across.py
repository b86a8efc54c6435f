"""The models of a run side by side: whether what holds with one of them holds with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from vecstore_bench.report.comparing import Comparison, Entry
from vecstore_bench.report.reading import Key

__all__ = ["Across", "across"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Across:
    """One data set with several models.

    Attributes
    ----------
    data : Key
        Without a model.
    models : tuple of str
    title : str
        Of the quality that losses refer to.
    rows : tuple of (Entry, tuple of (Entry or None))
        Of each scheme and budget: its first entry, and that of every model, None where it is not done. The lowest mean
        loss over models comes first; what is not done with all of them comes last.
    agreement : float or None
        Mean rank correlation (Spearman) of the losses of two models, over all pairs and what both have: 1 where models
        rank schemes alike, 0 where they have nothing to do with each other. None below three in common.
    """

    data: Key
    models: tuple[str, ...]
    title: str
    rows: tuple[tuple[Entry, tuple[Entry | None, ...]], ...]
    agreement: float | None


def across(comparisons: Sequence[Comparison]) -> list[Across]:
    """Give one for every data set that ran with more than one model and with a baseline for each."""

    def data_of(one: Comparison) -> tuple[str, int]:
        return one.key.data, one.key.dim

    rated = [one for one in comparisons if one.reference is not None]
    groups = [list(own) for _, own in groupby(sorted(rated, key=data_of), key=data_of)]
    return [_across(own) for own in groups if len(own) > 1]


def _across(comparisons: list[Comparison]) -> Across:
    own = [{(entry.scheme, entry.budget): entry for entry in one.compressed} for one in comparisons]
    names = dict.fromkeys(name for entries in own for name in entries)
    rows = [tuple(entries.get(name) for entries in own) for name in names]
    quality = comparisons[0].quality
    key = comparisons[0].key
    return Across(
        data=Key(key.data, "", key.dim),
        models=tuple(one.key.model for one in comparisons),
        title=quality.title if quality else "",
        rows=tuple((next(filter(None, row)), row) for row in sorted(rows, key=_mean_loss)),
        agreement=_agreement(rows),
    )


def _losses(row: Sequence[Entry | None]) -> list[float]:
    """Give the mean loss of every model, NaN where there is none."""
    return [np.nan if entry is None or entry.loss is None else entry.loss.mean for entry in row]


def _mean_loss(row: Sequence[Entry | None]) -> tuple[bool, float]:
    losses = np.array(_losses(row))
    known = losses[~np.isnan(losses)]
    return len(known) < len(losses), float(known.mean()) if len(known) else np.inf


def _agreement(rows: Sequence[Sequence[Entry | None]]) -> float | None:
    losses = np.array([_losses(row) for row in rows]).T
    found = []
    for number, one in enumerate(losses):
        for other in losses[number + 1 :]:
            both = ~np.isnan(one) & ~np.isnan(other)
            if both.sum() >= 3:
                found.append(np.corrcoef(_ranks(one[both]), _ranks(other[both]))[0, 1])
    return float(np.mean(found)) if found else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """Give ranks float64[n]; equal values share the middle of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    middle: np.ndarray = (ends - (counts - 1) / 2)[place]
    return middle
