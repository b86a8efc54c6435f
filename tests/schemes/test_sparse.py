from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError, NotFoundError
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.base import TableShape
from vecstore.schemes.deeplight import DeepLight
from vecstore.schemes.places import CODINGS, keep_largest, places_nbytes
from vecstore.types import Metric

EACH_CODING = pytest.mark.parametrize("places", CODINGS)
SHAPES = [(1, 5), (67, 1), (67, 3), (300, 16), (90, 33), (220, 384)]


def cut(matrix, count):
    """The matrix with all but its largest numbers set to 0, by sorting."""
    flat = matrix.ravel()
    kept = np.lexsort((np.arange(flat.size), -np.abs(flat)))[:count]
    result = np.zeros_like(flat)
    result[kept] = flat[kept]
    return result.reshape(matrix.shape)


@EACH_CODING
@pytest.mark.parametrize("share", [0, 0.01, 0.2, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_lookup_is_the_cut_and_the_twin_before_and_after_storage(rng, places, share, shape):
    matrix = rng.standard_normal(shape).astype(np.float32)
    count = int(share * matrix.size)
    scheme = DeepLight(values=count, places=places)
    table = scheme.fit(matrix)
    rows = rng.integers(0, shape[0], 50)
    expected = cut(matrix, count)[rows].tobytes()
    assert table.lookup(rows).tobytes() == expected
    assert reference.sparse_rows(scheme.to_dict(), table.arrays(), rows, shape[1]).tobytes() == expected
    copies = {name: array.copy() for name, array in table.arrays().items()}
    assert scheme.open(table.shape, copies).lookup(rows).tobytes() == expected
    assert table.nbytes == scheme.nbytes(table.shape) == sum(array.nbytes for array in copies.values())


@EACH_CODING
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("shape", SHAPES)
def test_distances_are_those_of_the_decoded_rows(rng, places, metric, shape):
    matrix, queries = (unit_rows(rng.standard_normal((n, shape[1])).astype(np.float32)) for n in (shape[0], 19))
    table = DeepLight(values=matrix.size // 3, places=places).fit(matrix)
    scorer = table.scorer(queries, metric)
    whole = np.empty((19, shape[0]), np.float32)
    scorer.scan(0, shape[0], whole)
    expected = reference.distances(table.lookup(np.arange(shape[0])), queries, metric)
    np.testing.assert_allclose(whole, expected, rtol=1e-6, atol=1e-7)
    own = rng.integers(-1, shape[0], (19, 8))
    reranked = np.empty((19, 8), np.float32)
    scorer.rerank(own, reranked)
    picked = np.take_along_axis(whole, np.maximum(own, 0), 1)
    np.testing.assert_array_equal(reranked, np.where(own < 0, np.inf, picked))
    alone = np.empty((1, shape[0]), np.float32)
    table.scorer(queries[7:8], metric).scan(0, shape[0], alone)
    np.testing.assert_array_equal(alone[0], whole[7])


def test_distances_have_the_bits_of_sums_in_order(rng):
    matrix, queries = rng.standard_normal((9, 40)).astype(np.float32), rng.standard_normal((2, 40)).astype(np.float32)
    table = DeepLight(values=100, places="bitmap").fit(matrix)
    kept = table.lookup(np.arange(9)).astype(np.float64)
    dot, l2 = np.empty((2, 9), np.float32), np.empty((2, 9), np.float32)
    table.scorer(queries, Metric.COSINE).scan(0, 9, dot)
    table.scorer(queries, Metric.L2).scan(0, 9, l2)
    for number, query in enumerate(queries.astype(np.float64)):
        length = sum((value * value for value in query), 0.0)
        for row in range(9):
            stored = [(value, query[column]) for column, value in enumerate(kept[row]) if value]
            assert dot[number, row] == np.float32(sum((value * (0 - q) for value, q in stored), 1.0))
            assert l2[number, row] == np.float32(sum((value * (value - 2 * q) for value, q in stored), length))


def test_a_query_on_its_row_is_at_distance_zero():
    matrix = np.array([[0.1, 0, 0.3], [1e-4, 3, 0]], np.float32)
    found = np.empty((2, 2), np.float32)
    DeepLight(values=4, places="uint8").fit(matrix).scorer(matrix, Metric.L2).scan(0, 2, found)
    assert (found >= 0).all()
    np.testing.assert_allclose(np.diag(found), 0, atol=1e-12)


def test_equal_magnitudes_are_kept_in_order():
    matrix = np.array([[1, -2, 2], [-1, 2, np.nan]], np.float32)
    np.testing.assert_array_equal(keep_largest(matrix, 2), [[0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(keep_largest(matrix, 4), [[1, 1, 1], [0, 1, 0]])
    assert keep_largest(matrix, 6).all()
    assert not keep_largest(matrix, 0).any()


@pytest.mark.parametrize(("budget", "places"), [(0.5, "bitmap"), (0.1, "uint8"), (0.02, "uint16")])
def test_the_plan_takes_the_coding_that_keeps_most(budget, places):
    shape = TableShape(2000, 64)
    planned = DeepLight.plan(shape, budget)
    allowed = int(budget * shape.float32_bytes)
    most = {
        coding: max(
            stored
            for stored in range(planned.values - 3000, planned.values + 3)
            if 4 * stored + places_nbytes(coding, 128_000, stored) <= allowed
        )
        if 4 * (planned.values - 3000) + places_nbytes(coding, 128_000, planned.values - 3000) <= allowed
        else -1
        for coding in CODINGS
    }
    assert planned.places == places == max(most, key=lambda coding: most[coding])
    assert planned.values == most[places]


def test_plans_grow_with_the_budget_from_the_floor_on():
    shape = TableShape(100, 7)
    with pytest.raises(BudgetInfeasible) as caught:
        DeepLight.plan(shape, 1)
    floor = caught.value.floor
    with pytest.raises(BudgetInfeasible):
        DeepLight.plan(shape, floor - 1)
    plans = [DeepLight.plan(shape, budget) for budget in range(floor, 2801)]
    assert plans[0].nbytes(shape) == floor
    assert plans[0].values == 1
    assert all(plan.nbytes(shape) <= budget for budget, plan in enumerate(plans, floor))
    assert (np.diff([plan.values for plan in plans]) >= 0).all()


def test_given_parameters_are_kept_or_refused():
    shape = TableShape(100, 7)
    assert DeepLight.plan(shape, 0.5, parameters={"places": "uint16"}).places == "uint16"
    assert DeepLight.plan(shape, 0.5, parameters={"values": 20}).values == 20
    with pytest.raises(BudgetInfeasible):
        DeepLight.plan(shape, 0.1, parameters={"values": 100})
    for wrong in ({"values": -1}, {"places": "csr"}, {"colour": 1}):
        with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
            DeepLight.plan(shape, 0.5, parameters=wrong)


@EACH_CODING
def test_damaged_arrays_are_corruption(rng, places):
    table = DeepLight(values=60, places=places).fit(rng.standard_normal((200, 9)).astype(np.float32))
    for name, array in table.arrays().items():
        others = {other: value for other, value in table.arrays().items() if other != name}
        damaged = [{}, {name: array[:-1]}, {name: array.astype(np.float64)}, {name: array[..., None]}]
        if name != "values":
            damaged += [{name: array[::-1].copy()}, {name: np.full_like(array, 1)}]
        for wrong in damaged:
            with pytest.raises(CorruptionError):
                table.scheme.open(table.shape, {**others, **wrong})


def test_wrong_questions_are_refused(rng):
    table = DeepLight(values=60, places="uint8").fit(rng.standard_normal((40, 9)).astype(np.float32))
    with pytest.raises(NotFoundError):
        table.lookup(np.array([40]))
    with pytest.raises(NotFoundError):
        table.scorer(np.ones((1, 9), np.float32), Metric.L2).gather(np.array([-1]), np.empty((1, 1), np.float32))
    with pytest.raises(InvalidArgumentError):
        table.encode(np.ones((1, 9), np.float32))


def test_a_table_may_have_no_rows():
    table = DeepLight(values=3, places="uint16").fit(np.empty((0, 4), np.float32))
    assert table.lookup(np.empty(0, np.int64)).shape == (0, 4)
    assert table.nbytes == table.scheme.nbytes(TableShape(0, 4))
