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
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import Fields
from vecstore.types import Metric

FOLDER = Path(__file__).parent / "schemes"
N_ROWS, DIM, N_QUERIES = 24, 37, 3

#: Folder -> config. Each scheme has one of its name, and one for each further form of its arrays.
CONFIGS = {
    "adapt": {"scheme": "adapt", "hot": 5, "shared": 7},
    "adapt+int8": {
        "scheme": "adapt+int8",
        "outer": {"scheme": "adapt", "hot": 5, "shared": 7},
        "codec": {"scheme": "int8"},
    },
    "alpt": {"scheme": "alpt", "bits": 8},
    "alpt-16": {"scheme": "alpt", "bits": 16},
    "autodim": {"scheme": "autodim", "width": 8},
    "autosrh": {"scheme": "autosrh", "values": 414, "places": "bitmap"},
    "compo": {"scheme": "compo", "remainders": 9},
    "compo-sum": {"scheme": "compo", "remainders": 9, "aggregate": "sum"},
    "dedup": {"scheme": "dedup", "blocks": 7, "block_rows": 2},
    "dedup+int8": {
        "scheme": "dedup+int8",
        "outer": {"scheme": "dedup", "blocks": 7, "block_rows": 2},
        "codec": {"scheme": "int8"},
    },
    "deeplight": {"scheme": "deeplight", "values": 414, "places": "bitmap"},
    "deeplight-uint8": {"scheme": "deeplight", "values": 60, "places": "uint8"},
    "deeplight-uint16": {"scheme": "deeplight", "values": 60, "places": "uint16"},
    "dhe": {"scheme": "dhe", "width": 8, "hashes": 16},
    "dhe-relu": {"scheme": "dhe", "width": 8, "hashes": 16, "activation": "relu"},
    "fields": {
        "scheme": "fields",
        "fields": [{"name": "a", "size": 11}, {"name": "b", "size": 9}, {"name": "c", "size": 4}],
        "parts": [
            {"scheme": {"scheme": "robe", "size": 100}, "fields": 2},
            {"scheme": {"scheme": "int8", "scales": "table"}},
        ],
    },
    "float16": {"scheme": "float16"},
    "full": {"scheme": "full"},
    "hash": {"scheme": "hash", "buckets": 7},
    "int16": {"scheme": "int16"},
    "int8": {"scheme": "int8"},
    "int8-table": {"scheme": "int8", "scales": "table"},
    "magpq": {
        "scheme": "magpq",
        "groups": 3,
        "tiers": [{"share": 0.5, "size": 37}, {"share": 0.25, "size": 37}, {"share": 0.25, "size": 37}],
    },
    "magsvd": {"scheme": "magsvd", "tiers": [{"share": 0.5, "size": 5}, {"share": 0.5, "size": 5}]},
    "mde": {"scheme": "mde", "width": 8},
    "mde+alpt": {
        "scheme": "mde+alpt",
        "outer": {"scheme": "mde", "width": 8},
        "codec": {"scheme": "alpt", "bits": 8},
    },
    "mgqe": {"scheme": "mgqe", "parts": 37, "hot_share": 0.25},
    "optembed": {"scheme": "optembed", "fields": [{"name": "row", "size": 24}], "values": 435},
    "binary": {"scheme": "binary"},
    "int4": {"scheme": "int4"},
    "opq": {"scheme": "opq", "parts": 37},
    "pca+pq": {
        "scheme": "pca+pq",
        "outer": {"scheme": "mde", "width": 12},
        "codec": {"scheme": "pq", "parts": 3, "bits": 4},
    },
    "pq": {"scheme": "pq", "parts": 37},
    "pq-8": {"scheme": "pq", "parts": 37, "bits": 8},
    "pq-uneven": {"scheme": "pq", "parts": 10},
    "rabitq": {"scheme": "rabitq"},
    "rabitq-3": {"scheme": "rabitq", "bits": 3},
    "rabitq-rows": {"scheme": "rabitq", "layout": "rows"},
    "rabitq-rows-2": {"scheme": "rabitq", "bits": 2, "layout": "rows"},
    "robe": {"scheme": "robe", "size": 432},
    "robe-unsigned": {"scheme": "robe", "size": 100, "block": 5, "signed": False},
    "transformed": {
        "scheme": "transformed",
        "transform": "centre|pca:20|rotate",
        "inner": {"scheme": "float16"},
    },
    "transformed-cut": {
        "scheme": "transformed",
        "transform": "remove:1|truncate:21|unit|rotate",
        "inner": {"scheme": "int8"},
    },
    "ttrec": {"scheme": "ttrec", "rank": 3, "row_factors": [3, 3, 3], "dim_factors": [1, 1, 37]},
    "unified": {
        "scheme": "unified",
        "fields": [{"name": "é", "size": 17}, {"name": "b", "size": 7}],
        "exempt": ["b"],
        "buckets": 35,
        "width": 1,
    },
}
#: Those whose ``fit`` neither draws numbers nor calls LAPACK, so that it gives the same arrays everywhere.
EXACT_FITS = [
    *(
        "adapt",
        "adapt+int8",
        "alpt",
        "alpt-16",
        "autosrh",
        "compo-sum",
        "deeplight",
        "deeplight-uint8",
        "deeplight-uint16",
        "fields",
    ),
    *(
        "float16",
        "full",
        "hash",
        "binary",
        "int16",
        "int8",
        "int8-table",
        "optembed",
        "robe",
        "robe-unsigned",
        "unified",
    ),
]


def golden_matrix():
    """Give rows whose values do not depend on any random generator: a quadratic residue sequence, made uneven."""
    places = np.arange(N_ROWS * DIM, dtype=np.int64).reshape(N_ROWS, DIM)
    matrix = ((places * places * 7919 + places * 104_729) % 2003 - 1001).astype(np.float32) / np.float32(512)
    matrix[3] = 0
    matrix[5] *= np.float32(2.0**-20)
    return matrix


def autodim_arrays():
    """Give arrays as training would: the projection is the first rows of a reflection, whose rows are orthonormal."""
    normal = np.arange(1, DIM + 1) % 7 + 1.0
    reflection = np.eye(DIM) - 2 * np.outer(normal, normal) / (normal @ normal)
    matrix = golden_matrix()
    return {"rows": matrix[:, :8].copy(), "projection": reflection[:8].astype(np.float32), "bias": matrix[-1].copy()}


def scheme_of(config):
    return Fields.from_dict(config) if config["scheme"] == Fields.name else schemes.from_config(config)


def table_of(name):
    scheme, matrix = scheme_of(CONFIGS[name]), golden_matrix()
    if name == "autodim":
        return scheme.open(TableShape(*matrix.shape), autodim_arrays())
    return scheme.fit(matrix)


def write(name):
    table = table_of(name)
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "arrays.npz", **table.arrays())
    expected = {"lookup": table.lookup(np.arange(N_ROWS))}
    for metric in Metric:
        expected[metric.value] = np.empty((N_QUERIES, N_ROWS), np.float32)
        table.scorer(golden_matrix()[:N_QUERIES], metric).scan(0, N_ROWS, expected[metric.value])
    np.savez(folder / "expected.npz", **expected)
    (folder / "scheme.json").write_text(json.dumps(table.scheme.to_dict(), indent=1, sort_keys=True) + "\n")


def main():
    for name in sys.argv[1:] or [name for name in CONFIGS if not (FOLDER / name).exists()]:
        write(name)
        print(f"written: {FOLDER / name}")


if __name__ == "__main__":
    main()
