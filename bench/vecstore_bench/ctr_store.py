"""Proof that a frozen table is what is served: it is stored, opened without torch, and looked up again."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import vecstore
from vecstore.errors import CorruptionError
from vecstore.schemes.fields import FieldsTable
from vecstore_bench.latency import Latency

__all__ = ["Stored", "stored"]

_TABLE = "cell"
_LOOKUPS = 10_000


@dataclass(frozen=True, slots=True)
class Stored:
    """What storing took, and what look-ups of the stored table take.

    Attributes
    ----------
    nbytes : int
        Of all files of the table.
    seconds : float
        Until the table was durable.
    latency : Latency
        In the other process.
    """

    nbytes: int
    seconds: float
    latency: Latency


def stored(table: FieldsTable, folder: Path | None = None) -> Stored:
    """Store a table, and check that another process without torch gives the bytes of its look-ups.

    Parameters
    ----------
    table : FieldsTable
    folder : Path, optional
        Where the store is made and removed again; by default where temporary files are.

    Raises
    ------
    CorruptionError
        The other process failed, or gave other vectors for 10,000 random ids of each field.
    """
    draws = np.random.default_rng(0)
    ids = np.stack([draws.integers(0, field.size, _LOOKUPS) for field in table.scheme.fields], axis=1)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        store, asked, answered = (Path(place) / name for name in ("store", "ids.npy", "vectors.npy"))
        started = time.perf_counter()
        with vecstore.open(store) as database:
            database.put_table(_TABLE, table)
        seconds = time.perf_counter() - started
        nbytes = sum(path.stat().st_size for path in (store / "tables").rglob("*") if path.is_file())
        np.save(asked, ids)
        command = [sys.executable, "-m", "vecstore_bench.reopened", str(store), _TABLE, str(asked), str(answered)]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        if ended.returncode:
            raise CorruptionError(f"the stored table cannot be looked up: {ended.stderr.strip()[-500:]}")
        latency = Latency(**json.loads(ended.stdout))
        found, expected = np.load(answered), table.lookup_fields(ids)
        if found.tobytes() != expected.tobytes():
            wrong = int((found.view(np.uint32) != expected.view(np.uint32)).any(axis=(1, 2)).sum())
            raise CorruptionError(
                f"the stored table gives other vectors than the frozen one: {wrong} of {len(ids)} rows"
            )
    return Stored(nbytes, seconds, latency)
