"""The report as one HTML file that needs nothing else: the only module that imports jinja2."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

import vecstore
from vecstore.schemes.base import Family
from vecstore_bench.report.across import across
from vecstore_bench.report.choosing import Advice, Rules
from vecstore_bench.report.comparing import BASELINE, Comparison, Entry
from vecstore_bench.report.field_choices import got_text
from vecstore_bench.report.measures import MEASURES, budget_text, bytes_text
from vecstore_bench.report.methods import FAMILIES, Method, family_of
from vecstore_bench.report.plots import COLOURS, FRONT, GRID, INK, PAPER, Plot
from vecstore_bench.report.reading import Run

#: What stands where there is no number.
NOTHING = "-"

__all__ = ["Column", "Section", "loss_text", "page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What the page says of one comparison.

    Attributes
    ----------
    comparison : Comparison
    advice : sequence of Advice
    curve : Plot or None
    bars : sequence of Plot
    """

    comparison: Comparison
    advice: Sequence[Advice]
    curve: Plot | None
    bars: Sequence[Plot]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: heading, and a cell (text, number to sort by) for each entry."""

    heading: str
    cells: Sequence[tuple[str, float | str]]


def loss_text(entry: Entry, *, points: bool = False) -> str:
    """Give a loss in percent, or in points, with its spread; a gain has a minus."""
    figure = entry.points if points else entry.loss
    if figure is None:
        return NOTHING
    spread = f" ± {figure.spread:.2f}" if figure.spread is not None else ""
    return f"{figure.mean:.2f}{spread}"


def page(run: Run, sections: Sequence[Section], methods: Sequence[Method], rules: Rules) -> str:
    """Give the HTML of a report."""
    environment = Environment(
        loader=PackageLoader("vecstore_bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": bytes_text,
        "budget": budget_text,
        "code": _code,
        "commands": _commands,
        "slug": family_slug,
        "loss": loss_text,
        "got": got_text,
    }
    environment.globals |= {"columns": _columns, "missing": _missing}
    by_family: dict[Family | None, list[Method]] = {family: [] for family in Family}
    for method in methods:
        by_family.setdefault(method.family, []).append(method)
    inline = _page_colours()
    return environment.get_template("page.html").render(
        run=run,
        sections=sections,
        methods=methods,
        across=across([section.comparison for section in sections]),
        families=[(family, FAMILIES[family], by_family[family]) for family in Family],
        unknown=by_family.get(None, []),
        family_of=family_of,
        rules=rules,
        baseline=BASELINE,
        version=vecstore.__version__,
        seeds=sorted({cell.seed for cell in run.cells}),
        palette=[(family_slug(family), colour) for family, colour in COLOURS.items()],
        # The plots are ours and have their texts escaped.
        inline=lambda plot: Markup(plot.inline(inline)),
        pretty=lambda document: json.dumps(document, indent=1, ensure_ascii=False),
    )


def family_slug(family: Family | None) -> str:
    """Give a family's name for CSS."""
    return family.value if family else "unknown"


def _page_colours() -> dict[str, str]:
    """Give colour of the plots -> what the page has in its place, so that they follow its theme."""
    own = {colour: f"var(--{family_slug(family)})" for family, colour in COLOURS.items()}
    return {**own, INK: "currentColor", GRID: "var(--line)", FRONT: "var(--front)", PAPER: "var(--card)"}


def _columns(comparison: Comparison) -> list[Column]:
    """Give the columns of the table; measures that no entry has are left out."""
    entries = comparison.entries
    found = [
        Column("Scheme", [(entry.scheme, entry.scheme) for entry in entries]),
        Column("Budget", [(budget_text(entry.budget), entry.budget) for entry in entries]),
        Column("Bytes", [(bytes_text(entry.bytes), entry.bytes) for entry in entries]),
        Column(
            "Times smaller",
            [(f"{entry.ratio:.3g}" if entry.ratio else NOTHING, entry.ratio or 0.0) for entry in entries],
        ),
        Column("Seeds", [(str(len(entry.seeds)), len(entry.seeds)) for entry in entries]),
    ]
    if comparison.reference is not None and comparison.quality is not None:
        title = comparison.quality.title
        found.append(Column(f"Loss of {title} (%)", [_loss_cell(entry, points=False) for entry in entries]))
        found.append(Column(f"Loss of {title} (points)", [_loss_cell(entry, points=True) for entry in entries]))
    for measure in comparison.measured():
        cells: list[tuple[str, float | str]] = []
        for entry in entries:
            figure = entry.figures.get(measure.key)
            spread = f" ± {measure.text(figure.spread)}" if figure and figure.spread is not None else ""
            cells.append((measure.text(figure.mean) + spread, figure.mean) if figure else (NOTHING, ""))
        found.append(Column(measure.heading, cells))
    return found


def _loss_cell(entry: Entry, *, points: bool) -> tuple[str, float | str]:
    figure = entry.points if points else entry.loss
    return loss_text(entry, points=points), "" if figure is None else figure.mean


def _missing(comparison: Comparison) -> list[str]:
    """Say how to get the measures that would be drawn and that no entry has."""
    there = {measure.key for measure in comparison.measured()}
    return [measure.missing for measure in MEASURES if measure.missing and measure.key not in there]


def _code(text: str) -> Markup:
    """Set what docstrings have in double backquotes as code."""
    parts = re.split(r"``(.+?)``", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def _commands(text: str) -> Markup:
    """Set what advice has in single backquotes as code."""
    return _code(text.replace("`", "``"))
