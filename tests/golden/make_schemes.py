"""Write the golden files of schemes that have none: ``python -m tests.golden.make_schemes [NAME ...]``.

A golden file holds stored arrays and what they must decode to, for ever. Existing ones are written anew only for
the names given, which is right only when a new version of a format was introduced on purpose.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from vecstore import schemes
from vecstore.types import Metric

FOLDER = Path(__file__).parent / "schemes"
N_ROWS, DIM, N_QUERIES = 24, 37, 3


def golden_matrix():
    """Give rows whose values do not depend on any random generator: a quadratic residue sequence, made uneven."""
    places = np.arange(N_ROWS * DIM, dtype=np.int64).reshape(N_ROWS, DIM)
    matrix = ((places * places * 7919 + places * 104_729) % 2003 - 1001).astype(np.float32) / np.float32(512)
    matrix[3] = 0
    matrix[5] *= np.float32(2.0**-20)
    return matrix


def write(name):
    matrix = golden_matrix()
    table = schemes.from_config(name).fit(matrix)
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "arrays.npz", **table.arrays())
    expected = {"lookup": table.lookup(np.arange(N_ROWS))}
    for metric in Metric:
        expected[metric.value] = np.empty((N_QUERIES, N_ROWS), np.float32)
        table.scorer(matrix[:N_QUERIES], metric).scan(0, N_ROWS, expected[metric.value])
    np.savez(folder / "expected.npz", **expected)
    (folder / "scheme.json").write_text(json.dumps(table.scheme.to_dict(), indent=1, sort_keys=True) + "\n")


def main():
    for name in sys.argv[1:] or [name for name in schemes.names() if not (FOLDER / name).exists()]:
        write(name)
        print(f"written: {FOLDER / name}")


if __name__ == "__main__":
    main()
