from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests import reference
from vecstore import training
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError
from vecstore.kernels.lengths import unit_rows
from vecstore.planning import stored_bytes
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import Field
from vecstore.schemes.optembed import OptEmbed
from vecstore.schemes.prefixes import choose_dims, select
from vecstore.training.optembed import OptEmbedPart
from vecstore.types import Metric

FIELDS = (Field(name="user", size=70), Field(name="item", size=30), Field(name="tag", size=3))
ROWS, DIM = 103, 9
STARTS = np.array([0, 70, 100, 103])


def part(values=300, **options):
    return OptEmbedPart(
        OptEmbed(fields=FIELDS, values=values), TableShape(ROWS, DIM), **{"seed": 1, "scale": 1, **options}
    )


def uneven(rng):
    """A matrix whose columns matter less and less, faster in the first field."""
    decay = np.repeat([0.9, 0.3, 0.1], np.diff(STARTS))
    return (rng.standard_normal((ROWS, DIM)) * np.exp(-decay[:, None] * np.arange(DIM))).astype(np.float32)


def lengths_of_next_forward(layer, shape):
    copy = torch.Generator()
    copy.set_state(layer._lengths.get_state())
    return torch.randint(1, DIM + 1, shape, generator=copy).numpy()


def slope(z):
    distance = np.abs(z)
    return np.where(distance <= 0.4, 2 - 4 * distance, np.where(distance <= 1, 0.4, 0))


