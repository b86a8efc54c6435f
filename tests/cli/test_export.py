"""``vecstore export``."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vecstore
from vecstore.cli import parquet_files


def test_a_whole_collection(run, store, tmp_path, vectors):
    out = tmp_path / "out.parquet"
    assert run("export", store, "docs", out).output == f"exported 60 rows of 'docs' to {out}\n"
    table = pq.read_table(out)
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 8)
    assert table["id"].to_pylist() == list(range(100, 160))
    assert table["vector"].combine_chunks().flatten().to_numpy().tobytes() == vectors.tobytes()
    assert table["year"].null_count == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "store"]


def test_filters_and_no_vectors(run, store, tmp_path):
    out = tmp_path / "out.parquet"
    result = run("export", store, "docs", out, "--where", "year = 2001 AND lang = 'de'", "--no-vectors")
    assert "exported 6 rows" in result.output
    table = pq.read_table(out)
    assert sorted(table.column_names) == ["id", "lang", "year"]
    assert set(table["year"].to_pylist()) == {2001}
    assert "has no column 'vector'" in run("import", tmp_path / "s", "docs", out, code=1).stderr


def test_many_row_groups(run, store, tmp_path, monkeypatch):
    monkeypatch.setattr("vecstore.cli.transfer._EXPORT_BATCH", 7)
    monkeypatch.setattr(parquet_files, "_ROW_GROUP_BYTES", 600)
    run("export", store, "docs", tmp_path / "out.parquet")
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert file.num_row_groups > 2
    assert file.read()["id"].to_pylist() == list(range(100, 160))


def test_an_empty_collection_round_trips(run, tmp_path):
    with vecstore.open(tmp_path / "s") as database:
        database.create_collection("empty", dim=3, metric="ip")
    run("export", tmp_path / "s", "empty", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0
    run("import", tmp_path / "t", "empty", tmp_path / "out.parquet")
    with vecstore.open(tmp_path / "t", "r") as database:
        config = database.collection("empty").config
    assert (config.dim, config.metric) == (3, "ip")


def test_existing_files_are_kept(run, store, tmp_path):
    out = tmp_path / "out.parquet"
    out.write_text("precious")
    assert "pass --overwrite" in run("export", store, "docs", out, code=1).stderr
    assert out.read_text() == "precious"
    run("export", store, "docs", out, "--overwrite")
    assert pq.read_table(out).num_rows == 60


def test_a_failed_export_leaves_nothing(run, store, tmp_path, monkeypatch):
    def broken(first, batches):
        yield pa.Table.from_batches([first])
        raise OSError(28, "No space left on device", "out.parquet")

    monkeypatch.setattr(parquet_files, "_row_groups", broken)
    result = run("export", store, "docs", tmp_path / "out.parquet", code=1)
    assert result.stderr == "error: out.parquet: No space left on device\n"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "out.parquet"], "'nothing'"),
        (["docs", "out.parquet", "--where", "year ="], "year ="),
        (["docs", "out.parquet", "--where", "month = 2"], "month"),
        (["docs", "missing/out.parquet"], "there is no such folder"),
    ],
)
def test_wrong_input(run, store, tmp_path, arguments, message):
    name, out, *rest = arguments
    assert message in run("export", store, name, tmp_path / out, *rest, code=1).stderr
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
