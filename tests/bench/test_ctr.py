"""Cells, their results, and the commands."""

from __future__ import annotations

import json
import time
from io import StringIO

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from rich.console import Console

from vecstore.errors import CorruptionError, InvalidArgumentError, VecstoreError
from vecstore_bench import ctr, ctr_cell
from vecstore_bench.click_rows import open_clicks
from vecstore_bench.ctr import Results, cells_of
from vecstore_bench.ctr_cell import Cell, Experiment, run_cell
from vecstore_bench.ctr_presets import PRESETS
from vecstore_bench.ctr_store import stored
from vecstore_bench.ctr_summary import summary
from vecstore_bench.latency import LARGE, lookup_latency
from vecstore_bench.lookup import frozen_layer, measure, measure_fields
from vecstore_bench.models import HostInputs, make_host
from vecstore_bench.runs import run_all
from vecstore_bench.training_loop import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

EXPERIMENT = Experiment(
    data="synthetic:2000", size="small", dim=16, settings=Settings(epochs=1, batch=200, evaluations=2)
)


def test_a_cell_says_what_was_asked_and_reached(clicks):
    result = run_cell(EXPERIMENT, Cell("wdl", "hash", 0.5, 1), data=clicks)
    assert result["status"] == "done"
    assert result["full_bytes"] == 297 * 16 * 4
    assert result["asked_bytes"] == 297 * 16 * 2
    assert 0.7 * result["asked_bytes"] < result["reached_bytes"] <= result["asked_bytes"]
    assert 0 < result["test_auc"] < 1
    assert result["steps"] == 15
    assert result["reached_bytes"] < result["bytes"] < result["reached_bytes"] + 10_000
    assert not result["sparse"]
    assert [own["fields"] for own in result["parts"]] == [["user"], ["item"], ["hour"]]
    assert sum(own["bytes"] for own in result["parts"]) < result["asked_bytes"]
    assert (result["dataset"], result["model"], result["dim"]) == ("synthetic:2000", "wdl", 16)
    assert 0 < result["p50_ms"] <= result["p99_ms"]
    assert 0 < result["batch_p50_ms"] <= result["batch_p99_ms"]
    assert result["lookup_ns"] == pytest.approx(1e6 * result["batch_p50_ms"] / (1024 * 3))
    assert result["samples_per_second"] == pytest.approx(200 * result["steps_per_second"])
    assert json.loads(json.dumps(result)) == result
    other = run_cell(EXPERIMENT, Cell("wdl", "hash", 0.5, 2), data=clicks)
    assert other["test_auc"] != result["test_auc"]
    again = run_cell(EXPERIMENT, Cell("wdl", "hash", 0.5, 1), data=clicks)
    assert (again["test_auc"], again["test_logloss"]) == (result["test_auc"], result["test_logloss"])


def test_a_table_that_answers_otherwise_is_found(clicks, monkeypatch):
    _, table = frozen_layer("hash", 500, 8, 0.1)
    assert stored(table).nbytes > table.nbytes
    original = type(table).lookup_fields
    monkeypatch.setattr(type(table), "lookup_fields", lambda self, ids: original(self, ids) + 1)
    with pytest.raises(CorruptionError, match="10000 of 10000"):
        stored(table)


def test_cells_run_side_by_side_until_the_time_is_over():
    ran = []

    def run(cell):
        ran.append(cell)
        return {"status": "done", "seed": cell.seed}

    cells = [Cell("wdl", "full", 1.0, seed) for seed in range(5)]
    found = dict(run_all(cells, run, jobs=2, until=float("inf")))
    assert found == {cell: {"status": "done", "seed": cell.seed} for cell in cells}
    assert not list(run_all(cells, run, jobs=2, until=0.0))
    assert len(ran) == 5


def test_infeasible_cells_give_their_floor(clicks):
    result = run_cell(EXPERIMENT, Cell("wdl", "int8", 0.01, 0), data=clicks)
    assert result["status"] == "infeasible"
    assert result["floor_bytes"] > result["asked_bytes"]
    assert run_cell(EXPERIMENT, Cell("wdl", "int8", result["floor_bytes"], 0), data=clicks)["status"] == "done"


@pytest.fixture
def in_this_process(monkeypatch):
    """Run cells here, and one of them badly."""
    ran = []

    def isolated(experiment, cell, checkpoints=None, prepared=None):
        ran.append(str(cell))
        if cell == Cell("wdl", "hash", 0.5, 1) and len(ran) <= 4:
            return {"model": "wdl", "scheme": "hash", "budget": 0.5, "seed": 1, "status": "failed", "error": "no luck"}
        return {**run_cell(experiment, cell, checkpoints, data=open_clicks(prepared)), "wall_seconds": 0.0}

    monkeypatch.setattr(ctr, "isolated", isolated)
    return ran


