"""One form for each of several fields within one budget: the multiple-choice knapsack, by slopes of convex hulls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Option", "chosen_options"]


@dataclass(frozen=True, slots=True)
class Option:
    """What one form of a field costs, and what is lost by it.

    Attributes
    ----------
    cost : int
        Bytes.
    loss : float
    """

    cost: int
    loss: float


def chosen_options(fields: Sequence[Sequence[Option]], allowed: int) -> list[int] | None:
    """Give the place of the chosen option of each field; None where not even the cheapest fit together.

    All fields begin with their cheapest option. Then the step along a convex hull that saves most loss a byte is taken,
    as long as it fits; where none fits any more, single options that fit are tried, most loss saved first. Were
    bytes divisible, the first part would be optimal: what is lost more is less than the first step that did not fit.

    Parameters
    ----------
    fields : sequence of sequence of Option
        At least one option a field.
    allowed : int
        Cost of all chosen options together.

    References
    ----------
    Sinha and Zoltners, "The Multiple-Choice Knapsack Problem", Operations Research 27(3), 1979.
    """
    hulls = [_hull(options) for options in fields]
    places = [0] * len(fields)
    left = allowed - sum(options[hull[0]].cost for options, hull in zip(fields, hulls, strict=True))
    if left < 0:
        return None
    steps = sorted(
        (-_slope(fields[number][one], fields[number][other]), number, place + 1)
        for number, hull in enumerate(hulls)
        for place, (one, other) in enumerate(pairwise(hull))
    )
    stopped: set[int] = set()
    for _, number, place in steps:
        hull, options = hulls[number], fields[number]
        more = options[hull[place]].cost - options[hull[place - 1]].cost
        if number in stopped or more > left:
            # Steps of one hull build on each other.
            stopped.add(number)
            continue
        places[number], left = place, left - more
    chosen = [hull[place] for hull, place in zip(hulls, places, strict=True)]
    return _improved(fields, chosen, left)


def _improved(fields: Sequence[Sequence[Option]], chosen: list[int], left: int) -> list[int]:
    """Take single options that fit into what is left, the one that saves most first."""
    while True:
        best, saved = None, 0.0
        for number, options in enumerate(fields):
            now = options[chosen[number]]
            for place, option in enumerate(options):
                if option.cost - now.cost <= left and now.loss - option.loss > saved:
                    best, saved = (number, place), now.loss - option.loss
        if best is None:
            return chosen
        number, place = best
        left -= fields[number][place].cost - fields[number][chosen[number]].cost
        chosen[number] = place


def _hull(options: Sequence[Option]) -> list[int]:
    """Give the places of the lower convex hull of options, by rising cost and falling loss."""
    ordered = sorted(range(len(options)), key=lambda place: (options[place].cost, options[place].loss))
    hull: list[int] = []
    for place in ordered:
        own = options[place]
        if hull and own.loss >= options[hull[-1]].loss:
            continue
        while len(hull) > 1 and _slope(options[hull[-2]], options[hull[-1]]) <= _slope(options[hull[-1]], own):
            hull.pop()
        hull.append(place)
    return hull


def _slope(one: Option, other: Option) -> float:
    """Give the loss that is saved a byte by going from one option to a dearer one."""
    return (one.loss - other.loss) / max(other.cost - one.cost, 1)
