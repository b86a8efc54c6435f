"""Crashes at every step, damaged bytes, stores from before there were tables, and readers in other processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest

import vecstore
from tests.tables.helpers import DIM, constant, frozen, some_ids

SOURCES = Path(__file__).parents[2]


def series(path, operation):
    """Give what the store held after a crash at each step."""
    command = [sys.executable, "-m", "tests.tables.killed", str(path), operation]
    done = subprocess.run(command, cwd=SOURCES, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_crash_at_any_step_of_storing_leaves_the_old_state_or_the_new(tmp_path):
    path = tmp_path / "store"
    with vecstore.open(path) as database:
        database.put_table("t", constant(0.0), keep=2)
    states = series(path, "put")
    assert len(states) > 8
    assert not states[-1]["died"]
    last, newest = 0.0, 1
    for found in states:
        assert found["problems"] == []
        assert found["value"] in (last, found["step"] + 1.0)
        assert found["folders"] == len(found["versions"]) <= 2
        is_new = found["value"] != last
        assert found["versions"][-1] == newest + is_new
        last, newest = found["value"], found["versions"][-1]
    assert last == states[-1]["step"] + 1.0
    assert newest < len(states)  # most of the steps come before the commit


def test_a_crash_at_any_step_of_dropping_leaves_all_or_nothing(tmp_path):
    path = tmp_path / "store"
    with vecstore.open(path) as database:
        for number in (1, 2):
            database.put_table("t", constant(number))
    states = series(path, "drop")
    assert not states[-1]["died"]
    assert [found["problems"] for found in states] == [[]] * len(states)
    assert all((found["value"] is None) == (found["folders"] == len(found["versions"]) == 0) for found in states)
    assert all(found["folders"] == len(found["versions"]) for found in states)
    gone = [found["value"] is None for found in states]
    assert gone == sorted(gone)  # all steps before the commit keep the table, all after it have dropped it
    assert 0 < sum(gone) < len(gone)


def flip(path, place):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


@pytest.fixture
def path(tmp_path):
    """Give the folder of a store with one table of three fields."""
    with vecstore.open(tmp_path / "store") as database:
        database.put_table("ctr", frozen("int8", 0.5))
    return tmp_path / "store"


def folder_of(path):
    """Give the one table folder of a store."""
    (folder,) = (path / "tables").iterdir()
    return folder


@pytest.mark.parametrize("name", ["arrays.arrow", "checksums.arrow", "table.json"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_damage_is_reported_and_never_returned(path, name, share):
    victim = folder_of(path) / name
    flip(victim, int(victim.stat().st_size * share))
    with vecstore.open(path, mode="r") as database:
        assert database.list_tables() == ["ctr"]
        for call in (
            lambda: database.table("ctr").lookup(some_ids()),
            lambda: database.table("ctr").search(np.ones(DIM), field="item"),
        ):
            with pytest.raises(vecstore.CorruptionError):
                call()
        (problem,) = database.verify()
        assert problem.startswith("table 'ctr', version 1: ")


@pytest.mark.parametrize("name", ["arrays.arrow", "checksums.arrow", "table.json", ""])
def test_missing_files_are_reported(path, name):
    victim = folder_of(path) / name
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    with vecstore.open(path, mode="r") as database:
        with pytest.raises(vecstore.CorruptionError, match="missing"):
            database.table("ctr").lookup(some_ids())
        (problem,) = database.verify()
        assert "table 'ctr', version 1" in problem
        assert "missing" in problem


def test_a_file_that_was_cut_is_reported(path):
    victim = folder_of(path) / "arrays.arrow"
    victim.write_bytes(victim.read_bytes()[:-100])
    with vecstore.open(path) as database:
        with pytest.raises(vecstore.CorruptionError, match="bytes where"):
            database.table("ctr").stats()
        assert len(database.verify()) == 1
        database.put_table("ctr", frozen())  # a good version replaces the damaged one
        assert database.table("ctr").lookup(some_ids()).shape == (20, 3, DIM)


def test_code_that_decodes_otherwise_is_noticed(path, monkeypatch):
    from vecstore.schemes.fields import FieldsTable

    decode = FieldsTable.lookup
    monkeypatch.setattr(FieldsTable, "lookup", lambda self, rows, out=None: decode(self, rows, out) * 2)
    with vecstore.open(path, mode="r") as database:
        (problem,) = database.verify()
    assert "decode to other values" in problem


def test_orphans_are_swept_and_nothing_else(path):
    kept = folder_of(path)
    for name in ("0b0c", "0b0c.tmp", kept.name + ".tmp"):
        (path / "tables" / name).mkdir()
    with vecstore.open(path, mode="r"):
        assert len(list((path / "tables").iterdir())) == 4  # a reader leaves everything as it is
    with vecstore.open(path) as database:
        assert list((path / "tables").iterdir()) == [kept]
        assert database.table("ctr").lookup(some_ids()).shape == (20, 3, DIM)


def test_a_full_disk_leaves_what_was_there(path, monkeypatch):
    import errno

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with vecstore.open(path) as database:
        monkeypatch.setattr("vecstore.storage.table_files.write_file", full)
        with pytest.raises(vecstore.StorageFull):
            database.put_table("ctr", frozen())
        monkeypatch.undo()
        assert len(list((path / "tables").iterdir())) == 1
        assert database.verify() == []


@pytest.fixture
def old_store(tmp_path):
    """Give a store as releases without tables made it."""
    path = tmp_path / "old"
    with vecstore.open(path) as database:
        database.create_collection("docs", dim=2).insert([1], [[1, 0]])
    (path / "tables").rmdir()
    with lmdb.open(str(path / "catalog.lmdb"), max_dbs=20, lib_version=0) as environment:
        handle = environment.open_db(b"tables", create=False)
        with environment.begin(write=True) as transaction:
            transaction.drop(handle, delete=True)
    return path


def test_a_reader_of_an_old_store_finds_no_tables(old_store):
    with vecstore.open(old_store, mode="r") as database:
        assert database.list_tables() == []
        with pytest.raises(vecstore.NotFoundError, match="there is no table 't'"):
            database.table("t")
        assert database.collection("docs").count() == 1
        assert database.verify() == []
    assert not (old_store / "tables").exists()


def test_a_writer_of_an_old_store_adds_tables(old_store):
    with vecstore.open(old_store) as database:
        assert database.list_tables() == []
        database.put_table("t", constant(3.0))
    with vecstore.open(old_store, mode="r") as database:
        assert database.table("t").lookup([7], field="item").tolist() == [[3.0] * 4]
        assert database.verify() == []


def test_a_reader_sees_what_a_writer_adds_meanwhile(old_store):
    code = (
        "import sys, vecstore\n"
        "from tests.tables.helpers import constant\n"
        "with vecstore.open(sys.argv[1]) as database:\n"
        "    database.put_table('t', constant(float(sys.argv[2])), keep=1)\n"
    )
    with vecstore.open(old_store, mode="r") as database:
        assert database.list_tables() == []
        for value in (1.0, 2.0):
            subprocess.run([sys.executable, "-c", code, str(old_store), str(value)], check=True, cwd=SOURCES)
            assert database.list_tables() == ["t"]
            assert database.table("t").lookup([7], field="item").tolist() == [[value] * 4]
