"""Click prediction with compressed embeddings: any scheme at any budget on any data set.

``python -m vecstore_bench.ctr --data nycflights13 --schemes full,hash --budgets 0.1,0.01 --out runs/nyc``. Each
scheme, budget and seed is a cell, trained in a process of its own. Checkpoints are chosen on validation; quality is
that of the frozen table on test. The table is stored, and opened again in a process without torch, which must give the
same look-ups. Results are kept one JSON line a cell: a command that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from itertools import product
from pathlib import Path
from shutil import rmtree
from typing import Any

import click
from rich.console import Console

from vecstore_bench import runs
from vecstore_bench.click_columns import Columns
from vecstore_bench.click_rows import open_clicks
from vecstore_bench.click_variants import VARIANTS
from vecstore_bench.ctr_cell import Cell, Experiment, isolated
from vecstore_bench.ctr_data import prepare_clicks
from vecstore_bench.ctr_presets import PRESETS, check_grid, compresses, trained
from vecstore_bench.ctr_summary import summary
from vecstore_bench.describing import DESCRIPTION, as_document, describe_clicks, field_figures
from vecstore_bench.measure import machine
from vecstore_bench.models import HOSTS
from vecstore_bench.options import numbers, words, words_of
from vecstore_bench.report.field_choices import choices_table, chosen_of, field_choices
from vecstore_bench.run_notes import note_run
from vecstore_bench.training_loop import Settings

__all__ = ["Results", "cells_of", "main"]

#: Columns of the printed table where there is no terminal that says.
_WIDTH = 140
_ABOVE_0 = click.FloatRange(min=0, min_open=True)


class Results(runs.Results):
    """The cells of one experiment, with the data that they share and the checkpoints of those that are not done."""

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        super().__init__(folder, experiment, Cell)

    def prepared(self, experiment: Experiment) -> Path:
        """Give the folder with the encoded data, which every cell maps; they are loaded once."""
        folder = self.folder / "data"
        if not (folder / "about.json").exists():
            prepare_clicks(folder, experiment.data, experiment.folder, experiment.columns, experiment.variant)
            figures = field_figures(open_clicks(folder))
            document = as_document(figures, describe_clicks(figures, experiment.dim))
            (self.folder / DESCRIPTION).write_text(json.dumps(document, indent=1), encoding="utf-8")
        return folder

    def checkpoints(self, cell: Cell) -> Path:
        """Give the folder for the checkpoints of a cell."""
        return self.folder / "checkpoints" / str(cell)

    def add(self, cell: Cell, result: dict[str, Any]) -> None:
        """Keep the result of a cell, and let go of its checkpoints unless it failed."""
        super().add(cell, result)
        if result["status"] != "failed":
            rmtree(self.checkpoints(cell), ignore_errors=True)


def cells_of(models: Sequence[str], schemes: Sequence[str], budgets: Sequence[float | int], seeds: int) -> list[Cell]:
    """Give all cells; schemes that do not compress (``full``) are there once, as what others are compared with."""
    found = []
    for model, scheme in product(models, schemes):
        own = budgets if compresses(scheme) else (1.0,)
        found += [Cell(model, scheme, budget, seed) for budget in own for seed in range(seeds)]
    return found


@click.command(help=__doc__)
@click.option("--preset", type=click.Choice(sorted(PRESETS)), default="default", show_default=True)
@click.option(
    "--data", help="synthetic[:ROWS], synthetic-10m[:ROWS], a parquet or CSV file, or a file or folder of a data set."
)
@click.option("--folder", help="Folder of the data sets; VECSTORE_DATA otherwise.")
@click.option("--label", help="Column of the label; 'label' by default.")
@click.option("--categorical", callback=words, help="Columns, separated by commas; those named c_* by default.")
@click.option("--dense", callback=words, help="Columns of numbers, separated by commas; those named d_* by default.")
@click.option("--split-by", "order", help="Column, such as a time, by whose order the rows are split 80/10/10.")
@click.option("--min-count", type=click.IntRange(1), help="Values that are rarer in training are like missing ones.")
@click.option("--variant", type=click.Choice(list(VARIANTS)), help="Ids merged and split, so that one thing changes.")
@click.option("--schemes", help="Names, separated by commas; 'all' for all that can be trained, and auto.")
@click.option("--budgets", callback=numbers, help="Fractions of float32 (0.1,0.01), or whole bytes.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Seeds of each scheme and budget.")
@click.option("--models", "--model", "models", callback=words, help=f"Separated by commas: {', '.join(HOSTS)}.")
@click.option("--size", help="Of the models: small or standard.")
@click.option("--dim", type=click.IntRange(1), help="Dimensions of the vectors.")
@click.option("--epochs", type=_ABOVE_0)
@click.option("--batch", type=click.IntRange(1))
@click.option("--rate", type=_ABOVE_0, help="Learning rate of Adam.")
@click.option("--evaluations", type=click.IntRange(1), help="Looks at validation in a run.")
@click.option("--patience", type=click.IntRange(1), help="Looks without gain that end a stage.")
@click.option("--threads", type=click.IntRange(1), help="Of torch.")
@click.option("--sparse/--no-sparse", default=None, help="Sparse gradients of rows; from a million ids by default.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Cells that run at once.")
@click.option("--time-limit", type=click.FloatRange(0), help="Minutes after which no further cell is begun.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the results.")
def main(
    preset: str,
    folder: str | None,
    models: tuple[str, ...] | None,
    schemes: str | None,
    budgets: tuple[float | int, ...],
    seeds: int,
    jobs: int,
    time_limit: float | None,
    out: Path,
    **changes: Any,
) -> None:
    """Run all cells that are not done, and print the table."""
    chosen = PRESETS[preset]
    experiment = _changed(chosen.experiment, folder, changes)
    grid = (models or chosen.models, _names(schemes) or chosen.schemes, budgets or chosen.budgets, seeds)
    check_grid(*grid[:3], size=experiment.size, dim=experiment.dim)
    results = Results(out, experiment)
    console = Console()
    console.width = max(console.width, _WIDTH)
    console.print(f"machine: {machine()}")
    cells = cells_of(*grid)
    missing = any(not results.has(cell) for cell in cells)
    prepared = results.prepared(experiment) if missing else None
    if missing:
        asked = dict(zip(("models", "schemes", "budgets", "seeds"), grid, strict=True))
        note_run(out, {**asked, "jobs": jobs, "time_limit": time_limit, "experiment": asdict(experiment)})

    def run(cell: Cell) -> dict[str, Any]:
        return {**isolated(experiment, cell, results.checkpoints(cell), prepared), "jobs": jobs}

    def quality(result: dict[str, Any]) -> str:
        return f"AUC {result['test_auc']:.4f}"

    runs.complete(results, cells, run, jobs=jobs, minutes=time_limit, quality=quality, console=console)
    if (choices := field_choices((line["budget"], chosen_of(line)) for line in results.all())) is not None:
        console.print(choices_table(choices))
    console.print(summary(results.all(), chosen.published if _as_published(experiment, chosen.experiment) else None))
    console.print(f"results: {results.write()}")


def _changed(experiment: Experiment, folder: str | None, changes: dict[str, Any]) -> Experiment:
    given = {name: value for name, value in changes.items() if value is not None}

    def part(kind: type[Columns | Settings]) -> dict[str, Any]:
        return {own.name: given.pop(own.name) for own in fields(kind) if own.name in given}

    columns = replace(experiment.columns, **part(Columns))
    settings = replace(experiment.settings, **part(Settings))
    return replace(experiment, folder=folder, columns=columns, settings=settings, **given)


def _as_published(experiment: Experiment, chosen: Experiment) -> bool:
    """Say whether an experiment has the settings of a preset, wherever its data are."""
    return replace(experiment, data=chosen.data, folder=chosen.folder) == chosen


def _names(schemes: str | None) -> tuple[str, ...]:
    return trained() if schemes == "all" else words_of(schemes or "")


if __name__ == "__main__":
    main()
