"""How fields share bytes: one share for all, as large as fits, and then what is left over, field by field.

Both steps are halvings of an interval whose midpoints do not depend on the budget, and a form is taken only if it fits
and is larger than the one before. So of two budgets the larger never gives the smaller table: where the two runs first
differ, the larger budget took a form that was too large for the smaller one, and forms only grow from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from vecstore.errors import BudgetInfeasible
from vecstore.schemes.base import Scheme, TableShape, popularity_of
from vecstore.schemes.full import Full
from vecstore.types import I64

__all__ = ["Slot", "fill", "reachable", "share_bytes", "total_cost"]

#: Further reachable budgets that an error lists, and how far apart two are, as a share of the float32 tables.
_LISTED, _APART = 3, 0.005


@dataclass(frozen=True)
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
        return config if self.cost(compared) < self.whole else Full()

    @cached_property
    def whole(self) -> int:
        """Bytes that the uncompressed rows add to a stored table."""
        return self.cost(Full())

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
    first: there a byte is read most often. Each takes the largest form of its scheme that fits.

    Parameters
    ----------
    slots : sequence of Slot
    allowed : int
        Bytes of all slots; the smallest forms must fit.
    """
    at = share_bytes(slots)
    whole = sum(slot.shape.float32_bytes for slot in slots)
    chosen = at(_highest(lambda share: total_cost(slots, at(share)) <= allowed, whole))
    left = allowed - total_cost(slots, chosen)
    popularity = [popularity_of(slot.shape, slot.frequency) for slot in slots]
    for number in sorted(range(len(slots)), key=lambda number: -popularity[number]):
        slot, now = slots[number], chosen[number]
        larger = _largest(slot, now, slot.cost(now) + left) if left else now
        if slot.cost(larger) > slot.cost(now):
            left -= slot.cost(larger) - slot.cost(now)
            chosen[number] = larger
    return chosen


def reachable(slots: Sequence[Slot]) -> list[int]:
    """Give the bytes of all slots at the smallest share, and of the next few steps that give larger tables.

    Schemes that can use any budget have no steps worth naming, and get the first alone.
    """
    at = share_bytes(slots)
    whole = sum(slot.shape.float32_bytes for slot in slots)
    found, low = [total_cost(slots, at(0.0))], 0.0

    def within(most: int, share: float) -> bool:
        return total_cost(slots, at(share)) <= most

    while len(found) <= _LISTED and not within(found[-1], 1.0):
        last = found[-1]
        low = _highest(partial(within, last), whole, low)
        found.append(total_cost(slots, at(min(1.0, low + 1 / whole))))
        if found[-1] - last < _APART * whole:
            return found[:1]
    return found


def _largest(slot: Slot, now: Scheme, most: int) -> Scheme:
    """Give the largest form that costs at most ``most`` bytes, which the present one does."""
    whole = slot.shape.float32_bytes
    share = min(1.0, now.nbytes(slot.shape) / whole)
    return slot.at(_highest(lambda share: slot.cost(slot.at(share)) <= most, whole, share))


def _highest(fits: Callable[[float], bool], whole: int, low: float = 0.0) -> float:
    """Give the highest share from ``low`` to 1 that fits, to a byte of ``whole``; the shares that fit are the lower."""
    if fits(1.0):
        return 1.0
    step = 1.0 - low
    for _ in range(whole.bit_length()):
        step /= 2
        if fits(low + step):
            low += step
    return low


def total_cost(slots: Sequence[Slot], schemes: Sequence[Scheme]) -> int:
    """Give the bytes that schemes, one a slot, add to a stored table."""
    return sum(slot.cost(scheme) for slot, scheme in zip(slots, schemes, strict=True))
