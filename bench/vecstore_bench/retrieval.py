"""A corpus of vectors encoded by any scheme at any budget: what a search still finds, in how many bytes, how fast.

``vecstore bench retrieval --data scifact --schemes all --budgets 0.25,0.1 --out runs/scifact``. DATA is a folder with
neighbours or judgements (bench/README.md). Each codec, alone and with ``--transforms`` in front and ``--refine``
behind, at each budget and seed, is a cell, run in a process of its own. The budget is that of the codes; the bytes of a
result have the finer copy too. Results are kept one JSON line a cell: a command that was stopped goes on where it was,
and ``vecstore bench report`` shows them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from vecstore.schemes import get, names
from vecstore_bench.data_sets import folder_of, load
from vecstore_bench.machines import facts
from vecstore_bench.options import numbers, words
from vecstore_bench.retrieval_cell import NONE, Cell, Experiment, run_alone
from vecstore_bench.runs import Results, complete

__all__ = ["PAPER", "cells_of", "main", "schemes_of"]

#: Columns of the printed table where there is no terminal that says.
_WIDTH = 140
#: The scheme that stands for transforms, which are asked for by name.
_TRANSFORMED = "transformed"
#: The codecs for corpora of the comparison that this benchmark follows (Zhang et al., "Experimental Analysis of
#: Large-scale Learnable Vector Storage Compression", VLDB 2024), by our names: de-duplication, two widths of integers,
#: pruning by magnitude, product quantisation, that in tiers by length, truncated SVD, that in tiers, tensor trains.
PAPER = ("full", "dedup", "int8", "int16", "deeplight", "pq", "magpq", "mde", "magsvd", "ttrec")
_PACKAGES = ("vecstore", "numpy", "numba", "llvmlite", "pyarrow", "torch")


def schemes_of(asked: Sequence[str]) -> tuple[str, ...]:
    """Give names of schemes: ``all`` that are made for a matrix, those of the ``paper``, or ``every`` one there is."""
    there = [name for name in names() if name != _TRANSFORMED]
    groups = {
        "all": [name for name in there if get(name).capabilities.posthoc],
        "paper": PAPER,
        "every": there,
    }
    return tuple(dict.fromkeys(name for one in asked for name in groups.get(one, (one,))))


def cells_of(
    codecs: Sequence[str],
    budgets: Sequence[float | int],
    transforms: Sequence[str],
    refines: Sequence[str],
    seeds: int,
) -> list[Cell]:
    """Give all cells: what does not compress is there once; transforms go in front of codecs that take them."""
    found = []
    for codec in codecs:
        capabilities = get(codec).capabilities
        if capabilities.exact:
            found += [Cell(codec, NONE, NONE, 1.0, seed) for seed in range(seeds)]
            continue
        takes = capabilities.posthoc and capabilities.graph
        found += [
            Cell(codec, transform, refine, budget, seed)
            for transform in transforms
            for refine in refines
            for budget in budgets
            for seed in range(seeds)
            if (takes or transform == NONE) and refine != codec
        ]
    return found


@click.command(help=__doc__)
@click.option("--data", required=True, help="Folder of a data set, or its name.")
@click.option("--folder", help="Folder of the data sets; VECSTORE_DATA otherwise.")
@click.option(
    "--schemes",
    callback=words,
    default="all",
    show_default=True,
    help="Names, separated by commas; 'all' that are made for a matrix, 'paper', 'every'.",
)
@click.option(
    "--budgets", callback=numbers, default="0.5,0.27,0.125,0.0625", show_default=True, help="Fractions, or bytes."
)
@click.option(
    "--transforms", callback=words, default=NONE, show_default=True, help="Such as none,pca:128,centre|rotate."
)
@click.option("--refine", "refines", callback=words, default=NONE, show_default=True, help="Such as none,int8.")
@click.option("--seeds", default=1, show_default=True)
@click.option("--rows", type=int, help="Rows that are encoded; all otherwise.")
@click.option("--queries", default=Experiment.queries, show_default=True, help="Queries that are judged.")
@click.option("--timed", default=Experiment.timed, show_default=True, help="Queries of a timed scan.")
@click.option("--rounds", default=Experiment.rounds, show_default=True, help="Timed scans.")
@click.option("--time-limit", type=float, help="Minutes after which no further cell is begun.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the results.")
def main(
    data: str,
    folder: str | None,
    schemes: tuple[str, ...],
    budgets: tuple[float | int, ...],
    transforms: tuple[str, ...],
    refines: tuple[str, ...],
    seeds: int,
    time_limit: float | None,
    out: Path,
    **limits: Any,
) -> None:
    """Run all cells that are not done, and print the table."""
    place = folder_of(data, folder).resolve()
    dim = load(place.name, place.parent).base.shape[1]
    experiment = Experiment(data=place.name, folder=str(place.parent), dim=dim, **limits)
    results = Results(out, experiment, Cell)
    about = facts(_PACKAGES)
    (out / "machine.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(f"machine: {about['machine']}")
    cells = cells_of(schemes_of(schemes), budgets, transforms, refines, seeds)
    complete(
        results,
        cells,
        lambda cell: run_alone(experiment, cell),
        minutes=time_limit,
        quality=lambda result: f"recall@10 {result['recall@10']:.4f}",
        console=console,
    )
    console.print(_table(results.all()))
    console.print(f"results: {results.write()}")


def _table(results: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="a line a cell; queries a second as a multiple of an exact scan of float32 rows")
    judged = any("ndcg@10" in line for line in results)
    qualities = ("recall@1", "recall@10", "recall@100", *(("ndcg@10", "mrr@10") if judged else ()))
    for heading in ("scheme", "budget", "seed", "bytes a vector", *qualities, "queries", "fit s"):
        table.add_column(heading, justify="left" if heading == "scheme" else "right")
    for line in results:
        cell = (line["scheme"], f"{line['budget']:g}", str(line["seed"]))
        if line["status"] == "done":
            figures = [f"{line[name]:.4f}" for name in qualities]
            speed, fit = f"{line['queries_to_float32']:.2f}", f"{line['fit_seconds']:.1f}"
            table.add_row(*cell, f"{line['bytes_per_vector']:.1f}", *figures, speed, fit)
        elif line["status"] == "infeasible":
            rows = line["full_bytes"] / (4 * line["dim"])
            table.add_row(*cell, f"needs {line['floor_bytes'] / rows:.1f}")
        else:
            table.add_row(*cell, line["status"])
    return table


if __name__ == "__main__":
    main()
