"""What the columns of a run's results mean, and how their numbers are written.

A further column is one :class:`Measure` in :data:`MEASURES`; the table, the bars and the advice take it from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "CODE_BYTES",
    "LOOKUP",
    "MEASURES",
    "QUALITIES",
    "SEARCH",
    "TRAIN_MEMORY",
    "Measure",
    "budget_text",
    "bytes_text",
    "first",
]

#: A row of results, as it was read.
Row = Mapping[str, Any]


def first(*names: str) -> Callable[[Row], float | None]:
    """Read the first of some columns that has a finite number; None where none has."""

    def read(row: Row) -> float | None:
        for name in names:
            value = row.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                return float(value)
        return None

    return read


def bytes_text(value: float) -> str:
    """Give bytes with a unit of 1000s and three digits: ``12.3 MB``."""
    size = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 99.95 else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def budget_text(budget: float) -> str:
    """Give a budget as it was asked: a share of the float32 table, or bytes."""
    return f"{budget:.4%}".rstrip("%").rstrip("0").rstrip(".") + " %" if budget <= 1 else bytes_text(budget)


def _decimals(places: int) -> Callable[[float], str]:
    return lambda value: f"{value:,.{places}f}"


def _digits(value: float) -> str:
    """Give three digits that count, all of them where there are more before the point."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One number of a cell.

    Attributes
    ----------
    key : str
        Its name here.
    title : str
        Heading.
    unit : str
        Empty where there is none, or where the text of a number has it.
    read : callable
        Row -> number, or None where the row has none.
    text : callable
        Number -> text, without the unit.
    higher : bool
        Whether more is better.
    bars : bool
        Whether it is drawn as bars.
    missing : str
        How to get it where a run has none of it.
    """

    key: str
    title: str
    read: Callable[[Row], float | None]
    text: Callable[[float], str] = _digits
    unit: str = ""
    higher: bool = False
    bars: bool = False
    missing: str = ""

    @property
    def heading(self) -> str:
        """Title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def with_unit(self, value: float) -> str:
        """Give a number with the unit."""
        return f"{self.text(value)} {self.unit}".rstrip()


def _training_memory(row: Row) -> float | None:
    """Give the bytes that training added to the process: data and libraries were there before."""
    peak, before = first("peak_bytes")(row), first("before_bytes")(row)
    return None if peak is None or before is None else peak - before


TRAIN_MEMORY = Measure(
    key="train_memory",
    title="Training memory",
    read=_training_memory,
    text=bytes_text,
    bars=True,
    missing="Training memory (peak_bytes and before_bytes) is measured by `vecstore bench ctr`.",
)
LOOKUP = Measure(
    key="lookup_ns",
    title="Look-up time",
    unit="ns an id",
    read=first("lookup_ns"),
    bars=True,
    missing="This run has no column lookup_ns. `vecstore bench ctr` measures it, or `vecstore bench lookup` by itself.",
)

SEARCH = Measure(
    key="queries_to_float32",
    title="Queries a second",
    unit="to those of float32",
    read=first("queries_to_float32"),
    higher=True,
    bars=True,
)

CODE_BYTES = Measure(
    key="code_bytes",
    title="Bytes in memory",
    read=first("code_bytes"),
    text=bytes_text,
    bars=True,
    missing="Bytes without the finer copy (code_bytes) are measured by `vecstore bench retrieval`.",
)

#: How good the compressed vectors are; the first that a run has is the one that losses and advice refer to.
QUALITIES = (
    Measure(key="test_auc", title="AUC", read=first("test_auc"), text=_decimals(4), higher=True),
    Measure(key="ndcg@10", title="nDCG@10", read=first("ndcg@10"), text=_decimals(4), higher=True),
    Measure(key="recall@10", title="Recall@10", read=first("recall@10"), text=_decimals(4), higher=True),
    Measure(
        key="test_logloss",
        title="Log loss",
        unit="nats",
        read=first("test_logloss", "test_loss"),
        text=_decimals(4),
    ),
)

MEASURES = (
    *QUALITIES,
    TRAIN_MEMORY,
    LOOKUP,
    SEARCH,
    CODE_BYTES,
    *(
        Measure(key=key, title=title, read=first(key), text=_decimals(4), higher=True)
        for key, title in (("recall@1", "Recall@1"), ("recall@100", "Recall@100"), ("mrr@10", "MRR@10"))
    ),
    Measure(key="bytes_per_vector", title="Bytes a vector", read=first("bytes_per_vector")),
    Measure(key="fit_seconds", title="Fitting", unit="s", read=first("fit_seconds"), bars=True),
    Measure(key="encode_seconds", title="Encoding", unit="s", read=first("encode_seconds")),
    Measure(key="p50_ms", title="Median latency", unit="ms", read=first("p50_ms"), bars=True),
    Measure(key="p99_ms", title="99 % latency", unit="ms", read=first("p99_ms"), bars=True),
    Measure(key="batch_p50_ms", title="Median latency of 1,024 rows", unit="ms", read=first("batch_p50_ms"), bars=True),
    Measure(key="batch_p99_ms", title="99 % latency of 1,024 rows", unit="ms", read=first("batch_p99_ms")),
    Measure(key="queries_per_s", title="Queries", unit="a second", read=first("queries_per_s"), higher=True, bars=True),
    Measure(key="train_seconds", title="Training time", unit="s", read=first("train_seconds"), bars=True),
    Measure(key="steps_per_s", title="Steps", unit="a second", read=first("steps_per_second"), higher=True),
    Measure(
        key="samples_per_s",
        title="Training rows",
        unit="a second",
        read=first("samples_per_second"),
        higher=True,
        bars=True,
    ),
    Measure(key="freeze_seconds", title="Compression", unit="s", read=first("freeze_seconds")),
    Measure(key="store_seconds", title="Storing", unit="s", read=first("store_seconds")),
)
