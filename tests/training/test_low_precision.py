"""Tables of integers, and training in low precision: int8 and int16."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from tests import reference
from vecstore import schemes
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError
from vecstore.kernels.hashing import derived_salts
from vecstore.kernels.lengths import unit_rows
from vecstore.planning import plan_fields
from vecstore.schemes.base import TableShape
from vecstore.types import Metric

GOLDEN = Path(__file__).parents[1] / "golden" / "schemes"

torch = pytest.importorskip("torch")
from vecstore.training import make_part  # noqa: E402
from vecstore.training.rounding import stochastic_codes  # noqa: E402

NAMES = ("int8", "int16")
LIMITS = {"int8": 127, "int16": 32_767}


def part_of(name="int8", *, rows=12, dim=5, seed=3, scale=0.1):
    scheme = schemes.from_config({"scheme": name, "scales": "table"})
    return make_part(scheme, TableShape(rows, dim), seed=seed, scale=scale)


def draws_after_start(part, seed):
    """The generator of a part's draws, which were used once for all of its initial weights."""
    own = int(derived_salts(seed, 2)[1] >> np.uint64(1))
    draws = torch.Generator().manual_seed(own)
    first = torch.rand(part.codes.shape, generator=draws)
    return draws, first


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_are_uniform_and_rounded_with_a_draw_each(name):
    part = part_of(name, seed=7)
    uniform = torch.rand(12, 5, generator=torch.Generator().manual_seed(int(derived_salts(7, 2)[0] >> np.uint64(1))))
    weights = (uniform.numpy() * 2 - 1) * np.float32(0.1)
    scale = np.float32(np.float32(0.1) / LIMITS[name])
    expected = np.floor(weights / scale + draws_after_start(part, 7)[1].numpy())
    np.testing.assert_array_equal(part.codes.numpy(), np.clip(expected, -LIMITS[name], LIMITS[name]))
    assert part.scales.shape == (1, 1)
    assert part.scales.item() == pytest.approx(scale)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_is_decode_update_and_stochastic_rounding_of_the_touched_rows(name):
    part = part_of(name, seed=5)
    before = part.codes.numpy().astype(np.int64).copy()
    rows = torch.tensor([[3], [7], [3]])
    target = torch.linspace(-1, 1, 15).reshape(3, 1, 5)
    optimiser = torch.optim.SGD(part.parameters(), lr=0.003)
    part.train()
    out = part(rows)
    scale = part.scales.numpy()
    np.testing.assert_array_equal(out.detach().numpy()[:, 0], before[[3, 7, 3]].astype(np.float32) * scale)
    (out * target).sum().backward()
    # Without rounding, this is the gradient of a plain table.
    gradient = np.zeros((12, 5), np.float32)
    np.add.at(gradient, [3, 7, 3], target.numpy()[:, 0])
    np.testing.assert_array_equal(part.rows.grad.numpy(), gradient)
    optimiser.step()
    part.after_step(1, 10)
    draws = draws_after_start(part, 5)[0]
    noise = torch.rand((2, 5), generator=draws).numpy()
    moved = (before[[3, 7]].astype(np.float32) * scale - np.float32(0.003) * gradient[[3, 7]]) / scale
    expected = before.copy()
    expected[[3, 7]] = np.clip(np.floor(moved + noise), -LIMITS[name], LIMITS[name])
    np.testing.assert_array_equal(part.codes.numpy(), expected)
    assert not np.array_equal(expected, before)


def test_momentum_moves_only_the_rows_of_the_batch():
    part = part_of(rows=40)
    optimiser = torch.optim.Adam(part.parameters(), lr=0.003)
    scale = part.scales.item()
    part.train()
    for step, rows in enumerate(([1, 2], [5], [5, 6], [7])):
        before = part.codes.clone()
        part.zero_grad()
        part(torch.tensor(rows)).sum().backward()
        optimiser.step()
        assert not torch.equal(part.rows[1], part.decoded(torch.tensor(1)))
        part.after_step(step + 1, 4)
        changed = (part.codes != before).any(1).nonzero().flatten().tolist()
        assert changed == rows
    assert part.scales.item() == scale


