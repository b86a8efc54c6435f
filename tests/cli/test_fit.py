"""``fit``: files of matrices become tables, with a report."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vecstore
from tests.server.helpers import serving


@pytest.fixture
def folder(tmp_path, rng):
    """Files of one matrix in all forms, of two matrices, and of counts."""
    matrix = rng.normal(size=(60, 8)).astype(np.float32)
    np.save(tmp_path / "one.npy", matrix)
    np.savez(tmp_path / "one.npz", weights=matrix, names=np.array(["a"]))
    np.savez(tmp_path / "two.npz", user=matrix, item=matrix[:30].astype(np.float64), ids=np.arange(60))
    np.save(tmp_path / "counts.npy", np.arange(60))
    np.savez(tmp_path / "counts.npz", user=np.arange(60), item=np.arange(30))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), 8)
    pq.write_table(pa.table({"id": np.arange(60), "vector": vectors}), tmp_path / "one.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["one.npy", "one.npz", "one.parquet"])
def test_a_matrix_becomes_a_table_whatever_file_it_is_in(run, folder, name):
    run("fit", folder / "store", "words", folder / name, "--scheme", "int8", "--budget", "0.99")
    with vecstore.open(folder / "store", mode="r") as database:
        table = database.table("words")
        assert table.fields == {"row": 60}
        found = table.lookup(np.arange(60), field="row")
    np.testing.assert_allclose(found, np.load(folder / "one.npy"), atol=0.02)


def test_the_report_is_that_of_the_library_and_a_second_fit_is_a_second_version(run, folder):
    arguments = ("fit", folder / "store", "ctr", folder / "two.npz", "--scheme", "mde", "--budget", "2000")
    arguments = (*arguments, "--frequency", folder / "counts.npz", "--json")
    first, second = (json.loads(run(*arguments).stdout) for _ in range(2))
    assert (first["version"], second["version"]) == (1, 2)
    fields = {"user": np.load(folder / "two.npz")["user"], "item": np.load(folder / "two.npz")["item"]}
    counts = {"user": np.arange(60), "item": np.arange(30)}
    with pytest.warns(vecstore.QualityWarning):
        _, report = vecstore.fit_table("mde", fields, budget=2000, frequency=counts)
    for figure in ("fields", "bytes_asked", "bytes_reached", "bytes_before", "relative_error", "cosine", "ratio"):
        assert first[figure] == getattr(report, figure)
    assert first["fitting"] == "closed form"


def test_the_table_of_facts_and_the_warning(run, folder):
    arguments = ("fit", folder / "store", "words", folder / "one.npy", "--budget", "0.7")
    result = run(*arguments, "--scheme", '{"scheme": "adapt", "hot": 3}', "--frequency", folder / "counts.npy")
    lines = dict(line.strip().split("  ", 1) for line in result.stdout.splitlines() if line.strip())
    assert lines["scheme"].strip() == "adapt"
    assert lines["fields"].strip() == "row (60 rows)"
    assert lines["fitting"].strip() == "closed form"
    assert 0 < float(lines["relative error"]) < 1
    assert "note: scheme 'adapt' fitted to a matrix: relative error" in result.stderr
    assert run(*arguments, "--scheme", "hash", "--quiet").stderr == ""
    run("fit", folder / "store", "one", folder / "two.npz", "--field", "item", "--scheme", "int8", "--budget", "2000")
    with vecstore.open(folder / "store", mode="r") as database:
        assert database.table("one").fields == {"item": 30}


def test_a_server_gets_the_table(run, folder):
    with vecstore.open(folder / "store") as database, serving(database) as address:
        run("fit", f"grpc://{address}", "words", folder / "one.npy", "--scheme", "int8", "--budget", "0.99")
        assert "words" in run("list", f"grpc://{address}").stdout
        assert database.table("words").fields == {"row": 60}


@pytest.mark.parametrize(
    ("file", "arguments", "message", "code"),
    [
        ("one.npy", ("--scheme", "int8", "--budget", "0.1"), "raise the budget", 1),
        ("one.npy", ("--scheme", "int9", "--budget", "0.5"), "there is no scheme 'int9'", 1),
        ("one.npy", ("--scheme", '{"hot": 3}', "--budget", "0.5"), "expected a name or a config", 1),
        ("one.npy", ("--scheme", '{"scheme": "hash", "hot": 3}', "--budget", "0.5"), "hot", 1),
        ("one.npy", ("--scheme", "int8", "--budget", "half"), "'half' is no number", 2),
        ("one.npy", ("--scheme", "int8", "--budget", "1.5"), "a fraction is above 0 and at most 1", 1),
        ("one.npy", ("--scheme", "int8", "--budget", "0.5", "--field", "user"), "only .npz archives", 1),
        ("one.npy", ("--scheme", "int8"), "Missing option '--budget'", 2),
        ("two.npz", ("--scheme", "int8", "--budget", "0.5", "--field", "tag"), "has no array 'tag'", 1),
        ("two.npz", ("--scheme", "int8", "--budget", "0.5", "--field", "ids"), "expected numbers [rows, dim]", 1),
        ("two.npz", ("--scheme", "hash", "--budget", "0.5", "--frequency", "counts.npy"), "no counts of the fields", 1),
        ("counts.npz", ("--scheme", "int8", "--budget", "0.5"), "has no matrix", 1),
        ("counts.npy", ("--scheme", "int8", "--budget", "0.5"), "expected numbers [rows, dim]", 1),
    ],
)
def test_what_is_wrong_is_said_and_no_store_is_made(run, folder, file, arguments, message, code):
    given = [folder / one if one == "counts.npy" else one for one in arguments]
    assert message in run("fit", folder / "store", "words", folder / file, *given, code=code).output
    assert not (folder / "store").exists()