def test_the_search_and_its_gradients_are_the_formula():
    layer = part(scale=0.2)
    with torch.no_grad():
        layer.thresholds.copy_(torch.tensor([1.0, 0.9, 0.2]))
    rows = np.array([[0, 70, 100], [0, 71, 102], [69, 99, 101], [5, 72, 100]])
    lengths = lengths_of_next_forward(layer, (4, 3))
    upstream = np.random.default_rng(0).standard_normal((4, 3, DIM))
    found = layer(torch.from_numpy(rows))
    ((found * torch.from_numpy(upstream.astype(np.float32))).sum() + layer.extra_loss()).backward()
    weights = layer.rows.detach().numpy().astype(np.float64)
    thresholds = np.array([1.0, 0.9, 0.2])
    of_rows, of_thresholds = np.zeros_like(weights), -1e-4 * np.exp(-thresholds)
    n_passed = 0
    for sample, field in itertools.product(range(4), range(3)):
        vector = weights[rows[sample, field]]
        margin = np.abs(vector).sum() - thresholds[field]
        prefix = np.arange(DIM) < lengths[sample, field]
        passed = margin > 0
        n_passed += passed
        np.testing.assert_allclose(found[sample, field].detach(), vector * passed * prefix, rtol=1e-6)
        through = (upstream[sample, field] * vector * prefix).sum() * slope(margin)
        of_rows[rows[sample, field]] += upstream[sample, field] * passed * prefix + through * np.sign(vector)
        of_thresholds[field] -= through
    assert 0 < n_passed < 12
    np.testing.assert_allclose(layer.rows.grad, of_rows, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(layer.thresholds.grad, of_thresholds, rtol=1e-4, atol=1e-6)


def test_prefixes_are_drawn_evenly_and_from_the_seed_alone():
    rows = torch.zeros(9000, 1, dtype=torch.int64)
    torch.manual_seed(5)
    one = part()(rows)
    torch.manual_seed(6)
    same = part()(rows)
    assert torch.equal(one, same)
    counts = np.bincount(torch.count_nonzero(one, dim=-1).ravel(), minlength=DIM + 1)
    assert counts[0] == 0
    assert (np.abs(counts[1:] - 1000) < 150).all()
    assert not torch.equal(one != 0, part(seed=2)(rows) != 0)


def test_dims_are_the_best_where_columns_fall(rng):
    for _ in range(100):
        energies = -np.sort(-rng.exponential(size=(3, 4)), axis=1)
        kept, values = np.ones(3, np.int64), int(rng.integers(3, 13))
        dims = choose_dims(energies, kept, values)
        held = {c: sum(energies[f, : c[f]].sum() for f in range(3)) for c in itertools.product(range(1, 5), repeat=3)}
        assert held[tuple(dims)] == pytest.approx(max(h for c, h in held.items() if sum(c) <= values))


def test_dims_pool_a_weak_column_with_a_strong_one_behind_it():
    energies = np.array([[1.0, 0.0, 9.0, 0.1], [1.0, 2.0, 2.0, 2.0]])
    np.testing.assert_array_equal(choose_dims(energies, np.array([1, 1]), 5), [3, 2])
    np.testing.assert_array_equal(choose_dims(energies, np.array([1, 0]), 3), [3, 0])
    np.testing.assert_array_equal(choose_dims(energies, np.array([0, 0]), 3), [0, 0])
    # A value of the first field costs ten times as much.
    np.testing.assert_array_equal(choose_dims(energies, np.array([10, 1]), 23), [1, 4])


@pytest.mark.parametrize("values", [1, 20, 103, 400, ROWS * DIM])
def test_the_choice_fits_and_keeps_rows_by_margin(rng, values):
    matrix = uneven(rng)
    margins = np.abs(matrix).sum(1, dtype=np.float64) - np.repeat([0.5, 1.0, 0.0], np.diff(STARTS))
    keep, dims = select(matrix, STARTS, margins, np.ones(ROWS), values)
    assert (keep * np.repeat(dims, np.diff(STARTS))).sum() <= values
    assert keep.any()
    assert margins[keep].min() > 0
    assert margins[keep].min() >= np.max(margins[~keep], initial=-1, where=margins[~keep] > 0) or values < ROWS * DIM
    if values == ROWS * DIM:
        np.testing.assert_array_equal(keep, margins > 0)
        np.testing.assert_array_equal(dims, DIM)
    if values < ROWS:
        assert np.sort(margins)[::-1][: keep.sum()].min() == margins[keep].min()


def test_rows_above_no_threshold_leave_an_empty_table():
    layer = part()
    with torch.no_grad():
        layer.thresholds.fill_(100)
    table = layer.freeze()
    assert table.scheme.values == 0
    assert not table.lookup(np.arange(ROWS)).any()
    found = np.empty((1, ROWS), np.float32)
    table.scorer(np.ones((1, DIM), np.float32), Metric.L2).scan(0, ROWS, found)
    np.testing.assert_array_equal(found, DIM)


def test_counts_decide_what_columns_are_worth():
    layer = part(values=150)
    counts = np.ones(ROWS, np.int64)
    before = layer.freeze().dims
    counts[70:100] = 1000
    layer.observe(counts)
    after = layer.eval().freeze().dims
    assert after[1] > before[1]


def test_evaluation_shows_the_table_in_both_stages(rng):
    layer = part(values=250)
    rows = np.arange(ROWS)
    with torch.no_grad():
        layer.rows.copy_(torch.from_numpy(uneven(rng)))
    searched = layer.freeze()
    assert layer.eval()(torch.from_numpy(rows)).detach().numpy().tobytes() == searched.lookup(rows).tobytes()
    assert searched.scheme.values <= 250
    initial = part().rows
    layer.train().begin("retrain")
    assert torch.equal(layer.rows, initial)
    retrained = layer.freeze()
    np.testing.assert_array_equal(retrained.dims, searched.dims)
    np.testing.assert_array_equal(retrained.words, searched.words)
    expected = retrained.lookup(rows).tobytes()
    assert layer(torch.from_numpy(rows)).detach().numpy().tobytes() == expected
    assert layer.eval()(torch.from_numpy(rows)).detach().numpy().tobytes() == expected
    assert layer.extra_loss() == 0
    (layer(torch.from_numpy(rows)) * 1.0).sum().backward()
    np.testing.assert_array_equal(layer.rows.grad != 0, retrained.lookup(rows) != 0)


def test_the_outcome_of_the_search_is_saved():
    layer = part(values=200)
    layer.begin("retrain")
    other = part(values=200, seed=5)
    other.load_state_dict(layer.state_dict())
    other.begin("retrain")
    rows = np.arange(ROWS)
    assert other.freeze().lookup(rows).tobytes() == layer.freeze().lookup(rows).tobytes()


def test_stages_search_without_selecting_and_then_start_anew():
    search, retrain = part().stages()
    assert [update.parameters for update in search.updates] == ["weights", "search"]
    assert search.updates[1].optimiser == "sgd"
    assert (search.selects, retrain.selects, retrain.restarts_host) == (False, True, True)


@pytest.mark.parametrize("values", [0, 1, 50, 300, ROWS * DIM])
def test_lookup_is_the_twin_before_and_after_storage(rng, values):
    matrix = uneven(rng)
    table = OptEmbed(fields=FIELDS, values=values).fit(matrix)
    rows = rng.integers(0, ROWS, 60)
    expected = reference.optembed_rows(table.scheme.to_dict(), table.arrays(), rows, DIM)
    assert table.lookup(rows).tobytes() == expected.tobytes()
    assert ((expected == matrix[rows]) | (expected == 0)).all()
    copies = {name: array.copy() for name, array in table.arrays().items()}
    reopened = table.scheme.open(table.shape, copies)
    assert reopened.lookup(rows).tobytes() == expected.tobytes()
    assert table.nbytes == table.scheme.nbytes(table.shape) == sum(array.nbytes for array in copies.values())
    assert table.scheme.values == np.count_nonzero(table.lookup(np.arange(ROWS))) <= values


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("values", [0, 50, 300])
def test_distances_on_the_stored_form(rng, metric, values):
    table = OptEmbed(fields=FIELDS, values=values).fit(unit_rows(uneven(rng)))
    queries = unit_rows(rng.standard_normal((19, DIM)).astype(np.float32))
    scorer = table.scorer(queries, metric)
    whole = np.empty((19, ROWS), np.float32)
    scorer.scan(0, ROWS, whole)
    expected = reference.distances(table.lookup(np.arange(ROWS)), queries, metric)
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-6)
    part_of = np.empty((19, 40), np.float32)
    scorer.scan(60, 100, part_of)
    np.testing.assert_array_equal(part_of, whole[:, 60:100])
    own = rng.integers(-1, ROWS, (19, 8))
    reranked = np.empty((19, 8), np.float32)
    scorer.rerank(own, reranked)
    picked = np.take_along_axis(whole, np.maximum(own, 0), 1)
    np.testing.assert_array_equal(reranked, np.where(own < 0, np.inf, picked))
    alone = np.empty((1, ROWS), np.float32)
    table.scorer(queries[7:8], metric).scan(0, ROWS, alone)
    np.testing.assert_array_equal(alone[0], whole[7])


