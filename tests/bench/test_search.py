"""The comparison of search systems: tuning, filters, tables, and a small run against hnswlib."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.bench import vector_sets
from vecstore.errors import InvalidArgumentError
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.base import TableShape
from vecstore.types import Metric
from vecstore_bench import search
from vecstore_bench.data_sets import exact_neighbours, load, prepared
from vecstore_bench.machines import facts, limited
from vecstore_bench.peers import all_systems, chosen
from vecstore_bench.peers.base import Unavailable, folder_bytes, ladder
from vecstore_bench.peers.hnswlib_graph import Hnswlib
from vecstore_bench.peers.ours import Vecstore, places
from vecstore_bench.peers.pgvector_server import SERVER
from vecstore_bench.ranking import recall
from vecstore_bench.search_filters import measure_filters
from vecstore_bench.search_systems import Built, Source, System, opened
from vecstore_bench.search_tables import markdown, put_section
from vecstore_bench.search_tuning import fastest, smallest

#: Enough for a graph.
ROWS = 8_500


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vector_sets.with_neighbours(
        tmp_path_factory.mktemp("sets") / "made", np.random.default_rng(0), rows=ROWS, dim=8, queries=60
    )


@pytest.fixture(scope="module")
def data(folder):
    return prepared(load("made", folder.parent))


@dataclass
class Widening:
    """Finds as many of ten rows as its width says, and counts its searches."""

    searches: int = 0

    def use(self, threads):
        pass

    def search(self, queries, k, setting):
        self.searches += 1
        found = np.tile(np.arange(k), (len(queries), 1))
        found[:, min(k, setting["width"]) :] = -1
        return found

    def close(self):
        pass


@pytest.mark.parametrize("mark", [0.1, 0.35, 0.9, 1.0])
def test_the_smallest_setting_that_reaches_a_mark_is_found(mark):
    index, steps = Widening(), ladder("width", range(20))
    (found,) = smallest(index, [steps], np.zeros((3, 4), np.float32), np.tile(np.arange(10), (3, 1)), mark)
    expected = next(width for width in range(20) if min(width, 10) / 10 >= mark)
    assert found.setting == {"width": expected}
    assert found.recall == min(expected, 10) / 10
    assert index.searches <= 7


def test_a_mark_that_is_not_reached_has_no_setting():
    truth = np.tile(np.arange(10), (3, 1))
    queries = np.zeros((3, 4), np.float32)
    steps = [ladder("width", range(6)), ladder("width", range(12))]
    found = smallest(Widening(), steps, queries, truth, 0.8)
    assert [one.setting for one in found] == [{"width": 8}]
    assert not smallest(Widening(), steps[:1], queries, truth, 0.8)


def test_of_several_settings_the_fastest_is_taken(monkeypatch):
    clock = iter([0.0, 5.0, 5.0, 10.0, 10.0, 15.0, 15.0, 17.0, 17.0, 19.0, 19.0, 21.0])
    monkeypatch.setattr("vecstore_bench.search_tuning.time.perf_counter", lambda: next(clock))
    queries, truth = np.zeros((1, 4), np.float32), np.arange(10)[None]
    both = smallest(Widening(), [ladder("width", [10]), ladder("width", [11])], queries, truth, 1.0)
    assert fastest(Widening(), both, queries).setting == {"width": 11}
    assert fastest(Widening(), both[:1], queries) is both[0]


def test_systems_are_chosen_by_name():
    assert "hnswlib" in [peer.name for peer in chosen(("all",), ours=False)]
    assert all(isinstance(one, Vecstore) for one in chosen(("all",), ours=True))
    with pytest.raises(InvalidArgumentError, match="no-such"):
        chosen(("hnswlib", "no-such"), ours=False)
    with pytest.raises(InvalidArgumentError, match="hnswlib"):
        chosen(("hnswlib",), ours=True)


@pytest.mark.parametrize("name", sorted(all_systems()))
def test_every_system_has_settings_for_any_shape(name):
    for shape in (TableShape(1_000, 8), TableShape(1_000_000, 100)):
        ladders = all_systems()[name].ladders(shape)
        assert ladders
        for steps in ladders:
            assert steps
            assert len({tuple(step) for step in steps}) == 1
            assert steps == sorted(steps, key=lambda step: tuple(step.values()))


class Absent(Hnswlib):
    """A library that is not there."""

    name = "absent"
    package = "no-such-distribution-of-anyone"


class Broken(Hnswlib):
    """A library that refuses what was kept."""

    name = "hnswlib"

    def open(self, folder, shape, metric):
        raise RuntimeError("no luck")


def test_what_is_missing_or_broken_does_not_stop_the_others(folder, data, tmp_path):
    with pytest.raises(Unavailable, match="not installed"):
        _ = Absent().version
    source, shape = Source(str(folder), None), TableShape(*data.base.shape)
    systems, missing = opened([Absent(), Hnswlib()], source, shape, data.metric, tmp_path, threads=1)
    assert [system.name for system in systems] == ["hnswlib"]
    assert [(one.name, one.status) for one in missing] == [("absent", "skipped")]
    built = systems[0].built
    assert built.memory_bytes == built.disk_bytes == folder_bytes(next(tmp_path.glob("hnswlib-*")) / "index")
    assert built.memory_bytes > data.base.nbytes
    # What was built is used again.
    again, broken = opened([Hnswlib(), Broken()], source, shape, data.metric, tmp_path, threads=1)
    assert again[0].built == built
    assert [(one.status, one.reason) for one in broken] == [("failed", "RuntimeError: no luck")]


def test_pgvector_without_a_server_is_a_line_that_says_so(folder, data, tmp_path, monkeypatch):
    monkeypatch.delenv(SERVER, raising=False)
    source, shape = Source(str(folder), None), TableShape(*data.base.shape)
    systems, (missing,) = opened(chosen(("pgvector",), ours=False), source, shape, data.metric, tmp_path, threads=1)
    assert systems == []
    installed = find_spec("psycopg") is not None
    expected = "VECSTORE_PGVECTOR names no server" if installed else "psycopg is not installed"
    assert (missing.name, missing.status, missing.reason) == ("pgvector", "skipped", expected)


def test_pgvector_with_a_server_that_does_not_answer(monkeypatch):
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    monkeypatch.setenv(SERVER, "postgresql://localhost:1/nobody")
    with pytest.raises(Unavailable, match="does not answer"):
        _ = all_systems()["pgvector"].version


@pytest.mark.parametrize("metric", [Metric.L2, Metric.COSINE])
def test_pgvector_finds_nearest_rows(folder, data, tmp_path, metric):
    if not os.environ.get(SERVER):
        pytest.skip(f"{SERVER} names no server")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    (peer,) = chosen(("pgvector",), ours=False)
    few = replace(data, base=unit_rows(data.base[:500]), metric=metric)
    peer.build(few, 1, tmp_path)
    assert peer.disk_bytes(tmp_path) > peer.memory_bytes(tmp_path) > few.base.nbytes
    index = peer.open(tmp_path, TableShape(*few.base.shape), metric)
    queries = unit_rows(data.queries[:20])
    found = index.search(queries, 10, {"ef": 200})
    np.testing.assert_array_equal(index.search(queries[:1], 10, {"ef": 200}), found[:1])
    expected = exact_neighbours(few.base, queries, metric, 10)
    assert recall(found, expected, 10) > 0.95
    index.close()


def test_filters_are_measured_against_what_a_plain_loop_finds(data, tmp_path):
    peer = Vecstore("int8-graph", "int8", refine="full")
    peer.build(data, 1, tmp_path)
    index = peer.open(tmp_path, TableShape(*data.base.shape), data.metric)
    built = Built(version="", cpu_seconds=0.0, wall_seconds=0.0, memory_bytes=0, disk_bytes=0)
    lines = measure_filters([System(peer, index, built)], data, slice(0, 20), slice(0, 2), threads=1, rounds=1)
    index.close()
    by_name = {line["filter"]: line for line in lines}
    assert set(by_name) == {"50.0% at random", "10.0% at random", "1.0% at random", "0.1% at random", "third"}
    for line in lines:
        assert line["complete"], line
        assert line["recall"] > 0.95, line
        assert 0 < line["batch"][1] <= line["batch"][0] <= line["batch"][2]
    assert by_name["third"]["share"] == pytest.approx(1 / 3, abs=1e-3)
    assert by_name["0.1% at random"]["share"] == pytest.approx(8 / ROWS)
    # Codes and their scales, at least 2 M links of 4 bytes, and ids; the float32 rows are not in memory.
    assert 12 * ROWS < peer.memory_bytes(tmp_path) < 200 * ROWS


def test_filters_that_lose_rows_are_not_called_complete(data, tmp_path, monkeypatch):
    peer = Vecstore("int8-graph", "int8", refine="full")
    peer.build(data, 1, tmp_path)
    index = peer.open(tmp_path, TableShape(*data.base.shape), data.metric)
    original = type(index).search

    def forgetful(self, queries, k, setting, where=None):
        found = original(self, queries, k, setting, where)
        if where is not None:
            found[0, -1] = -1
        return found

    monkeypatch.setattr(type(index), "search", forgetful)
    built = Built(version="", cpu_seconds=0.0, wall_seconds=0.0, memory_bytes=0, disk_bytes=0)
    lines = measure_filters([System(peer, index, built)], data, slice(0, 20), slice(0, 2), threads=1, rounds=1)
    index.close()
    assert not any(line["complete"] for line in lines if line["share"] > 0.01)


def test_places_are_a_permutation():
    assert sorted(places(100)) == list(range(100))


def test_the_command_compares_with_hnswlib(folder, tmp_path):
    out, page, cache = tmp_path / "out", tmp_path / "page.md", tmp_path / "cache"
    page.write_text("# Ours\n\nKept.\n")
    options = ["--data", str(folder), "--peers", "hnswlib", "--ours", "int8-graph,exact", "--recall", "0.9,1.1"]
    options += ["--threads", "1", "--rounds", "2", "--queries", "40", "--single", "2", "--cache", str(cache)]
    options += ["--out", str(out), "--markdown", str(page)]
    done = CliRunner().invoke(search.main, options)
    assert done.exit_code == 0, done.output
    rows = pq.read_table(out / "results.parquet").to_pylist()
    reached = [row for row in rows if row["mark"] == 0.9]
    assert {(row["system"], row["way"]) for row in reached} == {
        (name, way) for name in ("int8-graph", "exact", "hnswlib") for way in ("batch", "single")
    }
    assert all(row["status"] == "done" and row["recall_tuned"] >= 0.9 and len(row["seconds"]) == 2 for row in reached)
    assert {row["queries"] for row in reached} == {20, 2}
    assert all(row["status"] == "mark not reached" for row in rows if row["mark"] == 1.1)
    (exact,) = {row["recall"] for row in reached if row["system"] == "exact"}
    assert exact > 0.999
    about = json.loads((out / "search.json").read_text())
    assert about["asked"]["rounds"] == 2
    assert about["packages"]["hnswlib"]
    assert len(about["filters"]) == 5
    text = page.read_text()
    assert text.startswith("# Ours\n\nKept.\n")
    assert text.count("## made: 8,500 x 8, l2") == 1
    assert CliRunner().invoke(search.main, [*options, "--no-filters", "--rebuild", "ours"]).exit_code == 0
    assert page.read_text().count("## made: 8,500 x 8, l2") == 1
    assert "### Filters" not in page.read_text()


def a_row(system, seconds, **more):
    return {
        "system": system, "ours": system == "mine", "version": "1", "memory_bytes_per_vector": 100.0,
        "disk_bytes_per_vector": 200.0, "build_cpu_seconds": 1.0, "threads": 1, "mark": 0.9, "way": "batch",
        "status": "done", "setting": '{"ef": 12}', "recall": 0.91, "queries": 10, "seconds": seconds, **more,
    }  # fmt: skip


def test_ratios_of_the_table_are_those_of_the_rounds():
    about = {
        "dataset": "made", "rows": 10, "dim": 2, "metric": "l2", "filters": [], **facts(["numpy"]),
        "missing": [{"name": "other", "status": "skipped", "reason": "not installed"}],
    }  # fmt: skip
    batch = [a_row("mine", [1.0, 2.0, 4.0]), a_row("hnswlib", [2.0, 8.0, 12.0]), a_row("quick", [0.5, 0.5, 1.0])]
    single = [{**row, "way": "single", "queries": 5, "seconds": [3.0, 3.0, 3.0]} for row in batch]
    text = markdown(about, [*batch, *single, a_row("slow", [], status="mark not reached")])
    assert "| hnswlib | ef 12 | 0.910 | 3.00, 1.00 |" in text
    assert "| mine | all in one call | 3.00 (2.00 to 4.00) | 0.25 (0.25 to 0.50) | quick |" in text
    assert "| other | skipped: not installed |" in text
    assert "| slow | mark not reached |" in text
    for lines in [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]:
        assert len({line.count("|") for line in lines}) == 1, lines


def test_sections_are_renewed_in_their_place(tmp_path):
    page = tmp_path / "docs" / "page.md"
    put_section(page, "a", "one\n")
    put_section(page, "b", "two \\1\n")
    put_section(page, "a", "three\n")
    text = page.read_text()
    assert "one" not in text
    assert text.index("three") < text.index("two \\1")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be kept to processors here")
def test_threads_are_kept_to_few_processors_and_let_go():
    before = os.sched_getaffinity(0)
    with limited(1):
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_neighbours_of_part_of_the_rows_are_those_among_them(data):
    part = replace(data, base=data.base[:500])
    near = exact_neighbours(part.base, part.queries, part.metric, 3)
    distances = ((part.queries[:, None].astype(np.float64) - part.base[None]) ** 2).sum(axis=2)
    assert (near == np.argsort(distances, axis=1)[:, :3]).mean() > 0.99
