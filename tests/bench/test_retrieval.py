"""Cells of the retrieval benchmark, the command, and the report of its runs."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests import reference
from tests.bench import vector_sets
from vecstore import schemes
from vecstore_bench import retrieval
from vecstore_bench.report.choosing import Rules
from vecstore_bench.report.command import report
from vecstore_bench.report.labels import codec_of, is_composed
from vecstore_bench.report.methods import family_of
from vecstore_bench.retrieval import cells_of, schemes_of
from vecstore_bench.retrieval_cell import Cell, Experiment, run_alone, run_cell

QUALITIES = ("recall@1", "recall@10", "recall@100", "ndcg@10", "mrr@10")


@pytest.fixture
def experiment(tmp_path, rng):
    vector_sets.with_judgements(tmp_path / "texts", rng)
    return Experiment(data="texts", folder=str(tmp_path), dim=16, timed=4, rounds=1)


def test_a_cell_says_what_is_found_in_how_many_bytes(experiment):
    data = experiment.load()
    result = run_cell(experiment, Cell("int8", "none", "none", 0.5, 0), data)
    assert (result["status"], result["dataset"], result["scheme"], result["dim"]) == ("done", "texts", "int8", 16)
    assert result["full_bytes"] == 120 * 16 * 4
    assert result["bytes"] == result["code_bytes"] == schemes.from_config("int8").fit(data.base).nbytes
    assert result["bytes_per_vector"] == result["bytes"] / 120
    # Rows that the twin decodes, scored by a plain loop, find the same.
    distances = reference.distances(reference.decoded("int8", data.base), data.queries, "cosine")
    found = np.argsort(distances, axis=1, kind="stable")[:, :10]
    expected = np.mean([len(set(row) & set(true)) for row, true in zip(found, data.neighbours[:, :10], strict=True)])
    assert result["recall@10"] == pytest.approx(expected / 10, abs=0.011)
    assert result["ndcg@10"] > 0.5
    assert result["mrr@10"] == 1
    assert result["encode_seconds"] > 0
    assert json.loads(json.dumps(result)) == result


def test_what_does_not_compress_finds_all(experiment):
    result = run_cell(experiment, Cell("full", "none", "none", 1.0, 0))
    assert [result[name] for name in QUALITIES[:3]] == [1, 1, 1]
    assert result["bytes"] == result["full_bytes"]


def test_a_finer_copy_counts_and_finds_more(experiment):
    alone = run_cell(experiment, Cell("binary", "none", "none", 0.5, 0))
    refined = run_cell(experiment, Cell("binary", "none", "float16", 0.5, 0))
    assert refined["scheme"] == "binary/float16"
    assert refined["code_bytes"] == alone["bytes"]
    assert refined["bytes"] == alone["bytes"] + 120 * 16 * 2
    assert refined["recall@10"] > alone["recall@10"]


def test_transforms_go_in_front(experiment):
    result = run_cell(experiment, Cell("int8", "pca:8", "none", 0.9, 0))
    assert result["scheme"] == "pca:8|int8"
    assert result["bytes"] > 8 * 120


def test_a_small_budget_gives_the_floor(experiment):
    result = run_cell(experiment, Cell("int8", "none", "none", 0.01, 0))
    assert result["status"] == "infeasible"
    assert result["floor_bytes"] > result["asked_bytes"]


def test_schemes_that_are_not_made_for_a_matrix_are_fitted_too(experiment):
    result = run_cell(experiment, Cell("hash", "none", "none", 0.9, 0))
    assert result["status"] == "done"
    assert result["bytes"] <= result["asked_bytes"]
    assert result["recall@10"] < 1


def test_a_failed_cell_is_reported(experiment):
    result = run_alone(experiment, Cell("int8", "none", "no-such-scheme", 0.5, 3))
    assert (result["status"], result["scheme"], result["seed"]) == ("failed", "int8/no-such-scheme", 3)
    assert "no-such-scheme" in result["error"]


def test_cells_are_what_can_be_composed():
    cells = cells_of(("full", "int8", "hash"), (0.5, 0.25), ("none", "pca:8"), ("none", "int8"), 1)
    assert [str(cell) for cell in cells] == [
        "full-1.0-0",
        "int8-0.5-0", "int8-0.25-0",
        "pca:8|int8-0.5-0", "pca:8|int8-0.25-0",
        "hash-0.5-0", "hash-0.25-0", "hash/int8-0.5-0", "hash/int8-0.25-0",
    ]  # fmt: skip


def test_groups_of_schemes_are_those_of_the_registry():
    assert set(schemes_of(("all",))) == {
        name for name in schemes.names() if schemes.get(name).capabilities.posthoc and name != "transformed"
    }
    assert set(schemes_of(("every",))) == set(schemes.names()) - {"transformed"}
    assert schemes_of(("int8", "paper"))[0] == "int8"
    assert len(schemes_of(("int8", "paper"))) == len(schemes_of(("paper",)))


def test_names_of_what_is_composed():
    assert codec_of("centre|pca:8|pq/int8") == codec_of("pq") == "pq"
    assert is_composed("pq/int8")
    assert not is_composed("pq")
    assert family_of("pca:8|pq") is family_of("pq")


@pytest.fixture
def in_this_process(monkeypatch):
    """Run cells here, and one of them badly the first time."""
    ran = []

    def run(experiment, cell):
        ran.append(str(cell))
        if str(cell) == "int8-0.5-0" and ran.count("int8-0.5-0") == 1:
            return {"dataset": "texts", "scheme": "int8", "status": "failed", "error": "no luck"}
        return run_cell(experiment, cell)

    monkeypatch.setattr(retrieval, "run_alone", run)
    return ran


def test_the_command_runs_what_is_missing_and_the_report_shows_it(tmp_path, experiment, in_this_process):
    out = tmp_path / "run"
    options = ["--data", str(tmp_path / "texts"), "--schemes", "full,int8", "--budgets", "0.5,0.01", "--rounds", "1"]
    options += ["--transforms", "none,pca:8", "--refine", "none,float16", "--timed", "4", "--out", str(out)]
    first = CliRunner().invoke(retrieval.main, options)
    assert first.exit_code == 0, first.output
    assert len(in_this_process) == 9
    assert "int8-0.5-0: failed, no luck" in first.output
    assert "1 of 9 cells are not done" in first.output
    second = CliRunner().invoke(retrieval.main, options)
    assert second.exit_code == 0, second.output
    assert in_this_process[9:] == ["int8-0.5-0"]
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert len(rows) == 9
    assert {row["status"] for row in rows} == {"done", "infeasible"}
    assert {row["scheme"] for row in rows} >= {"full", "int8", "int8/float16", "pca:8|int8", "pca:8|int8/float16"}
    assert json.loads((out / "machine.json").read_text())["packages"]["numpy"] == np.__version__
    (section,), page = report([out], tmp_path / "report", Rules(loss=5))
    assert section.comparison.quality.key == "ndcg@10"
    uses = {one.use: one.entry for one in section.advice}
    assert uses["Fastest search"] is not None
    (whole,) = [row["ndcg@10"] for row in rows if row["scheme"] == "full"]
    smaller = [row for row in rows if row["status"] == "done" and row["bytes"] < row["full_bytes"]]
    allowed = [row for row in smaller if row["ndcg@10"] > 0.95 * whole]
    assert uses["Fastest search"].scheme == max(allowed, key=lambda row: row["queries_to_float32"])["scheme"]
    least = min(row["code_bytes"] for row in allowed)
    assert uses["Least in memory, a finer copy on disk"].figures["code_bytes"].mean == least
    text = page.read_text(encoding="utf-8")
    assert "pca:8|int8/float16" in text
    assert "not installed here" not in text


def test_nothing_is_begun_when_the_time_is_over(tmp_path, experiment, in_this_process):
    options = ["--data", "texts", "--folder", str(tmp_path), "--schemes", "full", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(retrieval.main, [*options, "--time-limit", "0", "--rows", "50"])
    assert "1 of 1 cells are not done" in done.output
    assert not in_this_process
