"""Learned steps: their gradient, the three parts of an update, and fitting."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests import reference
from vecstore import schemes, training
from vecstore.errors import InvalidArgumentError
from vecstore.kernels.hashing import derived_salts
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.alpt import Alpt
from vecstore.schemes.base import TableShape
from vecstore.schemes.int8 import Int8Table
from vecstore.types import Metric

torch = pytest.importorskip("torch")
from vecstore.training.alpt import AlptPart, rounded_to_steps  # noqa: E402


def part_of(*, bits=8, rows=12, dim=5, seed=3, scale=0.1, initial_step=None):
    scheme = Alpt(bits=bits, initial_step=initial_step)
    return AlptPart(scheme, TableShape(rows, dim), seed=seed, scale=scale)


def lsq(values, steps, limit):
    """Rounded values, and the slope of each by its step, in numpy from the formulas."""
    scaled = values / steps
    inside = (scaled > -limit) & (scaled < limit)
    codes = np.floor(scaled + np.float32(0.5))
    rounded = np.where(inside, codes, np.sign(scaled) * limit)
    slopes = np.where(inside, codes - scaled, np.sign(scaled) * limit)
    return np.clip(rounded, -limit, limit) * steps, slopes


@pytest.mark.parametrize("limit", [127, 32_767])
def test_rounding_and_gradients_are_those_of_the_formula(limit):
    rng = np.random.default_rng(1)
    steps = rng.uniform(0.001, 0.02, (6, 1)).astype(np.float32)
    values = (rng.uniform(-1.3, 1.3, (6, 7)) * limit * steps).astype(np.float32)
    values[0, 0], values[1, 1] = 2.5 * steps[0, 0], -2.5 * steps[1, 0]
    upstream = rng.standard_normal((6, 7)).astype(np.float32)
    tensors = [torch.from_numpy(own).requires_grad_() for own in (values, steps)]
    out = rounded_to_steps(*tensors, float(limit), 0.25)
    (out * torch.from_numpy(upstream)).sum().backward()
    rounded, slopes = lsq(values, steps, np.float32(limit))
    np.testing.assert_allclose(out.detach().numpy(), rounded, rtol=1e-6)
    np.testing.assert_array_equal(tensors[0].grad.numpy(), upstream)
    expected = 0.25 * (upstream * slopes).sum(1, keepdims=True)
    np.testing.assert_allclose(tensors[1].grad.numpy(), expected, rtol=1e-4)


def test_inside_the_range_the_slope_is_that_of_codes_held_fixed():
    """With codes that do not change, rounded - value is linear in the step, which finite differences can see."""
    values, step, by = torch.tensor([[0.31, -0.12, 0.07]]), 0.1, 1e-3
    tensors = values.requires_grad_(), torch.tensor([[step]], requires_grad=True)
    rounded_to_steps(*tensors, 127.0, 1.0).sum().backward()
    moved = [rounded_to_steps(values.detach(), torch.tensor([[step + d]]), 127.0, 1.0).sum() for d in (-by, by)]
    slope = (moved[1] - moved[0]).item() / (2 * by)
    straight_through = (values.detach() / step).sum().item()
    assert tensors[1].grad.item() == pytest.approx(slope - straight_through, abs=1e-3)


@pytest.mark.parametrize("bits", [8, 16])
def test_an_update_is_weights_then_steps_then_stochastic_rounding(bits):
    part = part_of(bits=bits, seed=9)
    limit = 2 ** (bits - 1) - 1
    rows, upstream = torch.tensor([[2], [5], [2]]), torch.linspace(-2, 2, 15).reshape(3, 1, 5)
    codes, steps = part.codes.numpy().astype(np.float32), part.scales.numpy().copy()
    weights = torch.optim.SGD([part.rows], lr=0.01)
    learned = torch.optim.SGD(part.search_parameters(), lr=0.003)
    part.train()

    (part(rows) * upstream).sum().backward()
    gradient = np.zeros((12, 5), np.float32)
    np.add.at(gradient, [2, 5, 2], upstream.numpy()[:, 0])
    np.testing.assert_array_equal(part.rows.grad.numpy(), gradient)
    # Rows that are multiples of their steps say nothing about them, but for float32.
    assert float(part.steps.grad.abs().max()) < 1e-3 * limit / 127
    weights.step()
    updated = codes * steps - np.float32(0.01) * gradient

    part.zero_grad()
    second = part(rows)
    rounded, slopes = lsq(updated[[2, 5, 2]], steps[[2, 5, 2]], np.float32(limit))
    np.testing.assert_allclose(second.detach().numpy()[:, 0], rounded, rtol=1e-5)
    (second * upstream).sum().backward()
    factor = 1 / math.sqrt(3 * 5 * limit)
    expected = np.zeros((12, 1))
    np.add.at(expected, [2, 5, 2], factor * (upstream.numpy()[:, 0] * slopes).sum(1, keepdims=True))
    np.testing.assert_allclose(part.steps.grad.numpy(), expected, rtol=1e-3, atol=1e-5 * limit)
    learned.step()
    new_steps = steps - 0.003 * part.steps.grad.numpy()
    part.after_step(1, 10)

    draws = torch.Generator().manual_seed(int(derived_salts(9, 2)[1] >> np.uint64(1)))
    torch.rand(12, 5, generator=draws)
    noise = torch.rand(2, 5, generator=draws).numpy()
    new_codes, least = codes.copy(), np.float32(part.least_step)
    touched = np.maximum(new_steps[[2, 5]].astype(np.float32), least)
    new_codes[[2, 5]] = np.clip(np.floor(updated[[2, 5]] / touched + noise), -limit, limit)
    np.testing.assert_array_equal(part.codes.numpy(), new_codes)
    np.testing.assert_allclose(part.scales.numpy()[[2, 5]], touched, rtol=1e-6)
    others = [0, 1, 3, 4, *range(6, 12)]
    np.testing.assert_array_equal(part.scales.numpy()[others], steps[others])


def test_steps_stay_positive():
    part = part_of()
    part.train()
    part(torch.tensor([1, 2]))
    with torch.no_grad():
        part.steps[1] = -3
    part.after_step(1, 1)
    assert part.scales[1].item() == pytest.approx(part.scales[0].item() / 64)
    assert (part.scales > 0).all()


def test_momentum_moves_only_the_steps_of_the_batch():
    part = part_of(rows=30)
    optimisers = torch.optim.Adam([part.rows], lr=0.05), torch.optim.Adam(part.search_parameters(), lr=2e-5)
    part.train()
    for step, rows in enumerate(([1, 2], [5], [5, 6], [7])):
        before = part.scales.clone()
        for optimiser in optimisers:
            part.zero_grad()
            part(torch.tensor(rows)).square().sum().backward()
            optimiser.step()
        part.after_step(step + 1, 4)
        changed = (part.scales != before).any(1).nonzero().flatten().tolist()
        assert changed == rows


def test_initial_steps_and_stages():
    assert part_of(scale=0.2).scales[3].item() == pytest.approx(0.2 / math.sqrt(127))
    assert part_of(initial_step=0.01, bits=16).scales.unique().tolist() == pytest.approx([0.01])
    (stage,) = part_of().stages()
    assert [update.parameters for update in stage.updates] == ["weights", "search"]
    assert stage.updates[1].rate == 2e-5
    with pytest.raises(InvalidArgumentError, match="initial_step"):
        Alpt(initial_step=0.0)
    with pytest.raises(InvalidArgumentError, match="bits"):
        Alpt(bits=4)


@pytest.mark.parametrize("bits", [8, 16])
def test_layers_take_the_bits_and_freeze_what_they_compute(bits):
    layer = training.embedding("alpt", fields={"user": 40, "item": 30}, dim=16, bits=bits, scale=0.1)
    table = layer.freeze()
    assert table.nbytes == 70 * (16 * bits // 8 + 4)
    ids = np.stack([np.arange(30), np.arange(30)], axis=1)
    layer.eval()
    assert table.lookup_fields(ids).tobytes() == layer(torch.from_numpy(ids)).detach().numpy().tobytes()
    assert isinstance(table.parts[0], Int8Table) == (bits == 8)


@pytest.mark.parametrize("bits", [8, 16])
def test_fitted_steps_have_the_smallest_error(rng, bits):
    matrix = unit_rows(reference.clustered(rng, 60, 24))
    matrix[7] = 0
    table = Alpt(bits=bits).fit(matrix)
    limit = 2 ** (bits - 1) - 1
    scales = reference.best_scales(matrix, limit)
    assert table.arrays()["scales"].tobytes() == scales.tobytes()
    np.testing.assert_array_equal(table.arrays()["codes"], reference.nearest_codes(matrix, scales, limit))
    plain = schemes.from_config(f"int{bits}").fit(matrix)
    errors = [((own.lookup(np.arange(60)) - matrix) ** 2).sum(1) for own in (table, plain)]
    assert (errors[0] <= errors[1] * (1 + 1e-6)).all()
    assert errors[0].sum() < errors[1].sum() * 0.97
    queries = matrix[:3]
    for metric in Metric:
        out = np.empty((3, 60), np.float32)
        table.scorer(queries, metric).scan(0, 60, out)
        expected = reference.distances(reference.coded_rows(table.arrays(), np.arange(60)), queries, metric)
        np.testing.assert_allclose(out, expected, atol=3e-6)