def test_plans_grow_with_the_budget_from_the_floor_on():
    shape = TableShape(ROWS, DIM)
    fields = {"fields": [field.to_dict() for field in FIELDS]}
    with pytest.raises(BudgetInfeasible) as caught:
        OptEmbed.plan(shape, 1, None, fields)
    floor = caught.value.floor
    plans = [OptEmbed.plan(shape, budget, None, fields) for budget in range(floor, floor + 100)]
    assert [plan.values for plan in plans] == [1 + more // 4 for more in range(100)]
    assert plans[0].nbytes(shape) == floor
    assert OptEmbed.plan(shape, 10**6, None, fields).values == ROWS * DIM
    assert OptEmbed.plan(shape, 0.5).fields == (Field(name="row", size=ROWS),)
    with pytest.raises(BudgetInfeasible):
        OptEmbed.plan(shape, 0.1, None, {"values": 500})


def test_damaged_arrays_are_corruption(rng):
    table = OptEmbed(fields=FIELDS, values=300).fit(uneven(rng))
    for name, array in table.arrays().items():
        others = {other: value for other, value in table.arrays().items() if other != name}
        damaged = [{}, {name: array[:-1]}, {name: array.astype(np.float64)}, {name: array[..., None]}]
        if name != "values":
            damaged += [{name: np.full_like(array, 1)}, {name: np.full_like(array, 60_000)}]
        for wrong in damaged:
            with pytest.raises(CorruptionError):
                table.scheme.open(table.shape, {**others, **wrong})
    with pytest.raises(CorruptionError, match="rows"):
        table.scheme.open(TableShape(ROWS + 1, DIM), table.arrays())
    with pytest.raises(InvalidArgumentError, match="rows"):
        table.scheme.fit(uneven(rng)[1:])
    with pytest.raises(InvalidArgumentError):
        table.encode(uneven(rng))


def test_an_embedding_stays_within_its_budget_and_keeps_it_when_reopened():
    layer = training.embedding("optembed", fields={"user": 500, "tag": 7}, dim=16, budget=0.2, seed=3)
    frozen = layer.freeze()
    assert 0.19 * 507 * 64 < stored_bytes(frozen.scheme, 16) <= 0.2 * 507 * 64
    reopened = frozen.scheme.open(frozen.shape, frozen.arrays())
    rows = np.arange(507)
    assert reopened.lookup(rows).tobytes() == frozen.lookup(rows).tobytes()
    fitted = layer.plan.fit(frozen.lookup(rows))
    assert fitted.nbytes == fitted.scheme.nbytes(fitted.shape)


def test_seeds_draw_weights():
    assert torch.equal(part(seed=7).rows, part(seed=7).rows)
    assert not torch.equal(part(seed=7).rows, part(seed=8).rows)


def test_a_restored_search_chooses_as_the_original(rng):
    layer, twin = part(values=200), part(values=200, seed=9)
    layer.observe(rng.permutation((1000 / np.arange(1, ROWS + 1)).astype(np.int64)) ** 2)
    layer.begin("search")
    # As in a new process, where nobody counted.
    twin.load_state_dict(layer.state_dict())
    for own in (layer, twin):
        own.begin("retrain")
    assert torch.equal(twin.keep, layer.keep)
    assert torch.equal(twin.dims, layer.dims)
    assert len(set(layer.dims.tolist())) > 1
