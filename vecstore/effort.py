"""How far a search goes: candidates of graph walks, a recall to reach, or every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vecstore.api import MAX_EF
from vecstore.errors import InvalidArgumentError
from vecstore.types import as_count

__all__ = ["Effort", "as_effort", "as_recall"]


@dataclass(frozen=True, slots=True)
class Effort:
    """What a search was asked to spend or to reach; at most one of the three, none for the collection's settings.

    Attributes
    ----------
    ef : int or None
        Candidates kept by graph walks.
    recall : float or None
        Share of the true nearest rows to find, above 0 and below 1.
    exact : bool
        Compare with every row on the finest copy.
    """

    ef: int | None = None
    recall: float | None = None
    exact: bool = False


def as_effort(ef: Any, recall: Any, exact: bool) -> Effort:
    """Give what the arguments of a search ask for; a recall of 1 is an exact search.

    Raises
    ------
    InvalidArgumentError
        One of them is out of range, or ``recall`` is given beside another.
    """
    width = None if ef is None else as_count(ef, name="ef", limit=MAX_EF)
    if recall is None:
        return Effort(ef=width, exact=bool(exact))
    wanted = as_recall(recall, name="recall")
    if width is not None or exact:
        other = "exact" if exact else "ef"
        raise InvalidArgumentError(
            f"recall: a search takes either recall or {other}; recall chooses the effort itself", field="recall"
        )
    return Effort(exact=True) if wanted == 1 else Effort(recall=wanted)


def as_recall(value: Any, *, name: str) -> float:
    """Give a share above 0 and at most 1.

    Raises
    ------
    InvalidArgumentError
        Not a number, or outside.
    """
    try:
        share = float("nan") if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        share = float("nan")
    if not 0 < share <= 1:
        raise InvalidArgumentError(f"{name}: expected a number above 0 and at most 1, got {value!r}", field=name)
    return share
