"""What a loop must call: warnings where it does not, and none where it does or where it does not matter."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch

from tests.training.conftest import Host, PlantedTask, loss_of, make, train
from tests.training.test_battery import ROOMIEST, TRAINED
from vecstore.training import StageWarning

#: What a loop that calls neither ``begin`` nor ``after_step`` is told of.
PLAIN = {
    "alpt": "after_step",
    "autodim": "begin.*after_step",
    "autosrh": "begin.*after_step",
    "dedup": "begin",
    "dedup+int8": "begin",
    "deeplight": "begin.*after_step",
    "int16": "after_step",
    "int8": "after_step",
    "optembed": "begin",
    "pca+pq": "begin",
}


def plain_loop(layer, *, batches=3, optimiser=None, after_step=False):
    """Train as one would train ``nn.Embedding``."""
    task, host = PlantedTask(), Host()
    optimiser = optimiser or torch.optim.Adam([*layer.parameters(), *host.parameters()], 0.02)
    layer.train()
    for number in range(batches):
        ids, labels = task.batch("train", number)
        optimiser.zero_grad()
        (loss_of(host, layer(ids), labels) + layer.extra_loss()).backward()
        optimiser.step()
        if after_step:
            layer.after_step(number + 1, batches)


over_schemes = pytest.mark.parametrize(("name", "budget"), ROOMIEST, ids=TRAINED)


@over_schemes
def test_a_plain_loop_is_told_once_what_it_leaves_out(name, budget):
    layer = make(name, budget)
    plain_loop(layer)
    if name in PLAIN:
        with pytest.warns(StageWarning, match=PLAIN[name]):
            layer.freeze()
    # Warnings are errors in these tests.
    layer.freeze()


@over_schemes
def test_untrained_and_well_trained_layers_freeze_without_a_word(name, budget):
    layer = make(name, budget)
    layer.freeze()
    layer.train()
    layer(torch.tensor([[1, 2, 3]]))
    layer.freeze()
    train(layer, steps=6)
    layer.freeze()
    loaded = make(name, budget)
    loaded.load_state_dict(layer.state_dict())
    loaded.freeze()


@over_schemes
def test_stages_without_steps_and_steps_without_stages_are_told_apart(name, budget):
    layer = make(name, budget)
    for stage in layer.stages():
        layer.begin(stage.name)
    plain_loop(layer)
    expected = "after_step" in PLAIN.get(name, "")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer.freeze()
    assert [issubclass(own.category, StageWarning) for own in caught] == [True] * expected
    assert all("begin() of" not in str(own.message) for own in caught)

    layer = make(name, budget)
    layer.begin(layer.stages()[0].name)
    plain_loop(layer, after_step=True)
    expected = "begin" in PLAIN.get(name, "")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        layer.freeze()
    assert len(caught) == expected
    assert all("begun: " + layer.stages()[0].name in str(own.message) for own in caught)


def test_too_few_steps_are_too_few():
    layer = make("int8", 0.5)
    plain_loop(layer, after_step=True, batches=1)
    plain_loop(layer, batches=98)
    layer.freeze()  # Gradients of many batches may be added up.
    plain_loop(layer, batches=3)
    with pytest.warns(StageWarning, match="called 1 times in 102"):
        layer.freeze()


@pytest.mark.parametrize("stage", ["search", "retrain"])
def test_optimisers_from_before_a_stage_replaced_parameters_are_noticed(stage):
    layer = make("autodim", 0.5)
    if stage == "retrain":
        layer.begin("search")
    old = torch.optim.Adam(layer.parameters(), 0.02)
    layer.begin(stage)
    with pytest.warns(StageWarning, match=f"begin.'{stage}'.*make the optimisers") as caught:
        plain_loop(layer, batches=12, optimiser=old, after_step=True)
    assert len(caught) == 1
    # One that was made in time is fine, though it comes late to the first steps.
    layer = make("autodim", 0.5)
    layer.begin(stage)
    layer.after_step(1, 12)
    plain_loop(layer, batches=12, after_step=True)


def test_layers_can_be_copied_while_they_are_watched():
    layer = make("autodim", 0.5)
    layer.begin("search")
    plain_loop(layer, batches=2)
    twin = copy.deepcopy(layer)
    with pytest.warns(StageWarning):
        twin.freeze()
    with pytest.warns(StageWarning):
        layer.freeze()
