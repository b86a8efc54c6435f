"""``lookup``, and how ``stats``, ``list`` and ``verify`` show tables."""

from __future__ import annotations

import json

import numpy as np
import pytest

import vecstore
from tests.tables.helpers import DIM, SIZES, frozen


@pytest.fixture
def made():
    return frozen("hash", 0.3)


@pytest.fixture
def tables(tmp_path, made):
    """A store with two versions of the table ``ctr`` and one of ``one``, and no collection."""
    path = tmp_path / "tables"
    with vecstore.open(path) as database:
        database.put_table("ctr", frozen())
        database.put_table("ctr", made)
        database.put_table("one", frozen(sizes={"word": 9}))
    return path


def test_lookup(run, tables, made):
    expected = made.lookup_field("item", np.array([17, 399, 17]))
    output = run("lookup", tables, "ctr", "--field", "item", "--ids", "17,399", "--ids", "[17]", "--json").stdout
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["id"] for line in lines] == [17, 399, 17]
    np.testing.assert_allclose([line["vector"] for line in lines], expected, rtol=1e-6)
    heading, _, *rows = [
        line.split() for line in run("lookup", tables, "one", "--ids", "3").stdout.splitlines() if line.strip()
    ]
    assert heading == ["id", "vector"]
    assert rows[0][0] == "3"
    assert rows[0][-1] == "..."
    assert run("lookup", tables, "ctr", "--field", "item", "--ids", "5000", "--on-unknown", "hash").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ctr", "--ids", "1"), "pass one of user, item, tag"),
        (("ctr", "--field", "song", "--ids", "1"), "there is no field 'song'"),
        (("ctr", "--field", "item", "--ids", "400"), "outside field 'item', which has ids 0 to 399"),
        (("ctr", "--field", "item", "--ids", "x"), "integers"),
        (("nothing", "--field", "item", "--ids", "1"), "there is no table 'nothing'"),
    ],
)
def test_lookup_explains_what_is_wrong(run, tables, arguments, message):
    assert message in run("lookup", tables, *arguments, code=1).stderr


def test_stats_of_a_store_with_tables_only(run, tables, made):
    output = run("stats", tables).stdout
    assert "no collections" not in output
    heading, _, ctr, one = [line.split() for line in output.splitlines() if line.strip()]
    assert dict(zip(heading, ctr, strict=True)) == {
        "table": "ctr",
        "version": "2",
        "rows": "1,007",
        "fields": "3",
        "dim": str(DIM),
        "schemes": "hash",
        "bytes": f"{made.nbytes:,}",
        "ratio": f"{1007 * DIM * 4 / made.nbytes:.{len(ctr[-1]) - 1}g}",
    }
    assert one[0] == "one"
    assert run("list", tables).stdout == output


def test_stats_of_one_table(run, tables, made):
    (figures,) = map(json.loads, run("stats", tables, "ctr", "--json").stdout.splitlines())
    assert figures["kind"] == "table"
    assert figures["fields"] == SIZES
    assert figures["nbytes"] == made.nbytes
    assert [version["number"] for version in figures["versions"]] == [1, 2]
    assert figures in json.loads(run("stats", tables, "--json").stdout)
    output = run("stats", tables, "ctr").stdout
    for part in ("user", "item", "tag", "hash", "Versions", "served", "ratio to float32"):
        assert part in output


def test_a_collection_and_a_table_of_one_name_are_both_shown(run, tables):
    with vecstore.open(tables) as database:
        database.create_collection("ctr", dim=3)
    kinds = [json.loads(line)["kind"] for line in run("stats", tables, "ctr", "--json").stdout.splitlines()]
    assert kinds == ["collection", "table"]
    assert "Versions" in run("stats", tables, "ctr").stdout
    assert "there is no collection 'nothing'" in run("stats", tables, "nothing", code=1).stderr


def test_verify_counts_tables_and_finds_their_problems(run, tables):
    assert run("verify", tables).stdout == "ok: all checksums of 0 collections and 2 tables match\n"
    victim = max(tables.glob("tables/*/arrays.arrow"), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 0x10
    victim.write_bytes(content)
    assert "table 'ctr', version 1" in run("verify", tables, code=1).stdout
