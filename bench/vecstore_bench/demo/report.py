"""The demo's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table

from vecstore_bench.demo.dataset import Question
from vecstore_bench.demo.stdlib import read_summary

if TYPE_CHECKING:
    from vecstore.types import Hit
    from vecstore_bench.demo.steps import Measurement

__all__ = ["AnswerList", "bytes_table", "quality_table"]


@dataclass(slots=True)
class AnswerList:
    """Questions with their best hits, each explained by the running interpreter.

    Parameters
    ----------
    title : str
        Heading.
    per_question : int
        Hits shown a question.

    Attributes
    ----------
    absent : list of str
        Names among the hits that the running interpreter does not have.
    """

    title: str
    per_question: int = 3
    absent: list[str] = field(default_factory=list)
    _tables: list[Table] = field(default_factory=list)

    def add(self, question: Question, hits: Sequence[Hit]) -> None:
        """Add the best hits of a question, passing over those that the running interpreter lacks."""
        table = Table(title=f"[bold]» {escape(question.text)}[/]", title_justify="left", box=None, show_header=False)
        table.expand = True
        for width in (1, 36, 5):
            table.add_column(min_width=width, no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis", style="dim")
        for hit in hits:
            if table.row_count == self.per_question:
                break
            summary = read_summary(str(hit.id), str(hit.metadata["module"]))
            if summary is None:
                self.absent.append(str(hit.id))
                continue
            mark = "[green]✓[/]" if hit.id in question.expected else ""
            table.add_row(mark, escape(str(hit.id)), f"{hit.distance:.3f}", escape(summary))
        self._tables.append(table)

    def render(self) -> Group:
        """Give the heading and one small table a question: name, cosine distance, what this Python says of it."""
        return Group(Rule(escape(self.title), align="left"), *self._tables)


def bytes_table(before: Mapping[str, float], after: Mapping[str, float]) -> Table:
    """Give bytes on disk a vector, by part, before and after compression."""
    table = Table("part", title="Bytes on disk a vector", title_justify="left")
    table.add_column("full", justify="right")
    table.add_column("int8 + float16 refine", justify="right")
    for part in sorted({*before, *after}):
        table.add_row(part, f"{before.get(part, 0.0):,.1f}", f"{after.get(part, 0.0):,.1f}")
    table.add_section()
    table.add_row("all", f"{sum(before.values()):,.1f}", f"{sum(after.values()):,.1f}")
    return table


def quality_table(measurements: Sequence[tuple[str, Measurement]]) -> Table:
    """Give one column per (stored form, measurement)."""
    table = Table("filter", title="All questions, one call each", title_justify="left")
    for form, one in measurements:
        table.add_column(f"{form}, {escape(one.where or 'none')}", justify="right", overflow="fold")
    figures: dict[str, Callable[[Measurement], str]] = {
        "rows that match": lambda one: f"{one.rows:,}",
        "recall@10 vs the server's exact search": lambda one: f"{one.recall_server:.4f}",
        "recall@10 vs numpy on the shipped vectors": lambda one: f"{one.recall_numpy:.4f}",
        "questions with an expected name there": lambda one: str(one.questions),
        "expected name comes first": lambda one: f"{one.top1:.1%}",
        "expected name in the top 10": lambda one: f"{one.top10:.1%}",
        "p50 of a call, ms": lambda one: f"{one.p50 * 1e3:.2f}",
        "p99 of a call, ms": lambda one: f"{one.p99 * 1e3:.2f}",
    }
    for label, figure in figures.items():
        table.add_row(label, *(figure(one) for _, one in measurements))
    return table
