"""The command that fits every scheme to real vectors, on a small matrix."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from vecstore.errors import InvalidArgumentError, NotFoundError
from vecstore_bench.fit import main, matrix_of


@pytest.fixture
def folder(tmp_path, rng):
    (tmp_path / "glove100").mkdir()
    np.savez(tmp_path / "glove100" / "vectors.npz", base=rng.normal(size=(800, 8)).astype(np.float16))
    return tmp_path


def test_a_line_for_every_scheme_and_budget(folder):
    arguments = ["--data", str(folder), "--data-set", "glove100", "--schemes", "int8,hash", "--budgets", "0.5,0.1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines() if "|" in line][2:]
    assert [row[:3] for row in rows] == [
        [name, how, budget] for name, how in (("int8", "codec"), ("hash", "closed form")) for budget in ("0.5", "0.1")
    ]
    assert rows[1][3].startswith("needs 0.29")
    assert [row[-1] for row in rows] == ["", "", "yes", "yes"]
    assert float(rows[0][4]) < 1e-3 < 0.3 < float(rows[2][4]) < float(rows[3][4])


def test_data_sets_that_there_are_not(folder):
    assert matrix_of("glove100", folder, 7).shape == (7, 8)
    with pytest.raises(NotFoundError, match="no such file"):
        matrix_of("scifact", folder, None)
    with pytest.raises(InvalidArgumentError, match="expected one of"):
        matrix_of("mnist", folder, None)
