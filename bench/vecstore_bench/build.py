"""Building graphs on codes against hnswlib on float32 vectors, at equal M and ef_construction, one thread.

``python -m vecstore_bench.build``: both build in turn over the same rows, in CPU time; then both graphs are searched
alike (int8 codes, the best 24 re-ranked on float32) at the same ef. Also measured: going on from a graph over 10/11 of
the rows, and mending one whose rows are deleted in part, against building anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np

from vecstore import HnswConfig, schemes
from vecstore.index import hnsw
from vecstore.index.exact import exact_search
from vecstore.index.hnsw import Graph, Previous
from vecstore.kernels.lengths import unit_rows
from vecstore.kernels.scoring import PairwiseTable
from vecstore.kernels.topk import nearest_rows
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import data_folder, load
from vecstore_bench.measure import machine, ratio
from vecstore_bench.ranking import recall

_K, _RERANKED = 10, 24
_EFS = (20, 40, 80, 160)
_WARMING = 300


class Judge:
    """Finds the recall of graphs over the same rows."""

    def __init__(self, base: F32, queries: F32, metric: Metric) -> None:
        self.codes = schemes.from_config("int8").fit(base).scorer(queries, metric)
        self.exact = schemes.from_config("full").fit(base).scorer(queries, metric)
        self.queries = len(queries)
        self.neighbours, _ = exact_search(self.exact, self.queries, len(base), _K)

    def recalls(self, graph: Graph) -> list[float]:
        """Give recall@10 at each ef."""
        return [recall(self._found(graph, ef), self.neighbours, _K) for ef in _EFS]

    def _found(self, graph: Graph, ef: int) -> I64:
        rows = graph.search(self.codes, self.queries, min(ef, _RERANKED), ef).rows
        distances = np.empty(rows.shape, np.float32)
        self.exact.rerank(rows, distances)
        return nearest_rows(rows, distances, _K)[0]


@click.command(help=__doc__)
@click.option("--data", help="Folder of the data sets.")
@click.option("--set", "names", multiple=True, default=("mlanthology", "glove100", "mnist784"), show_default=True)
@click.option("--rows", default=30_000, show_default=True, help="Rows drawn from each data set; 0 for all.")
@click.option("--scheme", type=click.Choice(["int8", "full"]), default="int8", show_default=True)
@click.option("--queries", default=1_000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
def main(data: str | None, names: tuple[str, ...], rows: int, scheme: str, queries: int, rounds: int) -> None:
    """Run the measurement and print its figures."""
    print(f"machine: {machine()}")
    for name in names:
        data_set = load(name, data_folder(data))
        base, asked = data_set.base, data_set.queries[:queries]
        if data_set.metric is Metric.COSINE:
            base, asked = unit_rows(base), unit_rows(asked)
        random = np.random.default_rng(0)
        if 0 < rows < len(base):
            base = np.ascontiguousarray(base[np.sort(random.choice(len(base), rows, replace=False))])
        print(f"{name}: {len(base):,} x {base.shape[1]}, {data_set.metric}, scheme {scheme}")
        _compare(base, asked, data_set.metric, scheme, rounds)
        _changes(base, asked, data_set.metric, scheme)


def _grown(base: F32, metric: Metric, scheme: str, previous: Previous | None = None) -> Graph:
    """Encode and build, so that the time of both counts."""
    table = schemes.from_config(scheme).fit(base)
    if not isinstance(table, PairwiseTable):
        raise TypeError(f"{scheme}: its rows cannot be compared as they are")
    return hnsw.grow(table.pairs(metric), len(base), HnswConfig(), previous=previous)


def _timed(run: Callable[[], Graph]) -> tuple[float, Graph]:
    started = time.process_time()
    graph = run()
    return time.process_time() - started, graph


def _compare(base: F32, queries: F32, metric: Metric, scheme: str, rounds: int) -> None:
    _grown(base[:_WARMING], metric, scheme)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        taken, ours = _timed(lambda: _grown(base, metric, scheme))
        seconds["ours"].append(taken)
        taken, theirs = _timed(lambda: hnsw.build(base, metric, HnswConfig()))
        seconds["theirs"].append(taken)
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    print(
        f"  build rate as a multiple of hnswlib's: {ratio(seconds['theirs'], seconds['ours'])} "
        f"[{medians['ours']:.2f} against {medians['theirs']:.2f} CPU seconds]"
    )
    judge = Judge(base, queries, metric)
    _print_recalls(judge.recalls(ours), judge.recalls(theirs), "hnswlib")


def _changes(base: F32, queries: F32, metric: Metric, scheme: str) -> None:
    judge = Judge(base, queries, metric)
    old = len(base) * 10 // 11
    part = _grown(base[:old], metric, scheme)
    again, graph = _timed(lambda: _grown(base, metric, scheme, Previous(part, np.arange(old))))
    anew, fresh = _timed(lambda: _grown(base, metric, scheme))
    print(f"  a tenth more rows: {anew / again:.2f} times as fast as building anew")
    _print_recalls(judge.recalls(graph), judge.recalls(fresh), "anew")
    for share in (0.1, 0.3):
        kept = np.random.default_rng(1).random(len(base)) >= share
        left = np.ascontiguousarray(base[kept])
        previous = Previous(fresh, np.where(kept, np.cumsum(kept) - 1, -1))
        _grown(left[:_WARMING], metric, scheme, Previous(part, np.maximum(np.arange(old) - old + _WARMING, -1)))
        mended_in, mended = _timed(lambda: _grown(left, metric, scheme, previous))  # noqa: B023 - called at once
        anew, new = _timed(lambda: _grown(left, metric, scheme))  # noqa: B023 - called at once
        print(f"  {share:.0%} of the rows deleted: mended {anew / mended_in:.2f} times as fast as built anew")
        some = Judge(left, queries, metric)
        _print_recalls(some.recalls(mended), some.recalls(new), "anew")


def _print_recalls(ours: list[float], theirs: list[float], label: str) -> None:
    pairs = ", ".join(f"{ef}: {a:.4f} / {b:.4f}" for ef, a, b in zip(_EFS, ours, theirs, strict=True))
    print(f"    recall@{_K} by ef, ours / {label}: {pairs}")


if __name__ == "__main__":
    main()
