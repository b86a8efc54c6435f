"""``vecstore stats``, ``list`` and ``verify``: what a store holds, and whether it is sound."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from vecstore.cli import console
from vecstore.cli.options import examples, json_option, scheme_name
from vecstore.cli.table_figures import show_table_details, show_tables, table_figures
from vecstore.cli.target import Target, takes_store

if TYPE_CHECKING:
    from vecstore.api import Collection

#: Parts of a segment that stand for the vectors.
_VECTOR_PARTS = ("codes", "refine")


@click.command(
    "stats",
    short_help="Print a store's collections and tables, or one in detail.",
    epilog=examples(
        "vecstore stats ./store",
        "vecstore stats grpc://localhost:7700 docs --json",
    ),
)
@takes_store
@click.argument("name", required=False)
@json_option
def stats_command(target: Target, name: str | None, as_json: bool) -> None:
    """Print the collections and tables of a store, or the one called NAME in detail.

    Bytes per vector are bytes on disk of sealed rows; a ratio is how many times smaller than float32. Where a
    collection and a table have the same NAME, both are shown.
    """
    if name is None:
        _overview(target, as_json=as_json)
        return
    with target.reading() as database:
        is_table = name in database.list_tables()
        # Where there is neither, the collection's error says so.
        is_collection = not is_table or name in database.list_collections()
        collection = _figures(database.collection(name)) if is_collection else None
        table = table_figures(database.table(name)) if is_table else None
    for figures, show in ((collection, _show_details), (table, show_table_details)):
        if figures is not None and as_json:
            console.show_json(figures)
        elif figures is not None:
            show(figures)


@click.command(
    "list",
    short_help="Print the collections and tables of a store.",
    epilog=examples(
        "vecstore list ./store",
    ),
)
@takes_store
@json_option
def list_command(target: Target, as_json: bool) -> None:
    """Print the collections and tables of a store: the same as 'vecstore stats STORE'."""
    _overview(target, as_json=as_json)


@click.command(
    "verify",
    short_help="Check every checksum of a store.",
    epilog=examples(
        "vecstore verify ./store",
    ),
)
@takes_store
def verify_command(target: Target) -> None:
    """Check every checksum of a store; print the problems and exit with 1 where there are any."""
    with target.reading() as database:
        collections, tables = len(database.list_collections()), len(database.list_tables())
        problems = database.verify()
    for problem in problems:
        click.echo(problem)
    if problems:
        click.echo(f"error: {len(problems)} problems; restore the store from a copy", err=True)
        raise click.exceptions.Exit(1)
    what = _counted(collections, "collection") + (f" and {_counted(tables, 'table')}" if tables else "")
    click.echo(f"ok: all checksums of {what} match")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _figures(collection: Collection) -> dict[str, Any]:
    """Give all figures of a collection as plain types, ratios included."""
    config, stats = collection.config, collection.stats()
    parts = stats.bytes_per_vector
    float32 = config.dim * 4
    vectors, total = sum(parts.get(part, 0.0) for part in _VECTOR_PARTS), sum(parts.values())
    return {
        "kind": "collection",
        "name": collection.name,
        **asdict(stats),
        "config": config.to_dict(),
        "float32_bytes_per_vector": float32,
        "vector_ratio": _ratio(float32, vectors),
        "total_ratio": _ratio(float32, total),
    }


def _ratio(float32: int, count: float) -> float | None:
    """Give how many times smaller ``count`` bytes are than float32; None where there is nothing to compare."""
    return round(float32 / count, 3) if count else None


def _overview(target: Target, *, as_json: bool) -> None:
    with target.reading() as database:
        figures = [_figures(database.collection(name)) for name in database.list_collections()]
        tables = [table_figures(database.table(name)) for name in database.list_tables()]
    if as_json:
        console.show_json(figures + tables)
        return
    if figures or not tables:
        _show_collections(figures)
    if tables:
        show_tables(tables)


def _show_collections(figures: list[dict[str, Any]]) -> None:
    if not figures:
        click.echo("no collections")
        return
    headings = (
        "collection",
        "rows",
        "unsealed",
        "segments",
        "dim",
        "metric",
        "scheme",
        "refine",
        "bytes/vector",
        "ratio",
    )
    console.show_table("", headings, [_overview_row(one) for one in figures])


def _overview_row(figures: dict[str, Any]) -> list[object]:
    config = figures["config"]
    total = sum(figures["bytes_per_vector"].values())
    return [
        figures["name"],
        figures["rows"],
        figures["delta_rows"],
        len(figures["segments"]),
        config["dim"],
        config["metric"],
        scheme_name(config["scheme"]),
        scheme_name(config["refine"]),
        round(total, 1) or None,
        figures["total_ratio"],
    ]


def _show_details(figures: dict[str, Any]) -> None:
    config = figures["config"]
    facts: list[tuple[str, object]] = [
        ("rows", figures["rows"]),
        ("unsealed rows", figures["delta_rows"]),
        ("deleted rows", figures["deleted_rows"]),
        ("dim", config["dim"]),
        ("metric", config["metric"]),
        ("scheme", scheme_name(config["scheme"])),
        ("refine", scheme_name(config["refine"])),
        ("index", _index_text(config["index"])),
        ("id type", figures["id_type"] or None),
        ("generation", figures["generation"]),
    ]
    console.show_facts(figures["name"], facts)
    if figures["columns"]:
        console.show_table("Metadata", ("column", "type"), list(figures["columns"].items()))
    if figures["bytes_per_vector"]:
        console.show_table("Bytes per vector", ("part", "bytes", "ratio to float32"), _byte_rows(figures))
    if figures["segments"]:
        headings = ("segment", "rows", "deleted", "scheme", "refine", "graph", "recall measured", "bytes")
        console.show_table("Segments", headings, [_segment_row(segment) for segment in figures["segments"]])


def _index_text(index: dict[str, Any] | None) -> str:
    return (
        "none" if index is None else f"hnsw M={index['M']} ef_construction={index['ef_construction']} ef={index['ef']}"
    )


def _byte_rows(figures: dict[str, Any]) -> list[tuple[str, float, float | None]]:
    float32, parts = figures["float32_bytes_per_vector"], figures["bytes_per_vector"]
    sums = {
        "vectors (codes, refine)": sum(parts.get(part, 0.0) for part in _VECTOR_PARTS),
        "all": sum(parts.values()),
    }
    return [(name, round(count, 1), _ratio(float32, count)) for name, count in (parts | sums).items()]


def _segment_row(segment: dict[str, Any]) -> list[object]:
    names = ("segment", "rows", "deleted", "scheme", "refine")
    states = ("yes" if segment[name] else "no" for name in ("graph", "calibration"))
    return [*(segment[name] for name in names), *states, sum(segment["bytes"].values())]
