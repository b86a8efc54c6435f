"""``vecstore lookup``: the vectors of ids of an embedding table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vecstore.cli import console
from vecstore.cli.options import examples, json_option, parse_ids
from vecstore.cli.target import Target, takes_store
from vecstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from vecstore.api import OnUnknown, Table

#: Values of a vector that a table shows; ``--json`` shows all.
_SHOWN = 8


@click.command(
    "lookup",
    short_help="Print the vectors of ids of a table.",
    epilog=examples(
        "vecstore lookup ./store ctr --field item --ids 17,18",
        "vecstore lookup grpc://localhost:7700 ctr --field user --ids 3 --json",
    ),
)
@takes_store
@click.argument("table")
@click.option("--field", metavar="FIELD", help="Field of the ids; may be left out where the table has one only.")
@click.option(
    "--ids",
    metavar="IDS",
    multiple=True,
    required=True,
    help="Ids with commas between, or a JSON array; may be repeated.",
)
@click.option(
    "--on-unknown",
    type=click.Choice(["error", "hash"]),
    default="error",
    show_default=True,
    help="What to do about ids past the end of the field: 'hash' works for hashed schemes only.",
)
@json_option
def lookup_command(
    target: Target, table: str, field: str | None, ids: tuple[str, ...], on_unknown: OnUnknown, as_json: bool
) -> None:
    """Print the vectors of IDS of one field of an embedding TABLE.

    With --json there is one line an id.
    """
    wanted = parse_ids(ids, "int64")
    with target.reading() as database:
        chosen = database.table(table)
        vectors = chosen.lookup(wanted, field=_field(chosen, field), on_unknown=on_unknown)
    if as_json:
        for identifier, vector in zip(wanted, vectors, strict=True):
            console.show_json({"id": identifier, "vector": vector.tolist()})
        return
    rows = [(str(identifier), _short(vector.tolist())) for identifier, vector in zip(wanted, vectors, strict=True)]
    console.show_table("", ("id", "vector"), rows)


def _field(table: Table, field: str | None) -> str:
    names = list(table.fields)
    if field is None and len(names) > 1:
        raise InvalidArgumentError(f"--field: table {table.name!r} has several, pass one of {', '.join(names)}")
    return names[0] if field is None else field


def _short(vector: list[float]) -> str:
    numbers = " ".join(f"{value:.6g}" for value in vector[:_SHOWN])
    return numbers + (" ..." if len(vector) > _SHOWN else "")
