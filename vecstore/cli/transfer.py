"""``vecstore import`` and ``vecstore export``: rows from and to files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vecstore.cli import console
from vecstore.cli.options import SCHEME, examples, scheme_name, where_option
from vecstore.cli.target import Target, takes_store
from vecstore.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError, VecstoreError

if TYPE_CHECKING:
    import pyarrow as pa

    from vecstore.api import Collection, Database
    from vecstore.cli.source import Batch, Source
    from vecstore.config import CollectionConfig

#: Rows that one message of an export brings.
_EXPORT_BATCH = 4_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Settings of the collection as given on the command line; None where left out."""

    metric: str | None
    scheme: str | dict[str, Any] | None
    refine: str | dict[str, Any] | None


@click.command(
    "import",
    short_help="Write the rows of a file to a collection.",
    epilog=examples(
        "vecstore import ./store docs docs.parquet --scheme int8",
        "vecstore import grpc://localhost:7700 docs docs.jsonl --mode insert",
    ),
)
@takes_store
@click.argument("collection")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--format",
    "kind",
    type=click.Choice(["auto", "parquet", "npz", "jsonl", "fvecs"]),
    default="auto",
    show_default=True,
    help="Format of FILE; auto goes by the ending of its name.",
)
@click.option("--id-column", metavar="NAME", help="Column, key or array of the ids.  [default: id; npz: ids]")
@click.option(
    "--vector-column", metavar="NAME", help="Column, key or array of the vectors.  [default: vector; npz: vectors]"
)
@click.option("--skip-column", "skipped", metavar="NAME", multiple=True, help="Leave a column out; may be repeated.")
@click.option(
    "--metric", type=click.Choice(["cosine", "l2", "ip"]), help="Metric of a new collection.  [default: cosine]"
)
@click.option("--scheme", type=SCHEME, help="Compression scheme of a new collection.  [default: full]")
@click.option("--refine", type=SCHEME, help="Scheme of the finer second copy that re-ranks.  [default: none]")
@click.option("--batch-size", type=click.IntRange(1, 1_000_000), default=1_000, show_default=True, help="Rows a write.")
@click.option(
    "--mode",
    type=click.Choice(["upsert", "insert"]),
    default="upsert",
    show_default=True,
    help="upsert replaces rows whose ids exist, insert refuses them.",
)
@click.option("--no-create", is_flag=True, help="Refuse where the collection does not exist.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Read the first N rows only.")
@click.option("--optimize", is_flag=True, help="Merge all segments into one with a graph afterwards.")
@click.option("--quiet", is_flag=True, help="No progress bar and no notes.")
def import_command(
    target: Target,
    collection: str,
    file: Path,
    kind: str,
    id_column: str | None,
    vector_column: str | None,
    skipped: tuple[str, ...],
    metric: str | None,
    scheme: str | dict[str, Any] | None,
    refine: str | dict[str, Any] | None,
    batch_size: int,
    mode: str,
    no_create: bool,
    limit: int | None,
    optimize: bool,
    quiet: bool,
) -> None:
    """Write the rows of FILE (Parquet, npz, JSON lines or fvecs) to COLLECTION.

    The store and the collection are created where they do not exist. Columns other than the id and the
    vector become metadata. A file written by 'vecstore export' brings the settings of its collection along.
    """
    from vecstore.cli.readers import open_source
    from vecstore.cli.source import ReadOptions

    options = ReadOptions(
        id_column=id_column,
        vector_column=vector_column,
        skip_columns=frozenset(skipped),
        batch_size=batch_size,
        limit=limit,
    )
    source = open_source(file, kind, options)
    for text in source.notes:
        console.note(text, quiet=quiet)
    with target.writing() if no_create else target.creating() as database:
        chosen = _destination(database, collection, source, Wanted(metric, scheme, refine), create=not no_create)
        write = chosen.upsert if mode == "upsert" else chosen.insert
        started = time.perf_counter()
        with console.progress("importing", source.rows, quiet=quiet) as advance:
            rows = _write_all(write, source.batches, file, collection, advance)
        seconds = time.perf_counter() - started
        chosen.flush()
        if optimize:
            chosen.optimize()
        sealed = time.perf_counter() - started - seconds
        if _lacks_graph(chosen):
            console.note(
                "large segments have no graph yet and are scanned: 'vecstore optimize' builds it, "
                "as does in the background a process that keeps the store open",
                quiet=quiet,
            )
    rate = f"{rows / seconds:,.0f} rows/s" if seconds else "-"
    click.echo(f"imported {rows:,} rows into {collection!r} in {seconds:.1f} s ({rate}), sealed in {sealed:.1f} s")


def _destination(database: Database, name: str, source: Source, wanted: Wanted, *, create: bool) -> Collection:
    """Give the collection to write to, created where it does not exist and may be."""
    try:
        collection = database.collection(name)
    except NotFoundError:
        if not create:
            raise
        return _create(database, name, source, wanted)
    _refuse_mismatch(name, collection.config, source, wanted)
    return collection


