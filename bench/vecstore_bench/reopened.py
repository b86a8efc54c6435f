"""Look ids up in a stored table, in a process that must not load torch, and time it.

``python -m vecstore_bench.reopened STORE TABLE IDS.npy VECTORS.npy`` writes the vectors of the ids, and prints how long
look-ups took as JSON (see :class:`vecstore_bench.latency.Latency`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import numpy as np

import vecstore
from vecstore.errors import InternalError
from vecstore_bench.latency import lookup_latency


def main(store: str, table: str, ids: str, vectors: str) -> None:
    """Write float32[n, fields, dim] of int64[n, fields]."""
    asked = np.load(ids)
    with vecstore.open(store, mode="r") as database:
        opened = database.table(table)
        found = opened.lookup(asked)
        latency = lookup_latency(opened.lookup, asked)
    if "torch" in sys.modules:
        raise InternalError("reopened: a look-up loaded torch")
    np.save(vectors, found)
    print(json.dumps(asdict(latency)))


if __name__ == "__main__":
    main(*sys.argv[1:])
