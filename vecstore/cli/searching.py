"""``vecstore search``: the nearest rows, as a table or JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from vecstore.cli import console
from vecstore.cli.options import examples, json_option, parse_ids, where_option
from vecstore.cli.target import Target, takes_store
from vecstore.errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from vecstore.api import Collection
    from vecstore.types import F32, Hit, Id


@click.command(
    "search",
    short_help="Print the nearest rows.",
    epilog=examples(
        "vecstore search ./store docs --id 17 -k 5",
        'vecstore search ./store docs --vector "0.1, 0.2, 0.3" --where "lang = \'de\'"',
        "vecstore search grpc://localhost:7700 docs --queries queries.npy --json",
        "vecstore search ./store docs --id 17 --funnel 64,128",
    ),
)
@takes_store
@click.argument("collection")
@click.option("--vector", metavar="NUMBERS", help='The query: "0.1, 0.2, …".')
@click.option("--id", "identifier", metavar="ID", help="Search with the stored vector of ID, which is left out itself.")
@click.option(
    "--queries",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Many queries from a .npy, .npz (array 'queries') or .fvecs file.",
)
@click.option("-k", default=10, show_default=True, type=click.IntRange(1), help="Hits a query.")
@where_option
@click.option("--ef", type=click.IntRange(1), help="Candidates kept by the graph search: more finds more, slower.")
@click.option("--recall", type=float, help="Share of the true nearest to find, e.g. 0.95, instead of --ef.")
@click.option("--exact", is_flag=True, help="Compare with every row.")
@click.option(
    "--funnel",
    metavar="DIMS",
    help="First dimensions to compare before all, e.g. 64,128; or with rows to keep, 64:1000,128:200.",
)
@json_option
def search_command(
    target: Target,
    collection: str,
    vector: str | None,
    identifier: str | None,
    queries: Path | None,
    k: int,
    where: str | None,
    ef: int | None,
    recall: float | None,
    exact: bool,
    funnel: str | None,
    as_json: bool,
) -> None:
    """Print the rows of COLLECTION that are nearest to a vector, to a stored row, or to many queries.

    Smaller distances are nearer. With --json there is one line a hit.
    """
    if sum(value is not None for value in (vector, identifier, queries)) != 1:
        raise click.UsageError("pass exactly one of --vector, --id and --queries")
    with target.reading() as database:
        chosen = database.collection(collection)
        own: Id | None = None
        if identifier is not None:
            own, matrix = _stored(chosen, identifier)
        else:
            matrix = _parse_vector(vector) if vector is not None else _read(queries)
        # The stored row is its own nearest: one more is asked for, and it is taken out.
        found = chosen.search(
            matrix,
            k if own is None else k + 1,
            where=where,
            ef=ef,
            recall=recall,
            exact=exact,
            funnel=None if funnel is None else _parse_funnel(funnel),
        )
        hits = [[hit for hit in row if own is None or hit.id != own][:k] for row in found]
    if as_json:
        _print_lines(hits)
    else:
        _print_table(hits)


def _parse_vector(text: str) -> F32:
    """Give "0.1, 0.2" or "[0.1, 0.2]" as float32[1, dim]."""
    words = text.strip().removeprefix("[").removesuffix("]").replace(",", " ").split()
    try:
        return np.array([words], np.float64).astype(np.float32)
    except ValueError:
        raise InvalidArgumentError('--vector: expected numbers separated by commas, e.g. "0.1, 0.2, 0.3"') from None


def _parse_funnel(text: str) -> dict[int, int | None]:
    """Give "64,128" or "64:1000,128:200" as dimensions and the rows that each stage keeps."""
    stages = [stage.partition(":") for stage in text.split(",")]
    try:
        pairs = [(int(dims), int(rows) if colon else None) for dims, colon, rows in stages]
    except ValueError:
        pairs = []
    if len(dict(pairs)) < len(stages):
        raise InvalidArgumentError(f"--funnel: expected dimensions, e.g. 64,128 or 64:1000,128:200, got {text!r}")
    return dict(pairs)


def _read(path: Path | None) -> F32:
    from vecstore.cli.readers import read_queries

    if path is None:
        raise click.UsageError("--queries: no file given")
    return read_queries(path)


def _stored(collection: Collection, text: str) -> tuple[Id, F32]:
    """Give an id in the collection's type, and its vector float32[1, dim]."""
    is_text = collection.stats().id_type == "string"
    wanted: Id = text if is_text else parse_ids((text,), "int64")[0]
    (point,) = collection.get([wanted], columns=[])
    if point is None or point.vector is None:
        raise NotFoundError(f"collection {collection.name!r} has no row with the id {wanted!r}")
    return wanted, point.vector[None, :]


def _print_lines(hits: list[list[Hit]]) -> None:
    for query, row in enumerate(hits):
        for rank, hit in enumerate(row):
            line: dict[str, Any] = {"query": query, "rank": rank, "id": hit.id, "distance": hit.distance}
            console.show_json(line | {"metadata": hit.metadata})


def _as_stored(value: object) -> object:
    """Keep integers as they are: a year or an id wants no thousands separators."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _print_table(hits: list[list[Hit]]) -> None:
    names = list(dict.fromkeys(name for row in hits for hit in row for name in hit.metadata))
    if not any(hits):
        click.echo("no rows match")
        return
    headings = (["query"] if len(hits) > 1 else []) + ["id", "distance", *names]
    rows = []
    for query, row in enumerate(hits):
        for hit in row:
            start: list[object] = [query] if len(hits) > 1 else []
            values = (hit.metadata.get(name) for name in names)
            rows.append([*start, str(hit.id), hit.distance, *map(_as_stored, values)])
    console.show_table("", headings, rows)