def test_every_value_is_rounded_by_its_own_draw_and_none_on_average():
    values = torch.full((4000, 16), 2.25)
    codes = stochastic_codes(values, 127, torch.Generator().manual_seed(1))
    assert set(codes.unique().tolist()) == {2.0, 3.0}
    assert float(codes.mean()) == pytest.approx(2.25, abs=0.01)
    # With one draw a row, whole rows would go up or down and the deviation of their means be four times as large.
    assert float(codes.mean(1).std()) == pytest.approx((0.25 * 0.75 / 16) ** 0.5, rel=0.05)
    assert stochastic_codes(torch.tensor([1e9, -1e9]), 127, torch.Generator()).tolist() == [127, -127]


def test_looking_without_training_changes_nothing():
    part = part_of()
    before = part.codes.clone()
    with torch.no_grad():
        part(torch.arange(12))
    part.eval()
    part(torch.arange(12))
    part.train()
    part.after_step(1, 1)
    assert torch.equal(part.codes, before)
    assert not part.in_use.any()


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_doubles_until_the_weights_fit(name):
    part = part_of(name, rows=200, dim=16, scale=0.1)
    before, scale = part.codes.double() * part.scales, part.scales.item()
    part.train()
    part(torch.arange(4))
    with torch.no_grad():
        part.rows[:4] = 0.5
    part.after_step(1, 1)
    assert part.scales.item() == 8 * scale
    after = part.codes.double() * part.scales
    assert float((after[:4] - 0.5).abs().max()) <= part.scales.item()
    # The others were halved three times, rounded up or down each time.
    assert float((after[4:] - before[4:]).abs().max()) < part.scales.item() * 2
    assert float((after[4:] - before[4:]).mean().abs()) < part.scales.item() / 10


def test_a_lone_outlier_is_clipped_and_costs_no_one_else():
    part = part_of(rows=200, dim=16)
    scale = part.scales.item()
    part.train()
    part(torch.arange(200))
    with torch.no_grad():
        part.rows[3, 2] = 50
    part.after_step(1, 1)
    assert part.scales.item() == scale
    assert part.codes[3, 2] == 127


