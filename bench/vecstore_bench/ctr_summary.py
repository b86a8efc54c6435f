"""The table that the training benchmark prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

__all__ = ["summary"]


_HEADINGS = (
    "model",
    "scheme",
    "budget",
    "stored bytes",
    "of float32",
    "seeds",
    "AUC",
    "log loss",
    "steps/s",
    "s",
    "freeze s",
    "look-up ns",
    "peak MB (added)",
)


def summary(results: Sequence[dict[str, Any]], published: Mapping[tuple[str, float], str] | None = None) -> Table:
    """Give the results as a table, the seeds of a scheme and budget in one row.

    Parameters
    ----------
    results : sequence of dict
        Of cells.
    published : mapping of (str, float) to str, optional
        Scheme and budget -> figures of others, for a column of their own.
    """
    table = Table(
        title="test quality of frozen tables: mean (standard deviation) over seeds", caption=_caption(results)
    )
    for heading in (*_HEADINGS, *(["paper / repro"] if published else [])):
        table.add_column(heading, justify="left" if heading in ("model", "scheme") else "right")
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for line in results:
        groups.setdefault((line["model"], line["scheme"], line["budget"]), []).append(line)
    for (model, scheme, budget), lines in groups.items():
        done = [line for line in lines if line["status"] == "done"]
        figures = _figures(done) if done else _reason(lines[-1])
        if published:
            blanks = [""] * (len(_HEADINGS) - 3 - len(figures))
            figures = [*figures, *blanks, published.get((scheme, budget), "")]
        table.add_row(model, scheme, f"{budget:g}", *figures)
    return table


def _caption(results: Sequence[dict[str, Any]]) -> str | None:
    """Say what a reader must know of the figures."""
    most = max((line.get("jobs", 1) for line in results), default=1)
    notes = [f"up to {most} cells ran at once, which slows each of them"] if most > 1 else []
    if any(_beyond(line) for line in results if line["status"] == "done"):
        notes.append("*: more bytes than the budget")
    return "; ".join(notes) or None


def _beyond(line: dict[str, Any]) -> bool:
    return bool(line["bytes"] > line["asked_bytes"])


def _figures(done: list[dict[str, Any]]) -> list[str]:
    def mean(name: str) -> float:
        return float(np.mean([line[name] for line in done]))

    def spread(name: str) -> str:
        deviation = np.std([line[name] for line in done], ddof=1) if len(done) > 1 else np.nan
        return f"{mean(name):.4f} ({deviation:.4f})" if len(done) > 1 else f"{mean(name):.4f}"

    kept = max(line["bytes"] for line in done)
    added = max(line["peak_bytes"] - line["before_bytes"] for line in done) / 1e6
    return [
        f"{kept:,}{'*' if any(map(_beyond, done)) else ''}",
        f"{kept / done[0]['full_bytes']:.4g}",
        str(len(done)),
        spread("test_auc"),
        spread("test_logloss"),
        f"{mean('steps_per_second'):,.0f}",
        f"{mean('train_seconds'):,.1f}",
        f"{mean('freeze_seconds'):,.1f}",
        f"{np.median([line['lookup_ns'] for line in done]):,.0f}",
        f"{max(line['peak_bytes'] for line in done) / 1e6:,.0f} ({added:,.0f})",
    ]


def _reason(line: dict[str, Any]) -> list[str]:
    if line["status"] == "infeasible":
        return [f"floor {line['floor_bytes']:,}", f"{line['floor_bytes'] / line['full_bytes']:.4g}", "0", "infeasible"]
    return ["", "", "0", line["error"][:60]]
