"""How far a search goes: candidates of graph walks, a recall to reach, or every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vecstore.api import MAX_EF
from vecstore.errors import InvalidArgumentError
from vecstore.types import as_count, as_recall

__all__ = ["Effort", "as_effort"]


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

    @classmethod
    def reaching(cls, recall: float) -> Effort:
        """Give the effort for a recall above 0; one of 1 is an exact search."""
        return cls(exact=True) if recall == 1 else cls(recall=recall)

    def or_recall(self, recall: float | None) -> Effort:
        """Give the effort for ``recall`` where this one says nothing."""
        return Effort.reaching(recall) if recall is not None and self == Effort() else self


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
    return Effort.reaching(wanted)
