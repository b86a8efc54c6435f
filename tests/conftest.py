"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

#: Folder with the real data sets; tests that need one skip where it is absent.
DATA = Path(os.environ.get("VECSTORE_DATA", Path(__file__).parents[1].parent / "shared" / "data"))


@pytest.fixture
def rng() -> np.random.Generator:
    """A random generator that gives the same numbers in every run."""
    return np.random.default_rng(20_261_123)


@pytest.fixture(scope="session")
def data_set():
    """Give the folder of a real data set, or skip the test."""

    def folder(name: str) -> Path:
        path = DATA / name
        if not path.is_dir():
            pytest.skip(f"data set {name!r} is not in {DATA} (set VECSTORE_DATA to its parent folder)")
        return path

    return folder
