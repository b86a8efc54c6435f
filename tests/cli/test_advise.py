"""``vecstore advise``: advice for files and collections."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vecstore

ROWS, DIM = 1_000, 8


@pytest.fixture
def vectors(rng):
    return rng.normal(size=(ROWS, DIM)).astype(np.float32)


def test_a_file_and_a_collection_of_the_same_rows(run, tmp_path, vectors):
    np.save(tmp_path / "vectors.npy", vectors)
    printed = run("advise", tmp_path / "vectors.npy", "--metric", "l2", "--target-recall", "0.8", "--quiet").output
    assert "chosen" in printed
    assert "Take " in printed
    with vecstore.open(tmp_path / "store") as database:
        database.create_collection("docs", dim=DIM, metric="l2").insert(np.arange(ROWS), vectors)
    answer = json.loads(run("advise", tmp_path / "store", "docs", "--target-recall", "0.8", "--all", "--json").output)
    (chosen,) = [one for one in answer["candidates"] if one["verdict"] == "chosen"]
    assert answer["reason"] in printed
    assert answer["arguments"]["scheme"] == chosen["scheme"]
    assert len(answer["candidates"]) > 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{file}", "--max-bytes", "10", "--target-recall", "0.9"], "raise max_bytes"),
        (["{file}", "--target-recall", "2"], "target_recall"),
        (["{folder}"], "name the COLLECTION"),
        (["{folder}", "docs", "--metric", "l2"], "leave it out"),
    ],
)
def test_wrong_input(run, tmp_path, vectors, arguments, message):
    np.save(tmp_path / "vectors.npy", vectors)
    given = [argument.format(file=tmp_path / "vectors.npy", folder=tmp_path) for argument in arguments]
    assert message in run("advise", *given, code=1).output


def test_an_archive_of_several_matrices(run, tmp_path, vectors):
    np.savez(tmp_path / "both.npz", a=vectors, b=vectors[:10])
    assert "--field" in run("advise", tmp_path / "both.npz", code=1).output
    assert "at least 1000 rows" in run("advise", tmp_path / "both.npz", "--field", "b", code=1).output
