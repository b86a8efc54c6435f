"""Every registered scheme is stored and served, here and in a process that has no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vecstore
from tests.tables.helpers import DIM, SIZES, frozen, matrix, some_ids
from vecstore import schemes, training
from vecstore.errors import InvalidArgumentError

SOURCES = Path(__file__).parents[2]


def made_of(name):
    """Give a table of one scheme: fitted to random rows, or an untrained layer's where it only learns."""
    budget = 1.0 if name == "full" else 0.6
    try:
        return frozen(name, budget)
    except InvalidArgumentError:
        pytest.importorskip("torch", reason="this scheme only learns")
        return training.embedding(name, fields=SIZES, dim=DIM, budget=budget).freeze()


@pytest.mark.parametrize("name", schemes.names())
def test_a_stored_table_gives_what_the_frozen_one_gives(database, name):
    made, ids = made_of(name), some_ids(200)
    table = database.put_table("t", made)
    np.testing.assert_array_equal(table.lookup(ids), made.lookup_fields(ids))
    assert table.stats().nbytes == made.nbytes
    queries = matrix(5)[:3]
    for field in SIZES:
        part, first, stop = made.field(field)
        distances = np.empty((3, stop - first), np.float32)
        part.scorer(queries, vecstore.Metric.IP).gather(np.arange(first, stop), distances)
        hits = table.search(queries, 5, field=field)
        expected = np.sort(distances, axis=1)[:, :5]
        np.testing.assert_allclose(hits.distances, expected, rtol=1e-5, atol=1e-5)
        found = np.take_along_axis(distances, hits.ids, axis=1)
        np.testing.assert_allclose(found, hits.distances, rtol=1e-5, atol=1e-5)
    assert database.verify() == []


def test_all_schemes_open_in_a_process_without_torch_and_grpc(tmp_path):
    ids = some_ids(50)
    expected = {}
    with vecstore.open(tmp_path / "store") as database:
        for name in schemes.names():
            made = made_of(name)
            # Names of tables have no plus.
            own = name.replace("+", "-")
            database.put_table(own, made)
            expected[own] = made.lookup_fields(ids)
    np.savez(tmp_path / "ids.npz", ids=ids)
    code = (
        "import sys\n"
        "for name in ('torch', 'grpc', 'sklearn', 'ray'): sys.modules[name] = None\n"
        "import numpy as np, vecstore\n"
        f"folder = {str(tmp_path)!r}\n"
        "ids = np.load(folder + '/ids.npz')['ids']\n"
        "with vecstore.open(folder + '/store', mode='r') as database:\n"
        "    found = {name: database.table(name).lookup(ids) for name in database.list_tables()}\n"
        "    assert database.verify() == []\n"
        "np.savez(folder + '/found.npz', **found)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SOURCES)
    with np.load(tmp_path / "found.npz") as found:
        assert sorted(found) == sorted(expected)
        for name, vectors in expected.items():
            np.testing.assert_array_equal(found[name], vectors, err_msg=name)


@pytest.mark.parametrize("name", [name for name in schemes.names() if schemes.get(name).capabilities.unseen])
def test_schemes_that_hash_unknown_ids_say_how(name):
    for part in made_of(name).parts:
        assert isinstance(part, schemes.base.OpenTable) == part.scheme.capabilities.unseen
