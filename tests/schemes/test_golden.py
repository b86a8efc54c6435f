"""Tables stored by earlier releases decode to the same bits for ever."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests import reference
from tests.golden.make_schemes import (
    CONFIGS,
    DIM,
    EXACT_FITS,
    FOLDER,
    N_QUERIES,
    N_ROWS,
    golden_matrix,
    scheme_of,
    table_of,
)
from vecstore import schemes
from vecstore.schemes.base import TableShape
from vecstore.types import Metric


def load(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def config_of(name):
    return json.loads((FOLDER / name / "scheme.json").read_text())


def test_every_scheme_has_golden_files():
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(CONFIGS)
    assert {*schemes.names(), "fields"} <= set(CONFIGS)
    assert all(config_of(name)["scheme"] == config["scheme"] for name, config in CONFIGS.items())


@pytest.mark.parametrize("name", CONFIGS)
def test_stored_tables_decode_and_score_as_ever(name):
    arrays, expected = load(FOLDER / name / "arrays.npz"), load(FOLDER / name / "expected.npz")
    shape = TableShape(rows=N_ROWS, dim=DIM)
    table = scheme_of(config_of(name)).open(shape, arrays)
    assert table.lookup(np.arange(N_ROWS)).tobytes() == expected["lookup"].tobytes()
    assert table.scheme.nbytes(shape) == sum(array.nbytes for array in arrays.values())
    for metric in Metric:
        found = np.empty((N_QUERIES, N_ROWS), np.float32)
        table.scorer(golden_matrix()[:N_QUERIES], metric).scan(0, N_ROWS, found)
        assert found.tobytes() == expected[metric.value].tobytes()


@pytest.mark.parametrize("name", CONFIGS)
def test_the_plain_twin_reads_stored_tables_as_ever(name):
    arrays, expected = load(FOLDER / name / "arrays.npz"), load(FOLDER / name / "expected.npz")
    config = scheme_of(config_of(name)).to_dict()
    assert reference.rows_of(config, arrays, np.arange(N_ROWS), DIM).tobytes() == expected["lookup"].tobytes()


@pytest.mark.parametrize("name", EXACT_FITS)
def test_fitting_the_golden_rows_gives_the_golden_arrays(name):
    arrays, made = load(FOLDER / name / "arrays.npz"), table_of(name).arrays()
    assert made.keys() == arrays.keys()
    for key, array in arrays.items():
        assert made[key].dtype == array.dtype
        assert made[key].tobytes() == array.tobytes()
