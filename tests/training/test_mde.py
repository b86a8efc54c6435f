"""Mixed dimensions: the rule of popularity, the projection, and fitting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import reference
from vecstore import schemes, training
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError
from vecstore.kernels.lengths import unit_rows
from vecstore.planning import plan_fields, stored_bytes
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import Fields, Part
from vecstore.schemes.mde import Mde, popularity_widths
from vecstore.schemes.projected import orthonormal
from vecstore.types import Metric

GOLDEN = Path(__file__).parents[1] / "golden" / "schemes"
SIZES = {"country": 60, "user": 6000, "item": 1500, "device": 300}

torch = pytest.importorskip("torch")
from vecstore.training.mde import MdePart  # noqa: E402


def widths(budget, *, sizes=SIZES, dim=16, **options):
    plan = plan_fields("mde", sizes, dim, budget, **options)
    return [part.scheme.get("width", dim) for part in plan.parts], plan


def test_widths_are_the_rule_of_popularity():
    found = popularity_widths([1 / 10, 1 / 40, 1 / 1000], 16, 0.5, "integer")
    assert found == [16, 8, round(16 * (10 / 1000) ** 0.5)]
    assert popularity_widths([1 / 10, 1 / 40, 1 / 1000], 16, 0.4, "power-of-two") == [16, 8, 2]
    assert popularity_widths([0.1, 0.1], 16, 1.5, "integer") == [4, 4]
    assert popularity_widths([0.1, 0.0], 16, 0.0, "integer") == [16, 16]
    assert popularity_widths([0.1, 0.0], 16, 0.5, "integer") == [16, 1]
    assert popularity_widths([0.0, 0.0], 16, 1.0, "integer") == [16, 16]


@pytest.mark.parametrize("rounding", ["integer", "power-of-two"])
def test_the_smallest_exponent_that_fits_is_taken_and_the_rest_is_spent(rounding):
    shape = TableShape(sum(SIZES.values()), 16)
    before = 0
    for budget in (0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0):
        found, plan = widths(budget, parameters={"rounding": rounding})
        assert stored_bytes(plan, 16) <= budget * shape.float32_bytes or budget == 1
        assert before <= plan.nbytes(shape)
        before = plan.nbytes(shape)
        # Scan exponents coarsely: none that is smaller fits, and no field is narrower than the rule has it.
        for parameter in np.linspace(0, 2, 200):
            wanted = popularity_widths([1 / size for size in SIZES.values()], 16, parameter, rounding)
            parts = [Part(scheme={"scheme": "mde", "width": width, "rounding": rounding}) for width in wanted]
            if stored_bytes(Fields(fields=plan.fields, parts=tuple(parts)), 16) <= budget * shape.float32_bytes:
                assert all(own >= width for own, width in zip(found, wanted, strict=True))
                break
    assert found == [16] * 4
    assert {part.scheme["scheme"] for part in plan.parts} == {"full"}


def test_frequent_fields_get_wider_rows():
    even, _ = widths(0.3)
    counts = {name: np.full(size, 1) for name, size in SIZES.items()}
    counts["user"] = np.full(6000, 50)
    busy, _ = widths(0.5, frequency=counts)
    assert even[1] < even[2] < even[3] <= even[0]
    assert busy[1] > busy[2]


def test_the_floor_is_one_dimension_a_row_and_is_feasible():
    with pytest.raises(BudgetInfeasible) as caught:
        widths(1)
    found, plan = widths(caught.value.floor)
    assert stored_bytes(plan, 16) == caught.value.floor
    assert set(found) == {1}
    # A single table, and fields of one size, have nothing to be unequal about.
    assert Mde.plan(TableShape(100, 16), 0.5).width == 6
    assert widths(0.5, sizes={"a": 1000, "b": 1000})[0] == [8, 7]
    assert Mde.plan(TableShape(1, 8), 32).width == 8
    assert Mde.plan(TableShape(100, 16), 116 * 4 * 3, None, {"width": 3}).width == 3
    with pytest.raises(BudgetInfeasible):
        Mde.plan(TableShape(100, 16), 116 * 4 * 3 - 1, None, {"width": 3})
    assert [part.scheme["width"] for part in plan_fields("mde", SIZES, 16, 0.5, parameters={"width": 2}).parts] == [
        2
    ] * 4


def test_forward_gradients_and_frozen_rows_are_those_of_a_product():
    part = MdePart(Mde(width=3), TableShape(20, 7), seed=4, scale=0.3)
    rows, projection = (own.detach().clone().requires_grad_() for own in (part.weights.rows, part.weights.projection))
    assert rows.shape == (20, 3)
    assert float(rows.detach().abs().max()) <= 0.3
    assert 0.7 < float(projection.detach().abs().max()) <= 1
    ids = torch.tensor([[1, 5], [5, 19]])
    upstream = torch.linspace(-1, 1, 28).reshape(2, 2, 7)
    (part(ids) * upstream).sum().backward()
    ((rows @ projection)[ids] * upstream).sum().backward()
    torch.testing.assert_close(part.weights.rows.grad, rows.grad)
    torch.testing.assert_close(part.weights.projection.grad, projection.grad)
    table = part.freeze()
    expected = rows.detach().double().numpy() @ projection.detach().double().numpy()
    np.testing.assert_allclose(table.lookup(np.arange(20)), expected, atol=5e-7)
    arrays = dict(table.arrays())
    assert table.lookup(np.arange(20)).tobytes() == reference.projected_rows(arrays, np.arange(20)).tobytes()
    np.testing.assert_allclose(arrays["projection"] @ arrays["projection"].T, np.eye(3), atol=1e-6)


def test_at_full_width_there_is_no_projection():
    part = MdePart(Mde(width=4), TableShape(9, 4), seed=4, scale=0.3)
    assert part.weights.projection is None
    table = part.freeze()
    assert set(table.arrays()) == {"rows"}
    assert table.lookup(np.arange(9)).tobytes() == part.weights.rows.detach().numpy().tobytes()
    with pytest.raises(InvalidArgumentError, match="more than 4 dimensions"):
        MdePart(Mde(width=5), TableShape(9, 4), seed=4, scale=0.3)
    with pytest.raises(InvalidArgumentError, match="width"):
        Mde(width=0)


def test_layers_mix_fields_that_stay_full():
    layer = training.embedding("mde", fields=SIZES, dim=16, budget=0.5)
    table = layer.freeze()
    assert {part.scheme.name for part in table.parts} == {"mde", "full"}
    assert table.nbytes <= 0.5 * sum(SIZES.values()) * 64
    ids = np.stack([np.arange(60)] * 4, axis=1)
    np.testing.assert_allclose(table.lookup_fields(ids), layer(torch.from_numpy(ids)).detach().numpy(), atol=1e-7)


def test_a_projection_without_full_rank_is_stored_as_well():
    rows, projection = np.random.default_rng(1).standard_normal((2, 3, 3)).astype(np.float32)
    projection = np.concatenate([projection, np.zeros((3, 2), np.float32)], axis=1)
    projection[2] = projection[0]
    found, unit = orthonormal(rows, projection)
    np.testing.assert_allclose(found @ unit, rows @ projection, atol=1e-6)
    np.testing.assert_allclose(unit @ unit.T, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_fitting_is_the_best_approximation_of_its_rank(rng, weighted):
    matrix = reference.clustered(rng, 80, 12)
    frequency = rng.integers(1, 1000, 80) if weighted else None
    table = Mde(width=4).fit(matrix, frequency=frequency)
    weights = np.sqrt(frequency if weighted else np.ones(80))[:, None]
    spectrum = np.linalg.svd(matrix * weights, compute_uv=False)
    error = ((table.lookup(np.arange(80)) - matrix) * weights) ** 2
    assert error.sum() == pytest.approx((spectrum[4:] ** 2).sum(), rel=1e-4)
    whole = Mde(width=12).fit(matrix)
    assert whole.lookup(np.arange(80)).tobytes() == matrix.tobytes()


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize(("width", "dim"), [(1, 1), (1, 9), (5, 33), (16, 64), (63, 64)])
def test_distances_in_few_dimensions_are_those_in_all(rng, metric, width, dim):
    matrix, queries = unit_rows(reference.clustered(rng, 70, dim)), unit_rows(reference.clustered(rng, 6, dim))
    table = Mde(width=width).fit(matrix)
    expected = reference.distances(table.lookup(np.arange(70)), queries, metric)
    out = np.empty((6, 70), np.float32)
    table.scorer(queries, metric).scan(0, 70, out)
    np.testing.assert_allclose(out, expected, atol=3e-6)


def test_near_neighbours_keep_their_digits(rng):
    matrix = (reference.clustered(rng, 50, 24) * 30).astype(np.float32)
    table = Mde(width=6).fit(matrix)
    rows = table.lookup(np.arange(50))
    queries = (rows[:5] + rng.standard_normal((5, 24)) * 1e-3).astype(np.float32)
    out = np.empty((5, 50), np.float32)
    table.scorer(queries, Metric.L2).scan(0, 50, out)
    expected = reference.distances(rows, queries, "l2")
    # Squared lengths are about 20,000: their difference in float32 would be off by more than the distance itself.
    np.testing.assert_allclose(np.diag(out[:, :5]), np.diag(expected[:, :5]), rtol=0.05)


def test_damaged_arrays_are_corruption(rng):
    table = Mde(width=3).fit(reference.clustered(rng, 20, 8))
    arrays = dict(table.arrays())
    for wrong in (
        {"projection": arrays["projection"] * 2},
        {"projection": arrays["projection"][:2]},
        {"rows": arrays["rows"].T},
    ):
        with pytest.raises(CorruptionError, match=next(iter(wrong))):
            table.scheme.open(table.shape, {**arrays, **wrong})
    with pytest.raises(InvalidArgumentError, match="more than 2"):
        table.scheme.nbytes(TableShape(20, 2))
    with pytest.raises(InvalidArgumentError, match="more rows"):
        table.encode(np.zeros((1, 8), np.float32))


@pytest.mark.parametrize("name", ["mde", "autodim"])
def test_golden_arrays_decode_as_ever(name):
    config = json.loads((GOLDEN / name / "scheme.json").read_text())
    with np.load(GOLDEN / name / "arrays.npz") as stored, np.load(GOLDEN / name / "expected.npz") as expected:
        arrays = dict(stored)
        table = schemes.from_config(config).open(TableShape(*expected["lookup"].shape), arrays)
        found = table.lookup(np.arange(table.shape.rows))
        assert found.tobytes() == expected["lookup"].tobytes()
        assert found.tobytes() == reference.projected_rows(arrays, np.arange(table.shape.rows)).tobytes()
