"""The loop: stages, what each update may change, the choice on validation, and going on after a stop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vecstore import training
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.schemes import get, names
from vecstore.training.base import Stage, Update
from vecstore_bench.batches import Batches
from vecstore_bench.click_rows import ClickData, Rows
from vecstore_bench.models import HostInputs, make_host
from vecstore_bench.quality import auc, log_loss
from vecstore_bench.training_loop import Settings, Training

pytestmark = pytest.mark.usefixtures("one_thread")

DIM = 8
TRAINED = [name for name in names() if get(name).capabilities.trained]
SHORT = Settings(epochs=2, batch=100, rate=0.01, evaluations=6, checkpoint_seconds=0)


class Stop(Exception):
    pass


def made(clicks, name="full", budget=0.5, settings=SHORT, seed=1, sparse=False, model="wdl", **options):
    def layer_of(bytes_or_share):
        return training.embedding(
            name,
            fields=clicks.sizes,
            dim=DIM,
            budget=bytes_or_share,
            frequency=clicks.frequency(),
            seed=seed,
            sparse=sparse,
        )

    try:
        layer = layer_of(budget)
    except BudgetInfeasible as error:
        layer = layer_of(error.floor)
    inputs = HostInputs(fields=len(clicks.sizes), dim=DIM, dense=clicks.n_dense)
    host = make_host(model, inputs, size="small", seed=seed)
    return Training(layer, host, clicks, settings, **options)


def frozen_bytes(outcome):
    return {name: array.tobytes() for name, array in outcome.table.arrays().items()}


def test_it_learns_the_planted_effects_and_reports_the_frozen_table(clicks):
    run = made(clicks, settings=Settings(epochs=6, batch=100, rate=0.005, evaluations=12))
    outcome = run.run()
    assert outcome.auc > 0.7
    assert outcome.best == max(outcome.evaluations, key=lambda look: look.auc)
    # The quality is that of the weights of the best look, which are in the layer and the host again.
    for split, reported in (("test", (outcome.auc, outcome.loss)), ("valid", (outcome.best.auc, outcome.best.loss))):
        rows = clicks.splits[split]
        vectors = torch.from_numpy(outcome.table.lookup_fields(rows.ids.astype(np.int64)))
        with torch.no_grad():
            logits = run.host(vectors, torch.from_numpy(rows.dense)).numpy().astype(np.float64)
        assert (auc(rows.labels, logits), log_loss(rows.labels, logits)) == pytest.approx(reported, abs=1e-6)
    assert outcome.steps == run.steps == 180
    assert outcome.train_seconds > 0
    assert outcome.peak_bytes >= outcome.before_bytes > 0


def test_the_test_split_changes_nothing_but_the_report(clicks):
    rows = clicks.splits["test"]
    turned = Rows(rows.ids, rows.dense, 1 - rows.labels)
    other = ClickData("planted", clicks.sizes, {**clicks.splits, "test": turned})
    first, second = made(clicks).run(), made(other).run()
    assert frozen_bytes(first) == frozen_bytes(second)
    assert first.evaluations == second.evaluations
    assert first.auc == pytest.approx(1 - second.auc)


def test_stages_end_early_without_gain(clicks):
    settings = Settings(epochs=50, batch=100, rate=0.05, evaluations=100, patience=3)
    run = made(clicks, settings=settings)
    outcome = run.run()
    assert outcome.steps < run.steps / 2
    aucs = [look.auc for look in outcome.evaluations]
    assert np.argmax(aucs) == len(aucs) - 1 - 3


def stop_after(looks):
    """Give a callback that stops the run after so many looks at validation."""
    seen = []

    def on_evaluation(look):
        seen.append(look)
        if len(seen) == looks:
            raise Stop

    return on_evaluation


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("looks", [2, 5])
def test_a_run_that_was_stopped_gives_the_same_table(clicks, tmp_path, name, looks):
    whole = made(clicks, name, budget=0.4).run()
    # A checkpoint is written after the callback, so that the last look before the stop is done again.
    with pytest.raises(Stop):
        made(clicks, name, budget=0.4, folder=tmp_path, on_evaluation=stop_after(looks)).run()
    again = []
    resumed = made(clicks, name, budget=0.4, folder=tmp_path, on_evaluation=again.append).run()
    assert len(again) == len(whole.evaluations) - looks + 1
    assert resumed.evaluations == whole.evaluations
    assert frozen_bytes(resumed) == frozen_bytes(whole)
    assert resumed.auc == whole.auc


def test_checkpoints_of_another_run_are_refused(clicks, tmp_path):
    with pytest.raises(Stop):
        made(clicks, folder=tmp_path, on_evaluation=stop_after(3)).run()
    rows = clicks.splits["train"]
    turned = {**clicks.splits, "train": Rows(rows.ids, rows.dense, 1 - rows.labels)}
    others = [
        made(clicks, folder=tmp_path, settings=Settings(epochs=3, batch=100, rate=0.01, evaluations=6)),
        made(clicks, folder=tmp_path, seed=2),
        made(clicks, folder=tmp_path, model="dcn"),
        made(ClickData(clicks.name, clicks.sizes, turned), folder=tmp_path),
    ]
    for other in others:
        with pytest.raises(InvalidArgumentError, match="another run"):
            other.run()


@pytest.mark.parametrize("name", ["full", "alpt", "autosrh"])
def test_a_run_with_sparse_gradients_goes_on_and_learns(clicks, tmp_path, name):
    whole = made(clicks, name, sparse=True).run()
    assert whole.auc > 0.6
    with pytest.raises(Stop):
        made(clicks, name, sparse=True, folder=tmp_path, on_evaluation=stop_after(3)).run()
    resumed = made(clicks, name, sparse=True, folder=tmp_path).run()
    assert frozen_bytes(resumed) == frozen_bytes(whole)
    assert len(list(tmp_path.glob("best-*.npz"))) <= 2


class Recorder:
    """A layer of one parameter a group, which notes what the loop asks of it."""

    def __init__(self, run, stages):
        self.run, self.calls = run, []
        layer = run.layer
        self.search = nn.Parameter(torch.ones(DIM))
        layer.register_parameter("search", self.search)
        layer.stages = lambda: stages
        layer.search_parameters = lambda: [self.search]
        begin = layer.begin
        layer.begin = lambda stage: (self.calls.append(("begin", stage)), begin(stage))
        layer.after_step = lambda step, steps: self.calls.append((step, steps))
        forward, batches = layer.forward, run._batches
        layer.forward = lambda ids: forward(ids) * self.search
        layer.extra_loss = lambda: 0.01 * self.search.abs().sum()
        self.batches = []
        for split, own in batches.items():
            own.at = lambda number, split=split, at=own.at: (self.batches.append((split, number)), at(number))[1]


def weights(run):
    return {key: value.detach().clone() for key, value in run._model.state_dict().items()}


def changed(before, after):
    return {
        key.split(".")[0] if "search" not in key else "search" for key in before if (before[key] != after[key]).any()
    }


def test_updates_change_what_they_may_on_the_split_they_may(clicks):
    stages = (
        Stage("warm-up", share=0.25, updates=(Update("weights"),), selects=False),
        Stage(
            "search",
            share=0.5,
            updates=(Update("table"), Update("search", split="valid", optimiser="sgd", rate=0.1)),
            selects=False,
        ),
        Stage("retrain", share=0.25, updates=(Update("all"),), restarts_host=True),
    )
    run = made(clicks, settings=Settings(epochs=0.4, batch=100, rate=0.01, evaluations=1))
    recorder = Recorder(run, stages)
    assert [steps for _, steps in run.plan] == [3, 6, 3]
    initial = weights(run)
    snapshots = []
    original = run._begin
    run._begin = lambda stage: (snapshots.append(weights(run)), original(stage), snapshots.append(weights(run)))
    outcome = run.run()
    names_of_calls = [call for call in recorder.calls if call[0] == "begin"]
    assert names_of_calls == [("begin", "warm-up"), ("begin", "search"), ("begin", "retrain")]
    assert [call for call in recorder.calls if call[0] != "begin"] == [
        *((step, 3) for step in (1, 2, 3)),
        *((step, 6) for step in range(1, 7)),
        *((step, 3) for step in (1, 2, 3)),
    ]
    before_search, before_retrain, at_retrain = snapshots[2], snapshots[4], snapshots[5]
    assert changed(initial, before_search) == {"layer", "host"}
    assert changed(before_search, before_retrain) == {"layer", "search"}
    assert changed({k: v for k, v in initial.items() if k.startswith("host")}, at_retrain) == set()
    assert [look.stage for look in outcome.evaluations] == ["warm-up", "search", "retrain"]
    assert outcome.best.stage == "retrain"
    assert {split for split, number in recorder.batches if 3 <= number < 9} == {"train", "valid"}
    assert {split for split, number in recorder.batches if not 3 <= number < 9} == {"train"}


def test_an_optimiser_goes_on_in_the_next_stage_unless_the_host_starts_anew(clicks):
    stages = (Stage("one", share=0.3), Stage("two", share=0.3), Stage("three", share=0.4, restarts_host=True))
    run = made(clicks, settings=Settings(epochs=0.4, batch=100))
    Recorder(run, stages)
    counts = []
    step = run._train_step
    run._train_step = lambda stage, steps: (step(stage, steps), counts.append(_steps_of(run)))
    run.run()
    assert counts == [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5][: len(counts)]
    assert len(counts) == 12


def _steps_of(run):
    ((optimiser,),) = run._optimisers.values()
    return int(next(iter(optimiser.state.values()))["step"])


def test_batches_are_all_rows_once_an_epoch_in_another_order():
    rows = Rows(np.arange(10, dtype=np.int32)[:, None], np.empty((10, 0), np.float32), np.zeros(10, np.float32))
    batches = Batches(rows, 5, seed=3)
    epochs = [np.concatenate([batches.at(number)[0].ravel() for number in (at, at + 1)]) for at in (0, 2)]
    assert [sorted(own.tolist()) for own in epochs] == [list(range(10))] * 2
    assert not np.array_equal(epochs[0], epochs[1])
    # Any batch can be had at any time.
    np.testing.assert_array_equal(batches.at(1)[0].ravel(), epochs[0][5:])
    assert len(Batches(rows, 3, 0)) == 3
    assert len(Batches(rows, 99, 0).at(0)[0]) == 10


def test_wrong_settings():
    with pytest.raises(InvalidArgumentError, match="epochs, batch"):
        Settings(epochs=0, batch=-1)
