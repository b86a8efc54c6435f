"""``vecstore fit``: a matrix becomes an embedding table of any scheme."""

from __future__ import annotations

import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vecstore.cli import console
from vecstore.cli.options import SCHEME, examples, json_option
from vecstore.cli.target import Target, takes_store
from vecstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vecstore.fitting import FitReport


class _Budget(click.ParamType[Any]):
    """A fraction where there is a point or an exponent, else bytes."""

    name = "budget"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | int:
        """Give the number; whether a scheme can meet it is for the planner to say."""
        try:
            return int(value) if str(value).lstrip("-").isdecimal() else float(value)
        except ValueError:
            self.fail(f"{value!r} is no number; pass a fraction such as 0.1, or bytes such as 2000000", param, ctx)


@click.command(
    "fit",
    short_help="Compress a matrix into an embedding table.",
    epilog=examples(
        "vecstore fit ./store words vectors.npy --scheme mde --budget 0.25",
        "vecstore fit grpc://localhost:7700 ctr weights.npz --scheme int8 --budget 0.3",
    ),
)
@takes_store
@click.argument("table")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--scheme", type=SCHEME, required=True, help="Name of the scheme, or its JSON config with settings.")
@click.option(
    "--budget",
    type=_Budget(),
    required=True,
    help="Bytes of the table: a fraction of float32 with a point (0.1), or a whole number of bytes.",
)
@click.option(
    "--field",
    "fields",
    metavar="NAME",
    multiple=True,
    help="Array of an .npz archive to take as a field; may be repeated.  [default: all matrices]",
)
@click.option(
    "--frequency",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="How often each row is used: .npy with one integer a row, or .npz with such an array a field.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn.")
@click.option("--keep", type=click.IntRange(1), default=3, show_default=True, help="Versions of the table to keep.")
@click.option("--quiet", is_flag=True, help="No progress bar and no notes.")
@json_option
def fit_command(
    target: Target,
    table: str,
    file: Path,
    scheme: str | dict[str, Any],
    budget: float | int,
    fields: tuple[str, ...],
    frequency: Path | None,
    seed: int,
    keep: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compress the matrix of FILE within a budget, store it as the embedding TABLE, and print the quality it has.

    FILE is .npy, .npz, .fvecs, Parquet or JSON lines; row i gets the id i, in the field 'row'. An .npz archive of
    several matrices has a field for each, named like it. A TABLE that exists gets a new version. The work is done here,
    also where STORE is a server.
    """
    from vecstore.cli.readers import read_counts, read_fields
    from vecstore.fitting import fit_table, plan_table

    name, parameters = _settings(scheme)
    matrices = read_fields(file, fields)
    counts = None if frequency is None else read_counts(frequency, tuple(matrices))
    sizes = {field: len(matrix) for field, matrix in matrices.items()}
    # What cannot be planned must neither create a store nor wait for its lock.
    plan_table(name, matrices, budget=budget, frequency=counts, parameters=parameters)
    with target.creating() as database:
        with (
            warnings.catch_warnings(record=True) as caught,
            console.progress("fitting", sum(sizes.values()), quiet=quiet) as advance,
        ):
            warnings.simplefilter("always")
            fitted, report = fit_table(
                name,
                matrices,
                budget=budget,
                frequency=counts,
                parameters=parameters,
                seed=seed,
                on_progress=advancing(advance, sum(sizes.values())),
            )
        for warning in caught:
            console.note(str(warning.message), quiet=quiet)
        version = next(v.number for v in database.put_table(table, fitted, keep=keep).versions() if v.current)
    figures = _figures(table, version, report)
    if as_json:
        console.show_json(figures)
    else:
        console.show_facts("", [(fact.replace("_", " "), _shown(value)) for fact, value in figures.items()])


def _settings(scheme: str | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Give the name of a scheme and the settings beside it."""
    if isinstance(scheme, str):
        return scheme, {}
    settings = dict(scheme)
    name = settings.pop("scheme", None)
    if not isinstance(name, str):
        raise InvalidArgumentError(f"--scheme: expected a name or a config with the key 'scheme', got {scheme}")
    return name, settings


def advancing(advance: Callable[[int], None], rows: int) -> Callable[[int, int], None]:
    """Give what takes (done, in all), whatever is counted, and moves a bar of ``rows``."""
    shown = 0

    def report(done: int, total: int) -> None:
        nonlocal shown
        now = rows * done // max(total, 1)
        advance(now - shown)
        shown = now

    return report


def _figures(table: str, version: int, report: FitReport) -> dict[str, Any]:
    """Give all figures of a fit as plain types."""
    figures = asdict(replace(report, choice=None)) | {"ratio": report.ratio}
    figures["choice"] = {own.field: own.scheme.name for own in report.choice.fields} if report.choice else None
    return {"table": table, "version": version, **figures}


def _shown(value: Any) -> Any:
    """Give a figure as it stands in a line: fields with what they have, and nothing instead of an empty list."""
    match value:
        case dict():
            return ", ".join(
                f"{key} ({own:,} rows)" if isinstance(own, int) else f"{key} {own}" for key, own in value.items()
            )
        case tuple():
            return ", ".join(value) or None
        case _:
            return value
