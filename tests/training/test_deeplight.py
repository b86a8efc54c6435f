from __future__ import annotations

import numpy as np
import pytest
import torch

from vecstore import training
from vecstore.schemes.base import TableShape
from vecstore.schemes.deeplight import DeepLight
from vecstore.training.deeplight import DeepLightPart

ROWS, DIM, KEPT = 50, 8, 60


def part(**options):
    scheme = DeepLight(values=KEPT, places="bitmap")
    return DeepLightPart(scheme, TableShape(ROWS, DIM), **{"seed": 1, "scale": 0.1, **options})


def stored_weights(layer):
    return int(torch.count_nonzero(layer.rows))


def test_sparsity_follows_the_schedule_of_the_paper_on_the_length_of_the_stage():
    layer = part()
    layer.begin("prune")
    for step in range(1, 41):
        with torch.no_grad():
            layer.rows += 0.01  # everything that was pruned regrows
        before = layer.rows.detach().numpy().copy()
        layer.after_step(step, 40)
        if step % 10:
            np.testing.assert_array_equal(layer.rows.detach(), before)
            continue
        # The paper's steps are stretched so that its 68,700th is the stage's last.
        paper_step = 68_700 * step / 40
        sparsity = (1 - KEPT / (ROWS * DIM)) * (1 - 0.99 ** (paper_step / 100))
        assert stored_weights(layer) / (ROWS * DIM) == pytest.approx(1 - sparsity, abs=2 / (ROWS * DIM))
        kept = layer.rows.detach().numpy() != 0
        np.testing.assert_array_equal(layer.rows.detach().numpy()[kept], before[kept])
        assert np.abs(before[kept]).min() >= np.abs(before[~kept]).max()
    layer.begin("settle")
    layer.after_step(7, 7)
    assert stored_weights(layer) == KEPT


def test_nothing_is_pruned_in_the_dense_start():
    layer = part()
    layer.begin("warm-up")
    layer.after_step(10, 10)
    assert stored_weights(layer) == ROWS * DIM


def test_the_optimiser_is_kept_and_zeros_regrow_between_prunings():
    layer = part()
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.01)
    layer.begin("settle")
    for step in range(1, 12):
        optimiser.zero_grad()
        (layer(torch.arange(ROWS)) - 1).square().sum().backward()
        assert layer.rows.grad.abs().min() > 0
        optimiser.step()
        layer.after_step(step, 100)
        if step == 10:
            assert stored_weights(layer) == KEPT
    assert stored_weights(layer) == ROWS * DIM
    assert optimiser.state[layer.rows]["step"] == 11


def test_checkpoints_are_eligible_at_the_final_sparsity_only():
    stages = part().stages()
    assert [(stage.name, stage.selects) for stage in stages] == [("warm-up", False), ("prune", False), ("settle", True)]
    assert sum(stage.share for stage in stages) == pytest.approx(1)


def test_evaluation_shows_the_table_and_follows_the_weights():
    layer = part().eval()
    rows = torch.arange(ROWS)
    for _ in range(2):
        flat = layer.rows.detach().numpy().ravel()
        expected = np.zeros_like(flat)
        kept = np.argsort(-np.abs(flat), kind="stable")[:KEPT]
        expected[kept] = flat[kept]
        found = layer(rows.reshape(5, 10)).detach().numpy()
        assert found.tobytes() == expected.tobytes() == layer.freeze().lookup(rows.numpy()).tobytes()
        with torch.no_grad():
            layer.rows.copy_(torch.flip(layer.rows, [0, 1]) * 2)
    assert torch.count_nonzero(layer.train()(rows)) == ROWS * DIM


def test_all_fields_share_one_threshold_and_the_budget():
    layer = training.embedding("deeplight", fields={"user": 300, "tag": 9}, dim=16, budget=0.2, seed=3)
    with torch.no_grad():
        layer.parts[0].rows[300:] += 1
    frozen = layer.freeze()
    assert frozen.nbytes <= 0.2 * 309 * 64
    table = frozen.lookup(np.arange(309))
    assert np.count_nonzero(table[300:]) == 9 * 16
    assert 0 < np.count_nonzero(table[:300]) < 0.2 * 300 * 16


def test_seeds_draw_weights():
    assert torch.equal(part(seed=7).rows, part(seed=7).rows)
    assert not torch.equal(part(seed=7).rows, part(seed=8).rows)


def test_a_part_that_was_looked_at_can_be_moved():
    layer = part().eval()
    layer(torch.arange(ROWS))
    form = layer.form()
    assert layer.form() is form
    # A change of the type, or a move to another device, leaves the version of a parameter as it is.
    layer.double()
    assert layer.form() is not form
    rows = np.arange(ROWS)
    assert layer(torch.arange(ROWS)).dtype == torch.float64
    np.testing.assert_array_equal(layer.freeze().lookup(rows), layer(torch.arange(ROWS)).detach().numpy())
