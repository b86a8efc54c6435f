"""``vecstore compress``, ``optimize``, ``delete`` and ``drop``: commands that change a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vecstore.cli.options import BUDGET, SCHEME, examples, parse_ids, scheme_name, where_option
from vecstore.cli.target import Target, takes_store


@click.command(
    "compress",
    short_help="Encode a collection again with another scheme.",
    epilog=examples(
        "vecstore compress ./store docs int8",
        "vecstore compress ./store docs int8 --refine float16",
        "vecstore compress ./store docs int8 --transform 'centre|pca:192' --refine float16",
        "vecstore compress ./store docs int8 --transform pca:96 --queries queries.npy --refine int8",
    ),
)
@takes_store
@click.argument("collection")
@click.argument("scheme", type=SCHEME)
@click.option("--refine", type=SCHEME, help="Scheme of the finer second copy that re-ranks.  [default: none]")
@click.option("--transform", metavar="CHAIN", help="Transforms in front of it, e.g. 'centre|pca:192'.  [default: none]")
@click.option(
    "--queries",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Queries as for search, that pca is to suit.  [default: the rows alone]",
)
@click.option("--budget", type=BUDGET, help="Bytes, or a fraction of float32, that choose the parameters of SCHEME.")
def compress_command(
    target: Target,
    collection: str,
    scheme: str | dict[str, Any],
    refine: str | dict[str, Any] | None,
    transform: str | None,
    queries: Path | None,
    budget: float | int | None,
) -> None:
    """Encode all rows of COLLECTION again with SCHEME: a name, or its JSON config.

    Searches go on meanwhile and switch when all rows are ready.
    """
    from vecstore.cli.readers import read_queries

    asked = None if queries is None else read_queries(queries)
    with target.writing() as database:
        report = database.collection(collection).compress(
            scheme, refine=refine, transform=transform, queries=asked, budget=budget
        )
    ratio = f" ({report.bytes_before / report.bytes_after:.2f} times smaller)" if report.bytes_after else ""
    cosine = "" if report.cosine is None else f", mean cosine {report.cosine:.4f}"
    click.echo(
        f"compressed {report.rows:,} rows with {scheme_name(scheme)} in {report.seconds:.1f} s: "
        f"{report.bytes_before:,} to {report.bytes_after:,} bytes{ratio}, relative error {report.relative_error:.3g}"
        f"{cosine}"
    )


@click.command(
    "optimize",
    short_help="Merge all segments of a collection into one.",
    epilog=examples(
        "vecstore optimize ./store docs",
    ),
)
@takes_store
@click.argument("collection")
def optimize_command(target: Target, collection: str) -> None:
    """Merge all segments of COLLECTION into one with a fresh graph, dropping deleted rows."""
    with target.writing() as database:
        chosen = database.collection(collection)
        before = chosen.stats()
        chosen.optimize()
        after = chosen.stats()
    click.echo(
        f"optimized {collection!r}: {after.rows:,} rows, {len(before.segments)} to {len(after.segments)} segments, "
        f"{before.deleted_rows:,} deleted rows dropped"
    )


@click.command(
    "delete",
    short_help="Delete rows by ids or by a filter.",
    epilog=examples(
        "vecstore delete ./store docs --ids 17,18",
        'vecstore delete ./store docs --where "year < 2000"',
    ),
)
@takes_store
@click.argument("collection")
@click.option("--ids", metavar="IDS", multiple=True, help="Ids with commas between, or a JSON array; may be repeated.")
@where_option
def delete_command(target: Target, collection: str, ids: tuple[str, ...], where: str | None) -> None:
    """Delete rows of COLLECTION by their ids or by a filter."""
    if bool(ids) == (where is not None):
        raise click.UsageError("pass exactly one of --ids and --where")
    with target.writing() as database:
        chosen = database.collection(collection)
        deleted = chosen.delete(ids=parse_ids(ids, chosen.stats().id_type) if ids else None, where=where)
    click.echo(f"deleted {deleted:,} rows of {collection!r}")


@click.command(
    "drop",
    short_help="Delete a collection.",
    epilog=examples(
        "vecstore drop ./store docs --yes",
    ),
)
@takes_store
@click.argument("collection")
@click.option("--yes", is_flag=True, help="Really delete; there is no way back.")
def drop_command(target: Target, collection: str, yes: bool) -> None:
    """Delete COLLECTION with all its rows."""
    if not yes:
        raise click.UsageError(f"this deletes all rows of {collection!r}; pass --yes to do it")
    with target.writing() as database:
        database.drop_collection(collection)
    click.echo(f"dropped {collection!r}")
