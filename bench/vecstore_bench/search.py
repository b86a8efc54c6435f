"""Search over compressed codes against hnswlib on its own float32 index, at equal recall, one thread.

``python -m vecstore_bench.search``: both graphs have the same M and ef_construction; each side's ef is the smallest
of a grid that reaches the asked recall@10; then both take turns over the same queries. Also measured: bytes per
vector, and the shipped filters of mlanthology against unfiltered search.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import hnswlib
import numpy as np
import pyarrow.parquet as pq

import vecstore
from vecstore import HnswConfig, StoreConfig
from vecstore.api import Collection
from vecstore.types import F32, IdArray
from vecstore_bench.data_sets import DataSet, data_folder, load, recall
from vecstore_bench.measure import interleaved, machine, ratio

_EFS = (
    10,
    15,
    20,
    25,
    30,
    35,
    40,
    45,
    50,
    60,
    70,
    80,
    85,
    90,
    95,
    100,
    110,
    120,
    140,
    170,
    200,
    250,
    300,
    400,
    500,
    700,
    1000,
)
_K = 10
_SPACES = {"cosine": "cosine", "l2": "l2", "ip": "ip"}

Search = Callable[[F32, int], IdArray]


@dataclass(frozen=True, slots=True)
class Tuned:
    """A search with the smallest ef that reaches the recall."""

    ef: int
    recall: float


@click.command(help=__doc__)
@click.option("--data", help="Folder of the data sets.")
@click.option("--set", "name", default="mlanthology", show_default=True, help="mlanthology, glove100 or mnist784.")
@click.option("--scheme", default="int8", show_default=True, help="Scheme of the codes.")
@click.option("--refine", default="float16", show_default=True, help="Scheme of the finer copy; 'none' for none.")
@click.option("--recall", "targets", multiple=True, type=float, default=(0.95, 0.99), show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--store", type=click.Path(path_type=Path), help="Keep the store here, and use it again.")
def main(
    data: str | None, name: str, scheme: str, refine: str, targets: tuple[float, ...], rounds: int, store: Path | None
) -> None:
    """Run the measurement and print its figures."""
    folder = data_folder(data)
    data_set = load(name, folder)
    print(f"machine: {machine()}")
    rows, dim = data_set.base.shape
    print(f"{name}: {rows:,} x {dim}, {data_set.metric}, {len(data_set.queries):,} queries")
    index = HnswConfig()
    theirs = _hnswlib(data_set, index, store and store / "hnswlib.bin")
    with tempfile.TemporaryDirectory() as temporary:
        path = (store or Path(temporary)) / f"{name}-{scheme}-{refine}"
        with vecstore.open(path, settings=StoreConfig(threads=1)) as db:
            docs = _filled(db, data_set, scheme, None if refine == "none" else refine, index, folder)
            ours: Search = lambda queries, ef: docs.search(queries, _K, ef=ef, columns=[]).ids  # noqa: E731
            _bytes(docs, theirs, len(data_set.base))
            for target in targets:
                _compare(ours, _searcher(theirs), data_set, target, rounds)
            if name == "mlanthology":
                _filters(docs, data_set, folder / name, rounds)


def _hnswlib(data_set: DataSet, index: HnswConfig, cached: Path | None) -> hnswlib.Index:
    theirs = hnswlib.Index(_SPACES[data_set.metric], data_set.base.shape[1])
    if cached is not None and cached.exists():
        theirs.load_index(str(cached), max_elements=len(data_set.base))
    else:
        theirs.init_index(len(data_set.base), M=index.M, ef_construction=index.ef_construction, random_seed=index.seed)
        theirs.add_items(data_set.base)
        if cached is not None:
            cached.parent.mkdir(parents=True, exist_ok=True)
            theirs.save_index(str(cached))
    theirs.set_num_threads(1)
    return theirs


def _searcher(theirs: hnswlib.Index) -> Search:
    def search(queries: F32, ef: int) -> IdArray:
        theirs.set_ef(ef)
        labels, _ = theirs.knn_query(queries, _K, num_threads=1)
        return np.asarray(labels, np.int64)

    return search


def _filled(
    db: vecstore.EmbeddedDatabase, data_set: DataSet, scheme: str, refine: str | None, index: HnswConfig, folder: Path
) -> Collection:
    if data_set.name in db.list_collections():
        return db.collection(data_set.name)
    docs = db.create_collection(
        data_set.name, dim=data_set.base.shape[1], metric=data_set.metric, scheme=scheme, refine=refine, index=index
    )
    metadata = None
    if data_set.name == "mlanthology":
        metadata = pq.read_table(
            folder / data_set.name / "meta.parquet", columns=["venue", "venue_type", "year", "n_authors"]
        )
    for start in range(0, len(data_set.base), 1_000):
        rows = data_set.base[start : start + 1_000]
        part = metadata.slice(start, len(rows)) if metadata is not None else None
        docs.insert(np.arange(start, start + len(rows)), rows, part)
    docs.optimize()
    return docs


def _bytes(docs: Collection, theirs: hnswlib.Index, rows: int) -> None:
    parts = docs.stats().bytes_per_vector
    in_memory = sum(parts[part] for part in ("codes", "graph", "ids", "overhead"))
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_index(f"{folder}/index.bin")
        peer = Path(folder, "index.bin").stat().st_size / rows
    detail = ", ".join(f"{part} {size:.1f}" for part, size in parts.items())
    print(f"bytes per vector: {in_memory:.0f} against hnswlib's {peer:.0f}: {in_memory / peer:.3f}x ({detail})")


def _tuned(search: Search, data_set: DataSet, target: float) -> Tuned | None:
    """Give the smallest ef that reaches the target."""
    for ef in _EFS:
        reached = recall(search(data_set.queries, ef), data_set.neighbours, _K)
        if reached >= target:
            return Tuned(ef, reached)
    return None


def _compare(ours: Search, theirs: Search, data_set: DataSet, target: float, rounds: int) -> None:
    mine, peer = _tuned(ours, data_set, target), _tuned(theirs, data_set, target)
    if mine is None or peer is None:
        print(f"recall {target}: not reached by {'vecstore' if mine is None else 'hnswlib'} up to ef {_EFS[-1]}")
        return
    queries = data_set.queries
    single = queries[:500]
    seconds = interleaved(
        {
            "ours": lambda: ours(queries, mine.ef),
            "theirs": lambda: theirs(queries, peer.ef),
            "ours, one a call": lambda: [ours(query[None], mine.ef) for query in single],
            "theirs, one a call": lambda: [theirs(query[None], peer.ef) for query in single],
        },
        rounds=rounds,
    )
    print(
        f"recall@10 >= {target}: vecstore ef {mine.ef} ({mine.recall:.4f}), hnswlib ef {peer.ef} ({peer.recall:.4f}); "
        f"queries/s as a multiple of hnswlib's: {ratio(seconds['theirs'], seconds['ours'])} all in one call, "
        f"{ratio(seconds['theirs, one a call'], seconds['ours, one a call'])} one a call "
        f"[{len(queries) / np.median(seconds['ours']):,.0f} against "
        f"{len(queries) / np.median(seconds['theirs']):,.0f} queries/s]"
    )


def _filters(docs: Collection, data_set: DataSet, folder: Path, rounds: int) -> None:
    """Compare filtered with unfiltered search, both at recall of at least 0.99."""
    shipped = json.loads((folder / "filters.json").read_text())
    conditions = {name: entry["expression"].replace("==", "=") for name, entry in shipped.items()}
    truth = np.load(folder / "groundtruth_filtered.npz", allow_pickle=False)
    search: Search = lambda queries, ef: docs.search(queries, _K, ef=ef, columns=[]).ids  # noqa: E731
    tuned = _tuned(search, data_set, 0.99)
    ef = tuned.ef if tuned else _EFS[-1]
    queries, single = data_set.queries, data_set.queries[:500]

    def batch(where: str | None) -> Callable[[], object]:
        return lambda: docs.search(queries, _K, ef=ef, where=where, columns=[])

    def one_a_call(where: str | None) -> Callable[[], object]:
        return lambda: [docs.search(query, _K, ef=ef, where=where, columns=[]) for query in single]

    for name, where in conditions.items():
        reached = recall(docs.search(queries, _K, ef=ef, where=where, columns=[]).ids, truth[name].astype(np.int64), _K)
        seconds = interleaved(
            {"a": batch(where), "b": batch(None), "c": one_a_call(where), "d": one_a_call(None)},
            rounds=max(3, rounds // 2),
        )
        share = docs.count(where) / len(data_set.base)
        print(
            f"filter {name} ({share:.2%} of the rows): recall@10 {reached:.4f}; time against unfiltered: "
            f"{ratio(seconds['a'], seconds['b'])} all in one call, {ratio(seconds['c'], seconds['d'])} one a call"
        )


if __name__ == "__main__":
    main()