def command(out, *more):
    options = ["--data", "synthetic:2000", "--model", "wdl", "--size", "small", "--dim", "4", "--epochs", "1"]
    return CliRunner().invoke(
        ctr.main,
        [*options, "--schemes", "full,hash,int8", "--budgets", "0.5,0.1", "--seeds", "2", "--out", str(out), *more],
    )


def test_the_command_runs_what_is_missing(tmp_path, in_this_process):
    out = tmp_path / "runs"
    first = command(out)
    assert first.exit_code == 0, first.output
    assert in_this_process[:2] == ["wdl-full-1.0-0", "wdl-full-1.0-1"]
    assert len(in_this_process) == 10
    assert "wdl-hash-0.5-1: failed, no luck" in first.output
    assert "infeasible" in first.output
    # A crash cut a line off.
    with (out / "cells.jsonl").open("ab") as file:
        file.write(b'{"scheme": "ha')
    second = command(out)
    assert second.exit_code == 0, second.output
    assert in_this_process[10:] == ["wdl-hash-0.5-1"]
    assert command(out).exit_code == 0
    assert len(in_this_process) == 11
    table = pq.read_table(out / "results.parquet").to_pylist()
    assert len(table) == 10
    assert {row["status"] for row in table} == {"done", "infeasible"}
    hashed = [row for row in table if row["scheme"] == "hash" and row["budget"] == 0.5]
    assert all(0 < row["reached_bytes"] <= row["asked_bytes"] for row in hashed)
    assert f"{np.mean([row['test_auc'] for row in hashed]):.4f}" in second.output
    assert not list((out / "checkpoints").glob("*/*"))
    notes = json.loads((out / "runs.json").read_text())
    assert [run["arguments"]["seeds"] for run in notes["runs"]] == [2, 2]
    assert notes["runs"][0]["arguments"]["experiment"]["settings"]["epochs"] == 1
    assert notes["runs"][0]["packages"]["numpy"] == np.__version__
    # What else keeps the machine busy changes from one moment to the next.
    assert notes["runs"][0]["machine"].partition(", load")[0] in first.output.replace("\n", " ")
    refused = command(out, "--rate", "0.5")
    assert isinstance(refused.exception, InvalidArgumentError)


def test_runs_of_before_a_measurement_was_made_are_summed_up_too():
    # No look-ups, no bytes of files, no memory.
    older = {
        "model": "dcn", "scheme": "hash", "budget": 0.1, "status": "done", "full_bytes": 64_000, "asked_bytes": 6_400,
        "reached_bytes": 6_000, "test_auc": 0.75, "test_loss": 0.5, "steps_per_second": 80.0, "train_seconds": 3.0,
    }  # fmt: skip
    newer = {**older, "bytes": 6_300, "lookup_ns": 41.0, "peak_bytes": 9e8, "before_bytes": 8e8, "test_auc": 0.77}
    console = Console(width=200, record=True, file=StringIO())
    console.print(summary([{**older, "seed": 0}, {**newer, "seed": 1}, {**older, "scheme": "robe", "seed": 0}]))
    lines = console.export_text().splitlines()
    (both,) = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "hash" in line]
    assert both == ["dcn", "hash", "0.1", "6,300", "0.09844", "2", "0.7600 (0.0141)", "0.5000 (0.0000)", "80", "3.0",
                    "-", "41", "900 (100)"]  # fmt: skip
    (alone,) = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "robe" in line]
    assert alone[3:] == ["6,000", "0.09375", "1", "0.7500", "0.5000", "80", "3.0", "-", "-", "- (-)"]


def test_a_run_that_is_interrupted_says_that_it_can_go_on(tmp_path, in_this_process, monkeypatch):
    whole = ctr.isolated

    def interrupted(experiment, cell, *more):
        if len(in_this_process) == 1:
            raise KeyboardInterrupt
        return whole(experiment, cell, *more)

    monkeypatch.setattr(ctr, "isolated", interrupted)
    stopped = command(tmp_path, "--schemes", "full")
    assert stopped.exit_code != 0
    assert "stopped; the same command goes on with the cells that are not done" in stopped.output
    monkeypatch.setattr(ctr, "isolated", whole)
    assert command(tmp_path, "--schemes", "full").exit_code == 0
    assert in_this_process == ["wdl-full-1.0-0", "wdl-full-1.0-1"]


def test_several_models_are_one_run(tmp_path, in_this_process):
    found = command(tmp_path, "--models", "wdl,deepfm", "--schemes", "full", "--seeds", "1")
    assert found.exit_code == 0, found.output
    assert in_this_process == ["wdl-full-1.0-0", "deepfm-full-1.0-0"]
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert {(row["model"], row["dataset"]) for row in rows} == {("wdl", "synthetic:2000"), ("deepfm", "synthetic:2000")}
    assert len({row["test_auc"] for row in rows}) == 2


