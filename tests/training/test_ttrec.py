from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from tests import reference
from vecstore import schemes, training
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.base import TableShape
from vecstore.schemes.ttrec import Ttrec
from vecstore.training.ttrec import TtrecPart, _unit_tails
from vecstore.types import Metric

SHAPE = TableShape(107, 24)


def scheme(rank=5):
    return Ttrec(rank=rank, row_factors=(4, 5, 6), dim_factors=(2, 3, 4))


def part(rank=5, **options):
    return TtrecPart(scheme(rank), SHAPE, **{"seed": 1, "scale": 0.1, **options})


def formula(cores, rows):
    """Every element by its definition, float64[n, d1, d2, d3]."""
    first, middle, last = (np.asarray(core, np.float64) for core in cores)
    digits = rows % 4, rows // 4 % 5, rows // 20
    return np.einsum("xar,xrbs,xsc->xabc", first[digits[0]], middle[digits[1]], last[digits[2]])


def cores_of(layer):
    return [core.detach().numpy() for core in (layer.first, layer.middle, layer.last)]


def test_forward_is_the_formula_with_little_endian_digits():
    layer = part()
    rows = np.array([[0, 1, 106], [4, 20, 1]])
    found = layer(torch.from_numpy(rows)).detach().numpy()
    expected = formula(cores_of(layer), rows.ravel()).reshape(2, 3, 24)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_gradients_are_those_of_the_formula():
    layer = part()
    rows = np.array([0, 7, 106, 7, 23])
    upstream = np.random.default_rng(0).standard_normal((5, 2, 3, 4))
    (layer(torch.from_numpy(rows)) * torch.from_numpy(upstream.reshape(5, 24).astype(np.float32))).sum().backward()
    first, middle, last = cores_of(layer)
    expected = [np.zeros_like(core, np.float64) for core in (first, middle, last)]
    for row, g in zip(rows, upstream, strict=True):
        i, j, k = row % 4, row // 4 % 5, row // 20
        expected[0][i] += np.einsum("abc,rbs,sc->ar", g, middle[j], last[k])
        expected[1][j] += np.einsum("abc,ar,sc->rbs", g, first[i], last[k])
        expected[2][k] += np.einsum("abc,ar,rbs->sc", g, first[i], middle[j])
    for core, gradient in zip((layer.first, layer.middle, layer.last), expected, strict=True):
        np.testing.assert_allclose(core.grad, gradient, rtol=1e-4, atol=1e-6)


def test_frozen_table_is_the_twin_bit_for_bit_and_the_layer_but_for_rounding():
    layer = part(rank=13)
    table = layer.freeze()
    rows = np.arange(107)
    expected = reference.ttrec_rows(table.scheme.to_dict(), table.arrays(), rows)
    assert table.lookup(rows).tobytes() == expected.tobytes()
    with torch.no_grad():
        found = layer(torch.from_numpy(rows)).numpy()
    bound = 2.0**-23 * (13 + 2) * formula([np.abs(core) for core in cores_of(layer)], rows).reshape(107, 24)
    assert (np.abs(found - expected) <= bound).all()


def test_kept_tails_change_no_bit(rng):
    shape = TableShape(1000, 64)
    layer = TtrecPart(Ttrec.plan(shape, 0.02), shape, seed=2, scale=0.1)
    table, fresh = layer.freeze(), layer.freeze()
    rows = rng.integers(0, 1000, 300)
    before = fresh.lookup(rows[:50])
    assert fresh._tails is None
    whole = table.lookup(rows)
    assert table._tails is not None
    assert whole[:50].tobytes() == before.tobytes()
    assert table.lookup(rows).tobytes() == whole.tobytes()
    assert table.nbytes == table.scheme.nbytes(shape) == sum(array.nbytes for array in table.arrays().values())


def test_tails_that_take_too_much_memory_are_not_kept():
    table = part(rank=30).freeze()
    for _ in range(3):
        table.lookup(np.arange(107))
    assert table._tails is None


def test_initial_numbers_are_normal_tails():
    drawn = _unit_tails((200, 500), 3)
    moment = 1 + 2 * (math.exp(-2) / math.sqrt(2 * math.pi)) / (0.5 * math.erfc(math.sqrt(2)))
    assert moment == pytest.approx(5.746, abs=1e-3)
    assert drawn.abs().min().item() >= 2 / math.sqrt(moment) - 1e-6
    assert drawn.std().item() == pytest.approx(1, rel=0.01)
    assert abs(drawn.mean().item()) < 0.01
    beyond = (drawn.abs() * math.sqrt(moment) > 3).double().mean().item()
    assert beyond == pytest.approx(0.0026998 / 0.0455003, rel=0.05)


@pytest.mark.parametrize("rank", [1, 4, 20])
def test_initial_elements_have_the_same_spread_at_every_rank(rank):
    shape = TableShape(27_000, 16)
    layer = TtrecPart(Ttrec(rank=rank, row_factors=(30, 30, 30), dim_factors=(2, 2, 4)), shape, seed=5, scale=0.02)
    with torch.no_grad():
        rows = layer(torch.arange(0, 27_000, 5))
    assert rows.std().item() == pytest.approx(0.02 / math.sqrt(3), rel=0.1)


