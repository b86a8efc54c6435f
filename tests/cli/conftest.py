"""A small store, and a way to run the command line on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import vecstore
from vecstore.cli.main import cli

ROWS, DIM = 60, 8

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Run the command line in this process; ``code`` is the exit status that is expected."""

    def invoke(*arguments: Any, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.output, result.exception)
        assert "Traceback" not in result.output
        return result

    return invoke


@pytest.fixture
def vectors(rng) -> np.ndarray:
    return rng.normal(size=(ROWS, DIM)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path, vectors: np.ndarray) -> Path:
    """A store with the collection ``docs``: int64 ids 100 to 159, two columns, one null, l2."""
    path = tmp_path / "store"
    years = [None if i == 3 else 2000 + i % 10 for i in range(ROWS)]
    metadata = {"year": years, "lang": ["de" if i % 2 else "en" for i in range(ROWS)]}
    with vecstore.open(path) as database:
        docs = database.create_collection("docs", dim=DIM, metric="l2")
        docs.insert(np.arange(100, 100 + ROWS), vectors, metadata)
        docs.flush()
    return path


@pytest.fixture
def contents() -> Callable[[Path, str], dict[Any, tuple[bytes, dict[str, Any]]]]:
    """Read a whole collection: id -> (bytes of the vector, metadata)."""

    def read(path: Path, name: str) -> dict[Any, tuple[bytes, dict[str, Any]]]:
        found = {}
        with vecstore.open(path, mode="r") as database:
            for batch in database.collection(name).scan():
                for row in batch.to_pylist():
                    vector = np.array(row.pop("vector"), np.float32).tobytes()
                    found[row.pop("id")] = (vector, row)
        return found

    return read
