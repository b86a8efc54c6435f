"""Layers whose fields choose their schemes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.conftest import DIM, FIELDS, all_ids, make, train
from vecstore import training
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.planning import stored_bytes
from vecstore.schemes.base import TableShape
from vecstore.training.auto import trained_candidates

SHAPE = TableShape(sum(FIELDS.values()), DIM)


def vectors(layer):
    layer.eval()
    with torch.no_grad():
        return layer(torch.from_numpy(all_ids())).numpy()


@pytest.fixture(scope="module")
def trained():
    torch.set_num_threads(1)
    layer = make("auto", 0.2)
    train(layer, steps=60)
    return layer


def test_the_chosen_tables_stay_within_the_budget_and_are_the_layer(trained):
    table = trained.freeze()
    assert stored_bytes(table.scheme, DIM) <= 0.2 * SHAPE.float32_bytes
    np.testing.assert_allclose(table.lookup_fields(all_ids()), vectors(trained), rtol=0, atol=1e-6)
    assert {part.scheme["scheme"] for part in table.scheme.parts} <= {own.name for own in trained_candidates()}


def test_the_choice_says_what_was_measured(trained):
    choice = trained.parts[0].choice
    assert [own.field for own in choice.fields] == list(FIELDS)
    assert choice.reached <= choice.allowed == int(0.2 * SHAPE.float32_bytes)
    assert sum(own.share for own in choice.fields) == pytest.approx(1)
    for own, part in zip(choice.fields, trained.freeze().scheme.parts, strict=True):
        assert own.scheme.name == part.scheme["scheme"]
        assert (own.scheme.name, own.bytes, own.error) in own.measured
    assert "of what is lost" in str(choice)


def test_it_learns(trained):
    layer = make("auto", 0.5)
    host, task = train(layer)
    with torch.no_grad():
        stored = torch.from_numpy(layer.freeze().lookup_fields(task.ids[: task.valid].numpy()))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(host(stored), task.labels[: task.valid])
        share = task.labels[: task.valid].mean()
        constant = torch.nn.functional.binary_cross_entropy(share.expand(task.valid), task.labels[: task.valid])
    assert loss < constant - 0.02


def test_state_of_chosen_tables_is_loaded_into_a_fresh_layer(trained):
    twin = make("auto", 0.2, seed=9)
    twin.load_state_dict(trained.state_dict())
    np.testing.assert_array_equal(vectors(twin), vectors(trained))
    # A layer whose fields have chosen keeps their choice.
    twin.begin("retrain")
    assert [part.inner.scheme.name for part in twin.parts] == [part.inner.scheme.name for part in trained.parts]


def test_gradients_decide_where_bytes_go():
    """Of two fields that are alike, the one whose vectors move the loss gets the bytes."""
    chosen = {}
    for louder in ("one", "two"):
        layer = training.embedding("auto", fields={"one": 400, "two": 400}, dim=16, budget=0.15, seed=0, scale=0.5)
        layer.begin("search")
        for step in range(1, 4):
            found = layer(torch.arange(400)[:, None].expand(400, 2))
            weights = torch.tensor([100.0, 1.0] if louder == "one" else [1.0, 100.0])
            (found * weights[:, None]).sum().backward()
            layer.after_step(step, 3)
        layer.begin("retrain")
        chosen[louder] = {own.field: own.bytes for own in layer.parts[0].choice.fields}
    assert chosen["one"]["one"] > chosen["one"]["two"]
    assert chosen["two"]["two"] > chosen["two"]["one"]


def test_what_cannot_be_is_refused_before_anything_is_trained():
    with pytest.raises(BudgetInfeasible) as caught:
        make("auto", 100)
    layer = make("auto", caught.value.floor)
    layer.begin("retrain")
    assert stored_bytes(layer.freeze().scheme, DIM) <= caught.value.floor
    with pytest.raises(InvalidArgumentError, match="unified cannot be measured"):
        make("auto", 0.5, schemes=["unified"])
    with pytest.raises(InvalidArgumentError, match="dedup have stages"):
        make("auto", 0.5, schemes=["dedup"])
    with pytest.raises(InvalidArgumentError, match="colour"):
        make("auto", 0.5, colour="red")
    only = make("auto", 0.5, schemes=["int8"])
    only.begin("retrain")
    assert {part.inner.scheme.name for part in only.parts} <= {"int8", "full"}
