"""A run of the benchmark as one HTML file: advice for every use, plots, a table to sort, the methods.

RUN is a folder that ``vecstore bench ctr --out`` wrote, or a parquet file with one row a cell; several are shown
together. Writes report.html, which opens offline, and the plots as SVG and PNG in the folder plots beside it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from vecstore_bench.report.choosing import Rules, advise
from vecstore_bench.report.comparing import Comparison, compare
from vecstore_bench.report.measures import MEASURES
from vecstore_bench.report.methods import family_of, methods_of
from vecstore_bench.report.page import Section, page
from vecstore_bench.report.plots import Plot, bars, curve
from vecstore_bench.report.reading import read_run
from vecstore_bench.report.terminal import summary

__all__ = ["main", "report"]

#: Columns of the printed tables where there is no terminal that says.
_WIDTH = 116


@click.command(help=__doc__)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the report [default: that of the first RUN].",
)
@click.option(
    "--loss",
    type=click.FloatRange(min=0, min_open=True),
    default=Rules().loss,
    show_default=True,
    help="Percent of quality that may be lost.",
)
@click.option(
    "--extreme",
    type=click.FloatRange(min=1),
    default=Rules().extreme,
    show_default=True,
    help="Times smaller that counts as extreme.",
)
def main(runs: tuple[Path, ...], out: Path | None, loss: float, extreme: float) -> None:
    """Write the report, and print its short form."""
    folder = out or (runs[0] if runs[0].is_dir() else runs[0].parent)
    sections, file = report(runs, folder, Rules(loss=loss, extreme=extreme))
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(summary(sections))
    console.print(f"report: {file}", markup=False, highlight=False, soft_wrap=True)


def report(runs: Sequence[Path], folder: Path, rules: Rules) -> tuple[list[Section], Path]:
    """Read runs, and write ``report.html`` and ``plots/`` into a folder, which is made if it is not there.

    Returns
    -------
    list of Section
        What the report says of every data set and model.
    Path
        The HTML file.

    Raises
    ------
    NotFoundError, FormatError, InvalidArgumentError
        See :func:`~vecstore_bench.report.reading.read_run`.
    """
    run = read_run(runs)
    sections = [_section(comparison, number, rules) for number, comparison in enumerate(compare(run), 1)]
    methods = methods_of([one.comparison for one in sections], [one.advice for one in sections])
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    for plot in (plot for section in sections for plot in (section.curve, *section.bars) if plot is not None):
        (plots / f"{plot.name}.svg").write_text(plot.svg, encoding="utf-8")
        (plots / f"{plot.name}.png").write_bytes(plot.png)
    file = folder / "report.html"
    file.write_text(page(run, sections, methods, rules), encoding="utf-8")
    return sections, file


def _section(comparison: Comparison, number: int, rules: Rules) -> Section:
    name = f"{number}-{re.sub(r'[^a-z0-9]+', '-', str(comparison.key).lower()).strip('-')}"
    families = {entry.scheme: family_of(entry.scheme) for entry in comparison.entries}
    drawn: list[Plot] = [
        bars(f"{name}-{measure.key.replace('_', '-')}", comparison, families, measure)
        for measure in MEASURES
        if measure.bars and any(measure.key in entry.figures for entry in comparison.compressed)
    ]
    return Section(
        comparison=comparison,
        advice=advise(comparison, rules),
        curve=curve(f"{name}-quality", comparison, families, rules.loss) if comparison.quality is not None else None,
        bars=drawn,
    )