def _create(database: Database, name: str, source: Source, wanted: Wanted) -> Collection:
    """Create the collection as asked for, or as the file's collection was."""
    from vecstore.config import CollectionConfig

    usual = source.config or CollectionConfig(dim=source.dim, scheme={"scheme": "full"})
    return database.create_collection(
        name,
        dim=source.dim,
        metric=wanted.metric or usual.metric,
        scheme=wanted.scheme or (usual.scheme if source.config else "full"),
        # A refine copy belongs to the scheme it refines.
        refine=wanted.refine or (usual.refine if wanted.scheme is None else None),
        index=usual.index,
    )


def _refuse_mismatch(name: str, config: CollectionConfig, source: Source, wanted: Wanted) -> None:
    """Refuse a file or settings that do not fit the existing collection."""
    if config.dim != source.dim:
        raise InvalidArgumentError(f"the file has {source.dim} dimensions, collection {name!r} has {config.dim}")
    if wanted.metric is not None and wanted.metric != config.metric:
        raise InvalidArgumentError(f"collection {name!r} exists with metric {config.metric}; leave out --metric")
    for option, asked, known in (("scheme", wanted.scheme, config.scheme), ("refine", wanted.refine, config.refine)):
        if asked is not None and scheme_name(asked) != scheme_name(known):
            raise InvalidArgumentError(
                f"collection {name!r} exists with {option} {scheme_name(known) or 'none'}; leave out --{option}, "
                "and use 'vecstore compress' to change it"
            )


def _lacks_graph(collection: Collection) -> bool:
    """Tell whether a segment is still without the graph that its size asks for."""
    index = collection.config.index
    if index is None:
        return False
    return any(one["rows"] >= index.min_rows and not one["graph"] for one in collection.stats().segments)


def _write_all(
    write: Callable[..., int], batches: Iterator[Batch], file: Path, collection: str, advance: Callable[[int], None]
) -> int:
    """Write all batches; give the number of rows, also in the message when it ends early."""
    written = 0
    try:
        for ids, vectors, metadata in batches:
            try:
                write(ids, vectors, metadata)
            except VecstoreError as error:
                place = f"{file}: rows {written} to {written + len(ids) - 1} (counting from 0)"
                raise InvalidArgumentError(f"{place} were refused: {error}") from error
            written += len(ids)
            advance(len(ids))
    except VecstoreError as error:
        raise InvalidArgumentError(f"{error}\n{_already(written, collection)}") from error
    except KeyboardInterrupt:
        console.note(f"interrupted; {_already(written, collection)}")
        raise
    return written


def _already(written: int, collection: str) -> str:
    if not written:
        return f"no rows were written to {collection!r}"
    return f"{written:,} rows were written to {collection!r} before and stay there"


@click.command(
    "export",
    short_help="Write a collection to a Parquet file.",
    epilog=examples(
        "vecstore export ./store docs docs.parquet",
        "vecstore export ./store docs german.parquet --where \"lang = 'de'\" --no-vectors",
    ),
)
@takes_store
@click.argument("collection")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@where_option
@click.option("--no-vectors", is_flag=True, help="Ids and metadata only.")
@click.option("--overwrite", is_flag=True, help="Replace OUT where it exists.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def export_command(
    target: Target, collection: str, out: Path, where: str | None, no_vectors: bool, overwrite: bool, quiet: bool
) -> None:
    """Write the rows of COLLECTION to the Parquet file OUT.

    OUT has the columns id, vector and the metadata, and appears only when it is complete. 'vecstore import'
    reads it back, settings of the collection included.
    """
    from vecstore.cli.parquet_files import write_parquet

    if out.exists() and not overwrite:
        raise AlreadyExistsError(f"{out}: exists; choose another name or pass --overwrite")
    if not out.parent.is_dir():
        raise NotFoundError(f"{out.parent}: there is no such folder")
    with target.reading() as database:
        chosen = database.collection(collection)
        columns = chosen.stats().columns
        batches = chosen.scan(where=where, batch_size=_EXPORT_BATCH, columns=list(columns), vectors=not no_vectors)
        empty = _empty_schema(chosen, columns, vectors=not no_vectors)
        with console.progress("exporting", chosen.count(where), quiet=quiet) as advance:
            rows = write_parquet(out, batches, empty, chosen.config, advance)
    click.echo(f"exported {rows:,} rows of {collection!r} to {out}")


def _empty_schema(collection: Collection, columns: dict[str, str], *, vectors: bool) -> pa.Schema:
    """Give the columns of an export that has no rows."""
    import pyarrow as pa

    from vecstore.metadata import schema_of

    id_type = pa.string() if collection.stats().id_type == "string" else pa.int64()
    fields = [pa.field("id", id_type)]
    if vectors:
        fields.append(pa.field("vector", pa.list_(pa.float32(), collection.config.dim)))
    return pa.schema([*fields, *schema_of(columns)])
