"""The table that the training benchmark prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from rich.table import Table

from vecstore_bench.report.measures import TRAIN_MEMORY, first

__all__ = ["summary"]

#: Gives a number of a result; None where it has none.
Read: TypeAlias = Callable[[Mapping[str, Any]], float | None]

_NOTHING = "-"
#: Of all files; of the arrays where an earlier version did not say.
_BYTES = first("bytes", "reached_bytes")

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
    return bool((_BYTES(line) or 0) > line["asked_bytes"])


def _figures(done: list[dict[str, Any]]) -> list[str]:
    """Give the figures of a row; what an earlier version did not measure yet has a dash."""

    def text(form: str, read: Read, combine: Callable[[list[float]], Any] = np.mean) -> str:
        values = [value for line in done if (value := read(line)) is not None]
        return form.format(combine(values)) if values else _NOTHING

    def spread(read: Read) -> str:
        values = [value for line in done if (value := read(line)) is not None]
        deviation = f" ({np.std(values, ddof=1):.4f})" if len(values) > 1 else ""
        return text("{:.4f}", read) + deviation

    return [
        text("{:,.0f}", _BYTES, max) + ("*" if any(map(_beyond, done)) else ""),
        text("{:.4g}", lambda line: (_BYTES(line) or 0) / line["full_bytes"], max),
        str(len(done)),
        spread(first("test_auc")),
        spread(first("test_logloss", "test_loss")),
        text("{:,.0f}", first("steps_per_second")),
        text("{:,.1f}", first("train_seconds")),
        text("{:,.1f}", first("freeze_seconds")),
        text("{:,.0f}", first("lookup_ns"), np.median),
        f"{text('{:,.0f}', _megabytes(first('peak_bytes')), max)} "
        f"({text('{:,.0f}', _megabytes(TRAIN_MEMORY.read), max)})",
    ]


def _megabytes(read: Read) -> Read:
    def megabytes(line: Mapping[str, Any]) -> float | None:
        value = read(line)
        return None if value is None else value / 1e6

    return megabytes


def _reason(line: dict[str, Any]) -> list[str]:
    if line["status"] == "infeasible":
        return [f"floor {line['floor_bytes']:,}", f"{line['floor_bytes'] / line['full_bytes']:.4g}", "0", "infeasible"]
    return ["", "", "0", " ".join(line["error"].split())[:60]]
