"""Print digests of a group of kernels' outputs, and how many were compiled: ``python -m tests.kernels.digests GROUP``.

Run by test_portability in subprocesses.
"""

from __future__ import annotations

import hashlib
import json
import sys
from functools import partial

import numpy as np

from tests import reference
from vecstore import schemes
from vecstore.config import HnswConfig
from vecstore.index import hnsw
from vecstore.index.exact import exact_search
from vecstore.index.hnswlib_export import Levels
from vecstore.kernels import (
    bit_rows,
    distance,
    filtered_walk,
    graph,
    graph_build,
    graph_mend,
    hamming,
    int4,
    links,
    lookup,
    nibble_spans,
    nibble_tables,
    nibbles,
    quantise,
    rabitq,
    rotation,
    screening,
    topk,
)
from vecstore.kernels.compiling import Kernel
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.scorer import bounding, coarse
from vecstore.types import Metric

#: Schemes without settings whose arrays follow from the rows by exact arithmetic (others go through LAPACK or draws).
FLOATS, INTEGERS = ("full", "float16"), ("int8", "int16", "alpt")
#: Walks take long to compile; these two use all kinds of arithmetic, floats and integers.
WALKED = ("full", "int8")
#: Codes of bits, which take instructions of their own; their scans are coarse ones and, for rabitq, of bounds.
PACKED = ("int4", "binary", "rabitq", {"scheme": "rabitq", "layout": "rows"})


def digest(*arrays):
    together = hashlib.sha256()
    for array in arrays:
        together.update(np.ascontiguousarray(array).tobytes())
    return together.hexdigest()[:16]


def scans(names):
    """Look-ups, scans and re-ranking of rows of numbers."""
    for label, rows, queries, name, metric in cases(names):
        table = schemes.from_config(name).fit(rows)
        scorer = table.scorer(queries, metric)
        chosen = np.arange(0, 600, 7)
        gathered = np.empty((9, len(chosen)), np.float32)
        scorer.gather(chosen, gathered)
        reranked = np.empty((9, 10), np.float32)
        found = exact_search(scorer, 9, 600, 10)
        scorer.rerank(found[0], reranked)
        print(label, digest(table.lookup(chosen), gathered, *found, reranked))


def walks():
    """Graph searches, with and without a mask."""
    for label, rows, queries, name, metric in cases(WALKED):
        scorer = schemes.from_config(name).fit(rows).scorer(queries, metric)
        # hnswlib picks its own instructions, so its graphs differ between processors: make one by hand.
        linked = graph_of(rows)
        hits = linked.search(scorer, 9, 10, 20)
        kept = linked.search(scorer, 9, 10, 20, kept=hnsw.Kept.of(np.arange(600) % 3 == 0))
        print(label, digest(*hits, *kept))


def packed():
    """Scans of codes of bits."""
    rng = np.random.default_rng(3)
    rows, queries = unit_rows(reference.clustered(rng, 100, 77)), unit_rows(reference.clustered(rng, 6, 77))
    for name in PACKED:
        scorer = schemes.from_config(name).fit(rows).scorer(queries, Metric.COSINE)
        for one in filter(None, (scorer, coarse(scorer), bounding(scorer))):
            scanned = np.empty((6, 100), np.float32)
            one.scan(0, 100, scanned)
            print(json.dumps(name), digest(scanned))


def builds():
    """Graphs from nothing, and from a graph with deleted rows."""
    rng = np.random.default_rng(3)
    rows = unit_rows(reference.clustered(rng, 600, 33))
    config = HnswConfig(M=4, ef_construction=20)
    renumbered = np.where(np.arange(500) % 5, np.arange(500), -1)
    for name in WALKED:
        part, whole = (schemes.from_config(name).fit(some).pairs(Metric.COSINE) for some in (rows[:500], rows))
        graph = hnsw.grow(part, 500, config)
        grown = hnsw.grow(whole, 600, config, previous=hnsw.Previous(graph, renumbered))
        print(name, digest(*graph.arrays().values()), digest(*grown.arrays().values()))


#: What one process prints: little enough to compile in a minute or two on a busy machine.
GROUPS = {
    "floats": partial(scans, FLOATS),
    "integers": partial(scans, INTEGERS),
    "walks": walks,
    "builds": builds,
    "packed": packed,
}


def cases(names):
    """Give a label, rows, queries, the scheme and the metric, for each scheme, number of dimensions and metric."""
    rng = np.random.default_rng(3)
    for dim in (3, 33, 100, 128):
        rows = unit_rows(reference.clustered(rng, 600, dim))
        queries = unit_rows(reference.clustered(rng, 9, dim))
        for metric in (Metric.L2, Metric.COSINE):
            for name in names:
                yield f"{dim} {metric} {name}", rows, queries, name, metric


MODULES = (
    bit_rows,
    distance,
    filtered_walk,
    graph,
    graph_build,
    graph_mend,
    hamming,
    int4,
    links,
    lookup,
    nibble_spans,
    nibble_tables,
    nibbles,
    quantise,
    rabitq,
    rotation,
    screening,
    topk,
)


def main(group):
    GROUPS[group]()
    kernels = [value for module in MODULES for value in vars(module).values() if isinstance(value, Kernel)]
    print("compiled:", sum(kernel.compiled for kernel in set(kernels)))


def graph_of(rows):
    """Link every row to its 16 nearest."""
    nearest = np.argsort(-(rows.astype(np.float64) @ rows.T.astype(np.float64)), axis=1, kind="stable")
    width = HnswConfig().M
    return hnsw._assembled(Levels(nearest[:, 1 : width + 1].astype(np.int32), [], [], 0))


if __name__ == "__main__":
    main(sys.argv[1])
