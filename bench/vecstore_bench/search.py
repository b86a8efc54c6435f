"""Search against other libraries and databases on the same vectors, at equal recall.

``vecstore bench search --data mlanthology --out runs/search``. Every system indexes the same rows. Its own search
parameters are set, on one half of the queries, to the least thorough that reach the recall asked for; then all
systems take turns over the other half, all queries in one call and one query a call. What counts are ratios within a
turn. Also stated: bytes a vector in memory and on disk, CPU seconds of building, and what filters cost vecstore.
Libraries that are not installed are skipped: ``pip install 'vecstore[peers]'``. Indexes are kept in ``--cache`` and
used again; ``--rebuild ours`` builds vecstore's anew.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vecstore.schemes.base import TableShape
from vecstore.types import F32
from vecstore_bench.data_sets import DataSet, folder_of
from vecstore_bench.machines import facts, limited
from vecstore_bench.measure import interleaved
from vecstore_bench.options import numbers, words
from vecstore_bench.peers import all_systems, chosen
from vecstore_bench.peers.ours import Vecstore
from vecstore_bench.ranking import recall
from vecstore_bench.search_filters import measure_filters
from vecstore_bench.search_systems import Missing, Source, System, opened
from vecstore_bench.search_tables import BATCH, SINGLE, markdown, put_section
from vecstore_bench.search_tuning import K, Tuned, fastest, smallest

__all__ = ["main"]

_PACKAGES = ("numpy", "numba", "llvmlite", "pyarrow", "threadpoolctl")


@dataclass(frozen=True, slots=True)
class Halves:
    """The queries to tune with, and those that are timed: all at once, and a few of them one by one."""

    tune: slice
    timed: slice
    single: slice


@click.command(help=__doc__)
@click.option("--data", default="mlanthology", show_default=True, help="Folder of a data set, or its name.")
@click.option("--folder", help="Folder of the data sets; VECSTORE_DATA otherwise.")
@click.option("--peers", callback=words, default="all", show_default=True, help="Names, separated by commas; or none.")
@click.option("--ours", callback=words, default="all", show_default=True, help="Configurations of vecstore.")
@click.option("--recall", "marks", callback=numbers, default="0.95,0.99", show_default=True, help="Of 10 neighbours.")
@click.option("--threads", callback=numbers, default="1,2", show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Turns, after one that is not counted.")
@click.option("--rows", type=int, help="Rows that are indexed; all otherwise.")
@click.option("--queries", default=1000, show_default=True, help="Queries; half of them are timed.")
@click.option("--single", default=100, show_default=True, help="Queries that are timed one by one.")
@click.option("--filters/--no-filters", default=True, show_default=True, help="Whether to measure filters.")
@click.option("--cache", type=click.Path(path_type=Path), help="Folder of the indexes; a temporary one otherwise.")
@click.option("--rebuild", callback=words, default="", help="Systems, 'ours' or 'all', to build anew.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of results.parquet and search.json.")
@click.option("--markdown", "page", type=click.Path(path_type=Path), help="Page whose section of this data is renewed.")
def main(
    data: str,
    folder: str | None,
    peers: tuple[str, ...],
    ours: tuple[str, ...],
    rows: int | None,
    cache: Path | None,
    out: Path | None,
    page: Path | None,
    **asked: Any,
) -> None:
    """Measure, print the tables, and write them where asked."""
    source = Source(str(folder_of(data, folder).resolve()), rows)
    there = source.data()
    shape = TableShape(*there.base.shape)
    systems = [*chosen(ours, ours=True), *(() if peers == ("none",) else chosen(peers, ours=False))]
    with tempfile.TemporaryDirectory() as temporary:
        place = (cache or Path(temporary)) / f"{there.name}-{shape.rows}"
        _forget(place, asked["rebuild"])
        open_systems, missing = opened(
            systems, source, shape, there.metric, place, threads=max(map(int, asked["threads"]))
        )
        try:
            results, filtered = _measured(open_systems, there, missing, **asked)
        finally:
            for system in open_systems:
                system.index.close()
    about = {
        "dataset": there.name,
        "rows": shape.rows,
        "dim": shape.dim,
        "metric": there.metric.value,
        "asked": {**asked, "peers": peers, "ours": ours},
        "missing": [asdict(one) for one in missing],
        "filters": filtered,
        **facts([*_PACKAGES, *sorted({system.package for system in systems})]),
    }
    text = markdown(about, results)
    print(text)
    if out is not None:
        _write(out, about, results)
    if page is not None:
        put_section(page, there.name, text)


def _forget(place: Path, rebuild: Sequence[str]) -> None:
    """Remove kept indexes that are to be built anew."""
    for name, system in all_systems().items():
        if {"all", name, "ours" if isinstance(system, Vecstore) else "peers"} & set(rebuild):
            for folder in place.glob(f"{name}-[0-9]*"):
                rmtree(folder)


def _measured(
    systems: list[System],
    data: DataSet,
    missing: list[Missing],
    *,
    marks: Sequence[float],
    threads: Sequence[int],
    rounds: int,
    queries: int,
    single: int,
    filters: bool,
    rebuild: Sequence[str],  # noqa: ARG001
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Give the rows of the results, one a system, mark, number of threads and way; and those of the filters."""
    last = min(queries, len(data.queries))
    # Every other query, so that both halves are alike whatever the order of the queries is.
    halves = Halves(slice(0, last, 2), slice(1, last, 2), slice(1, min(last, 2 * single), 2))
    ladders = {mark: _ladders(systems, data, halves, mark, missing) for mark in marks}
    results = []
    filtered: list[dict[str, Any]] = []
    for count in threads:
        with limited(count):
            for mark in marks:
                results += _at(systems, ladders[mark], data, halves, mark=mark, threads=count, rounds=rounds)
            if filters:
                filtered += measure_filters(systems, data, halves.timed, halves.single, threads=count, rounds=rounds)
    return results, filtered


