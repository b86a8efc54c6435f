"""Means over seeds, the loss against ``full``, and the Pareto front, for each data set and model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from vecstore_bench.report.field_choices import FieldChoices, field_choices
from vecstore_bench.report.labels import is_composed
from vecstore_bench.report.measures import MEASURES, QUALITIES, Measure
from vecstore_bench.report.reading import Cell, Key, Run

__all__ = ["BASELINE", "Comparison", "Entry", "Figure", "compare", "overlap"]

#: What does not compress, and what losses refer to.
BASELINE = "full"


@dataclass(frozen=True, slots=True)
class Figure:
    """A number over seeds.

    Attributes
    ----------
    mean : float
    spread : float or None
        Standard deviation over seeds (n - 1); None of one seed.
    seeds : int
        Seeds that have it.
    """

    mean: float
    spread: float | None
    seeds: int

    @property
    def low(self) -> float:
        """Mean less the spread."""
        return self.mean - (self.spread or 0.0)

    @property
    def high(self) -> float:
        """Mean and the spread."""
        return self.mean + (self.spread or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A scheme at a budget, over the seeds that are done.

    Attributes
    ----------
    scheme : str
    budget : float
        As asked; see :class:`~vecstore_bench.report.reading.Cell`.
    bytes : int
        Of the stored table; the most over seeds.
    ratio : float or None
        How many times as large the float32 table is.
    seeds : tuple of int
    figures : mapping of str to Figure
        By the keys of the measures.
    loss, points : Figure or None
        Loss of quality against ``full``: in percent of it, and in hundredths (one point is 0.01). Each seed is
        compared with the same seed of ``full``, or with its mean where that seed is not there. Below 0 is a gain.
    """

    scheme: str
    budget: float
    bytes: int
    ratio: float | None
    seeds: tuple[int, ...]
    figures: Mapping[str, Figure]
    loss: Figure | None
    points: Figure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that ran on one data set with one model.

    Attributes
    ----------
    key : Key
    quality : Measure or None
        What losses refer to; None where no cell has any.
    full : Entry or None
        The table that is not compressed.
    entries : tuple of Entry
        By scheme and falling bytes, ``full`` among them.
    floors : mapping of str to int
        Scheme -> least bytes it needs, of schemes for which a budget was too small.
    infeasible, failed : tuple of Cell
        Not done; of infeasible cells one a scheme and budget.
    choices : FieldChoices or None
        What each field got, where fields choose.
    """

    key: Key
    quality: Measure | None
    full: Entry | None
    entries: tuple[Entry, ...]
    floors: Mapping[str, int]
    infeasible: tuple[Cell, ...]
    failed: tuple[Cell, ...]
    choices: FieldChoices | None = None

    @property
    def compressed(self) -> tuple[Entry, ...]:
        """All entries but ``full``."""
        return tuple(entry for entry in self.entries if entry.scheme != BASELINE)

    @property
    def reference(self) -> Figure | None:
        """Quality of ``full``; without it no loss is known."""
        return self.full.figures.get(self.quality.key) if self.full and self.quality else None

    @property
    def drawn(self) -> tuple[Entry, ...]:
        """Entries that fit into a plot: of plain schemes all, of composed ones those that are on the front."""
        front = {entry.scheme for entry in self.front()}
        return tuple(entry for entry in self.entries if not is_composed(entry.scheme) or entry.scheme in front)

    def measured(self) -> list[Measure]:
        """Give the measures that an entry has."""
        return [measure for measure in MEASURES if any(measure.key in entry.figures for entry in self.entries)]

    def front(self) -> list[Entry]:
        """Give the Pareto front by rising bytes: nothing as small or smaller is as good."""
        quality = self.quality
        if quality is None:
            return []
        sign = 1 if quality.higher else -1
        found: list[Entry] = []
        rated = [entry for entry in self.entries if quality.key in entry.figures]
        for entry in sorted(rated, key=lambda one: (one.bytes, -sign * one.figures[quality.key].mean)):
            own = sign * entry.figures[quality.key].mean
            if not found or own > sign * found[-1].figures[quality.key].mean:
                found.append(entry)
        return found


def overlap(one: Figure, other: Figure) -> bool:
    """Say whether two figures are tied: mean plus and minus spread of both touch."""
    return one.low <= other.high and other.low <= one.high


def compare(run: Run) -> list[Comparison]:
    """Give one comparison for each data set and model, sorted."""
    ordered = sorted(run.cells, key=lambda cell: cell.key)
    return [_comparison(key, list(cells)) for key, cells in groupby(ordered, key=lambda cell: cell.key)]


def _comparison(key: Key, cells: Sequence[Cell]) -> Comparison:
    done = [cell for cell in cells if cell.status == "done" and cell.bytes is not None]
    quality = next((one for one in QUALITIES if any(one.key in cell.values for cell in done)), None)
    whole = [cell for cell in done if cell.scheme == BASELINE]
    full_bytes = next((cell.full_bytes for cell in cells if cell.full_bytes), None)
    full_bytes = full_bytes or max((cell.bytes or 0 for cell in whole), default=None)
    groups: dict[tuple[str, float], list[Cell]] = {}
    for cell in done:
        groups.setdefault((cell.scheme, cell.budget), []).append(cell)
    entries = [_entry(group, whole, quality, full_bytes) for group in groups.values()]
    infeasible = {(cell.scheme, cell.budget): cell for cell in cells if cell.status == "infeasible"}
    floors: dict[str, int] = {}
    for cell in infeasible.values():
        if cell.floor_bytes is not None:
            floors[cell.scheme] = max(cell.floor_bytes, floors.get(cell.scheme, 0))
    return Comparison(
        key=key,
        quality=quality,
        full=next((entry for entry in entries if entry.scheme == BASELINE), None),
        entries=tuple(sorted(entries, key=lambda entry: (entry.scheme, -entry.bytes))),
        floors=floors,
        infeasible=tuple(sorted(infeasible.values(), key=lambda cell: (cell.scheme, -cell.budget))),
        failed=tuple(cell for cell in cells if cell.status not in ("done", "infeasible")),
        choices=field_choices((cell.budget, cell.chosen) for cell in done),
    )


def _entry(group: list[Cell], whole: list[Cell], quality: Measure | None, full_bytes: int | None) -> Entry:
    stored = max(cell.bytes or 0 for cell in group)
    figures = {
        measure.key: figure
        for measure in MEASURES
        if (figure := _figure(cell.values[measure.key] for cell in group if measure.key in cell.values)) is not None
    }
    pairs = [] if quality is None else _pairs(group, whole, quality)
    return Entry(
        scheme=group[0].scheme,
        budget=group[0].budget,
        bytes=stored,
        ratio=full_bytes / stored if full_bytes and stored else None,
        seeds=tuple(sorted(cell.seed for cell in group)),
        figures=figures,
        loss=_figure(100 * worse / abs(reference) for worse, reference in pairs if reference),
        points=_figure(100 * worse for worse, _ in pairs),
    )


def _pairs(group: list[Cell], whole: list[Cell], quality: Measure) -> list[tuple[float, float]]:
    """Give (how much worse, quality of ``full``) of each seed."""
    reference = {cell.seed: cell.values[quality.key] for cell in whole if quality.key in cell.values}
    if not reference:
        return []
    mean = float(np.mean(list(reference.values())))
    sign = 1 if quality.higher else -1
    found = []
    for cell in group:
        if quality.key in cell.values:
            theirs = reference.get(cell.seed, mean)
            found.append((sign * (theirs - cell.values[quality.key]), theirs))
    return found


def _figure(values: Iterable[float]) -> Figure | None:
    numbers = list(values)
    if not numbers:
        return None
    spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    return Figure(float(np.mean(numbers)), spread, len(numbers))
