from __future__ import annotations

import numpy as np
import pytest
import torch

from tests import reference
from vecstore import training
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError
from vecstore.planning import stored_bytes
from vecstore.schemes.base import TableShape
from vecstore.schemes.robe import Robe
from vecstore.training.robe import RobePart

CASES = pytest.mark.parametrize(
    ("dim", "block", "signed"),
    [(16, 8, True), (70, 8, True), (130, 32, True), (37, 8, False), (5, 5, True), (3, 8, True)],
)


def part(dim=16, block=8, signed=True, size=300, **options):
    scheme = Robe(size=size, block=block, signed=signed)
    return RobePart(scheme, TableShape(100, dim), **{"seed": 1, "scale": 0.1, **options})


@CASES
def test_forward_and_frozen_table_are_the_formula(dim, block, signed):
    layer = part(dim, block, signed)
    table = layer.freeze()
    rows = np.arange(100)
    expected = reference.robe_rows(table.scheme.to_dict(), table.arrays(), rows, dim)
    assert table.lookup(rows).tobytes() == expected.tobytes()
    found = layer(torch.from_numpy(rows.reshape(4, 25))).detach().numpy()
    assert found.shape == (4, 25, dim)
    assert found.tobytes() == expected.tobytes()


def test_gradients_gather_at_the_places_that_were_read():
    layer = part(70)
    rows = np.array([3, 99, 3])
    upstream = np.random.default_rng(0).standard_normal((3, 70)).astype(np.float32)
    (layer(torch.from_numpy(rows)) * torch.from_numpy(upstream)).sum().backward()
    table = layer.freeze()
    places, signs = reference.robe_places(table.scheme.to_dict(), table.arrays(), rows, 70)
    expected = np.zeros(300)
    np.add.at(expected, places, upstream * signs)
    np.testing.assert_allclose(layer.array.grad[:, 0], expected, atol=1e-5)


def test_blocks_are_contiguous_within_the_array_and_reach_its_ends():
    layer = part(16, 8, size=20)
    table = layer.freeze()
    places, _ = reference.robe_places(table.scheme.to_dict(), table.arrays(), np.arange(2000), 16)
    starts = places.reshape(-1, 8)[:, 0]
    assert (places.reshape(-1, 8) - starts[:, None] == np.arange(8)).all()
    assert set(starts) == set(range(13))
    assert not np.array_equal(places[:, 0], places[:, 8])


def test_signs_are_balanced_and_independent_of_one_another():
    table = part(130).freeze()
    _, signs = reference.robe_places(table.scheme.to_dict(), table.arrays(), np.arange(400), 130)
    correlations = signs.T @ signs / 400
    assert abs(signs.mean()) < 0.02
    assert np.abs(correlations - np.eye(130)).max() < 0.3


def test_unsigned_tables_store_no_sign_salts():
    shape = TableShape(100, 70)
    assert Robe(size=300, signed=False).n_salts(70) == 9
    assert Robe(size=300).n_salts(70) == 11
    assert part(70, signed=False).freeze().nbytes == 300 * 4 + 9 * 8 == Robe(size=300, signed=False).nbytes(shape)


def test_the_plan_uses_the_budget_to_the_last_number():
    shape = TableShape(1000, 16)
    for budget in (0.5, 0.1, 0.001, 700):
        planned = Robe.plan(shape, budget)
        allowed = budget if isinstance(budget, int) else int(budget * shape.float32_bytes)
        assert allowed - 4 < planned.nbytes(shape) <= allowed
    with pytest.raises(BudgetInfeasible) as caught:
        Robe.plan(shape, 10)
    assert caught.value.floor == 8 * 4 + 3 * 8
    assert Robe.plan(shape, caught.value.floor).size == 8
    assert Robe.plan(shape, 10**9).size == 16_000
    assert Robe.plan(TableShape(1000, 3), 0.5).block == 3


@pytest.mark.parametrize("settings", [{"size": 7}, {"size": 2**31}, {"size": 10, "block": 0}])
def test_wrong_sizes_are_refused(settings):
    with pytest.raises(InvalidArgumentError, match=r"robe\.(size|block)"):
        Robe(**settings)


@pytest.mark.parametrize("signed", [True, False])
def test_fit_is_the_least_squares_solution(rng, signed):
    matrix = rng.standard_normal((100, 10)).astype(np.float32)
    weights = rng.integers(1, 5, 100)
    scheme = Robe(size=50, signed=signed)
    table = scheme.fit(matrix, frequency=weights, seed=3)
    places, signs = reference.robe_places(scheme.to_dict(), table.arrays(), np.arange(100), 10)
    design = np.zeros((1000, 50))
    design[np.arange(1000), places.ravel()] = signs.ravel()
    root = np.sqrt(np.repeat(weights, 10))
    expected = np.linalg.lstsq(design * root[:, None], matrix.ravel() * root, rcond=None)[0]
    np.testing.assert_allclose(table.array, expected, atol=1e-5)


def test_all_fields_share_one_array():
    fields = {"user": 500, "item": 300, "tag": 7}
    layer = training.embedding("robe", fields=fields, dim=16, budget=0.1)
    frozen = layer.freeze()
    assert len(frozen.parts) == 1
    assert 0.1 * 807 * 64 - 6 < stored_bytes(frozen.scheme, 16) <= 0.1 * 807 * 64
    ids = np.stack([np.arange(300), np.arange(300), np.arange(300) % 7], axis=1)
    vectors = frozen.lookup_fields(ids)
    assert not np.array_equal(vectors[:, 0], vectors[:, 1])
    with torch.no_grad():
        np.testing.assert_array_equal(vectors, layer(torch.from_numpy(ids)).numpy())


def test_the_seed_draws_weights_and_salts():
    one, same, other = part(seed=7), part(seed=7), part(seed=8)
    np.testing.assert_array_equal(one.salts, same.salts)
    assert torch.equal(one.array, same.array)
    assert not (one.salts == other.salts).any()
    assert len(set(one.salts.tolist())) == 3


def test_salts_of_another_block_are_corruption():
    table = part().freeze()
    with pytest.raises(CorruptionError, match="salts"):
        Robe(size=300, block=4).open(TableShape(100, 16), table.arrays())
