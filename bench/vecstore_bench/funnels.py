"""Funnel searches against scans of whole rows: what is found, and how many times as many queries a second.

``python -m vecstore_bench.funnels --set mlanthology``: one collection without a graph, one thread, searched for the ten
nearest through several funnels, all taking turns with the usual scan in one run. What is timed is CPU time. Recall is
against an exact search of the same collection. ``--axes`` turns rows and queries to the principal axes of the rows
first, after which the first dimensions say the most, as those of Matryoshka-trained vectors do.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import click
import numpy as np

import vecstore
from vecstore import StoreConfig
from vecstore.api import Collection
from vecstore.schemes.projected import principal_axes
from vecstore.types import F32
from vecstore_bench.data_sets import DataSet, data_folder, load, prepared
from vecstore_bench.measure import Ratio, interleaved, machine, ratio
from vecstore_bench.ranking import recall

__all__ = ["Line", "main", "measured", "on_principal_axes"]

_K = 10
#: Queries that are timed, one a call and all in one.
_TIMED = 32
_FUNNELS = ("64", "128", "64,128", "128:400", "64:1000,128:200")


@dataclass(frozen=True, slots=True)
class Line:
    """What one funnel finds, and its queries per second as multiples of those of a scan."""

    funnel: str
    recall: float
    single: Ratio
    batch: Ratio
    single_ms: float


def on_principal_axes(data: DataSet) -> DataSet:
    """Turn rows and queries to the principal axes of the rows; distances stay what they are."""
    axes = principal_axes(data.base, None)[1]
    return replace(data, base=data.base @ axes.T, queries=data.queries @ axes.T)


def parsed(funnel: str) -> dict[int, int | None]:
    """Give the stages that a text such as ``64,128`` or ``64:1000,128:200`` names."""
    stages = [stage.partition(":") for stage in funnel.split(",")]
    return {int(dims): int(rows) if rows else None for dims, _, rows in stages}


def measured(docs: Collection, queries: F32, funnels: Sequence[str], rounds: int) -> Iterator[Line]:
    """Search a collection through every funnel, and measure."""
    true = docs.search(queries, _K, exact=True, columns=[]).ids.astype(np.int64)
    timed = queries[:_TIMED]
    names = ["scan", *funnels]
    stages = {name: None if name == "scan" else parsed(name) for name in names}

    def one_by_one(name: str) -> Callable[[], object]:
        return lambda: [docs.search(query, _K, funnel=stages[name], columns=[]) for query in timed]

    def together(name: str) -> Callable[[], object]:
        return lambda: docs.search(timed, _K, funnel=stages[name], columns=[])

    singles = interleaved({name: one_by_one(name) for name in names}, rounds=rounds, clock=time.process_time)
    batches = interleaved({name: together(name) for name in names}, rounds=rounds, clock=time.process_time)
    for name in names:
        found = docs.search(queries, _K, funnel=stages[name], columns=[]).ids
        yield Line(
            name,
            recall(found, true, _K),
            ratio(singles["scan"], singles[name]),
            ratio(batches["scan"], batches[name]),
            float(np.median(singles[name])) / len(timed) * 1e3,
        )


@click.command()
@click.option("--set", "name", default="mlanthology", show_default=True, help="Data set.")
@click.option("--folder", help="Folder of the data sets.")
@click.option("--axes", is_flag=True, help="Turn vectors to the principal axes of the rows first.")
@click.option("--scheme", default="full", show_default=True)
@click.option("--refine")
@click.option("--funnel", "funnels", multiple=True, default=_FUNNELS, show_default=True)
@click.option("--rounds", default=7, show_default=True)
def main(
    name: str, folder: str | None, axes: bool, scheme: str, refine: str | None, funnels: tuple[str, ...], rounds: int
) -> None:
    """Print recall and ratios of every funnel."""
    data = prepared(load(name, data_folder(folder)), queries=500)
    data = on_principal_axes(data) if axes else data
    print(f"{name}{', principal axes' if axes else ''}, {scheme}, refine {refine}; {machine()}")
    settings = StoreConfig(threads=1, background=False)
    with tempfile.TemporaryDirectory() as store, vecstore.open(store, settings=settings) as db:
        docs = db.create_collection(
            "rows", dim=data.base.shape[1], metric=data.metric, scheme=scheme, refine=refine, index=None
        )
        docs.insert(np.arange(len(data.base)), data.base)
        docs.optimize()
        for line in measured(docs, data.queries, funnels, rounds):
            print(
                f"{line.funnel:>16}  recall@10 {line.recall:.3f}  one a call {line.single} times, "
                f"{line.single_ms:.2f} ms  {_TIMED} a call {line.batch} times",
                flush=True,
            )


if __name__ == "__main__":
    main()
