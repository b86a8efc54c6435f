"""How far a search goes: candidates of graph walks, a recall to reach, the stages of a funnel, or every row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from vecstore.api import MAX_EF
from vecstore.errors import InvalidArgumentError
from vecstore.types import MAX_DIM, as_count, as_recall

__all__ = ["MAX_STAGES", "Effort", "Stage", "as_effort"]

#: Stages of a funnel; the dimensions of so many are kept in memory.
MAX_STAGES = 4


class Stage(NamedTuple):
    """One stage of a funnel.

    Attributes
    ----------
    dims : int
        The first numbers by which rows are compared.
    rows : int or None
        The nearest so many go on to the next stage; None for the usual number.
    """

    dims: int
    rows: int | None = None


class Effort(NamedTuple):
    """What a search was asked to spend or to reach; at most one of the four, none for the collection's settings.

    Attributes
    ----------
    ef : int or None
        Candidates kept by graph walks.
    recall : float or None
        Share of the true nearest rows to find, above 0 and below 1.
    exact : bool
        Compare with every row on the finest copy.
    funnel : tuple of Stage
        Compare with every row by its first numbers, and with the best by more; dimensions ascend.
    widened : bool
        Whether ``ef`` is the settings', which must do for any number of hits: walks are widened where many are wanted.
    """

    ef: int | None = None
    recall: float | None = None
    exact: bool = False
    funnel: tuple[Stage, ...] = ()
    widened: bool = False

    @classmethod
    def reaching(cls, recall: float) -> Effort:
        """Give the effort for a recall above 0; one of 1 is an exact search."""
        return cls(exact=True) if recall == 1 else cls(recall=recall)

    def resolved(self, recall: float | None, ef: int) -> Effort:
        """Give the effort for ``recall``, or else that of ``ef``, where this one says nothing."""
        if self.ef is not None or self.recall is not None or self.exact or self.funnel:
            return self
        return Effort(ef=ef, widened=True) if recall is None else Effort.reaching(recall)


def as_effort(ef: Any, recall: Any, exact: bool, funnel: Any) -> Effort:
    """Give what the arguments of a search ask for; a recall of 1 is an exact search.

    Raises
    ------
    InvalidArgumentError
        One of them is out of range, or ``recall`` or ``funnel`` is given beside another.
    """
    if recall is None and funnel is None and (ef is None or type(ef) is int):
        return _effort_of(ef, bool(exact))
    width = None if ef is None else as_count(ef, name="ef", limit=MAX_EF)
    if recall is None and funnel is None:
        return Effort(ef=width, exact=bool(exact))
    given = {"exact": exact, "ef": width is not None, "recall": recall is not None, "funnel": funnel is not None}
    asked = [name for name, is_given in given.items() if is_given]
    if len(asked) > 1:
        chosen, other = asked[-1], asked[0]
        raise InvalidArgumentError(
            f"{chosen}: a search takes either {chosen} or {other}; {chosen} chooses the effort itself", field=chosen
        )
    if funnel is not None:
        return Effort(funnel=_stages(funnel))
    return Effort.reaching(as_recall(recall, name="recall"))


@lru_cache
def _effort_of(ef: int | None, exact: bool) -> Effort:
    """Give the effort of what most searches ask for, and ask for again."""
    return Effort(ef=None if ef is None else as_count(ef, name="ef", limit=MAX_EF), exact=exact)


def _stages(funnel: Any) -> tuple[Stage, ...]:
    """Give the stages of dimensions, or of dimensions with numbers of rows."""
    if isinstance(funnel, str | bytes) or not isinstance(funnel, Iterable):
        raise InvalidArgumentError(
            f"funnel: expected dimensions such as (64, 128), or with rows {{64: 1000, 128: 200}}, got {funnel!r}",
            field="funnel",
        )
    pairs = list(funnel.items()) if isinstance(funnel, Mapping) else [(dims, None) for dims in funnel]
    stages = tuple(
        Stage(
            as_count(dims, name="funnel", limit=MAX_DIM),
            None if rows is None else as_count(rows, name="funnel", limit=MAX_EF),
        )
        for dims, rows in pairs
    )
    dims = [stage.dims for stage in stages]
    if not 1 <= len(stages) <= MAX_STAGES or dims != sorted(set(dims)):
        raise InvalidArgumentError(
            f"funnel: expected 1 to {MAX_STAGES} numbers of dimensions that ascend, got {dims}", field="funnel"
        )
    return stages
