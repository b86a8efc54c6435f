"""Fixtures of the reliability tests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def scratch():
    """Give a folder in memory where there is such a thing: killing a process loses nothing the kernel has."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="vecstore-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
