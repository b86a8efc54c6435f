"""How fields share bytes: one share for all, as large as fits, and then what is left over, field by field.

Both steps are halvings of an interval whose midpoints do not depend on the budget, and a form is taken only if it fits
and is larger than the one before. So of two budgets the larger never gives the smaller table: where the two runs first
differ, the larger budget took a form that was too large for the smaller one, and forms only grow from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vecstore.errors import BudgetInfeasible
from vecstore.schemes.base import Scheme, TableShape, popularity_of
from vecstore.schemes.full import Full
from vecstore.types import I64

__all__ = ["Slot", "fill", "reachable", "share_bytes", "total_cost"]

#: Halvings of a share: after 40 it is known to a billionth of a table.
_STEPS = 40
#: Further reachable budgets that an error lists, and how far apart two are, as a share of the float32 tables.
_LISTED, _APART = 3, 0.005


@dataclass(frozen=True, slots=True)
class Slot:
    """Rows that one scheme will hold: those of a field, or of all.

    Attributes
    ----------
    scheme : type of Scheme
    shape : TableShape
    frequency : int64[rows] or None
    parameters : mapping
        Settings of the scheme that are given.
    cost : callable
        Gives the bytes that a scheme for these rows adds to a stored table.
    """

    scheme: type[Scheme]
    shape: TableShape
    frequency: I64 | None
    parameters: Mapping[str, Any]
    cost: Callable[[Scheme], int]

    def at(self, share: float) -> Scheme:
        """Give the scheme at a share of the rows' bytes: at least its floor, and ``full`` if that is no larger."""
        return self.worthwhile(self._planned(int(share * self.shape.float32_bytes)))

    def worthwhile(self, config: Scheme) -> Scheme:
        """Give ``full`` in place of what makes a field no smaller; joint schemes have no fields to except."""
        if self.scheme.capabilities.joint:
            return config
        # Where the form is searched later, any smaller one is reason enough to keep the field in the search.
        compared = self._planned(0) if self.scheme.capabilities.searched else config
        return config if self.cost(compared) < self.cost(Full()) else Full()

    def _planned(self, allowed: int) -> Scheme:
        try:
            return self.scheme.plan(self.shape, allowed, self.frequency, self.parameters)
        except BudgetInfeasible as error:
            return self.scheme.plan(self.shape, error.floor, self.frequency, self.parameters)


def share_bytes(slots: Sequence[Slot]) -> Callable[[float], list[Scheme]]:
    """Give the rule that maps a share from 0 to 1 to one scheme a slot: the method's own, or the same share for all."""
    first = slots[0]
    own = first.scheme.plan_fields([s.shape for s in slots], [s.frequency for s in slots], first.parameters)
    if own is None:
        return lambda share: [slot.at(share) for slot in slots]
    rule = own
    return lambda share: [slot.worthwhile(config) for slot, config in zip(slots, rule(share), strict=True)]


def fill(slots: Sequence[Slot], allowed: int) -> list[Scheme]:
    """Give the schemes of all slots whose bytes together fit, and use as many of them as can be.

    After the common share, bytes that are left go to one field after another, the field whose ids are used most often
    first: there a byte is read most often. It takes the largest form of its scheme that fits, or ``full`` where even
    the largest leaves enough over. The last field keeps the scheme, and so do all where the budget decides nothing
    about it (such as ``int8``).

    Parameters
    ----------
    slots : sequence of Slot
    allowed : int
        Bytes of all slots; the smallest forms must fit.
    """
    at = share_bytes(slots)
    chosen = at(_highest(lambda share: total_cost(slots, at(share)) <= allowed, 0.0))
    popularity = [popularity_of(slot.shape, slot.frequency) for slot in slots]
    order = sorted(range(len(slots)), key=lambda number: -popularity[number])
    for number in order:
        slot, now = slots[number], chosen[number]
        room = allowed - total_cost(slots, chosen) + slot.cost(now)
        for larger in _larger(slot, now, room, whole=number != order[-1]):
            if slot.cost(now) < slot.cost(larger) <= room:
                chosen[number] = now = larger
    return chosen


def reachable(slots: Sequence[Slot]) -> list[int]:
    """Give the bytes of all slots at the smallest share, and of the next few steps that give larger tables.

    Schemes that can use any budget have no steps worth naming, and get the first alone.
    """
    at = share_bytes(slots)
    apart = _APART * sum(slot.shape.float32_bytes for slot in slots)
    found, low = [total_cost(slots, at(0.0))], 0.0

    def within(most: int, share: float) -> bool:
        return total_cost(slots, at(share)) <= most

    while len(found) <= _LISTED and total_cost(slots, at(1.0)) > found[-1]:
        last = found[-1]
        low = _highest(partial(within, last), low)
        found.append(total_cost(slots, at(min(1.0, low + 2.0**-_STEPS))))
        if found[-1] - last < apart:
            return found[:1]
    return found


def _larger(slot: Slot, now: Scheme, room: int, *, whole: bool) -> list[Scheme]:
    """Give the forms that may take the place of the present one, in ascending order."""
    smallest, largest = slot.at(0.0), slot.at(1.0)
    if slot.cost(smallest) == slot.cost(largest):
        return []
    start = min(1.0, now.nbytes(slot.shape) / slot.shape.float32_bytes)
    own = slot.at(_highest(lambda share: slot.cost(slot.at(share)) <= room, start))
    return [own]


def _highest(fits: Callable[[float], bool], low: float) -> float:
    """Give the highest share from ``low`` to 1 that fits, where the shares that do are the lower ones."""
    if fits(1.0):
        return 1.0
    step = 1.0 - low
    for _ in range(_STEPS):
        step /= 2
        if fits(low + step):
            low += step
    return low


def total_cost(slots: Sequence[Slot], schemes: Sequence[Scheme]) -> int:
    """Give the bytes that schemes, one a slot, add to a stored table."""
    return sum(slot.cost(scheme) for slot, scheme in zip(slots, schemes, strict=True))
