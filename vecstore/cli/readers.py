"""Open an import file of any format, or a file of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from vecstore.cli.array_files import open_fvecs, open_npz, read_matrix
from vecstore.cli.jsonl_files import open_jsonl
from vecstore.cli.parquet_files import open_parquet
from vecstore.cli.source import Batch, ReadOptions, Source
from vecstore.errors import InvalidArgumentError
from vecstore.types import F32

__all__ = ["FORMATS", "open_source", "read_queries"]

_READERS: dict[str, Callable[[Path, ReadOptions], Source]] = {
    "parquet": open_parquet,
    "npz": open_npz,
    "jsonl": open_jsonl,
    "fvecs": open_fvecs,
}
_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npz": "npz",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".fvecs": "fvecs",
}
#: Names of the formats that can be imported.
FORMATS = tuple(_READERS)


def open_source(path: Path, kind: str, options: ReadOptions) -> Source:
    """Open a file of vectors.

    Parameters
    ----------
    path : Path
        The file.
    kind : str
        One of :data:`FORMATS`, or ``"auto"`` to go by the name's ending.
    options : ReadOptions
        Column names, batch size, limit.

    Raises
    ------
    InvalidArgumentError
        Unknown ending, missing or unusable columns, no rows to tell the dimensions from.
    FormatError
        Not a file of that format.
    """
    if kind == "auto":
        if path.suffix.lower() not in _SUFFIXES:
            raise InvalidArgumentError(
                f"{path}: cannot tell the format from its name; pass --format {'|'.join(FORMATS)}"
            )
        kind = _SUFFIXES[path.suffix.lower()]
    source = _READERS[kind](path, options)
    if options.limit is None:
        return source
    rows = None if source.rows is None else min(source.rows, options.limit)
    return replace(source, rows=rows, batches=_limited(source.batches, options.limit))


def read_queries(path: Path) -> F32:
    """Read a matrix float32[q, dim] from .npy, .npz (its array ``queries``, or the only matrix) or .fvecs.

    Raises
    ------
    InvalidArgumentError
        Another ending, no such matrix, not finite.
    FormatError
        Not a file of that format.
    """
    return read_matrix(path)


def _limited(batches: Iterator[Batch], limit: int) -> Iterator[Batch]:
    """Give the first ``limit`` rows."""
    left = limit
    for ids, vectors, metadata in batches:
        if len(ids) >= left:
            yield ids[:left], vectors[:left], None if metadata is None else metadata.slice(0, left)
            return
        left -= len(ids)
        yield ids, vectors, metadata
