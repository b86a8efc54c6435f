"""Small data sets on disk, laid out like the real ones."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests import reference
from vecstore.kernels.lengths import unit_rows


def with_neighbours(folder, rng, *, rows=300, dim=16, queries=40):
    """Write vectors with their 100 nearest by squared distance, and a filter with its 10 nearest; give the folder."""
    base = reference.clustered(rng, rows, dim)
    asked = base[rng.integers(0, rows, queries)] + 0.1 * rng.standard_normal((queries, dim)).astype(np.float32)
    kind = np.arange(rows) % 3
    distances = ((asked[:, None, :].astype(np.float64) - base[None]) ** 2).sum(axis=2)
    order = np.argsort(distances, axis=1, kind="stable")
    passing = np.array([[row for row in line if kind[row] == 1][:10] for line in order])
    folder.mkdir(parents=True)
    np.savez(folder / "vectors.npz", base=base, queries=asked, base_labels=kind)
    np.savez(folder / "groundtruth_l2.npz", neighbors=order[:, :100].astype(np.int32), distances=distances[:, :100])
    np.savez(folder / "groundtruth_filtered.npz", third=passing)
    (folder / "filters.json").write_text(json.dumps({"third": {"expression": "kind == 1"}}))
    pq.write_table(pa.table({"row": np.arange(rows), "kind": kind}), folder / "meta.parquet")
    return folder


def with_judgements(folder, rng, *, rows=120, dim=16):
    """Write documents with claims about them: claim i of the test split is about documents i and i + 1."""
    corpus = unit_rows(reference.clustered(rng, rows, dim))
    asked = unit_rows(corpus[:20] + 0.05 * rng.standard_normal((20, dim)).astype(np.float32))
    folder.mkdir(parents=True)
    np.savez(folder / "vectors.npz", corpus=corpus.astype(np.float16), queries=asked.astype(np.float16))
    splits = ["train" if number % 2 else "test" for number in range(20)]
    pq.write_table(pa.table({"doc_id": [f"d{row}" for row in range(rows)]}), folder / "corpus.parquet")
    pq.write_table(pa.table({"query_id": np.arange(20) + 1000, "split": splits}), folder / "queries.parquet")
    pairs = [(number, document) for number in range(20) for document in (number, number + 1)]
    judged = {
        "query_id": [number + 1000 for number, _ in pairs],
        "doc_id": [f"d{document}" for _, document in pairs],
        "relevance": [1] * len(pairs),
        "split": [splits[number] for number, _ in pairs],
    }
    pq.write_table(pa.table(judged), folder / "qrels.parquet")
    return folder
