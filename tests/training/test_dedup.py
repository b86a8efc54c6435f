"""``dedup``: blocks of rows that are nearly equal are stored once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests import reference
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError
from vecstore.schemes.base import TableShape
from vecstore.schemes.dedup import Dedup
from vecstore.schemes.merging import merged_blocks
from vecstore.training.dedup import DedupPart
from vecstore.types import Metric


def planted(rng, n_blocks=120, size=32, n_kinds=15, noise=1e-3):
    """Blocks that are one of few kinds up to noise, and the kind of each."""
    kinds = np.concatenate([np.arange(n_kinds), rng.integers(0, n_kinds, n_blocks - n_kinds)])
    blocks = rng.standard_normal((n_kinds, size))[kinds] + noise * rng.standard_normal((n_blocks, size))
    return blocks.astype(np.float32), kinds


def test_each_kind_keeps_the_block_that_comes_first_by_its_75th_percentile(rng):
    blocks, kinds = planted(rng)
    order = np.argsort(np.percentile(blocks, 75, axis=1), kind="stable")
    first_of_kind = {}
    for block in order.tolist():
        first_of_kind.setdefault(kinds[block], block)
    expected = [first_of_kind[kind] for kind in kinds]
    assert merged_blocks(blocks, 15, seed=1).tolist() == expected


def test_the_tolerance_follows_the_scale_of_the_weights(rng):
    blocks = rng.standard_normal((80, 24)).astype(np.float32)
    usual = merged_blocks(blocks, 30, seed=1)
    for scale in (2.0**-12, 2.0**9):
        np.testing.assert_array_equal(merged_blocks(blocks * np.float32(scale), 30, seed=1), usual)


@pytest.mark.parametrize("wanted", [1, 2, 17, 79, 80, 200])
def test_the_wanted_number_is_kept_and_nobody_reads_a_merged_block(rng, wanted):
    blocks = rng.standard_normal((80, 24)).astype(np.float32)
    target = merged_blocks(blocks, wanted, seed=2)
    assert len(np.unique(target)) == min(wanted, 80)
    np.testing.assert_array_equal(target[target], target)


def test_likeness_is_not_carried_on_through_merged_blocks():
    # 1 is like 0 and 2 is like 1, but 2 is not like 0, which 1 was merged onto: two merges need a larger tolerance,
    # and one merge leaves 2 as it is.
    steps = np.float32([0, 1, 2, 100])
    blocks = np.repeat(steps[:, None], 16, axis=1)
    assert merged_blocks(blocks, 3, seed=0).tolist() == [0, 0, 2, 3]
    assert merged_blocks(blocks, 2, seed=0).tolist() == [0, 0, 0, 3]


def test_equal_blocks_of_zeros_merge():
    blocks = np.zeros((9, 4), np.float32)
    assert merged_blocks(blocks, 1, seed=0).tolist() == [0] * 9


@pytest.fixture
def part():
    return DedupPart(Dedup(blocks=6, block_rows=4), TableShape(rows=90, dim=3), seed=5, scale=0.1)


def test_frozen_rows_are_those_of_the_layer_and_of_the_formula(part):
    part.begin("train")
    before = part(torch.arange(90)).detach().numpy()
    assert len(np.unique(before, axis=0)) == 90, "dense at first"
    part.begin("retrain")
    table = part.eval().freeze()
    rows = np.arange(90)
    expected = part(torch.arange(90)).detach().numpy()
    assert table.lookup(rows).tobytes() == expected.tobytes()
    assert reference.dedup_rows(table.scheme.to_dict(), table.arrays(), rows).tobytes() == expected.tobytes()
    assert table.scheme.open(table.shape, table.arrays()).lookup(rows).tobytes() == expected.tobytes()
    assert table.nbytes == table.scheme.nbytes(table.shape) == 6 * 4 * 3 * 4 + 23
    kept = np.unique(part.target.numpy())
    assert table.lookup(np.arange(kept[0] * 4, kept[0] * 4 + 4)).tobytes() == before[kept[0] * 4 :][:4].tobytes()


def test_gradients_of_merged_blocks_add_up_in_the_kept_one(part):
    part.begin("retrain")
    slopes = torch.arange(90.0)[:, None] + torch.arange(3.0)
    (part(torch.arange(90)) * slopes).sum().backward()
    expected = np.zeros((92, 3), np.float32)
    target = part.target.numpy()
    for row in range(90):
        expected[target[row // 4] * 4 + row % 4] += slopes[row].numpy()
    np.testing.assert_allclose(part.rows.grad.numpy(), expected, rtol=1e-6)


def test_before_it_merges_the_layer_trains_dense_and_shows_what_merging_would_give(part):
    rows = np.arange(90)
    part.begin("train")
    optimiser = torch.optim.SGD(part.parameters(), lr=0.1)
    part.train()
    for _ in range(3):
        part(torch.arange(90)).square().sum().backward()
        optimiser.step()
        table = part.eval().freeze()
        evaluated = part(torch.arange(90)).detach().numpy()
        assert table.lookup(rows).tobytes() == evaluated.tobytes()
        assert table.nbytes == table.scheme.nbytes(table.shape)
        assert len(np.unique(evaluated.reshape(-1, 3)[:88].reshape(-1, 12), axis=0)) <= 6
        part.train()
        assert len(torch.unique(part(torch.arange(90)), dim=0)) == 90, "freezing changes nothing"
    part.begin("retrain")
    assert part.freeze().lookup(rows).tobytes() == table.lookup(rows).tobytes()
    merged = part.target.clone()
    with torch.no_grad():
        part.rows += torch.rand(part.rows.shape, generator=torch.Generator().manual_seed(0))
    part.begin("retrain")
    assert torch.equal(part.target, merged), "what is merged stays merged"


def test_stages_and_state(part):
    assert [(stage.name, stage.selects) for stage in part.stages()] == [("train", False), ("retrain", True)]
    part.begin("retrain")
    other = DedupPart(part.scheme, part.shape, seed=5, scale=0.1)
    other.load_state_dict(part.state_dict())
    assert other.freeze().lookup(np.arange(90)).tobytes() == part.freeze().lookup(np.arange(90)).tobytes()


def test_rows_that_stayed_near_their_initial_values_are_merged_first():
    part = DedupPart(Dedup(blocks=11, block_rows=4), TableShape(rows=80, dim=8), seed=5, scale=1e-3)
    with torch.no_grad():
        part.rows[:40] += torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    part.begin("retrain")
    assert part.target[:10].tolist() == list(range(10))
    assert len(part.target[10:].unique()) == 1


def test_fit_finds_what_is_repeated(rng):
    blocks, kinds = planted(rng, size=16 * 8)
    matrix = blocks.reshape(-1, 8)
    table = Dedup(blocks=15, block_rows=16).fit(matrix)
    np.testing.assert_allclose(table.lookup(np.arange(len(matrix))), matrix, atol=0.01)
    queries = rng.standard_normal((3, 8)).astype(np.float32)
    for metric in Metric:
        found = np.empty((3, len(matrix)), np.float32)
        table.scorer(queries, metric).scan(0, len(matrix), found)
        np.testing.assert_allclose(
            found, reference.distances(table.lookup(np.arange(len(matrix))), queries, metric), atol=1e-4
        )
    assert len(np.unique(kinds)) == 15


def test_numbers_have_the_smallest_type(rng):
    matrix = rng.standard_normal((700, 2)).astype(np.float32)
    for blocks, dtype in ((256, np.uint8), (257, np.uint16)):
        scheme = Dedup(blocks=blocks, block_rows=1)
        table = scheme.fit(matrix)
        assert table.arrays()["map"].dtype == dtype
        assert table.nbytes == scheme.nbytes(table.shape) == blocks * 8 + 700 * np.dtype(dtype).itemsize
    assert Dedup(blocks=65_537).map_dtype == np.uint32


def test_plans_take_the_most_blocks_and_smaller_ones_near_the_floor():
    shape = TableShape(rows=10_000, dim=4)
    for budget in range(4000, 160_000, 997):
        planned = Dedup.plan(shape, budget)
        one_more = Dedup(blocks=planned.blocks + 1, block_rows=planned.block_rows)
        assert planned.nbytes(shape) <= budget
        assert one_more.nbytes(shape) > budget or planned.blocks == 625
        assert planned.block_rows == 16
    tiny = TableShape(rows=300, dim=16)
    with pytest.raises(BudgetInfeasible) as caught:
        Dedup.plan(tiny, 1)
    assert caught.value.floor == min(rows * 64 + -(-300 // rows) for rows in (16, 8, 4, 2, 1))
    assert Dedup.plan(tiny, caught.value.floor).nbytes(tiny) == caught.value.floor
    assert Dedup.plan(tiny, 0.5, parameters={"block_rows": 3}).block_rows == 3


def test_wrong_settings_and_damaged_maps_are_refused(rng):
    for settings in ({"blocks": 0}, {"blocks": 1, "block_rows": 0}):
        with pytest.raises(InvalidArgumentError, match="dedup"):
            Dedup(**settings)
    table = Dedup(blocks=3, block_rows=2).fit(rng.standard_normal((20, 2)).astype(np.float32))
    damaged = {**table.arrays(), "map": np.full(10, 3, np.uint8)}
    with pytest.raises(CorruptionError, match="map"):
        table.scheme.open(table.shape, damaged)
    with pytest.raises(InvalidArgumentError, match="dedup"):
        table.encode(np.zeros((1, 2), np.float32))


def test_weights_that_are_not_finite_are_refused():
    blocks = np.ones((6, 4), np.float32)
    blocks[2, 1] = np.nan
    with pytest.raises(InvalidArgumentError, match="diverge"):
        merged_blocks(blocks, 2, seed=0)
