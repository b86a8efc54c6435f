"""The plots, each as SVG and PNG: the only module that imports matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from vecstore.schemes.base import Family
from vecstore_bench.report.comparing import BASELINE, Comparison, Entry
from vecstore_bench.report.measures import Measure, budget_text, bytes_text

__all__ = ["COLOURS", "FRONT", "GRID", "INK", "PAPER", "Plot", "bars", "curve"]

#: Ink of axes and text, and lines behind; a page puts its own in their place.
INK = "#1c2330"
GRID = "#d5dae2"
#: The Pareto front, behind everything.
FRONT = "#f3d27a"
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
#: What tells the schemes of a family apart.
_MARKERS = "os^DvPX<>hp*"
_DASHES = ("solid", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 2, 2)))
#: Panels beside each other.
_PANELS = 4
_STYLE: dict[Any, Any] = {
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
class _Look:
    """How a scheme is drawn."""

    scheme: str
    colour: str
    marker: str
    dashes: Any


@dataclass(frozen=True, slots=True)
class Mark:
    """A part of a plot that a page makes alive: whose it is, and what a pointer over it is told (perhaps nothing)."""

    scheme: str
    tip: str = ""

    def attributes(self) -> str:
        """Give it as attributes of an element."""
        tip = f' data-tip="{escape(self.tip)}"' if self.tip else ""
        return f' data-scheme="{escape(self.scheme)}"{tip}'


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
    marks : mapping of str to Mark
        By the id of the group in the SVG.
    """

    name: str
    title: str
    summary: str
    svg: str
    png: bytes
    marks: Mapping[str, Mark]

    def inline(self, colours: Mapping[str, str]) -> str:
        """Give the SVG as a part of a page: ids of its own, colours of the page, text for pointers and screen readers.

        Parameters
        ----------
        colours : mapping of str to str
            Colour in the file -> CSS value in its place.
        """
        text = self.svg[self.svg.index("<svg") :]
        for gid, mark in self.marks.items():
            text = text.replace(f'<g id="{gid}">', f'<g id="{gid}"{mark.attributes()}>')
        text = _ID.sub(rf"\g<1>{self.name}-", text)
        for own, theirs in colours.items():
            text = text.replace(own, theirs)
        label = escape(self.summary)
        return _OPENING.sub(lambda match: f'<svg viewBox="{match[1]}" role="img" aria-label="{label}">', text, count=1)


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
    marks: dict[str, Mark] = {}
    with _drawing(width=10.5, height=5.6) as drawing:
        axes = drawing.subplots()
        front = comparison.front()
        axes.step(
            [entry.bytes for entry in front],
            [entry.figures[quality.key].mean for entry in front],
            where="post", color=FRONT, linewidth=8, solid_capstyle="round", label="Pareto front", zorder=1,
        )  # fmt: skip
        for look in _looks(comparison, families):
            own = [one for one in comparison.entries if one.scheme == look.scheme and quality.key in one.figures]
            _line(axes, own, quality, look, marks)
        _levels(axes, comparison, quality, limit)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(value)))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("bytes of the stored table (logarithmic)")
        better = "higher" if quality.higher else "lower"
        axes.set_ylabel(f"{quality.heading} on test data, {better} is better")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=9.5)
        svg, png = _files(drawing)
    title = f"{quality.title} against bytes"
    names = ", ".join(entry.scheme for entry in front)
    return Plot(
        name, title, f"{title}, {comparison.key}. Pareto front: {names}. The table has all numbers.", svg, png, marks
    )


