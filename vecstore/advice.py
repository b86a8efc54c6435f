"""What the advisor says: every stored form it tried, and the one to take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vecstore.api import Collection, Database

__all__ = [
    "CHOSEN",
    "LARGER",
    "MAX_ADVISED_K",
    "MIN_ADVISED_ROWS",
    "MISSES",
    "MISSES_ALL",
    "TOO_LARGE",
    "Advice",
    "Candidate",
]

#: Fewer rows have too few neighbours to tell forms apart.
MIN_ADVISED_ROWS = 1_000
#: Most hits a query that forms are compared for.
MAX_ADVISED_K = 100
#: What is said of a candidate.
MISSES, MISSES_ALL = "misses the recall", "misses the recall among all rows"
CHOSEN, LARGER, TOO_LARGE = "chosen", "more bytes", "too large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stored form that was tried.

    Attributes
    ----------
    scheme : dict
        JSON config of the codes.
    refine : dict or None
        JSON config of the finer copy.
    memory_bytes, disk_bytes : float
        Bytes a vector of the codes, which every search reads, and of codes and finer copy together.
    recall : float
        Recall of scans on the sample.
    expected : float
        Recall that is expected among all rows.
    checked : float or None
        Recall as measured on the rows of the check, on the safe side; None where it was not checked.
    finest : float
        The same, checked or expected, of an exact search on the finest copy, which bounds every search.
    speed : float
        Queries a second of scans of the sample, as a multiple of those of float32 rows.
    encode_seconds : float
        Processor time of encoding the sample.
    verdict : str
        Why it was chosen or not.
    """

    scheme: dict[str, Any]
    refine: dict[str, Any] | None
    memory_bytes: float
    disk_bytes: float
    recall: float
    expected: float
    finest: float
    checked: float | None = None
    speed: float
    encode_seconds: float
    verdict: str = ""

    @property
    def transform(self) -> str:
        """The transforms in front of the codec; empty for none."""
        return str(self.scheme.get("transform", ""))

    def beats(self, other: Candidate) -> bool:
        """Tell whether this needs less memory or disk than another, and no more of either."""
        own, others = (self.memory_bytes, self.disk_bytes), (other.memory_bytes, other.disk_bytes)
        return own != others and own[0] <= others[0] and own[1] <= others[1]

    @property
    def codec(self) -> str:
        """The codec and its parameters, in a few words."""
        inner = self.scheme.get("inner", self.scheme)
        parameters = [f"{name}={inner[name]}" for name in ("bits", "parts", "width") if name in inner]
        return " ".join([str(inner["scheme"]), *parameters])


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What was tried, and what to take.

    Attributes
    ----------
    candidates : tuple of Candidate
        Everything that was tried, by bytes on disk.
    chosen : Candidate
        What to take.
    reason : str
        Why.
    target_recall : float
    k : int
    arguments : dict
        For ``create_collection``, beside the name.
    rows, sample_rows, checked_rows : int
        Rows that the advice is for, of the sample, and of the check.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    reason: str
    target_recall: float
    k: int
    arguments: dict[str, Any]
    rows: int
    sample_rows: int
    checked_rows: int

    def create(self, db: Database, name: str) -> Collection:
        """Create a collection as advised."""
        return db.create_collection(name, **self.arguments)

    @property
    def headings(self) -> tuple[str, ...]:
        """Give what :meth:`row` gives of a candidate."""
        return (
            "codec",
            "transform",
            "refine",
            "bytes in memory",
            "on disk",
            f"recall@{self.k}",
            "expected",
            "checked",
            "queries/s",
            "encode s",
            "",
        )

    def row(self, one: Candidate) -> tuple[object, ...]:
        """Give a candidate as a row below :attr:`headings`."""
        return (
            one.codec,
            one.transform or None,
            one.refine["scheme"] if one.refine else None,
            round(one.memory_bytes, 1),
            round(one.disk_bytes, 1),
            round(one.recall, 4),
            round(one.expected, 4),
            None if one.checked is None else round(one.checked, 4),
            round(one.speed, 2),
            round(one.encode_seconds, 2),
            one.verdict,
        )

    @property
    def best(self) -> list[Candidate]:
        """Give what was checked, and what reaches the recall and is beaten by none in both memory and disk."""
        holding = [one for one in self.candidates if one.verdict not in (MISSES, MISSES_ALL)]
        return [
            one
            for one in self.candidates
            if one.checked is not None or (one in holding and not any(other.beats(one) for other in holding))
        ]

    def __str__(self) -> str:
        """Give the best candidates as a table, and the reason."""
        best = self.best
        cells = [list(self.headings), *([_cell(value) for value in self.row(one)] for one in best)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        return "\n".join([*lines, f"and {len(self.candidates) - len(best)} more that were tried", "", self.reason])


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
