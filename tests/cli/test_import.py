"""``vecstore import``: destinations, modes, and what is said when it ends early."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vecstore
from vecstore.cli import transfer

IDS = list(range(7, 67))
TEXTS = [f"text {i}" for i in range(60)]


def write_parquet(path, vectors):
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    pq.write_table(pa.table({"id": IDS, "text": TEXTS, "vector": column}), path)


def write_npz(path, vectors):
    np.savez(path, vectors=vectors, ids=np.array(IDS), text=np.array(TEXTS))


def write_jsonl(path, vectors):
    rows = zip(IDS, vectors.tolist(), TEXTS, strict=True)
    path.write_text("".join(json.dumps({"id": i, "vector": v, "text": t}) + "\n" for i, v, t in rows))


def write_fvecs(path, vectors):
    counts = np.full((len(vectors), 1), vectors.shape[1], "<i4")
    np.hstack([counts, vectors.astype("<f4").view("<i4")]).tofile(path)


WRITERS = {"parquet": write_parquet, "npz": write_npz, "jsonl": write_jsonl, "fvecs": write_fvecs}


def expected(kind, vectors):
    """What each file should become: .fvecs has neither ids nor metadata."""
    if kind == "fvecs":
        return {i: (vector.tobytes(), {}) for i, vector in enumerate(vectors)}
    return {i: (v.tobytes(), {"text": t}) for i, v, t in zip(IDS, vectors, TEXTS, strict=True)}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_round_trips(run, tmp_path, vectors, contents, kind):
    """File -> collection -> Parquet -> another collection: ids, vectors (bit for bit) and metadata stay."""
    file, out = tmp_path / f"data.{kind}", tmp_path / "out.parquet"
    WRITERS[kind](file, vectors)
    result = run("import", tmp_path / "a", "docs", file, "--metric", "l2", "--batch-size", 7)
    assert result.stdout.startswith("imported 60 rows into 'docs' in ")
    assert contents(tmp_path / "a", "docs") == expected(kind, vectors)
    run("export", tmp_path / "a", "docs", out)
    run("import", tmp_path / "b", "docs", out)
    assert contents(tmp_path / "b", "docs") == expected(kind, vectors)


@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_an_export_keeps_the_settings_of_its_collection(run, tmp_path, vectors, contents, metric):
    file, out = tmp_path / "data.npz", tmp_path / "out.parquet"
    write_npz(file, vectors)
    run("import", tmp_path / "a", "docs", file, "--metric", metric, "--scheme", "int8", "--refine", "full")
    run("export", tmp_path / "a", "docs", out)
    run("import", tmp_path / "b", "docs", out)
    assert contents(tmp_path / "b", "docs").keys() == contents(tmp_path / "a", "docs").keys()
    with vecstore.open(tmp_path / "a", "r") as a, vecstore.open(tmp_path / "b", "r") as b:
        assert b.collection("docs").config == a.collection("docs").config
    # What is asked for on the command line wins.
    run("import", tmp_path / "c", "docs", out, "--metric", "l2", "--scheme", "float16")
    with vecstore.open(tmp_path / "c", "r") as c:
        config = c.collection("docs").config
        assert (config.metric, config.scheme["scheme"], config.refine) == ("l2", "float16", None)


def test_unit_vectors_survive_export_and_import_bit_for_bit(run, tmp_path, vectors, contents):
    file, out = tmp_path / "data.npz", tmp_path / "out.parquet"
    write_npz(file, vectors)
    run("import", tmp_path / "a", "docs", file)
    run("export", tmp_path / "a", "docs", out)
    run("import", tmp_path / "b", "docs", out)
    assert contents(tmp_path / "b", "docs") == contents(tmp_path / "a", "docs")


def test_import_seals_and_sets_the_scheme(run, tmp_path, vectors):
    write_npz(tmp_path / "data.npz", vectors)
    run("import", tmp_path / "s", "docs", tmp_path / "data.npz", "--scheme", '{"scheme": "int8"}', "--limit", 25)
    with vecstore.open(tmp_path / "s", "r") as database:
        stats = database.collection("docs").stats()
    assert (stats.rows, stats.delta_rows) == (25, 0)
    assert [segment["scheme"] for segment in stats.segments] == ["int8"]


def test_upsert_replaces_and_insert_refuses(run, tmp_path, vectors, contents):
    file = tmp_path / "data.npz"
    write_npz(file, vectors)
    run("import", tmp_path / "s", "docs", file, "--metric", "l2")
    write_npz(file, vectors + 1)
    run("import", tmp_path / "s", "docs", file, "--limit", 10)
    found = contents(tmp_path / "s", "docs")
    assert found[7][0] == (vectors[0] + 1).tobytes()
    assert found[17][0] == vectors[10].tobytes()
    result = run("import", tmp_path / "s", "docs", file, "--mode", "insert", code=1)
    assert "rows 0 to 59 (counting from 0) were refused" in result.stderr
    assert "no rows were written to 'docs'" in result.stderr
    assert contents(tmp_path / "s", "docs") == found


def test_a_refused_batch_says_what_was_written_before(run, tmp_path, vectors):
    with vecstore.open(tmp_path / "s") as database:
        database.create_collection("docs", dim=8, metric="l2").insert([40], vectors[:1])
    write_npz(tmp_path / "data.npz", vectors)
    arguments = ("import", tmp_path / "s", "docs", tmp_path / "data.npz", "--batch-size", 10, "--mode", "insert")
    result = run(*arguments, code=1)
    assert result.stderr.startswith("error: ")
    assert "rows 30 to 39 (counting from 0) were refused" in result.stderr
    assert "30 rows were written to 'docs' before and stay there" in result.stderr
    with vecstore.open(tmp_path / "s", "r") as database:
        assert database.collection("docs").count() == 31


def test_a_bad_row_of_the_file_says_what_was_written_before(run, tmp_path, vectors):
    vectors[45, 2] = np.nan
    write_npz(tmp_path / "data.npz", vectors)
    result = run("import", tmp_path / "s", "docs", tmp_path / "data.npz", "--batch-size", 20, code=1)
    assert f"{tmp_path / 'data.npz'}: row 45: the vector holds NaN" in result.stderr
    assert "40 rows were written to 'docs' before and stay there" in result.stderr


def test_interrupting_exits_130_and_says_what_was_written(run, tmp_path, vectors, monkeypatch):
    def interrupted(write, batches, *rest):
        def two_batches():
            yield next(batches)
            yield next(batches)
            raise KeyboardInterrupt

        return original(write, two_batches(), *rest)

    original = transfer._write_all
    monkeypatch.setattr(transfer, "_write_all", interrupted)
    write_npz(tmp_path / "data.npz", vectors)
    result = run("import", tmp_path / "s", "docs", tmp_path / "data.npz", "--batch-size", 10, code=130)
    assert "interrupted; 20 rows were written" in result.stderr
    with vecstore.open(tmp_path / "s", "r") as database:
        assert database.collection("docs").count() == 20


def test_no_create_creates_nothing(run, tmp_path, store, vectors):
    write_npz(tmp_path / "data.npz", vectors)
    result = run("import", tmp_path / "missing", "docs", tmp_path / "data.npz", "--no-create", code=1)
    assert "there is no store" in result.stderr
    assert not (tmp_path / "missing").exists()
    assert "'other'" in run("import", store, "other", tmp_path / "data.npz", "--no-create", code=1).stderr
    assert "other" not in run("list", store).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "cosine"], "exists with metric l2"),
        (["--scheme", "int8"], "exists with scheme full"),
        (["--refine", "int8"], "exists with refine none"),
    ],
)
def test_settings_that_do_not_fit_the_collection(run, tmp_path, store, vectors, arguments, message):
    write_npz(tmp_path / "data.npz", vectors)
    assert message in run("import", store, "docs", tmp_path / "data.npz", *arguments, code=1).stderr


def test_settings_that_fit_the_collection(run, tmp_path, store, vectors):
    write_npz(tmp_path / "data.npz", vectors)
    run("import", store, "docs", tmp_path / "data.npz", "--skip-column", "text", "--metric", "l2", "--scheme", "full")


def test_another_dimension_is_refused(run, tmp_path, store, vectors):
    write_npz(tmp_path / "data.npz", vectors[:, :5])
    result = run("import", store, "docs", tmp_path / "data.npz", code=1)
    assert "the file has 5 dimensions, collection 'docs' has 8" in result.stderr


def test_bad_arguments(run, tmp_path, vectors):
    file = tmp_path / "data.npz"
    write_npz(file, vectors)
    assert "does not exist" in run("import", tmp_path / "s", "docs", tmp_path / "none.npz", code=2).output
    assert "--batch-size" in run("import", tmp_path / "s", "docs", file, "--batch-size", 0, code=2).output
    assert "--metric" in run("import", tmp_path / "s", "docs", file, "--metric", "hamming", code=2).output
    assert "--scheme" in run("import", tmp_path / "s", "docs", file, "--scheme", "{", code=2).output
    assert "zip9" in run("import", tmp_path / "s", "docs", file, "--scheme", "zip9", code=1).stderr
    assert "a/b" in run("import", tmp_path / "s", "a/b", file, code=1).stderr
    (tmp_path / "file").write_text("no store")
    assert str(tmp_path / "file") in run("import", tmp_path / "file", "docs", file, code=1).stderr


def test_a_missing_graph_is_noticed(tmp_path, vectors):
    with vecstore.open(tmp_path / "s", settings=vecstore.StoreConfig(background=False)) as database:
        for min_rows, lacks in ((60, True), (61, False)):
            docs = database.create_collection(f"docs{min_rows}", dim=8, index=vecstore.HnswConfig(min_rows=min_rows))
            docs.insert(range(60), vectors)
            docs.flush()
            assert transfer._lacks_graph(docs) is lacks
        database.collection("docs60").optimize()
        assert not transfer._lacks_graph(database.collection("docs60"))


def test_optimize_builds_the_graph(run, tmp_path, rng):
    file = tmp_path / "data.npz"
    np.savez(file, vectors=rng.normal(size=(400, 4)).astype(np.float32), ids=np.arange(400))
    index = vecstore.HnswConfig(min_rows=300)
    with vecstore.open(tmp_path / "s") as database:
        database.create_collection("docs", dim=4, metric="l2", index=index)
        database.create_collection("exact", dim=4, metric="l2", index=None)
    settings = ("--batch-size", 400)
    run("import", tmp_path / "s", "docs", file, *settings, "--optimize")
    assert run("import", tmp_path / "s", "exact", file, *settings).stderr == ""
    with vecstore.open(tmp_path / "s", "r") as database:
        assert [segment["graph"] for segment in database.collection("docs").stats().segments] == [True]


def test_notes_can_be_silenced(run, tmp_path, vectors):
    write_fvecs(tmp_path / "data.fvecs", vectors)
    assert "note: " in run("import", tmp_path / "s", "docs", tmp_path / "data.fvecs").stderr
    assert run("import", tmp_path / "s", "docs", tmp_path / "data.fvecs", "--quiet").stderr == ""
