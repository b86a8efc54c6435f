"""Click prediction with compressed embeddings: any scheme at any budget on any data set.

``python -m vecstore_bench.ctr --data nycflights13 --schemes full,hash --budgets 0.1,0.01 --out runs/nyc``. Each
scheme, budget and seed is a cell, trained in a process of its own. Checkpoints are chosen on validation; quality is
that of the frozen table on test. Results are kept one JSON line a cell: a command that was stopped goes on where it
was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from vecstore.errors import InvalidArgumentError
from vecstore.schemes import get, names
from vecstore_bench.ctr_cell import Cell, Experiment, isolated
from vecstore_bench.measure import machine
from vecstore_bench.training_loop import Settings

__all__ = ["PRESETS", "Preset", "Results", "cells_of", "main", "summary"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """An experiment with the schemes and budgets that belong to it."""

    experiment: Experiment
    schemes: tuple[str, ...]
    budgets: tuple[float, ...]


PRESETS = {
    # Coleman et al., NeurIPS 2023, table 1 on MovieLens-1M: d = 30, one cross layer and 192 hidden units, Adam with
    # 1e-3 on batches of 128, initial vectors from U(-0.05, 0.05).
    "unified-ml1m": Preset(
        experiment=Experiment(
            data="ml-1m",
            model="dcnv2",
            size="unified-ml1m",
            dim=30,
            scale=0.05,
            settings=Settings(epochs=20, batch=128, rate=1e-3, evaluations=80, patience=10),
        ),
        schemes=("full", "hash", "unified"),
        budgets=(1.0, 0.5, 0.1),
    ),
    "default": Preset(experiment=Experiment(data="nycflights13"), schemes=("full", "hash"), budgets=(0.5, 0.1, 0.01)),
}


#: Columns of the printed table where there is no terminal that says.
_WIDTH = 116


class Results:
    """The cells that are done, one JSON line each, in a folder of one experiment.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    experiment : Experiment

    Raises
    ------
    InvalidArgumentError
        The folder has results of another experiment.
    """

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self._folder = folder
        self._lines = folder / "cells.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        about = folder / "experiment.json"
        text = json.dumps(asdict(experiment), indent=1, sort_keys=True)
        if about.exists() and about.read_text(encoding="utf-8") != text:
            raise InvalidArgumentError(
                f"{folder}: has results of another experiment ({about.name}); choose another folder", field="out"
            )
        about.write_text(text, encoding="utf-8")

    def checkpoints(self, cell: Cell) -> Path:
        """Give the folder for the checkpoints of a cell."""
        return self._folder / "checkpoints" / str(cell)

    def all(self) -> list[dict[str, Any]]:
        """Give the results, in the order in which they came; a last line that a crash cut off is left out."""
        if not self._lines.exists():
            return []
        lines = self._lines.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines if line]

    def has(self, cell: Cell) -> bool:
        """Say whether a cell need not be run: it is done or infeasible."""
        return any(
            line["status"] != "failed" and Cell(line["scheme"], line["budget"], line["seed"]) == cell
            for line in self.all()
        )

    def add(self, cell: Cell, result: dict[str, Any]) -> None:
        """Keep the result of a cell, and let go of its checkpoints unless it failed."""
        with self._lines.open("a+b") as file:
            file.seek(0)
            # What a crash left of a line is cut off.
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(result).encode() + b"\n")
        if result["status"] != "failed":
            rmtree(self.checkpoints(cell), ignore_errors=True)

    def write(self) -> Path:
        """Write ``results.parquet``, one row a cell; of a cell that was tried again only the last result."""
        last = {(line["scheme"], line["budget"], line["seed"]): line for line in self.all()}
        columns = sorted({key for line in last.values() for key in line})
        rows = [{key: line.get(key) for key in columns} | {"budget": float(line["budget"])} for line in last.values()]
        path = self._folder / "results.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path


def cells_of(schemes: Sequence[str], budgets: Sequence[float | int], seeds: int) -> list[Cell]:
    """Give all cells; schemes that do not compress (``full``) are there once, as what others are compared with."""
    found = []
    for scheme in schemes:
        own = (1.0,) if get(scheme).capabilities.exact else budgets
        found += [Cell(scheme, budget, seed) for budget in own for seed in range(seeds)]
    return found


def summary(results: Sequence[dict[str, Any]]) -> Table:
    """Give the results as a table, the seeds of a scheme and budget in one row."""
    table = Table(title="test quality of frozen tables: mean (standard deviation) over seeds")
    for heading in (
        "scheme",
        "budget",
        "bytes",
        "of float32",
        "seeds",
        "AUC",
        "log loss",
        "steps/s",
        "s",
        "peak MB (added)",
    ):
        table.add_column(heading, justify="left" if heading == "scheme" else "right")
    groups: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for line in results:
        groups.setdefault((line["scheme"], line["budget"]), []).append(line)
    for (scheme, budget), lines in groups.items():
        done = [line for line in lines if line["status"] == "done"]
        if done:
            table.add_row(scheme, f"{budget:g}", *_figures(done))
        else:
            table.add_row(scheme, f"{budget:g}", *_reason(lines[-1]))
    return table


def _figures(done: list[dict[str, Any]]) -> list[str]:
    def mean(name: str) -> float:
        return float(np.mean([line[name] for line in done]))

    def spread(name: str) -> str:
        deviation = np.std([line[name] for line in done], ddof=1) if len(done) > 1 else np.nan
        return f"{mean(name):.4f} ({deviation:.4f})" if len(done) > 1 else f"{mean(name):.4f}"

    reached = max(line["reached_bytes"] for line in done)
    added = max(line["peak_bytes"] - line["before_bytes"] for line in done) / 1e6
    return [
        f"{reached:,}",
        f"{reached / done[0]['full_bytes']:.4g}",
        str(len(done)),
        spread("test_auc"),
        spread("test_loss"),
        f"{mean('steps_per_second'):,.0f}",
        f"{mean('train_seconds'):,.1f}",
        f"{max(line['peak_bytes'] for line in done) / 1e6:,.0f} ({added:,.0f})",
    ]


def _reason(line: dict[str, Any]) -> list[str]:
    if line["status"] == "infeasible":
        return [f"floor {line['floor_bytes']:,}", f"{line['floor_bytes'] / line['full_bytes']:.4g}", "0", "infeasible"]
    return ["", "", "0", line["error"][:60]]


def _numbers(_: click.Context, option: click.Parameter, value: str | None) -> tuple[float | int, ...]:
    """Give numbers that are separated by commas; those with a point or an exponent are fractions."""
    try:
        return tuple(int(text) if text.strip().isdigit() else float(text) for text in (value or "").split(",") if text)
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected such as 0.1,0.01 or numbers of bytes", param=option) from None


@click.command(help=__doc__)
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="default", show_default=True)
@click.option("--data", help="synthetic[:ROWS], a parquet file, or the folder of a data set.")
@click.option("--folder", help="Folder of the data sets; VECSTORE_DATA otherwise.")
@click.option("--schemes", help="Names, separated by commas; 'all' for all that can be trained.")
@click.option("--budgets", callback=_numbers, help="Fractions of float32 (0.1,0.01), or whole bytes.")
@click.option("--seeds", default=1, show_default=True, help="Seeds of each scheme and budget.")
@click.option("--model", help="dlrm, wdl, dcn, dcnv2 or deepfm.")
@click.option("--size", help="Of the model: small or standard.")
@click.option("--dim", type=int, help="Dimensions of the vectors.")
@click.option("--epochs", type=float)
@click.option("--batch", type=int)
@click.option("--rate", type=float, help="Learning rate of Adam.")
@click.option("--evaluations", type=int, help="Looks at validation in a run.")
@click.option("--patience", type=int, help="Looks without gain that end a stage.")
@click.option("--threads", type=int, help="Of torch.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the results.")
def main(
    preset: str,
    folder: str | None,
    schemes: str | None,
    budgets: tuple[float | int, ...],
    seeds: int,
    out: Path,
    **changes: Any,
) -> None:
    """Run all cells that are not done, and print the table."""
    chosen = PRESETS[preset]
    experiment = _changed(chosen.experiment, folder, changes)
    results = Results(out, experiment)
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(f"machine: {machine()}")
    cells = cells_of(_names(schemes) or chosen.schemes, budgets or chosen.budgets, seeds)
    for number, cell in enumerate(cells, 1):
        if results.has(cell):
            continue
        result = isolated(experiment, cell, results.checkpoints(cell))
        results.add(cell, result)
        outcome = f"AUC {result['test_auc']:.4f}" if result["status"] == "done" else result["error"]
        console.print(
            f"{number}/{len(cells)} {cell}: {result['status']}, {outcome}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    console.print(summary(results.all()))
    console.print(f"results: {results.write()}")


def _changed(experiment: Experiment, folder: str | None, changes: dict[str, Any]) -> Experiment:
    given = {name: value for name, value in changes.items() if value is not None}
    own = {name: value for name, value in given.items() if name in Settings.__dataclass_fields__}
    others = {name: value for name, value in given.items() if name not in own}
    return replace(experiment, folder=folder, settings=replace(experiment.settings, **own), **others)


def _names(schemes: str | None) -> tuple[str, ...]:
    if schemes == "all":
        return tuple(name for name in names() if get(name).capabilities.trained)
    return tuple(name.strip() for name in schemes.split(",")) if schemes else ()


if __name__ == "__main__":
    main()
