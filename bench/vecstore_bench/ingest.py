"""Durable insertion, reopening and resident memory on real vectors.

``python -m vecstore_bench.ingest``: inserts mlanthology (80,000 x 384) in batches of 1,000 through the embedded
API; every batch is durable when its call returns. A plain file to which the same batches are appended with one
fsync each takes turns with it, batch by batch, in the same run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

import vecstore
from vecstore_bench.data_sets import data_folder, load
from vecstore_bench.measure import Ratio, machine

_REOPEN = """
import json, sys, time
import psutil, vecstore, vecstore.database
path, queries_path = sys.argv[1:]
process = psutil.Process()
import numpy as np
queries = np.load(queries_path)
before = process.memory_info().rss
started = time.perf_counter()
db = vecstore.open(path, mode="r")
docs = db.collection("docs")
count = docs.count()
opened = time.perf_counter() - started
after_open = process.memory_info().rss
docs.search(queries, k=10)
stats = docs.stats()
print(json.dumps({"open_s": opened, "count": count, "rss_open": after_open - before,
    "rss_search": process.memory_info().rss - before,
    "on_disk": sum(sum(s["bytes"].values()) for s in stats.segments)}))
"""


@click.command(help=__doc__)
@click.option("--data", help="Folder of the data sets.")
@click.option("--rounds", default=3, show_default=True, help="Fresh stores to fill.")
@click.option("--batch", default=1_000, show_default=True, help="Rows a call.")
@click.option(
    "--store", type=click.Path(path_type=Path), help="Where to make the stores [default: a temporary folder]."
)
def main(data: str | None, rounds: int, batch: int, store: Path | None) -> None:
    """Run the measurement and print its figures."""
    base = load("mlanthology", data_folder(data)).base
    print(f"machine: {machine()}")
    with tempfile.TemporaryDirectory(dir=store) as folder:
        rates, ratios, batch_ratios = [], [], []
        for number in range(rounds):
            path = Path(folder) / f"store{number}"
            ours, plain = _fill(path, base, batch)
            rates.append(len(base) / sum(ours))
            ratios.append(sum(ours) / sum(plain))
            batch_ratios += [a / b for a, b in zip(ours, plain, strict=True)]
            if number < rounds - 1:
                shutil.rmtree(path)
        print(
            f"durable inserts: {np.median(rates):,.0f} rows/s ({min(rates):,.0f} to {max(rates):,.0f}), {rounds} rounds"
        )
        print(
            f"time against a plain fsync-per-batch append: {Ratio(float(np.median(ratios)), min(ratios), max(ratios))}"
        )
        print(f"  batch by batch, median: {np.median(batch_ratios):.2f}")
        _reopen(path, base)


def _fill(path: Path, base: np.ndarray, batch: int) -> tuple[list[float], list[float]]:
    """Insert everything, in turns with the plain append; give seconds a batch of both."""
    ours, plain = [], []
    with vecstore.open(path) as db, (path.parent / "plain.bin").open("wb", buffering=0) as file:
        docs = db.create_collection("docs", dim=base.shape[1], metric="cosine", scheme="int8", refine="float16")
        for start in range(0, len(base), batch):
            rows = base[start : start + batch]
            ids = np.arange(start, start + len(rows))
            begun = time.perf_counter()
            docs.insert(ids, rows)
            ours.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            file.write(rows.tobytes())
            os.fsync(file.fileno())
            plain.append(time.perf_counter() - begun)
        if docs.count() != len(base):
            raise RuntimeError(f"{docs.count()} rows in the store, {len(base)} inserted")
    return ours, plain


def _reopen(path: Path, base: np.ndarray) -> None:
    """Open the store in new processes: unsealed as the writer left it, and after optimize."""
    queries = path.parent / "queries.npy"
    np.save(queries, base[:100])
    for state in ("as left by the writer", "optimized"):
        if state == "optimized":
            with vecstore.open(path) as db:
                db.collection("docs").optimize()
        runs = [_run_reopen(path, queries) for _ in range(5)]
        opened = sorted(run["open_s"] * 1000 for run in runs)
        last = runs[-1]
        sealed = last["on_disk"] / 1e6
        print(
            f"reopen, {state}: {opened[2]:.1f} ms ({opened[0]:.1f} to {opened[-1]:.1f}) for {last['count']:,} rows; "
            f"resident after open +{last['rss_open'] / 1e6:.1f} MB, "
            f"after 100 searches +{last['rss_search'] / 1e6:.1f} MB; sealed bytes on disk {sealed:.1f} MB"
        )


def _run_reopen(path: Path, queries: Path) -> dict[str, float]:
    output = subprocess.run(
        [sys.executable, "-c", _REOPEN, str(path), str(queries)], check=True, capture_output=True, text=True
    ).stdout
    figures: dict[str, float] = json.loads(output.splitlines()[-1])
    return figures


if __name__ == "__main__":
    main()