def test_the_latency_is_that_of_look_ups():
    asked = []

    def lookup(ids):
        asked.append(ids.shape)
        time.sleep(0.001 if len(ids) == 1 else 0.01)

    found = lookup_latency(lookup, np.zeros((10, 2), np.int64))
    assert set(asked) == {(1, 2), (LARGE, 2)}
    assert 1 <= found.p50_ms <= found.p99_ms
    assert 10 <= found.batch_p50_ms <= found.batch_p99_ms
    assert found.lookup_ns == pytest.approx(found.batch_p50_ms * 1e6 / LARGE / 2)


def test_a_failed_cell_is_reported(clicks):
    # The child process finds no such data set.
    experiment = Experiment(data="nowhere", folder="/nonexistent")
    result = ctr_cell.isolated(experiment, Cell("wdl", "hash", 0.5, 0))
    assert result["status"] == "failed"
    assert "NotFoundError" in result["error"]


def test_budgets_are_numbers(tmp_path):
    found = CliRunner().invoke(ctr.main, ["--budgets", "0.1,much", "--out", str(tmp_path / "x")])
    assert found.exit_code == 2
    assert "much" in found.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--schemes", "hash,hush"], "schemes: hush cannot be trained; these can: adapt, "),
        (["--schemes", "pq"], "pq cannot be trained"),
        (["--models", "wdl,gpt"], "there is no model 'gpt'; there are: "),
        (["--size", "huge"], "model 'wdl' has no size 'huge'; it has: small"),
        (["--budgets", "1.5"], "budgets: a fraction is above 0 and at most 1, got 1.5"),
        (["--data", "no-such.parquet"], "no-such.parquet: no such data set; give a file"),
    ],
)
def test_what_is_mistyped_is_said_and_can_be_mended_in_the_same_folder(tmp_path, monkeypatch, options, says):
    monkeypatch.setattr(ctr, "isolated", lambda experiment, cell, *_: {**experiment.labels(cell), "status": "failed",
                                                                       "error": "not run"})  # fmt: skip
    monkeypatch.setenv("VECSTORE_DATA", str(tmp_path))
    refused = command(tmp_path / "out", *options)
    assert says in str(refused.exception)
    assert isinstance(refused.exception, VecstoreError)
    mended = command(tmp_path / "out", "--schemes", "hash", "--budgets", "0.5", "--time-limit", "0")
    assert mended.exit_code == 0, mended.output
    assert "2 of 2 cells are not done; the same command goes on with them" in mended.output


@pytest.mark.parametrize("option", [["--epochs", "0"], ["--dim", "0"], ["--seeds", "0"], ["--time-limit", "-1"]])
def test_numbers_out_of_range_are_refused_at_once(tmp_path, option):
    refused = command(tmp_path / "out", *option)
    assert refused.exit_code == 2
    assert f"Invalid value for '{option[0]}'" in refused.output
    assert not (tmp_path / "out").exists()


def test_results_need_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    refused = command(tmp_path / "file" / "out")
    assert "out: cannot hold results (Not a directory); choose another folder" in str(refused.exception)


def test_what_does_not_compress_has_one_budget():
    cells = cells_of(("wdl", "dcn"), ("full", "hash"), (0.5, 1000), 2)
    assert [str(cell) for cell in cells] == [
        "wdl-full-1.0-0", "wdl-full-1.0-1", "wdl-hash-0.5-0", "wdl-hash-0.5-1", "wdl-hash-1000-0", "wdl-hash-1000-1",
        "dcn-full-1.0-0", "dcn-full-1.0-1", "dcn-hash-0.5-0", "dcn-hash-0.5-1", "dcn-hash-1000-0", "dcn-hash-1000-1",
    ]  # fmt: skip


def test_the_preset_of_unified_embedding(tmp_path):
    preset = PRESETS["unified-ml1m"]
    experiment = preset.experiment
    assert (experiment.dim, experiment.scale, experiment.settings.batch, experiment.settings.rate) == (
        30,
        0.05,
        128,
        1e-3,
    )
    host = make_host(*preset.models, HostInputs(fields=6, dim=30, dense=0), size=experiment.size)
    assert {key: tuple(value.shape) for key, value in host.named_parameters() if "weight" in key} == {
        "crosses.0.product.weight": (180, 180),
        "deep.0.weight": (192, 180),
        "last.weight": (1, 372),
    }
    Results(tmp_path, experiment)


@pytest.mark.parametrize(("name", "batch"), [("full", 1), ("hash", 1000), ("int8", 1000)])
def test_lookups_are_measured(name, batch):
    layer, table = frozen_layer(name, 500, 8, 0.1)
    assert table.shape.rows == 500
    found = measure(layer, table, batch, rounds=2)
    assert found.nanoseconds > 0
    for ratio in (found.layer, found.embedding, found.bag, found.copy, found.reused):
        assert 0 < ratio.low <= ratio.median <= ratio.high


def test_lookups_of_fields_are_measured():
    _, table = frozen_layer("int8", 300, 8, 0.3, n_fields=3)
    assert [field.size for field in table.scheme.fields] == [300] * 3
    micros, ratio = measure_fields(table, 20, rounds=2)
    assert micros > 0
    assert 0 < ratio.low <= ratio.median <= ratio.high
