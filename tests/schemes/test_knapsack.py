"""The choice of one form a field under a budget, against all choices there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from vecstore.schemes.knapsack import Option, chosen_options


def instance(seed, fields=4, options=6):
    draws = np.random.default_rng(seed)
    return [
        [
            Option(int(cost), float(loss))
            for cost, loss in zip(draws.integers(1, 60, options), draws.random(options) * 9, strict=True)
        ]
        for _ in range(fields)
    ]


def total(fields, places, what):
    return sum(getattr(own[place], what) for own, place in zip(fields, places, strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_it_is_near_the_best_of_all_choices(seed):
    fields = instance(seed)
    cheapest = sum(min(option.cost for option in own) for own in fields)
    steps = sorted(option.loss for own in fields for option in own)
    for allowed in range(cheapest, cheapest + 120, 7):
        places = chosen_options(fields, allowed)
        assert total(fields, places, "cost") <= allowed
        every = product(*(range(len(own)) for own in fields))
        best = min(total(fields, own, "loss") for own in every if total(fields, own, "cost") <= allowed)
        # At most one step is lost, and none once everything fits.
        assert best <= total(fields, places, "loss") + 1e-12
        assert total(fields, places, "loss") <= best + steps[-1]
    most = sum(max(option.cost for option in own) for own in fields)
    found = chosen_options(fields, most)
    assert total(fields, found, "loss") == pytest.approx(sum(min(option.loss for option in own) for own in fields))


def test_too_little_is_none():
    fields = instance(1)
    cheapest = sum(min(option.cost for option in own) for own in fields)
    assert chosen_options(fields, cheapest - 1) is None
    assert total(fields, chosen_options(fields, cheapest), "cost") == cheapest


def test_an_option_that_is_not_on_the_hull_fills_what_is_left():
    # From 1 to 10 bytes no step fits 5; the option of 4 bytes is above the line between them.
    fields = [[Option(1, 10.0), Option(4, 9.0), Option(10, 0.0)]]
    assert chosen_options(fields, 5) == [1]
    assert chosen_options(fields, 10) == [2]
