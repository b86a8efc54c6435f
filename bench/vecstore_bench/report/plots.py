"""The plots, each as SVG and PNG: the only module that imports matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, NullFormatter

from vecstore.schemes.base import Family
from vecstore_bench.report.comparing import BASELINE, Comparison, Entry
from vecstore_bench.report.measures import Measure, budget_text, bytes_text

__all__ = ["COLOURS", "GRID", "INK", "PAPER", "Plot", "bars", "curve"]

#: Ink of axes and text, and lines behind; a page puts its own in their place.
INK = "#1c2330"
GRID = "#d5dae2"
#: What is drawn on.
PAPER = "#ffffff"
#: Family -> colour; all differ in hue and have a contrast of 4 and more to white.
COLOURS: Mapping[Family | None, str] = {
    Family.BASELINE: "#5b6575",
    Family.HASHING: "#0b67c2",
    Family.SHARING: "#8a3fc0",
    Family.QUANTISATION: "#0f7d58",
    Family.DIMENSION: "#b35900",
    Family.PRUNING: "#c02848",
    None: "#00747f",
}
_MARKERS = "os^DvPX<>hp*"
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    # Names are shown as they are, dollars too.
    "text.parse_math": False,
    # Text stays text: it can be read aloud, selected and set in the page's own letters.
    "svg.fonttype": "none",
    # The same run gives the same file.
    "svg.hashsalt": "vecstore",
}

_ID = re.compile(r'(\bid="|url\(#|href="#)')
_OPENING = re.compile(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing in both forms.

    Attributes
    ----------
    name : str
        Of its files, without the ending.
    title : str
    summary : str
        What it shows, for who cannot see it.
    svg : str
        A file of its own.
    png : bytes
    tips : mapping of str to str
        Id of a group in the SVG -> what a pointer over it is told.
    """

    name: str
    title: str
    summary: str
    svg: str
    png: bytes
    tips: Mapping[str, str]

    def inline(self, colours: Mapping[str, str]) -> str:
        """Give the SVG as a part of a page: ids of its own, colours of the page, text for pointers and screen readers.

        Parameters
        ----------
        colours : mapping of str to str
            Colour in the file -> CSS value in its place.
        """
        text = self.svg[self.svg.index("<svg") :]
        for gid, tip in self.tips.items():
            text = text.replace(f'<g id="{gid}">', f'<g id="{gid}" data-tip="{escape(tip)}">')
        text = _ID.sub(rf"\g<1>{self.name}-", text)
        for own, theirs in colours.items():
            text = text.replace(own, theirs)
        opening = rf'<svg viewBox="\1" role="img" aria-label="{escape(self.summary)}">'
        return _OPENING.sub(lambda match: match.expand(opening), text, count=1)


def curve(name: str, comparison: Comparison, families: Mapping[str, Family | None], limit: float) -> Plot:
    """Draw quality against bytes: a line a scheme, error bars over seeds, the Pareto front, ``full`` as a level.

    Parameters
    ----------
    name : str
        Of the files.
    comparison : Comparison
        With a quality.
    families : mapping of str to Family or None
        Scheme -> family, which chooses the colour.
    limit : float
        Percent of loss; drawn as a level too.
    """
    quality = comparison.quality
    if quality is None:
        raise ValueError(f"{comparison.key}: there is no quality to draw")
    tips: dict[str, str] = {}
    with _drawing(width=10.5, height=5.6) as drawing:
        axes = drawing.subplots()
        front = comparison.front()
        axes.step(
            [entry.bytes for entry in front],
            [entry.figures[quality.key].mean for entry in front],
            where="post", color=GRID, linewidth=7, solid_capstyle="round", label="Pareto front", zorder=1,
        )  # fmt: skip
        for scheme, colour, marker in _looks(comparison, families):
            own = [one for one in comparison.entries if one.scheme == scheme and quality.key in one.figures]
            _line(axes, own, quality, colour, marker, tips)
        _levels(axes, comparison, quality, limit)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("bytes of the stored table (logarithmic)")
        better = "higher" if quality.higher else "lower"
        axes.set_ylabel(f"{quality.heading} on test data, {better} is better")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9.5)
        svg, png = _files(drawing)
    title = f"{quality.title} against bytes"
    names = ", ".join(entry.scheme for entry in front)
    return Plot(
        name, title, f"{title}, {comparison.key}. Pareto front: {names}. The table has all numbers.", svg, png, tips
    )


