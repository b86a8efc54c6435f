"""Which scheme each field got where fields choose (``auto``), and what bytes it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from vecstore.choosing import AUTO
from vecstore_bench.report.measures import budget_text, bytes_text

__all__ = ["Chosen", "FieldChoices", "Got", "choices_table", "chosen_of", "field_choices", "got_text"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one field got in one cell.

    Attributes
    ----------
    field, scheme : str
    bytes : int or None
        That it adds to the stored table; None where the run does not say.
    """

    field: str
    scheme: str
    bytes: int | None


@dataclass(frozen=True, slots=True)
class Got:
    """What some seeds gave a field.

    Attributes
    ----------
    scheme : str
    seeds : int
    bytes : int or None
        The most over these seeds.
    """

    scheme: str
    seeds: int
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChoices:
    """The fields of one comparison, at each budget.

    Attributes
    ----------
    budgets : tuple of float
        Falling.
    seeds : tuple of int
        How many ran at each budget.
    rows : tuple of (str, tuple of (tuple of Got))
        Each field with what it got at each budget: what most seeds gave it first, nothing where no seed has the field.
    """

    budgets: tuple[float, ...]
    seeds: tuple[int, ...]
    rows: tuple[tuple[str, tuple[tuple[Got, ...], ...]], ...]

    @property
    def sized(self) -> bool:
        """Whether all bytes are known."""
        return all(one.bytes is not None for _, got in self.rows for own in got for one in own)


def chosen_of(row: Mapping[str, Any]) -> tuple[Chosen, ...]:
    """Read what the fields of a cell got, of the columns ``parts`` or, in older runs, ``fields``; else nothing."""
    if row.get("scheme") != AUTO:
        return ()
    if isinstance(row.get("parts"), list):
        return tuple(found for part in row["parts"] for found in _of_part(part))
    text = row.get("fields")
    if not isinstance(text, str) or ": " not in text:
        return ()
    pairs = [own.rpartition(": ") for own in text.split("; ")]
    return tuple(Chosen(field, scheme, None) for field, _, scheme in pairs)


def _of_part(part: Any) -> Iterable[Chosen]:
    names = part.get("fields") if isinstance(part, dict) else None
    if not isinstance(names, list):
        return
    size = part.get("bytes")
    for name in names:
        # The bytes of a part of several fields are of none of them alone.
        alone = isinstance(size, int) and len(names) == 1
        yield Chosen(str(name), str(part.get("scheme")), size if alone else None)


def field_choices(cells: Iterable[tuple[float, Sequence[Chosen]]]) -> FieldChoices | None:
    """Give what fields got, of the budget and the fields of each cell; None where no cell says."""
    by_budget: dict[float, list[Sequence[Chosen]]] = {}
    for budget, chosen in cells:
        if chosen:
            by_budget.setdefault(budget, []).append(chosen)
    if not by_budget:
        return None
    budgets = tuple(sorted(by_budget, reverse=True))
    fields = dict.fromkeys(own.field for budget in budgets for cell in by_budget[budget] for own in cell)
    return FieldChoices(
        budgets=budgets,
        seeds=tuple(len(by_budget[budget]) for budget in budgets),
        rows=tuple((field, tuple(_got(field, by_budget[budget]) for budget in budgets)) for field in fields),
    )


def choices_table(choices: FieldChoices) -> Table:
    """Give what each field got at each budget."""
    table = Table(title="auto: what each field got, and what it adds to the stored table", title_justify="left")
    table.add_column("field")
    for budget in choices.budgets:
        table.add_column(budget_text(budget))
    for field, got in choices.rows:
        cells = zip(got, choices.seeds, strict=True)
        table.add_row(Text(field), *(Text(", ".join(got_text(one, seeds) for one in own)) for own, seeds in cells))
    return table


def got_text(got: Got, of: int) -> str:
    """Give what a field got: the scheme, its bytes, and the seeds where not all of them (``of``) gave it."""
    size = "" if got.bytes is None else f" {bytes_text(got.bytes)}"
    return f"{got.scheme}{size}" + (f" ({got.seeds} of {of} seeds)" if got.seeds < of else "")


def _got(field: str, cells: Sequence[Sequence[Chosen]]) -> tuple[Got, ...]:
    own = [chosen for cell in cells for chosen in cell if chosen.field == field]
    counts = Counter(chosen.scheme for chosen in own)
    found = []
    for scheme, seeds in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        sizes = [chosen.bytes for chosen in own if chosen.scheme == scheme and chosen.bytes is not None]
        found.append(Got(scheme, seeds, max(sizes, default=None)))
    return tuple(found)
