"""What searches for a recall find on real queries, and whether the advisor's pick holds.

``python -m vecstore_bench.recall --set glove100``: the collection is made as advised (``--advise``), or of ``--scheme``
and ``--refine``, and merged once. Queries are those of the data set, which neither the calibration nor the advisor has
seen. Recall is that against the finest copy stored for searches that aim for one, and against the vectors as given for
the advice. Times are processor seconds.
"""

from __future__ import annotations

import tempfile
import time

import click
import numpy as np

import vecstore
from vecstore import HnswConfig, StoreConfig
from vecstore.api import Collection
from vecstore_bench.data_sets import DataSet, data_folder, load
from vecstore_bench.measure import machine
from vecstore_bench.ranking import recall

_TARGETS = (0.9, 0.95, 0.98, 0.99)
_SIZES = (1, 10, 100)


@click.command(help=__doc__)
@click.option("--data", help="Folder of the data sets.")
@click.option("--set", "name", default="glove100", show_default=True, help="mlanthology, glove100 or mnist784.")
@click.option("--scheme", default="int8", show_default=True, help="Scheme of the codes.")
@click.option("--refine", default="float16", show_default=True, help="Scheme of the finer copy; 'none' for none.")
@click.option("--advise", "advised", type=float, help="Take what is advised for this recall@10 instead.")
@click.option("--max-bytes", type=float, help="For the advice: share of float32 in memory.")
def main(data: str | None, name: str, scheme: str, refine: str, advised: float | None, max_bytes: float | None) -> None:
    """Run the measurement and print its figures."""
    data_set = load(name, data_folder(data))
    print(f"machine: {machine()}")
    print(f"{name}: {data_set.base.shape[0]:,} x {data_set.base.shape[1]}, {len(data_set.queries):,} queries")
    with (
        tempfile.TemporaryDirectory() as folder,
        vecstore.open(folder, settings=StoreConfig(threads=1, background=False)) as db,
    ):
        if advised is not None:
            docs = _advised(db, data_set, advised, max_bytes)
        else:
            docs = db.create_collection(
                name,
                dim=data_set.base.shape[1],
                metric=data_set.metric,
                scheme=scheme,
                refine=None if refine == "none" else refine,
                index=HnswConfig(),
            )
        _fill(docs, data_set)
        if advised is not None:
            found = docs.search(data_set.queries, 10, columns=[]).ids
            print(f"advised for {advised}: recall@10 {recall(found, data_set.neighbours, 10):.4f}")
        else:
            _report(docs, data_set)


def _advised(db: vecstore.EmbeddedDatabase, data_set: DataSet, target: float, max_bytes: float | None) -> Collection:
    started = time.process_time()
    advice = vecstore.advise(data_set.base, metric=data_set.metric, target_recall=target, max_bytes=max_bytes)
    print(f"advice in {time.process_time() - started:.1f} s\n{advice}")
    return advice.create(db, data_set.name)


def _fill(docs: Collection, data_set: DataSet) -> None:
    for start in range(0, len(data_set.base), 10_000):
        rows = data_set.base[start : start + 10_000]
        docs.insert(np.arange(start, start + len(rows)), rows)
    started = time.process_time()
    docs.optimize()
    print(f"sealed, merged and calibrated in {time.process_time() - started:.1f} s")


def _report(docs: Collection, data_set: DataSet) -> None:
    """Print the recall by target and k, against the finest copy, which is what searches aim for."""
    finest = docs.search(data_set.queries, max(_SIZES), exact=True, columns=[]).ids.astype(np.int64)
    print("| target | " + " | ".join(f"recall@{k}" for k in _SIZES) + " |\n| --- |" + " --- |" * len(_SIZES))
    for target in _TARGETS:
        found = (docs.search(data_set.queries, k, recall=target, columns=[]).ids for k in _SIZES)
        reached = [recall(ids, finest, k) for ids, k in zip(found, _SIZES, strict=True)]
        print(f"| {target} | " + " | ".join(f"{share:.4f}" for share in reached) + " |")


if __name__ == "__main__":
    main()