def bars(name: str, comparison: Comparison, families: Mapping[str, Family | None], measure: Measure) -> Plot:
    """Draw a measure as bars: a panel a budget, a row a scheme, ``full`` as a line."""
    there = [one for one in comparison.drawn if measure.key in one.figures and one.scheme != BASELINE]
    budgets = sorted({entry.budget for entry in there}, reverse=True)
    looks = [look for look in _looks(comparison, families) if any(entry.scheme == look.scheme for entry in there)]
    whole = comparison.full.figures.get(measure.key) if comparison.full else None
    marks: dict[str, Mark] = {}
    across, down = min(len(budgets), _PANELS), -(-len(budgets) // _PANELS)
    with _drawing(width=10.5, height=0.6 + down * (0.7 + 0.29 * len(looks))) as drawing:
        panels = drawing.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for axes, budget in zip(panels, budgets, strict=False):
            axes.set_title(f"budget {budget_text(budget)}", fontsize=10.5)
            _panel(axes, [entry for entry in there if entry.budget == budget], looks, measure, marks)
            if whole is not None:
                axes.axvline(whole.mean, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        for axes in panels[len(budgets) :]:
            axes.set_visible(False)
        panels[0].set_ylim(len(looks) - 0.4, -0.6)
        level = f"; dashed: {BASELINE}, {measure.with_unit(whole.mean)}" if whole is not None else ""
        better = "higher" if measure.higher else "lower"
        drawing.supxlabel(f"{measure.heading}, {better} is better{level}", fontsize=10.5)
        svg, png = _files(drawing)
    return Plot(name, measure.title, f"{measure.title}, {comparison.key}. The table has all numbers.", svg, png, marks)


def _panel(
    axes: Axes, entries: Sequence[Entry], looks: Sequence[_Look], measure: Measure, marks: dict[str, Mark]
) -> None:
    rows = {look.scheme: (row, look.colour) for row, look in enumerate(looks)}
    for entry in entries:
        figure = entry.figures[measure.key]
        row, colour = rows[entry.scheme]
        drawn = axes.barh(
            row, figure.mean, height=0.7, color=colour, xerr=figure.spread, ecolor=INK,
            error_kw={"elinewidth": 1, "capsize": 2},
        )  # fmt: skip
        axes.bar_label(
            drawn,
            [measure.text(figure.mean)],
            padding=3,
            fontsize=8.5,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.6},
        )
        _mark(drawn[0], Mark(entry.scheme, f"{entry.scheme}: {_spread(measure, entry)}"), marks)
    axes.set_yticks(range(len(looks)), [look.scheme for look in looks])
    axes.grid(visible=False, axis="y")
    # Room for the numbers behind the bars.
    axes.margins(x=0.25)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: measure.text(value)))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="x", labelsize=9)


def _line(axes: Axes, entries: Sequence[Entry], quality: Measure, look: _Look, marks: dict[str, Mark]) -> None:
    """Draw a scheme: a line through its budgets, and a point with an error bar at each."""
    if not entries:
        return
    (line,) = axes.plot(
        [entry.bytes for entry in entries],
        [entry.figures[quality.key].mean for entry in entries],
        color=look.colour, linestyle=look.dashes, linewidth=1.4, marker=look.marker, markersize=6.5,
        label=look.scheme, zorder=3,
    )  # fmt: skip
    _mark(line, Mark(look.scheme), marks)
    for entry in entries:
        figure = entry.figures[quality.key]
        drawn = axes.errorbar(
            entry.bytes, figure.mean, yerr=figure.spread, color=look.colour, marker=look.marker, markersize=6.5,
            capsize=3, elinewidth=1.2, zorder=4,
        )  # fmt: skip
        loss = "" if entry.loss is None or entry.scheme == BASELINE else f"; loss {entry.loss.mean:.2f} %"
        tip = (
            f"{entry.scheme} at {budget_text(entry.budget)}: {quality.title} {_spread(quality, entry)}, "
            f"{bytes_text(entry.bytes)}{loss}; seeds: {len(entry.seeds)}"
        )
        for artist in drawn.get_children():
            _mark(artist, Mark(entry.scheme, tip), marks)


def _mark(artist: Artist, mark: Mark, marks: dict[str, Mark]) -> None:
    gid = f"mark-{len(marks)}"
    artist.set_gid(gid)
    marks[gid] = mark


def _levels(axes: Axes, comparison: Comparison, quality: Measure, limit: float) -> None:
    figure = comparison.reference
    if figure is None:
        return
    worst = figure.mean * (1 - limit / 100 if quality.higher else 1 + limit / 100)
    axes.axhline(figure.mean, color=INK, linewidth=1, linestyle=(0, (5, 4)), label=f"level of {BASELINE}", zorder=2)
    axes.axhline(worst, color=INK, linewidth=1, linestyle=(0, (1, 3)), label=f"loss of {limit:g} %", zorder=2)


def _spread(measure: Measure, entry: Entry) -> str:
    figure = entry.figures[measure.key]
    spread = f" ± {measure.text(figure.spread)}" if figure.spread is not None else ""
    return f"{measure.text(figure.mean)}{spread} {measure.unit}".rstrip()


def _looks(comparison: Comparison, families: Mapping[str, Family | None]) -> list[_Look]:
    """Give the schemes by family: its colour is the family's, markers and dashes tell its schemes apart."""
    order: list[Family | None] = [*Family, None]
    found = []
    for family in order:
        own = sorted({entry.scheme for entry in comparison.drawn if families.get(entry.scheme) is family})
        for number, scheme in enumerate(own):
            marker, dashes = _MARKERS[number % len(_MARKERS)], _DASHES[number % len(_DASHES)]
            found.append(_Look(scheme, COLOURS[family], marker, dashes))
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
