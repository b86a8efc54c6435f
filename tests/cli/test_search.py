"""``vecstore search``."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vecstore


def lines(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def nearest(vectors, query, count):
    return (100 + np.argsort(((vectors - query) ** 2).sum(axis=1))[:count]).tolist()


def text(vector):
    return ", ".join(str(value) for value in vector)


def test_with_a_vector(run, store, vectors):
    found = lines(run("search", store, "docs", "--vector", text(vectors[4]), "-k", 3, "--json"))
    assert [hit["id"] for hit in found] == nearest(vectors, vectors[4], 3)
    assert found[0] == {
        "query": 0,
        "rank": 0,
        "id": 104,
        "distance": pytest.approx(0, abs=1e-5),
        "metadata": {"year": 2004, "lang": "en"},
    }


def test_vectors_may_be_json_or_begin_with_a_minus(run, store, vectors):
    query = -np.abs(vectors[4])
    expected = nearest(vectors, query, 10)
    for value in (text(query), json.dumps(query.tolist()), text(query).replace(",", "")):
        assert [hit["id"] for hit in lines(run("search", store, "docs", "--vector", value, "--json"))] == expected


def test_with_a_stored_row_leaves_it_out(run, store, vectors):
    found = lines(run("search", store, "docs", "--id", 104, "-k", 3, "--json"))
    assert [hit["id"] for hit in found] == nearest(vectors, vectors[4], 4)[1:]
    # Also where a filter leaves it out already.
    found = lines(run("search", store, "docs", "--id", 104, "-k", 3, "--json", "--where", "lang = 'de'"))
    assert len(found) == 3
    assert {hit["metadata"]["lang"] for hit in found} == {"de"}


def test_with_string_ids(run, tmp_path, vectors):
    with vecstore.open(tmp_path / "s") as database:
        database.create_collection("docs", dim=8, metric="l2").insert([f"k{i}" for i in range(60)], vectors)
    found = lines(run("search", tmp_path / "s", "docs", "--id", "k4", "-k", 3, "--json"))
    assert [hit["id"] for hit in found] == [f"k{i - 100}" for i in nearest(vectors, vectors[4], 4)[1:]]


@pytest.mark.parametrize("arguments", [[], ["--exact"], ["--ef", "200"], ["--recall", "0.9"], ["--funnel", "7:60"]])
def test_with_many_queries(run, store, tmp_path, vectors, arguments):
    np.save(tmp_path / "q.npy", vectors[:3])
    found = lines(run("search", store, "docs", "--queries", tmp_path / "q.npy", "-k", 2, "--json", *arguments))
    assert [(hit["query"], hit["rank"]) for hit in found] == [(q, r) for q in range(3) for r in range(2)]
    assert [hit["id"] for hit in found] == [i for q in range(3) for i in nearest(vectors, vectors[q], 2)]


def test_the_table(run, store, tmp_path, vectors):
    output = run("search", store, "docs", "--id", 104, "-k", 2).stdout
    heading, _, *rows = [line.split() for line in output.splitlines() if line.strip()]
    assert sorted(heading) == ["distance", "id", "lang", "year"]
    assert heading[:2] == ["id", "distance"]
    assert [row[0] for row in rows] == [str(i) for i in nearest(vectors, vectors[4], 3)[1:]]
    assert any(year in rows[0] for year in (str(2000 + i) for i in range(10)))
    np.save(tmp_path / "q.npy", vectors[:2])
    output = run("search", store, "docs", "--queries", tmp_path / "q.npy", "-k", 2).stdout
    assert output.split()[:3] == ["query", "id", "distance"]


def test_stored_text_cannot_steer_the_terminal(run, tmp_path):
    with vecstore.open(tmp_path / "s") as database:
        docs = database.create_collection("docs", dim=2, metric="l2")
        docs.insert([1], [[1, 2]], {"note": ["\x1b[31m[bold]red\nline" + "x" * 200]})
    output = run("search", tmp_path / "s", "docs", "--vector", "1,2").stdout
    assert "\x1b" not in output
    assert "\\x1b[31m[bold]red\\nline" in output
    assert "x…" in output


def test_no_match(run, store):
    assert run("search", store, "docs", "--id", 104, "--where", "year = 1900").stdout == "no rows match\n"
    assert run("search", store, "docs", "--id", 104, "--where", "year = 1900", "--json").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vector", "1,2"], "expected 8 dimensions"),
        (["--vector", "1,x"], "expected numbers separated by commas"),
        (["--vector", "nan,1,2,3,4,5,6,7"], "NaN"),
        (["--id", "999"], "no row with the id 999"),
        (["--id", "abc"], "are integers, got abc"),
        (["--id", "101", "--where", "years = 1"], "years"),
        (["--id", "101", "-k", "1000000"], "k: expected"),
        (["--id", "101", "--funnel", "2,8"], "not fewer than the 8"),
        (["--id", "101", "--funnel", "2,x"], "e.g. 64,128 or 64:1000,128:200, got '2,x'"),
        (["--id", "101", "--funnel", "2:"], "expected dimensions"),
        (["--id", "101", "--funnel", "2,2"], "expected dimensions"),
        (["--id", "101", "--funnel", "2", "--ef", "9"], "either funnel or ef"),
    ],
)
def test_wrong_input(run, store, arguments, message):
    assert message in run("search", store, "docs", *arguments, code=1).stderr


@pytest.mark.parametrize(
    "arguments", [[], ["--id", "1", "--vector", "1"], ["--id", "1", "-k", "0"], ["--queries", "no.npy"]]
)
def test_wrong_usage(run, store, arguments):
    assert "Usage: " in run("search", store, "docs", *arguments, code=2).stderr
