"""Tables stored by earlier releases decode to the same bits for ever."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.golden.make_schemes import DIM, FOLDER, N_QUERIES, N_ROWS, golden_matrix
from vecstore import schemes
from vecstore.schemes.base import TableShape
from vecstore.types import Metric


def load(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_every_scheme_has_golden_files():
    assert sorted(path.name for path in FOLDER.iterdir()) == schemes.names()


@pytest.mark.parametrize("name", schemes.names())
def test_stored_tables_decode_and_score_as_ever(name):
    config = json.loads((FOLDER / name / "scheme.json").read_text())
    arrays, expected = load(FOLDER / name / "arrays.npz"), load(FOLDER / name / "expected.npz")
    table = schemes.from_config(config).open(TableShape(rows=N_ROWS, dim=DIM), arrays)
    assert table.lookup(np.arange(N_ROWS)).tobytes() == expected["lookup"].tobytes()
    for metric in Metric:
        found = np.empty((N_QUERIES, N_ROWS), np.float32)
        table.scorer(golden_matrix()[:N_QUERIES], metric).scan(0, N_ROWS, found)
        assert found.tobytes() == expected[metric.value].tobytes()


@pytest.mark.parametrize("name", schemes.names())
def test_fitting_the_golden_rows_gives_the_golden_arrays(name):
    arrays = load(FOLDER / name / "arrays.npz")
    made = schemes.from_config(name).fit(golden_matrix()).arrays()
    assert made.keys() == arrays.keys()
    for key, array in arrays.items():
        assert made[key].tobytes() == array.tobytes()
