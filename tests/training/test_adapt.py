"""``adapt``: private rows for frequent ids, hashed rows for all others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests import reference
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError
from vecstore.schemes.adapt import Adapt
from vecstore.schemes.base import TableShape
from vecstore.schemes.ranked_bitmap import bitmap_nbytes
from vecstore.training.adapt import AdaptPart
from vecstore.types import Metric

SHAPE = TableShape(rows=90, dim=5)
COUNTS = np.arange(90) * 37 % 90
ALL = np.arange(90)


@pytest.fixture
def part():
    part = AdaptPart(Adapt(hot=9, shared=7), SHAPE, seed=3, scale=0.5)
    part.observe(COUNTS)
    return part.eval()


def test_rows_are_those_of_the_formula(part):
    table = part.freeze()
    hot = sorted(np.argsort(-COUNTS)[:9].tolist())
    salt = table.arrays()["salt"][0]
    weights = part.rows.detach().numpy()
    for row in range(90):
        place = hot.index(row) if row in hot else 9 + reference.bucket(reference.mixed(row, salt), 7)
        assert table.lookup(np.array([row]))[0].tobytes() == weights[place].tobytes()
        assert part(torch.tensor(row)).detach().numpy().tobytes() == weights[place].tobytes()
    expected = reference.adapt_rows(table.scheme.to_dict(), table.arrays(), ALL)
    assert table.lookup(ALL).tobytes() == expected.tobytes()
    reopened = table.scheme.open(SHAPE, table.arrays())
    assert reopened.lookup(ALL).tobytes() == expected.tobytes()


def test_gradients_of_ids_that_share_a_row_add_up(part):
    slopes = torch.arange(90.0)[:, None] + torch.arange(5.0)
    (part(torch.arange(90)) * slopes).sum().backward()
    expected = np.zeros((16, 5), np.float32)
    np.add.at(expected, part.freeze().places(ALL), slopes.numpy())
    np.testing.assert_allclose(part.rows.grad.numpy(), expected, rtol=1e-6)


def test_each_stored_row_is_scored_once_and_the_distances_are_right(rng, part):
    queries = rng.standard_normal((3, 5)).astype(np.float32)
    table = part.freeze()
    for metric in Metric:
        found = np.empty((3, 90), np.float32)
        table.scorer(queries, metric).scan(0, 90, found)
        np.testing.assert_allclose(found, reference.distances(table.lookup(ALL), queries, metric), atol=1e-5)


def test_state_says_who_is_hot(part):
    other = AdaptPart(Adapt(hot=9, shared=7), SHAPE, seed=3, scale=0.5)
    other.load_state_dict(part.state_dict())
    assert other.freeze().lookup(ALL).tobytes() == part.freeze().lookup(ALL).tobytes()


def test_a_plan_spends_the_budget_on_a_tenth_of_the_ids_and_on_shared_rows():
    shape = TableShape(rows=10_000, dim=16)
    for budget in (0.5, 0.3):
        planned = Adapt.plan(shape, budget)
        assert planned.hot == 1000
        assert 0 <= budget * shape.float32_bytes - planned.nbytes(shape) < 64
    small = Adapt.plan(shape, 0.1)
    assert small.shared - small.hot in (0, 1)
    counts = np.zeros(10_000, np.int64)
    counts[:40] = 1
    assert Adapt.plan(shape, 0.1, counts).hot == 40, "ids that never occur get no row of their own"
    assert Adapt.plan(shape, 0.1, parameters={"hot": 5}).hot == 5
    assert Adapt.plan(shape, 0.1, parameters={"shared": 5}).shared == 5
    everything = Adapt.plan(shape, shape.float32_bytes + bitmap_nbytes(10_000) + 8)
    assert (everything.hot, everything.shared) == (10_000, 0)


def test_bytes_never_fall_with_the_budget_and_the_floor_is_one_row():
    shape = TableShape(rows=300, dim=3)
    floor = bitmap_nbytes(300) + 8 + 12
    assert Adapt.plan(shape, floor).nbytes(shape) == floor
    with pytest.raises(BudgetInfeasible) as caught:
        Adapt.plan(shape, floor - 1)
    assert caught.value.floor == floor
    needed = [Adapt.plan(shape, budget).nbytes(shape) for budget in range(floor, 3700, 13)]
    assert needed == sorted(needed)


def test_fit_keeps_hot_rows_and_averages_the_others(rng):
    matrix = rng.standard_normal((90, 5)).astype(np.float32)
    table = Adapt(hot=9, shared=7).fit(matrix, frequency=COUNTS, seed=4)
    hot = COUNTS >= 81
    assert table.lookup(ALL)[hot].tobytes() == matrix[hot].tobytes()
    places = table.places(ALL)
    for place in range(9, 16):
        own = places == place
        mean = np.average(matrix[own], axis=0, weights=np.maximum(COUNTS[own], 1e-9))
        np.testing.assert_allclose(table.lookup(np.flatnonzero(own))[0], mean, rtol=1e-5)


def test_wrong_settings_and_damaged_bitmaps_are_refused(part):
    for hot, shared in ((-1, 5), (0, 0), (3, -1)):
        with pytest.raises(InvalidArgumentError, match="adapt"):
            Adapt(hot=hot, shared=shared)
    with pytest.raises(InvalidArgumentError, match="hot"):
        Adapt(hot=91, shared=1).fit(np.zeros((90, 5), np.float32))
    arrays = part.freeze().arrays()
    with pytest.raises(CorruptionError, match="words"):
        Adapt(hot=8, shared=8).open(SHAPE, arrays)
    with pytest.raises(InvalidArgumentError, match="adapt"):
        part.freeze().encode(np.zeros((1, 5), np.float32))
