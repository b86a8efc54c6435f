"""Every scheme fitted to a real matrix at several budgets: bytes, relative error, mean cosine, seconds.

``python -m vecstore_bench.fit``. The figures are those of the report of ``vecstore.fit_table``: errors over all rows,
bytes of all arrays. ``needs x`` is the floor that the scheme reports, as a fraction of float32.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch

import vecstore
from vecstore.errors import BudgetInfeasible, InvalidArgumentError, NotFoundError, QualityWarning
from vecstore.schemes import get, names
from vecstore.types import F32
from vecstore_bench.data_sets import data_folder
from vecstore_bench.measure import machine

__all__ = ["Fitted", "fit_once", "main", "matrix_of"]

#: Data set -> array of its rows in ``vectors.npz``.
_ARRAYS = {"scifact": "corpus", "glove100": "base", "mlanthology": "base"}


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a scheme reached at a budget: its report, or the bytes that it needs at least."""

    report: vecstore.FitReport | None
    floor: int
    warned: bool


def matrix_of(data_set: str, folder: Path, rows: int | None) -> F32:
    """Give the first ``rows`` rows of a data set, float32[n, dim]; all where that is None.

    Raises
    ------
    InvalidArgumentError
        The data set is none of those that are known.
    NotFoundError
        It is not in the folder.
    """
    if data_set not in _ARRAYS:
        raise InvalidArgumentError(f"data set {data_set!r}: expected one of {', '.join(_ARRAYS)}", field="data_set")
    path = folder / data_set / "vectors.npz"
    if not path.is_file():
        raise NotFoundError(f"{path}: no such file", field="data")
    with np.load(path, allow_pickle=False) as arrays:
        matrix: F32 = arrays[_ARRAYS[data_set]][:rows].astype(np.float32)
    return matrix


def fit_once(scheme: str, matrix: F32, budget: float, seed: int) -> Fitted:
    """Fit a scheme to ``matrix`` float32[n, dim] within a fraction of its bytes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", QualityWarning)
        try:
            _, report = vecstore.fit_table(scheme, matrix, budget=budget, seed=seed)
        except BudgetInfeasible as error:
            return Fitted(None, error.floor, warned=False)
    return Fitted(report, 0, warned=any(issubclass(one.category, QualityWarning) for one in caught))


def _line(scheme: str, budget: float, fitted: Fitted, float32_bytes: int) -> str:
    how = get(scheme).capabilities.fitting
    if fitted.report is None:
        return f"| {scheme} | {how} | {budget:g} | needs {fitted.floor / float32_bytes:.3f} | | | | |"
    report = fitted.report
    return (
        f"| {scheme} | {how} | {budget:g} | {report.bytes_reached / float32_bytes:.4f} | {report.relative_error:.3g} "
        f"| {report.cosine:.4f} | {report.seconds:.1f} | {'yes' if fitted.warned else ''} |"
    )


@click.command(help=__doc__)
@click.option("--data", help="Folder of the data sets; VECSTORE_DATA otherwise.")
@click.option("--data-set", default="scifact", show_default=True, help=f"One of {', '.join(_ARRAYS)}.")
@click.option("--rows", type=int, help="The first rows only.")
@click.option("--schemes", help="Names, separated by commas; all otherwise.")
@click.option("--budgets", default="0.5,0.25,0.1", show_default=True, help="Fractions of float32.")
@click.option("--seed", default=0, show_default=True)
def main(data: str | None, data_set: str, rows: int | None, schemes: str | None, budgets: str, seed: int) -> None:
    """Fit all combinations, and print a line of a Markdown table for each."""
    torch.set_num_threads(1)
    matrix = matrix_of(data_set, data_folder(data), rows)
    print(f"{data_set}, {len(matrix):,} x {matrix.shape[1]}, seed {seed}; machine: {machine()}\n")
    print("| scheme | fitted by | budget | bytes reached | relative error | mean cosine | seconds | warned |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for scheme in schemes.split(",") if schemes else names():
        for budget in map(float, budgets.split(",")):
            fitted = fit_once(scheme, matrix, budget, seed)
            print(_line(scheme, budget, fitted, matrix.nbytes), flush=True)


if __name__ == "__main__":
    main()