def bars(name: str, comparison: Comparison, families: Mapping[str, Family | None], measure: Measure) -> Plot:
    """Draw a measure as bars: a panel a budget, a row a scheme, ``full`` as a line."""
    there = [entry for entry in comparison.entries if measure.key in entry.figures]
    compressed = [entry for entry in there if entry.scheme != BASELINE]
    budgets = sorted({entry.budget for entry in compressed}, reverse=True)
    looks = [look for look in _looks(comparison, families) if any(entry.scheme == look[0] for entry in compressed)]
    rows = {scheme: len(looks) - number for number, (scheme, _, _) in enumerate(looks)}
    colours = {scheme: colour for scheme, colour, _ in looks}
    whole = next((entry.figures[measure.key] for entry in there if entry.scheme == BASELINE), None)
    tips: dict[str, str] = {}
    with _drawing(width=10.5, height=1.5 + 0.3 * len(rows)) as drawing:
        panels = drawing.subplots(1, len(budgets), sharex=True, sharey=True, squeeze=False)[0]
        for axes, budget in zip(panels, budgets, strict=True):
            axes.set_title(f"budget {budget_text(budget)}", fontsize=10.5)
            axes.grid(visible=False, axis="y")
            for entry in (one for one in compressed if one.budget == budget):
                figure = entry.figures[measure.key]
                (bar,) = axes.barh(
                    rows[entry.scheme], figure.mean, height=0.68, color=colours[entry.scheme],
                    xerr=figure.spread, ecolor=INK, error_kw={"elinewidth": 1, "capsize": 2},
                )  # fmt: skip
                gid = f"bar-{len(tips)}"
                bar.set_gid(gid)
                tips[gid] = f"{entry.scheme}: {_spread(measure, entry)}"
            if whole is not None:
                axes.axvline(whole.mean, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: measure.text(value)))
            axes.tick_params(axis="x", labelsize=9)
            axes.locator_params(axis="x", nbins=4)
        panels[0].set_yticks(list(rows.values()), list(rows))
        panels[0].set_ylim(0.4, len(rows) + 0.6)
        level = f"; dashed: {BASELINE}, {measure.with_unit(whole.mean)}" if whole is not None else ""
        drawing.supxlabel(
            f"{measure.heading}, {'higher' if measure.higher else 'lower'} is better{level}", fontsize=10.5
        )
        svg, png = _files(drawing)
    return Plot(name, measure.title, f"{measure.title}, {comparison.key}. The table has all numbers.", svg, png, tips)


def _line(
    axes: Axes, entries: Sequence[Entry], quality: Measure, colour: str, marker: str, tips: dict[str, str]
) -> None:
    if not entries:
        return
    scheme = entries[0].scheme
    axes.plot(
        [entry.bytes for entry in entries],
        [entry.figures[quality.key].mean for entry in entries],
        color=colour, marker=marker, markersize=7, linewidth=1.3, markeredgewidth=0, label=scheme, zorder=3,
    )  # fmt: skip
    for entry in entries:
        figure = entry.figures[quality.key]
        drawn = axes.errorbar(
            entry.bytes, figure.mean, yerr=figure.spread, color=colour, marker=marker, markersize=7, capsize=3,
            elinewidth=1.2, markeredgewidth=0, zorder=4,
        )  # fmt: skip
        gid = f"point-{len(tips)}"
        drawn.lines[0].set_gid(gid)
        loss = "" if entry.loss is None or scheme == BASELINE else f"; loss {entry.loss.mean:.2f} %"
        tips[gid] = (
            f"{scheme} at {budget_text(entry.budget)}: {quality.title} {_spread(quality, entry)}, "
            f"{bytes_text(entry.bytes)}{loss}; seeds: {len(entry.seeds)}"
        )


def _levels(axes: Axes, comparison: Comparison, quality: Measure, limit: float) -> None:
    if comparison.full is None or quality.key not in comparison.full.figures:
        return
    figure = comparison.full.figures[quality.key]
    worst = figure.mean * (1 - limit / 100 if quality.higher else 1 + limit / 100)
    axes.axhline(figure.mean, color=INK, linewidth=1, linestyle=(0, (5, 4)), label=f"level of {BASELINE}", zorder=2)
    axes.axhline(worst, color=INK, linewidth=1, linestyle=(0, (1, 3)), label=f"loss of {limit:g} %", zorder=2)


def _spread(measure: Measure, entry: Entry) -> str:
    figure = entry.figures[measure.key]
    spread = f" ± {measure.text(figure.spread)}" if figure.spread is not None else ""
    return f"{measure.text(figure.mean)}{spread} {measure.unit}".rstrip()


def _looks(comparison: Comparison, families: Mapping[str, Family | None]) -> list[tuple[str, str, str]]:
    """Give (scheme, colour, marker): the colour is the family's, the marker tells its schemes apart."""
    order: list[Family | None] = [*Family, None]
    found = []
    for family in order:
        own = sorted({entry.scheme for entry in comparison.entries if families.get(entry.scheme) is family})
        found += [(scheme, COLOURS[family], _MARKERS[number % len(_MARKERS)]) for number, scheme in enumerate(own)]
    return found


@contextmanager
def _drawing(*, width: float, height: float) -> Iterator[Drawing]:
    with mpl.rc_context(_STYLE):
        yield Drawing(figsize=(width, height), layout="constrained")


def _files(drawing: Drawing) -> tuple[str, bytes]:
    text, image = io.StringIO(), io.BytesIO()
    drawing.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawing.savefig(image, format="png", dpi=144)
    return text.getvalue(), image.getvalue()
