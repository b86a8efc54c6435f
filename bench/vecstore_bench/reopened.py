"""Look ids up in a stored table, in a process that must not load torch.

``python -m vecstore_bench.reopened STORE TABLE IDS.npy VECTORS.npy`` writes the vectors of the ids.
"""

from __future__ import annotations

import sys

import numpy as np

import vecstore
from vecstore.errors import InternalError


def main(store: str, table: str, ids: str, vectors: str) -> None:
    """Write float32[n, fields, dim] of int64[n, fields]."""
    with vecstore.open(store, mode="r") as database:
        found = database.table(table).lookup(np.load(ids))
    if "torch" in sys.modules:
        raise InternalError("reopened: a look-up loaded torch")
    np.save(vectors, found)


if __name__ == "__main__":
    main(*sys.argv[1:])
