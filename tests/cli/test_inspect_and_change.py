"""``stats``, ``list``, ``verify``, ``compress``, ``optimize``, ``delete`` and ``drop``."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vecstore


def test_overview(run, store):
    output = run("stats", store).stdout
    assert run("list", store).stdout == output
    heading, _, row = [line.split() for line in output.splitlines() if line.strip()]
    found = dict(zip(heading, row, strict=True))
    assert (found["collection"], found["rows"], found["dim"]) == ("docs", "60", "8")
    assert (found["metric"], found["scheme"], found["segments"]) == ("l2", "full", "1")
    (figures,) = json.loads(run("stats", store, "--json").stdout)
    assert figures == json.loads(run("stats", store, "docs", "--json").stdout)
    assert [figures] == json.loads(run("list", store, "--json").stdout)


def test_details(run, store):
    run("compress", store, "docs", "int8")
    with vecstore.open(store, "r") as database:
        stats = database.collection("docs").stats()
    figures = json.loads(run("stats", store, "docs", "--json").stdout)
    assert (figures["rows"], figures["columns"]) == (60, {"year": "int64", "lang": "string"})
    assert figures["bytes_per_vector"] == pytest.approx(stats.bytes_per_vector)
    assert figures["float32_bytes_per_vector"] == 32
    assert figures["vector_ratio"] == pytest.approx(32 / stats.bytes_per_vector["codes"], abs=1e-3)
    output = run("stats", store, "docs").stdout
    for part in (*stats.bytes_per_vector, "vectors (codes, refine)", "hnsw M=16", stats.segments[0]["segment"]):
        assert part in output


def test_an_empty_store(run, tmp_path):
    vecstore.open(tmp_path / "s").close()
    assert run("stats", tmp_path / "s").stdout == "no collections\n"
    assert run("stats", tmp_path / "s", "--json").stdout == "[]\n"
    assert run("verify", tmp_path / "s").stdout == "ok: all checksums of 0 collections match\n"


def test_verify(run, store):
    assert run("verify", store).stdout == "ok: all checksums of 1 collection match\n"
    # The last bytes of a segment's largest file belong to its data or to its footer.
    (segment,) = (store / "segments").iterdir()
    victim = max(segment.glob("*.arrow"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0x10
    victim.write_bytes(content)
    result = run("verify", store, code=1)
    assert segment.name in result.stdout
    assert "problem" in result.stderr


def test_compress(run, store):
    result = run("compress", store, "docs", "int8", "--refine", "float16")
    assert result.stdout.startswith("compressed 60 rows with int8 in ")
    with vecstore.open(store, "r") as database:
        config = database.collection("docs").config
    assert (config.scheme["scheme"], config.refine["scheme"]) == ("int8", "float16")
    assert "zip9" in run("compress", store, "docs", "zip9", code=1).stderr
    assert run("compress", store, "docs", '{"scheme": "full"}').stdout.startswith("compressed 60 rows with full")


def test_compress_for_queries(run, store, vectors, tmp_path):
    np.save(tmp_path / "queries.npy", vectors[:9])
    with vecstore.open(store) as database:
        database.create_collection("products", dim=8, metric="ip").insert(range(60), vectors)
    asked = ("--transform", "pca:4", "--queries", tmp_path / "queries.npy")
    run("compress", store, "products", "int8", *asked)
    with vecstore.open(store, "r") as database:
        assert database.collection("products").config.scheme["queries"].startswith("8:")
    assert "pass transform" in run("compress", store, "products", "int8", *asked[2:], code=1).stderr
    assert "'l2'" in run("compress", store, "docs", "int8", *asked, code=1).stderr


def test_optimize(run, store):
    run("delete", store, "docs", "--ids", "100,101", "--ids", "102")
    assert "57 rows, 1 to 1 segments, 3 deleted rows dropped" in run("optimize", store, "docs").stdout
    with vecstore.open(store, "r") as database:
        assert database.collection("docs").stats().deleted_rows == 0


def test_delete_by_ids(run, store):
    assert run("delete", store, "docs", "--ids", "100, 101,999").stdout == "deleted 2 rows of 'docs'\n"
    assert run("delete", store, "docs", "--ids", "[102, 103]").stdout == "deleted 2 rows of 'docs'\n"
    with vecstore.open(store, "r") as database:
        assert database.collection("docs").get([100, 101, 102, 103]) == [None] * 4
        assert database.collection("docs").count() == 56


def test_delete_string_ids(run, tmp_path):
    with vecstore.open(tmp_path / "s") as database:
        database.create_collection("docs", dim=2, metric="l2").insert(["1", "a,b", "c"], np.eye(3, 2) + 1)
    assert run("delete", tmp_path / "s", "docs", "--ids", "1").stdout == "deleted 1 rows of 'docs'\n"
    assert run("delete", tmp_path / "s", "docs", "--ids", '["a,b"]').stdout == "deleted 1 rows of 'docs'\n"
    with vecstore.open(tmp_path / "s", "r") as database:
        assert [p is None for p in database.collection("docs").get(["1", "a,b", "c"])] == [True, True, False]


def test_delete_by_filter(run, store):
    assert run("delete", store, "docs", "--where", "lang = 'de'").stdout == "deleted 30 rows of 'docs'\n"
    with vecstore.open(store, "r") as database:
        assert database.collection("docs").count() == 30


def test_wrong_deletes(run, store):
    assert "exactly one" in run("delete", store, "docs", code=2).stderr
    assert "exactly one" in run("delete", store, "docs", "--ids", "1", "--where", "year = 1", code=2).stderr
    assert "are integers, got x" in run("delete", store, "docs", "--ids", "x", code=1).stderr
    assert "month" in run("delete", store, "docs", "--where", "month = 1", code=1).stderr
    assert "JSON" in run("delete", store, "docs", "--ids", "[1", code=1).stderr
    with vecstore.open(store, "r") as database:
        assert database.collection("docs").count() == 60


def test_drop(run, store):
    assert "--yes" in run("drop", store, "docs", code=2).stderr
    assert "docs" in run("list", store).stdout
    assert run("drop", store, "docs", "--yes").stdout == "dropped 'docs'\n"
    assert run("list", store).stdout == "no collections\n"


@pytest.mark.parametrize(
    "command",
    [
        ["stats", "{}", "docs"],
        ["list", "{}"],
        ["verify", "{}"],
        ["search", "{}", "docs", "--id", "1"],
        ["export", "{}", "docs", "{}.parquet"],
        ["compress", "{}", "docs", "int8"],
        ["optimize", "{}", "docs"],
        ["delete", "{}", "docs", "--ids", "1"],
        ["drop", "{}", "docs", "--yes"],
    ],
)
def test_a_mistyped_store_or_collection(run, store, tmp_path, command):
    missing = tmp_path / "stroe"
    result = run(*(part.format(missing) for part in command), code=1)
    assert result.stderr.startswith(f"error: {missing}: there is no store")
    assert not missing.exists()
    (tmp_path / "empty").mkdir()
    assert "error: " in run(*(part.format(tmp_path / "empty") for part in command), code=1).stderr
    assert list((tmp_path / "empty").iterdir()) == []
    if "docs" in command:
        renamed = ["dcos" if part == "docs" else part.format(store) for part in command]
        result = run(*renamed, code=1)
        assert result.stderr.startswith("error: ")
        assert "dcos" in result.stderr


@pytest.mark.parametrize(
    ("store_name", "arguments", "message"),
    [
        ("http://localhost:7700", [], "expected a folder, grpc://"),
        ("grpc://localhost:7700", ["--ca", __file__], "grpcs://"),
    ],
)
def test_wrong_addresses(run, store_name, arguments, message):
    assert message in run("list", store_name, *arguments, code=1).stderr


def test_advice_is_for_the_shell(run, store, tmp_path):
    said = run("stats", store, "nothing", code=1).output
    assert "'vecstore list STORE'" in said
    assert "()" not in said
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "file").touch()
    said = run("list", folder, code=1).output
    assert "'vecstore import'" in said
    assert "mode=" not in said


def test_an_address_without_its_scheme_makes_no_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jsonl").write_text('{"id": 1, "vector": [1, 2]}\n')
    for address in ("localhost:7712", "10.0.0.1:80", "[::1]:7700"):
        assert f"grpc://{address}" in run("import", address, "docs", "x.jsonl", code=1).output
        assert f"grpc://{address}" in run("list", address, code=1).output
    assert [path.name for path in tmp_path.iterdir()] == ["x.jsonl"]
