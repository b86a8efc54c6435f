"""Budgets of whole embeddings, over all trained schemes: every byte on disk is within, and plans are monotone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vecstore
from vecstore import training
from vecstore.errors import BudgetInfeasible
from vecstore.planning import plan_fields, stored_bytes
from vecstore.schemes import get, names
from vecstore.schemes.base import TableShape

torch = pytest.importorskip("torch")

TRAINED = [name for name in names() if get(name).capabilities.trained]
#: One field, a few, and as many as there are tables behind a click model, from 3 ids to some thousand.
EMBEDDINGS = {
    "one": {"item": 3000},
    "three": {"user": 4000, "item": 900, "tag": 7},
    "thirteen": {f"field{number}": size for number, size in enumerate([3, 7, 12, 16, 19, 35, 46, 104, 127, 223])}
    | {"flight": 2500, "tail": 1500, "carrier_flight": 4100},
}
DIM = 16


def counts_of(sizes):
    rng = np.random.default_rng(3)
    return {field: rng.zipf(1.5, size).clip(max=10**6) for field, size in sizes.items()}


def trained(name, sizes, budget):
    """A frozen table after one step of each stage, with what its training decided."""
    layer = training.embedding(name, fields=sizes, dim=DIM, budget=budget, frequency=counts_of(sizes), seed=1)
    ids = torch.stack([torch.arange(64) % size for size in sizes.values()], dim=1)
    for stage in layer.stages():
        layer.begin(stage.name)
        layer.train()
        parameters = [parameter for parameter in layer.parameters() if parameter.requires_grad]
        for _ in range(2):
            layer.zero_grad()
            (layer(ids).square().sum() + layer.extra_loss()).backward()
            torch.optim.SGD(parameters, 0.1).step()
        layer.after_step(1, 1)
    return layer.freeze()


def on_disk(store):
    return sum(path.stat().st_size for path in (store / "tables").rglob("*") if path.is_file())


@pytest.mark.parametrize("embedding", EMBEDDINGS)
@pytest.mark.parametrize("name", TRAINED)
def test_every_byte_on_disk_is_within_the_budget(tmp_path, name, embedding):
    sizes = EMBEDDINGS[embedding]
    whole = sum(sizes.values()) * DIM * 4
    with pytest.raises(BudgetInfeasible) as caught:
        training.embedding(name, fields=sizes, dim=DIM, budget=1, frequency=counts_of(sizes))
    floor = caught.value.floor
    wanted = {max(floor, int(share * whole)) for share in (0.5, 0.1, 0.01)} | {floor}
    for number, budget in enumerate(sorted(wanted)):
        table = trained(name, sizes, budget)
        store = tmp_path / str(number)
        with vecstore.open(store) as db:
            stored = db.put_table("ctr", table)
            ids = np.stack([np.arange(64) % size for size in sizes.values()], axis=1)
            np.testing.assert_array_equal(stored.lookup(ids), table.lookup_fields(ids))
        used = on_disk(store)
        assert table.nbytes < used <= stored_bytes(table.scheme, DIM) <= budget
        # The bound is near: framing is rounded up to 64 bytes a message, numbers to twelve digits.
        assert stored_bytes(table.scheme, DIM) - used < 400 + 120 * len(table.scheme.array_forms(table.shape))


@given(data=st.data(), name=st.sampled_from(names()))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_plans_end_within_the_budget_and_grow_with_it(data, name):
    sizes = dict(enumerate(data.draw(st.lists(st.integers(1, 100_000), min_size=1, max_size=6))))
    sizes = {f"f{number}": size for number, size in sizes.items()}
    dim = data.draw(st.integers(1, 64))
    counts = counts_of(sizes) if data.draw(st.booleans()) else None
    whole = TableShape(sum(sizes.values()), dim).float32_bytes
    with pytest.raises(BudgetInfeasible) as caught:
        plan_fields(name, sizes, dim, 1, frequency=counts)
    floor = caught.value.floor
    assert caught.value.reachable[0] == floor
    assert list(caught.value.reachable) == sorted(set(caught.value.reachable))
    for budget in caught.value.reachable:
        assert stored_bytes(plan_fields(name, sizes, dim, budget, frequency=counts), dim) <= budget
    assert stored_bytes(plan_fields(name, sizes, dim, floor, frequency=counts), dim) == floor
    with pytest.raises(BudgetInfeasible) as caught:
        plan_fields(name, sizes, dim, floor - 1, frequency=counts)
    assert caught.value.floor == floor
    budgets = sorted(data.draw(st.lists(st.integers(floor, floor + whole), min_size=2, max_size=4)))
    found = [stored_bytes(plan_fields(name, sizes, dim, budget, frequency=counts), dim) for budget in budgets]
    assert found == sorted(found)
    assert all(size <= budget for size, budget in zip(found, budgets, strict=True))


def test_steps_that_can_be_reached_are_named():
    sizes = EMBEDDINGS["thirteen"]
    with pytest.raises(
        BudgetInfeasible, match=r"needs at least [\d,]+ bytes \(0\.3\d* of float32\).*begin at"
    ) as caught:
        plan_fields("alpt", sizes, DIM, 0.1)
    floor, widest = caught.value.reachable
    bits = {part.scheme["bits"] for part in plan_fields("alpt", sizes, DIM, widest).parts}
    assert bits == {16}
    assert stored_bytes(plan_fields("alpt", sizes, DIM, floor), DIM) == floor
    with pytest.raises(BudgetInfeasible) as caught:
        plan_fields("hash", sizes, DIM, 100)
    assert caught.value.reachable == (caught.value.floor,)


def test_left_over_bytes_go_to_the_fields_that_are_used_most():
    sizes = {"rare": 1000, "often": 1000, "most": 1000}
    counts = {field: np.full(1000, use) for field, use in (("rare", 1), ("often", 5), ("most", 9))}
    parts = plan_fields("alpt", sizes, DIM, 1000 * (20 + 20 + 36) + 2000, frequency=counts).parts
    assert [part.scheme["bits"] for part in parts] == [8, 8, 16]


def test_a_field_is_compressed_only_if_that_makes_it_smaller():
    plan = plan_fields("mgqe", {"item": 3000, "tag": 7}, DIM, 0.5)
    assert [part.scheme["scheme"] for part in plan.parts] == ["mgqe", "full"]
    whole = plan_fields("hash", {"item": 3000, "tag": 7}, DIM, 1.0)
    assert stored_bytes(whole, DIM) <= stored_bytes(plan_fields("full", {"item": 3000, "tag": 7}, DIM, 1.0), DIM)
