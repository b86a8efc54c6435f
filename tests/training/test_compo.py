from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests import reference
from vecstore import training
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.base import TableShape
from vecstore.schemes.compo import Compo
from vecstore.training.compo import CompoPart
from vecstore.types import Metric

AGGREGATES = ["product", "sum"]


def part(aggregate="product", rows=103, dim=9, remainders=11, **options):
    scheme = Compo(remainders=remainders, aggregate=aggregate)
    return CompoPart(scheme, TableShape(rows, dim), **{"seed": 1, "scale": 0.1, **options})


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_forward_and_frozen_table_are_the_formula(aggregate):
    layer = part(aggregate)
    table = layer.freeze()
    rows = np.arange(103)
    expected = reference.compo_rows(table.scheme.to_dict(), table.arrays(), rows)
    assert table.lookup(rows).tobytes() == expected.tobytes()
    found = layer(torch.from_numpy(rows.reshape(1, -1))).detach().numpy()
    assert found.shape == (1, 103, 9)
    assert found.tobytes() == expected.tobytes()


def test_gradients_of_a_product_are_the_other_factor():
    layer = part()
    rows = np.array([0, 11, 12, 102, 12])
    upstream = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
    (layer(torch.from_numpy(rows)) * torch.from_numpy(upstream)).sum().backward()
    quotient, remainder = layer.quotient.detach().numpy(), layer.remainder.detach().numpy()
    of_quotient, of_remainder = np.zeros_like(quotient), np.zeros_like(remainder)
    for row, gradient in zip(rows, upstream, strict=True):
        of_quotient[row // 11] += gradient * remainder[row % 11]
        of_remainder[row % 11] += gradient * quotient[row // 11]
    np.testing.assert_allclose(layer.quotient.grad, of_quotient, rtol=1e-6)
    np.testing.assert_allclose(layer.remainder.grad, of_remainder, rtol=1e-6)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_initial_rows_have_the_variance_of_a_full_table(aggregate):
    layer = part(aggregate, rows=10_000, dim=32, remainders=100, scale=0.03)
    rows = layer(torch.arange(10_000)).detach()
    assert rows.std().item() == pytest.approx(0.03 / 3**0.5, rel=0.03)
    assert abs(rows.mean().item()) < 0.001


@pytest.mark.parametrize("remainders", [3, 50])
def test_the_smaller_factor_starts_around_one_so_that_both_get_gradients(remainders):
    layer = part(scale=0.01, dim=64, remainders=remainders)
    (layer(torch.arange(103)) - 1).square().sum().backward()
    small, large = sorted((layer.quotient, layer.remainder), key=len)
    assert small.mean().item() == pytest.approx(1, abs=0.05)
    assert large.abs().max().item() <= 0.01
    assert large.grad.abs().min() > 1
    assert small.grad.abs().median() > 0.01


def test_every_id_has_its_own_pair():
    scheme = Compo(remainders=11)
    rows = np.arange(103)
    assert len(set(zip(rows // 11, rows % 11, strict=True))) == 103
    assert scheme.quotients(103) == 10


@pytest.mark.parametrize("n_rows", [1, 2, 3, 5, 6, 7, 12, 16, 17, 99, 100, 101])
def test_the_plan_is_the_best_of_all(n_rows):
    shape = TableShape(n_rows, 3)
    sizes = {m: m - (-n_rows // m) for m in range(1, n_rows + 1)}
    floor = min(sizes.values())
    with pytest.raises(BudgetInfeasible) as caught:
        Compo.plan(shape, (floor - 1) * 12)
    assert caught.value.floor == floor * 12
    for stored in range(floor, n_rows + 3):
        planned = Compo.plan(shape, stored * 12 + 11)
        assert planned.nbytes(shape) == 12 * max(size for size in sizes.values() if size <= stored)


def test_given_remainders_are_kept_or_refused():
    shape = TableShape(100, 4)
    assert Compo.plan(shape, 0.5, parameters={"remainders": 20}).remainders == 20
    with pytest.raises(BudgetInfeasible):
        Compo.plan(shape, 0.5, parameters={"remainders": 70})
    with pytest.raises(InvalidArgumentError, match="remainders"):
        Compo.plan(shape, 0.5, parameters={"remainders": 0})


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("metric", list(Metric))
def test_distances_on_the_stored_form(rng, aggregate, metric):
    table = part(aggregate, dim=70, scale=1).freeze()
    queries = unit_rows(rng.standard_normal((19, 70)).astype(np.float32))
    scorer = table.scorer(queries, metric)
    whole = np.empty((19, 103), np.float32)
    scorer.scan(0, 103, whole)
    expected = reference.distances(table.lookup(np.arange(103)), queries, metric)
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-5)
    rows = rng.integers(0, 103, 40)
    gathered = np.empty((19, 40), np.float32)
    scorer.gather(rows, gathered)
    np.testing.assert_array_equal(gathered, whole[:, rows])
    own = rng.integers(-1, 103, (19, 8))
    reranked = np.empty((19, 8), np.float32)
    scorer.rerank(own, reranked)
    picked = np.take_along_axis(whole, np.maximum(own, 0), 1)
    np.testing.assert_array_equal(reranked, np.where(own < 0, np.inf, picked))


def test_inner_products_have_the_bits_of_the_prepared_query(rng):
    table = part(dim=70).freeze()
    queries = rng.standard_normal((2, 70)).astype(np.float32)
    found = np.empty((2, 103), np.float32)
    table.scorer(queries, Metric.IP).scan(0, 103, found)
    for row in (0, 10, 11, 102):
        prepared = queries * table.quotient[row // 11]
        expected = np.float32(0) - reference.dots(table.remainder[row % 11][None], prepared)
        assert found[:, row].tobytes() == expected.tobytes()


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_fit_finds_a_table_that_is_one(rng, aggregate):
    made = part(aggregate, scale=1).freeze().lookup(np.arange(103))
    table = Compo(remainders=11, aggregate=aggregate).fit(made, frequency=rng.integers(1, 9, 103))
    np.testing.assert_allclose(table.lookup(np.arange(103)), made, atol=1e-4)


def test_fit_is_a_stationary_point_of_least_squares(rng):
    matrix = rng.standard_normal((103, 5)).astype(np.float32)
    table = Compo(remainders=11).fit(matrix, seed=4)
    rows = torch.arange(103)
    quotient, remainder = (
        torch.tensor(factor, dtype=torch.float64, requires_grad=True) for factor in (table.quotient, table.remainder)
    )
    (quotient[rows // 11] * remainder[rows % 11] - torch.from_numpy(matrix)).square().sum().backward()
    assert remainder.grad.abs().max() < 1e-4
    assert not np.array_equal(table.quotient, Compo(remainders=11).fit(matrix, seed=5).quotient)


def test_small_fields_stay_full_in_an_embedding():
    layer = training.embedding("compo", fields={"user": 500, "tag": 3}, dim=16, budget=0.3)
    frozen = layer.freeze()
    assert [table.scheme.name for table in frozen.parts] == ["compo", "full"]
    assert frozen.nbytes <= 0.3 * 503 * 64
    ids = np.stack(np.broadcast_arrays(np.arange(500), np.arange(500) % 3), axis=1)
    with torch.no_grad():
        np.testing.assert_array_equal(frozen.lookup_fields(ids), layer(torch.from_numpy(ids)).numpy())


def test_seeds_draw_weights():
    one, same, other = part(seed=7), part(seed=7), part(seed=8)
    for name, weights in one.state_dict().items():
        assert torch.equal(weights, same.state_dict()[name])
        assert not torch.equal(weights, other.state_dict()[name])
    assert len(list(itertools.chain(one.parameters()))) == 2
