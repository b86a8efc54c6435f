"""What data say about compressing them: skew, rare ids and sizes of click data; spectrum and near-duplicates of rows.

DATA is what ``vecstore bench ctr --data`` takes, a file of vectors (.npy), or a folder with ``vectors.npz``.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from vecstore.errors import FormatError, NotFoundError
from vecstore.types import F32
from vecstore_bench.click_columns import Columns
from vecstore_bench.ctr_data import load_clicks
from vecstore_bench.data_sets import data_folder
from vecstore_bench.describing import (
    FieldFigures,
    describe_clicks,
    describe_matrix,
    field_figures,
    matrix_figures,
)

__all__ = ["main"]

_WIDTH = 116


@click.command(help=__doc__)
@click.argument("data")
@click.option("--folder", help="Folder of the data sets; VECSTORE_DATA otherwise.")
@click.option("--label", help="Column of the label; 'label' by default.")
@click.option("--categorical", help="Columns, separated by commas; those named c_* by default.")
@click.option("--dim", default=16, show_default=True, help="Dimensions of the vectors of ids.")
def main(data: str, folder: str | None, label: str | None, categorical: str | None, dim: int) -> None:
    """Print the figures, and what they mean."""
    console = Console()
    console.width = max(console.width, _WIDTH)
    rows = _vectors(data, folder)
    if rows is not None:
        said = describe_matrix(matrix_figures(rows))
    else:
        named = tuple(categorical.split(",")) if categorical else ()
        columns = Columns(label=label or "label", categorical=named)
        figures = field_figures(load_clicks(data, folder, columns))
        console.print(_table(figures))
        said = describe_clicks(figures, dim)
    for sentence in said:
        console.print(f"- {sentence}", markup=False, highlight=False)


def _vectors(data: str, folder: str | None) -> F32 | None:
    """Give the vectors that ``data`` names; None where it names something else."""
    path = Path(data)
    if path.suffix == ".npy":
        return _matrix(np.load(path, allow_pickle=False), path)
    if not path.exists():
        try:
            path = data_folder(folder) / data
        except NotFoundError:
            return None
    file = path / "vectors.npz"
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        name = "base" if "base" in arrays else arrays.files[0]
        return _matrix(arrays[name], file)


def _matrix(array: np.ndarray, path: Path) -> F32:
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not len(array):
        raise FormatError(f"{path}: expected numbers [n, dim], found {array.dtype}{list(array.shape)}")
    return np.asarray(array, np.float32)


def _table(figures: list[FieldFigures]) -> Table:
    table = Table(title="fields, of the training rows")
    for heading in ("field", "ids", "Zipf", "ids that take 90 %", "ids at most once", "unseen in test"):
        table.add_column(heading, justify="left" if heading == "field" else "right")
    for own in figures:
        table.add_row(
            own.field, f"{own.ids:,}", f"{own.zipf:.2f}", f"{own.cover:.1%}", f"{own.rare:.1%}", f"{own.unseen:.1%}"
        )
    return table


if __name__ == "__main__":
    main()