@pytest.mark.parametrize(
    ("dim", "factors"), [(16, (2, 2, 4)), (32, (2, 4, 4)), (64, (4, 4, 4)), (37, (1, 1, 37)), (1, (1, 1, 1))]
)
def test_dimensions_are_split_as_the_paper_does(dim, factors):
    assert Ttrec.plan(TableShape(1000, dim), 1.0).dim_factors == factors


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 8, 9, 26, 27, 28, 1000, 6040, 10_131_227])
def test_rows_are_split_near_the_cube_root(rows):
    n1, n2, n3 = Ttrec.plan(TableShape(rows, 16), 10**9).row_factors
    assert n1 <= n2 <= n3 <= math.ceil(max(1, rows) ** (1 / 3) + 1e-9)
    assert rows <= n1 * n2 * n3 <= max(1, rows) * (1 + 1 / n3) * (1 + 1 / n2) * (1 + 1 / n1)


def test_the_plan_takes_the_largest_rank_that_fits():
    shape = TableShape(6040, 16)
    last = 0
    for budget in [0.5, 0.1, 0.01, 0.005][::-1]:
        planned = Ttrec.plan(shape, budget)
        larger = Ttrec.from_dict({**planned.to_dict(), "rank": planned.rank + 1})
        assert planned.nbytes(shape) <= budget * shape.float32_bytes < larger.nbytes(shape)
        assert planned.rank > last
        last = planned.rank
    with pytest.raises(BudgetInfeasible) as caught:
        Ttrec.plan(shape, 10)
    assert Ttrec.plan(shape, caught.value.floor).nbytes(shape) == caught.value.floor


def test_no_rank_beyond_what_is_exact():
    planned = Ttrec.plan(TableShape(27, 8), 10**9)
    assert planned.rank == 6
    matrix = np.random.default_rng(1).standard_normal((27, 8)).astype(np.float32)
    np.testing.assert_allclose(planned.fit(matrix).lookup(np.arange(27)), matrix, atol=1e-5)


def test_fit_recovers_a_tensor_train():
    exact = TtrecPart(scheme(3), TableShape(120, 24), seed=1, scale=1).freeze().lookup(np.arange(120))
    found = scheme(3).fit(exact).lookup(np.arange(120))
    np.testing.assert_allclose(found, exact, atol=1e-4 * np.abs(exact).max())


def test_fit_gets_nearer_with_the_rank(rng):
    matrix = rng.standard_normal((107, 24)).astype(np.float32)
    errors = [np.square(scheme(rank).fit(matrix).lookup(np.arange(107)) - matrix).sum() for rank in (1, 2, 8, 15)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("metric", list(Metric))
def test_distances_on_the_stored_form(rng, metric):
    table = part(scale=1).freeze()
    queries = unit_rows(rng.standard_normal((19, 24)).astype(np.float32))
    scorer = table.scorer(queries, metric)
    whole = np.empty((19, 107), np.float32)
    scorer.scan(0, 107, whole)
    expected = reference.distances(table.lookup(np.arange(107)), queries, metric)
    np.testing.assert_allclose(whole, expected, rtol=1e-4, atol=1e-4)
    rows = rng.integers(0, 107, 40)
    gathered = np.empty((19, 40), np.float32)
    scorer.gather(rows, gathered)
    np.testing.assert_array_equal(gathered, whole[:, rows])
    own = rng.integers(-1, 107, (19, 8))
    reranked = np.empty((19, 8), np.float32)
    scorer.rerank(own, reranked)
    picked = np.take_along_axis(whole, np.maximum(own, 0), 1)
    np.testing.assert_array_equal(reranked, np.where(own < 0, np.inf, picked))


def test_config_keeps_factors_and_digit_order_through_json():
    data = json.loads(json.dumps(scheme().to_dict()))
    assert data["digit_order"] == "little"
    assert schemes.from_config(data) == scheme()
    with pytest.raises(InvalidArgumentError, match="digit_order"):
        schemes.from_config({**data, "digit_order": "big"})
    with pytest.raises(InvalidArgumentError, match="row_factors"):
        schemes.from_config({**data, "row_factors": [0, 5, 6]})
    with pytest.raises(InvalidArgumentError, match="do not hold"):
        scheme().open(TableShape(121, 24), {})


def test_a_whole_embedding_stays_within_its_budget():
    layer = training.embedding("ttrec", fields={"user": 500, "tag": 7}, dim=16, budget=0.1)
    frozen = layer.freeze()
    assert frozen.nbytes <= 0.1 * 507 * 64
    ids = np.stack([np.arange(500), np.arange(500) % 7], axis=1)
    with torch.no_grad():
        np.testing.assert_allclose(frozen.lookup_fields(ids), layer(torch.from_numpy(ids)).numpy(), atol=1e-6)
