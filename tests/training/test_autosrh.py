from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from vecstore.schemes.autosrh import AutoSrh
from vecstore.schemes.base import TableShape
from vecstore.training.autosrh import AutoSrhPart, frequency_groups

ROWS, DIM, KEPT = 24, 5, 50
COUNTS = np.arange(ROWS)[::-1] * 10


def part(**options):
    scheme = AutoSrh(values=KEPT, places="bitmap")
    layer = AutoSrhPart(scheme, TableShape(ROWS, DIM), **{"seed": 1, "scale": 0.1, **options})
    layer.observe(COUNTS)
    return layer


def test_groups_are_of_equal_size_and_never_split_equal_counts():
    groups = frequency_groups(np.array([5, 1, 9, 7, 3, 2, 8, 4, 0, 6, 11, 10]))
    np.testing.assert_array_equal(groups, [3, 5, 1, 2, 4, 4, 1, 3, 5, 2, 0, 0])
    np.testing.assert_array_equal(frequency_groups(np.array([9, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0])), [0] * 7 + [3] * 5)
    np.testing.assert_array_equal(frequency_groups(np.zeros(7)), np.zeros(7))
    assert frequency_groups(np.empty(0)).shape == (0,)


def test_the_search_is_the_formula():
    layer = part()
    layer.begin("search")
    rows = np.array([0, 1, 5, 23, 23, 9])  # groups 0, 0, 1, 5, 5, 2
    upstream = np.random.default_rng(0).standard_normal((6, DIM)).astype(np.float32)
    ((layer(torch.from_numpy(rows)) * torch.from_numpy(upstream)).sum() + layer.extra_loss()).backward()
    weights, groups = layer.rows.detach().numpy(), rows // 4
    gradient, of_rows = np.full((6, DIM), 1e-5, np.float32), np.zeros_like(weights)
    for row, group, up in zip(rows, groups, upstream, strict=True):
        gradient[group] += up * weights[row]
        of_rows[row] += up  # factors are 1
    expected = gradient / np.abs(gradient).mean(1, keepdims=True)
    np.testing.assert_allclose(layer.factors.grad, expected, rtol=2e-3)
    np.testing.assert_allclose(layer.rows.grad, of_rows, rtol=1e-6)
    torch.optim.SGD([layer.factors], lr=0.5).step()
    layer.after_step(1, 2000)
    np.testing.assert_allclose(layer.factors.detach(), np.clip(1 - 0.5 * expected, 0, 1), rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(("steps", "left"), [(20, 0.0), (500, 0.0), (4000, 0.9)])
def test_a_factor_can_get_from_one_to_zero_in_a_short_search(steps, left):
    layer = part()
    layer.begin("search")
    optimiser = torch.optim.SGD([layer.factors], lr=layer.stages()[1].updates[1].rate)
    for step in range(1, steps + 1):
        if step > 100 and steps > 1000:
            break  # A long search keeps the paper's rate: a tenth in 100 steps.
        layer.factors.grad = torch.ones_like(layer.factors)
        layer.factors.grad[:, 1] = -1
        optimiser.step()
        layer.after_step(step, steps)
    factors = layer.factors.detach()
    np.testing.assert_allclose(factors[:, [0, 2, 3, 4]], left, atol=1e-4)
    # Clipped at 1, and not pulled back by what was clipped.
    np.testing.assert_array_equal(factors[:, 1], 1)


def test_a_group_without_gradient_stays():
    layer = part()
    layer.begin("search")
    layer(torch.tensor([0])).sum().backward()
    assert torch.isfinite(layer.factors.grad).all()
    assert torch.count_nonzero(layer.factors.grad[1:]) == 0


@pytest.mark.parametrize("stage", ["warm-up", "retrain"])
def test_factors_learn_in_the_search_only(stage):
    layer = part()
    with torch.no_grad():
        layer.factors.mul_(0.5)
    layer.begin("search")
    layer.begin(stage)
    vectors = layer(torch.arange(ROWS))
    np.testing.assert_array_equal(vectors.detach(), layer.rows.detach() * 0.5)
    (vectors.sum() + layer.extra_loss()).backward()
    assert layer.factors.grad is None
    assert layer.extra_loss() == 0
    assert torch.equal(layer.rows.grad, torch.full((ROWS, DIM), 0.5))


def test_stages_split_data_and_leave_the_host_alone_in_the_search():
    layer = part()
    warm_up, search, retrain = layer.stages()
    table, factors = search.updates
    assert (table.parameters, table.split) == ("table", "train")
    assert (factors.parameters, factors.split, factors.optimiser, factors.rate) == ("search", "valid", "sgd", 1e-3)
    assert [stage.selects for stage in (warm_up, search, retrain)] == [False, False, True]
    assert layer.search_parameters() == [layer.factors]


def test_factors_are_folded_in_before_the_cut():
    layer = part()
    with torch.no_grad():
        layer.factors.copy_(torch.rand(6, DIM, generator=torch.Generator().manual_seed(3)))
        layer.factors[:, 2] = 0
    folded = layer.rows.detach().numpy() * layer.factors.detach().numpy()[np.arange(ROWS) // 4]
    expected = np.zeros(ROWS * DIM, np.float32)
    kept = np.argsort(-np.abs(folded.ravel()), kind="stable")[:KEPT]
    expected[kept] = folded.ravel()[kept]
    rows = torch.arange(ROWS)
    table = layer.freeze()
    assert table.lookup(rows.numpy()).tobytes() == expected.tobytes()
    assert layer.eval()(rows).detach().numpy().tobytes() == expected.tobytes()
    assert not table.lookup(rows.numpy())[:, 2].any()
    assert table.nbytes == AutoSrh(values=KEPT, places="bitmap").nbytes(layer.shape)


def test_without_counts_all_ids_are_one_group():
    layer = AutoSrhPart(AutoSrh(values=KEPT, places="bitmap"), TableShape(ROWS, DIM), seed=1, scale=0.1)
    layer.begin("search")
    layer(torch.arange(ROWS)).square().sum().backward()
    assert torch.count_nonzero(layer.factors.grad[1:]) == 0
    assert torch.count_nonzero(layer.factors.grad[0]) == DIM


def test_groups_are_saved_and_the_part_can_be_copied_between_steps():
    layer = part()
    layer.begin("search")
    (layer(torch.arange(ROWS)).sum() + layer.extra_loss()).backward()
    other = AutoSrhPart(layer.scheme, layer.shape, seed=9, scale=0.1)
    other.load_state_dict(copy.deepcopy(layer).state_dict())
    rows = np.arange(ROWS)
    assert other.freeze().lookup(rows).tobytes() == layer.freeze().lookup(rows).tobytes()
    assert torch.equal(other.groups, layer.groups)