def _ladders(
    systems: list[System], data: DataSet, halves: Halves, mark: float, missing: list[Missing]
) -> dict[str, list[Tuned]]:
    """Give the settings of every system that reach a mark; systems that fail are taken out of ``systems``."""
    shape = TableShape(*data.base.shape)
    asked, neighbours = data.queries[halves.tune], data.neighbours[halves.tune]
    found = {}
    for system in list(systems):
        try:
            system.index.use(1)
            found[system.name] = smallest(system.index, system.peer.ladders(shape), asked, neighbours, mark)
        except Exception as error:  # whatever a system does, the others are measured
            missing.append(Missing(system.name, "failed", f"{type(error).__name__}: {error}"[:200]))
            systems.remove(system)
    return found


def _at(
    systems: list[System],
    ladders: dict[str, list[Tuned]],
    data: DataSet,
    halves: Halves,
    *,
    mark: float,
    threads: int,
    rounds: int,
) -> list[dict[str, Any]]:
    """Let the systems that reach a mark take turns."""
    timed, one_by_one = data.queries[halves.timed], data.queries[halves.single]
    rows = []
    candidates: dict[str, Callable[[], object]] = {}
    for system in systems:
        row = {**_about(system, data), "threads": threads, "mark": mark}
        tuned = ladders[system.name]
        if not tuned:
            rows += [{**row, "status": "mark not reached", "way": way} for way in (BATCH, SINGLE)]
            continue
        system.index.use(threads)
        best = fastest(system.index, tuned, data.queries[halves.tune])
        found = system.index.search(timed, K, best.setting)
        row |= {
            "status": "done",
            "setting": json.dumps(dict(best.setting)),
            "recall_tuned": best.recall,
            "recall": recall(found, data.neighbours[halves.timed], K),
        }
        rows += [{**row, "way": BATCH, "queries": len(timed)}, {**row, "way": SINGLE, "queries": len(one_by_one)}]
        candidates |= {
            f"{system.name} {BATCH}": _batch(system, timed, best),
            f"{system.name} {SINGLE}": _one_by_one(system, one_by_one, best),
        }
    seconds = interleaved(candidates, rounds=rounds)
    return [{**row, "seconds": seconds.get(f"{row['system']} {row['way']}", [])} for row in rows]


def _about(system: System, data: DataSet) -> dict[str, Any]:
    built, rows = system.built, len(data.base)
    return {
        "dataset": data.name,
        "rows": rows,
        "dim": data.base.shape[1],
        "metric": data.metric.value,
        "system": system.name,
        "ours": isinstance(system.peer, Vecstore),
        "version": built.version,
        "memory_bytes_per_vector": built.memory_bytes / rows,
        "disk_bytes_per_vector": built.disk_bytes / rows,
        "build_cpu_seconds": built.cpu_seconds,
    }


def _batch(system: System, queries: F32, tuned: Tuned) -> Callable[[], object]:
    return lambda: system.index.search(queries, K, tuned.setting)


def _one_by_one(system: System, queries: F32, tuned: Tuned) -> Callable[[], object]:
    return lambda: [system.index.search(query, K, tuned.setting) for query in queries[:, np.newaxis]]


def _write(out: Path, about: dict[str, Any], results: list[dict[str, Any]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(results), out / "results.parquet")
    (out / "search.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
