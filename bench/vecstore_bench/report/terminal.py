"""The short form of a report, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from vecstore_bench.report.field_choices import choices_table
from vecstore_bench.report.measures import budget_text, bytes_text
from vecstore_bench.report.page import Section, loss_text

__all__ = ["summary"]


def summary(sections: Sequence[Section]) -> RenderableType:
    """Give the advice of every comparison, its Pareto front, and what fields got where they choose."""
    tables = (table for section in sections for table in (_advice(section), _front(section), _choices(section)))
    return Group(*filter(None, tables))


def _advice(section: Section) -> Table:
    table = Table(title=f"Which one to take: {escape(str(section.comparison.key))}", title_justify="left")
    for heading in ("use", "take", "bytes", "loss %", "tied, or why not"):
        table.add_column(heading, justify="right" if heading in ("bytes", "loss %") else "left")
    for one in section.advice:
        entry = one.entry
        said = [f"tied: {', '.join(_name(tie.scheme, tie.budget) for tie in one.ties)}"] if one.ties else []
        reason = Text(" ".join([*said, *one.notes]))
        if entry is None:
            table.add_row(Text(one.use), "-", "-", "-", reason)
        else:
            name = Text(_name(entry.scheme, entry.budget))
            table.add_row(Text(one.use), name, bytes_text(entry.bytes), loss_text(entry), reason)
    return table


def _front(section: Section) -> Table:
    comparison = section.comparison
    table = Table(title="Pareto front: nothing that ran is as small and as good", title_justify="left")
    quality = comparison.quality
    for heading in ("scheme", "budget", "bytes", "times smaller", quality.heading if quality else "quality", "loss %"):
        table.add_column(heading, justify="left" if heading == "scheme" else "right")
    for entry in comparison.front():
        table.add_row(
            Text(entry.scheme),
            budget_text(entry.budget),
            bytes_text(entry.bytes),
            f"{entry.ratio:.3g}" if entry.ratio else "-",
            quality.text(entry.figures[quality.key].mean) if quality else "-",
            loss_text(entry),
        )
    missed = len(comparison.infeasible), len(comparison.failed)
    if any(missed):
        table.caption = f"{missed[0]} scheme and budget infeasible, {missed[1]} cells failed; the report lists them"
    return table


def _choices(section: Section) -> Table | None:
    choices = section.comparison.choices
    return None if choices is None else choices_table(choices)


def _name(scheme: str, budget: float) -> str:
    return f"{scheme} at {budget_text(budget)}"
