"""Imported once by the server that the child processes are forked from, so that they start in milliseconds.

It opens a store, searches it and closes it, which loads every module and compiled kernel that the children need, and
leaves no thread behind.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.reliability import scripts


def _warm() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scripts.run(Path(folder) / "store", scripts.EVERYTHING)
        scripts.answers(Path(folder) / "store")


_warm()