def written(part, rows, values):
    """Let a step leave ``values`` in ``rows``."""
    part.train()
    part(torch.as_tensor(rows))
    with torch.no_grad():
        part.rows[rows] = torch.as_tensor(values)
    part.after_step(1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_outliers_in_small_steps_do_not_blow_up_the_scale(name):
    part = part_of(name, rows=200, dim=16)
    before, scale = part.codes.clone(), part.scales.item()
    for row in range(10):
        values = part.decoded(torch.tensor(row)).clone()
        values[row] = 50
        written(part, [row], values)
    assert part.scales.item() == scale
    assert torch.equal(part.codes[10:], before[10:])
    # A whole row that went astray, too.
    part = part_of(name, rows=200, dim=16)
    written(part, [100], torch.full((1, 16), 50.0))
    assert part.scales.item() == scale
    assert part.codes[100].tolist() == [LIMITS[name]] * 16


def test_values_that_keep_leaving_the_range_make_it_grow_whatever_the_size_of_steps():
    grown = []
    for size in (1, 10, 200):
        part = part_of(rows=200, dim=16)
        scale = part.scales.item()
        for _ in range(4):
            for first in range(0, 200, size):
                rows = torch.arange(first, first + size)
                values = part.decoded(rows).clone()
                values[:, :4] = 0.3
                written(part, rows, values)
        grown.append(part.scales.item() / scale)
        assert float((part.decoded(torch.arange(200))[:, :4] - 0.3).abs().max()) <= part.scales.item()
    assert grown == [4, 4, 4]


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_shrinks_when_half_of_the_range_is_empty(name):
    part = part_of(name, rows=200, dim=16, scale=0.1)
    scale, rows = part.scales.item(), torch.arange(200)
    written(part, rows, torch.full((200, 16), 6.0))
    assert part.scales.item() == 64 * scale
    small = (torch.rand(200, 16, generator=torch.Generator().manual_seed(0)) - 0.5) / 4
    seen = [64]
    for _ in range(60):
        written(part, rows, small)
        seen.append(round(part.scales.item() / scale))
    # Halved step by step, and not again doubled: 0.125 needs twice the first range.
    assert sorted(set(seen)) == [2, 4, 8, 16, 32, 64]
    assert seen == sorted(seen, reverse=True)
    assert float((part.decoded(rows) - small).abs().max()) <= part.scales.item()


def test_the_scale_waits_for_rows_that_no_step_uses():
    part = part_of(rows=400, dim=16, scale=0.1)
    scale = part.scales.item()
    rows = torch.arange(100)
    for _ in range(50):
        written(part, rows, torch.full((100, 16), 0.001))
    assert part.scales.item() == scale, "the other half of the table has large codes"
    kept = part.codes[100:].clone()
    # One in ten thousand is an outlier, and costs the others nothing.
    part.codes[100:] = torch.where(kept.abs() > 60, 3, kept)
    part.codes[150, 3] = 127
    before = part.codes[100:].clone()
    for _ in range(20):
        written(part, rows, torch.full((100, 16), 0.001))
    assert part.scales.item() == scale / 2
    assert part.codes[150, 3] == 127
    assert torch.equal(part.codes[100:], (before.int() * 2).clamp(-127, 127).to(torch.int8)), "doubling is exact"


def test_a_table_of_zeros_keeps_a_scale():
    part = part_of(rows=20, dim=16)
    for _ in range(3000):
        written(part, torch.arange(20), torch.zeros(20, 16))
    assert part.scales.item() > 0
    assert (part.codes == 0).all()


def test_a_restored_state_grows_and_shrinks_as_the_original():
    first, rows = part_of(rows=40, dim=16), torch.arange(40)
    values = first.decoded(rows).clone()
    values[0, :5] = 1
    for _ in range(3):
        written(first, rows, values)
    second = part_of(rows=40, dim=16, seed=9)
    second.load_state_dict(first.state_dict())
    second._draws.set_state(first._draws.get_state())
    scale, scales = first.scales.item(), []
    for part in (first, second):
        for step in range(160):
            written(part, rows, values if step < 20 else torch.full((40, 16), 1e-3))
            scales.append(part.scales.item())
    assert scales[:160] == scales[160:]
    assert scales[0] == 2 * scale, "what came before counts"
    assert scales[159] <= max(scales) / 4
    assert torch.equal(first.codes, second.codes)


def test_weights_that_are_not_finite_do_not_hang():
    part = part_of()
    part.train()
    part(torch.arange(12))
    with torch.no_grad():
        part.rows.fill_(float("inf"))
    part.after_step(1, 1)
    assert (part.codes == 127).all()


def test_copies_go_on_as_the_original():
    part = part_of()
    twin = copy.deepcopy(part)
    for own in (part, twin):
        own.train()
        own(torch.arange(12)).sum().backward()
        torch.optim.SGD(own.parameters(), lr=0.01).step()
        own.after_step(1, 1)
    assert torch.equal(part.codes, twin.codes)


@pytest.mark.parametrize("name", NAMES)
def test_training_has_one_scale_a_table_and_says_so(name):
    plan = plan_fields(name, {"user": 50, "item": 30}, 16, 1.0)
    assert [part.scheme["scales"] for part in plan.parts] == ["table", "table"]
    assert plan.nbytes(TableShape(80, 16)) == 80 * 16 * {"int8": 1, "int16": 2}[name] + 2 * 4
    with pytest.raises(InvalidArgumentError, match="alpt"):
        make_part(schemes.from_config(name), TableShape(5, 4), seed=1, scale=0.1)
    with pytest.raises(InvalidArgumentError, match="scales"):
        schemes.from_config({"scheme": name, "scales": "column"})


@pytest.mark.parametrize(("name", "width"), [("int8", 1), ("int16", 2)])
def test_bytes_are_exact_and_the_floor_is_feasible(name, width):
    shape = TableShape(100, 16)
    table = {"scales": "table"}
    assert schemes.get(name).plan(shape, 1.0).nbytes(shape) == 100 * (16 * width + 4)
    assert schemes.get(name).plan(shape, 100 * 16 * width + 4, None, table).nbytes(shape) == 100 * 16 * width + 4
    with pytest.raises(BudgetInfeasible) as caught:
        schemes.get(name).plan(shape, 100 * 16 * width + 3, None, table)
    assert caught.value.floor == 100 * 16 * width + 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [1, 16, 33])
