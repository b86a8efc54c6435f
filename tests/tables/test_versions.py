"""Versions: putting again, rolling back, keeping the last, and readers that are at work meanwhile."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import vecstore
from tests.tables.helpers import constant, frozen


def value(table):
    """Give what a table of :func:`constant` holds everywhere, making sure that it is the same everywhere."""
    found = np.unique(table.lookup(np.arange(50), field="item"))
    assert len(found) == 1
    return float(found[0])


def numbers(table):
    """Give the versions, and the one that is served."""
    versions = table.versions()
    (current,) = [version.number for version in versions if version.current]
    return [version.number for version in versions], current


def test_putting_again_serves_the_new_version(database):
    old = database.put_table("t", constant(1.0))
    assert numbers(old) == ([1], 1)
    new = database.put_table("t", constant(2.0))
    assert value(old) == value(new) == value(database.table("t")) == 2.0
    assert numbers(old) == ([1, 2], 2)
    assert new.stats().version == 2


def test_the_last_versions_are_kept(database, store):
    for number in range(1, 7):
        table = database.put_table("t", constant(number))
    assert numbers(table) == ([4, 5, 6], 6)
    assert len(list((store.path / "tables").iterdir())) == 3
    database.put_table("t", constant(7.0), keep=1)
    assert numbers(table) == ([7], 7)
    database.put_table("t", constant(8.0), keep=5)
    assert numbers(table) == ([7, 8], 8)
    assert len(list((store.path / "tables").iterdir())) == 2
    assert database.verify() == []


def test_rolling_back_and_forth(database):
    for number in (1, 2, 3):
        table = database.put_table("t", constant(number))
    table.roll_back(1)
    assert value(table) == 1.0
    assert numbers(table) == ([1, 2, 3], 1)
    table.roll_back(3)
    assert value(table) == 3.0
    table.roll_back(2)
    database.put_table("t", constant(4.0))
    assert numbers(table) == ([2, 3, 4], 4)
    assert value(table) == 4.0
    with pytest.raises(vecstore.NotFoundError, match="no version 1; it keeps 2, 3, 4"):
        table.roll_back(1)
    assert value(table) == 4.0


def test_a_version_may_have_other_fields_and_dimensions(database):
    table = database.put_table("t", constant(1.0))
    database.put_table("t", frozen("int8", 0.5))
    assert list(table.fields) == ["user", "item", "tag"]
    assert table.lookup([[1, 2, 3]]).shape == (1, 3, 16)
    table.roll_back(1)
    assert (table.fields, table.dim) == ({"item": 50}, 4)


def test_a_dropped_table_begins_anew(database):
    database.put_table("t", constant(1.0))
    database.put_table("t", constant(2.0))
    database.drop_table("t")
    new = database.put_table("t", constant(3.0))
    assert numbers(new) == ([1], 1)
    assert value(new) == 3.0


def test_a_handle_of_a_dropped_table_does_not_serve_its_successor(store):
    old = store.put_table("t", constant(1.0))
    store.drop_table("t")
    store.put_table("t", constant(2.0))
    with pytest.raises(vecstore.NotFoundError, match="was dropped"):
        value(old)


def test_versions_survive_closing(tmp_path):
    with vecstore.open(tmp_path / "s") as database:
        for number in (1, 2, 3):
            database.put_table("t", constant(number))
        database.table("t").roll_back(2)
    with vecstore.open(tmp_path / "s") as database:
        assert numbers(database.table("t")) == ([1, 2, 3], 2)
        assert value(database.table("t")) == 2.0
        database.put_table("t", constant(4.0))
        assert numbers(database.table("t")) == ([2, 3, 4], 4)


def test_who_holds_a_version_uses_it_to_the_end(store):
    table = store.put_table("t", constant(1.0))
    held = table.current()
    store.put_table("t", constant(2.0), keep=1)
    assert held.entry.folder not in [path.name for path in (store.path / "tables").iterdir()]
    ids = np.arange(50)
    np.testing.assert_array_equal(held.table.lookup_field("item", ids), np.full((50, 4), 1.0, np.float32))
    assert value(table) == 2.0


def test_readers_see_one_version_or_another_never_a_mixture(database):
    table = database.put_table("t", constant(0.0), keep=1)
    done, problems, seen = threading.Event(), [], set()

    def read():
        try:
            while not done.is_set():
                seen.add(value(table))
                pair = database.lookup_many([("t", "item", [0, 1]), ("t", "item", [2, 3])])
                assert len(np.unique(np.stack(pair))) == 1
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 25):
        database.put_table("t", constant(number), keep=1)
    done.set()
    for thread in threads:
        thread.join()
    assert problems == []
    assert seen <= set(map(float, range(25)))
    assert value(table) == 24.0


def test_writers_at_the_same_time_each_make_a_version(database):
    threads = [
        threading.Thread(target=database.put_table, args=("t", constant(n)), kwargs={"keep": 9}) for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    table = database.table("t")
    assert numbers(table) == ([1, 2, 3, 4, 5, 6], 6)
    held = set()
    for number in range(1, 7):
        table.roll_back(number)
        held.add(value(table))
    assert held == set(map(float, range(6)))