def test_one_scale_has_the_smallest_error_and_scores_as_it_decodes(rng, name, dim):
    matrix = unit_rows(reference.clustered(rng, 70, dim))
    matrix[5] *= 3
    table = schemes.from_config({"scheme": name, "scales": "table"}).fit(matrix)
    arrays = dict(table.arrays())
    scale = reference.best_scales(matrix.reshape(1, -1), LIMITS[name])
    assert arrays["scale"].tobytes() == scale.tobytes()
    expected = reference.nearest_codes(matrix, np.repeat(scale, 70), LIMITS[name])
    np.testing.assert_array_equal(arrays["codes"], expected)
    rows = np.arange(70)[::-1]
    decoded = reference.coded_rows(arrays, rows)
    assert table.lookup(rows).tobytes() == decoded.tobytes()
    queries = unit_rows(reference.clustered(rng, 4, dim))
    for metric in Metric:
        out = np.empty((4, 70), np.float32)
        table.scorer(queries, metric).gather(rows, out)
        np.testing.assert_allclose(out, reference.distances(decoded, queries, metric), atol=3e-6)
    reopened = table.scheme.open(table.shape, arrays)
    assert reopened.lookup(rows).tobytes() == decoded.tobytes()
    for key in arrays:
        with pytest.raises(CorruptionError, match=key):
            table.scheme.open(table.shape, {**arrays, key: arrays[key][:0]})


def test_one_scale_does_not_follow_an_outlier(rng):
    matrix = rng.standard_normal((500, 16)).astype(np.float32)
    matrix[3, 3] = 30
    found = schemes.from_config({"scheme": "int8", "scales": "table"}).fit(matrix)
    plain = reference.nearest_codes(matrix, np.full(500, np.float32(30 / 127)), 127) * np.float32(30 / 127)
    error = ((found.lookup(np.arange(500)) - matrix) ** 2).sum()
    assert error < ((plain - matrix) ** 2).sum()


def test_further_rows_get_the_scale_of_the_table(rng):
    matrix = rng.uniform(-1, 1, (50, 8)).astype(np.float32)
    table = schemes.from_config({"scheme": "int8", "scales": "table"}).fit(matrix)
    added = table.encode(np.full((2, 8), 7, np.float32))
    assert set(added) == {"codes"}
    assert (added["codes"] == 127).all()
    np.testing.assert_array_equal(table.encode(matrix)["codes"], table.arrays()["codes"])
    with pytest.raises(InvalidArgumentError, match="expected 8"):
        table.encode(np.zeros((2, 7), np.float32))


def test_int16_errs_by_half_a_step_at_most(rng):
    matrix = reference.clustered(rng, 100, 20)
    table = schemes.from_config("int16").fit(matrix)
    assert table.lookup(np.arange(100)).tobytes() == reference.decoded("int16", matrix).tobytes()
    steps = np.abs(matrix).max(1, keepdims=True) / 32_767
    assert (np.abs(table.lookup(np.arange(100)) - matrix) <= steps * 0.51).all()


@pytest.mark.parametrize("name", ["int16", "alpt"])
def test_golden_arrays_decode_as_ever(name):
    config = json.loads((GOLDEN / name / "scheme.json").read_text())
    with np.load(GOLDEN / name / "arrays.npz") as stored, np.load(GOLDEN / name / "expected.npz") as expected:
        arrays = dict(stored)
        table = schemes.from_config(config).open(TableShape(*expected["lookup"].shape), arrays)
        found = table.lookup(np.arange(table.shape.rows))
        assert found.tobytes() == expected["lookup"].tobytes()
        assert found.tobytes() == reference.coded_rows(arrays, np.arange(table.shape.rows)).tobytes()
