"""Open an import file of any format, or a file of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from vecstore.cli.array_files import load_arrays, open_fvecs, open_npz, read_matrices, read_matrix
from vecstore.cli.jsonl_files import open_jsonl
from vecstore.cli.parquet_files import open_parquet
from vecstore.cli.source import Batch, ReadOptions, Source
from vecstore.errors import InvalidArgumentError
from vecstore.types import F32, I64

__all__ = ["FORMATS", "open_source", "read_counts", "read_fields", "read_queries"]

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


def read_fields(path: Path, wanted: tuple[str, ...]) -> dict[str, F32]:
    """Read the matrix of each field, float32[n, dim], in order of its rows.

    Parameters
    ----------
    path : Path
        An .npz archive, each of whose matrices is a field (the only one is ``row``); or any other file that can be
        imported, or an .npy file, whose rows are the field ``row``.
    wanted : tuple of str
        Arrays of the archive to take, as fields of their names; empty for all matrices.

    Raises
    ------
    InvalidArgumentError
        Unknown ending, no such arrays or columns, not finite, no rows.
    FormatError
        Not a file of that format.
    """
    from vecstore.schemes.single_field import ROW_FIELD

    suffix = path.suffix.lower()
    if suffix == ".npz":
        fields = read_matrices(path, wanted)
        return fields if wanted or len(fields) > 1 else dict(zip([ROW_FIELD], fields.values(), strict=True))
    if wanted:
        raise InvalidArgumentError(f"--field: only .npz archives have named matrices, not {path}")
    if suffix in (".npy", ".fvecs"):
        return {ROW_FIELD: read_matrix(path)}
    batches = [vectors for _, vectors, _ in open_source(path, "auto", ReadOptions()).batches]
    if not batches:
        raise InvalidArgumentError(f"{path}: there are no rows")
    return {ROW_FIELD: np.concatenate(batches)}


def read_counts(path: Path, fields: tuple[str, ...]) -> dict[str, I64]:
    """Read how often each row of each field is used; whether counts fit the rows is for the fit to say.

    Raises
    ------
    InvalidArgumentError
        A plain array for several fields, or an archive without the array of a field.
    FormatError
        Not a file of plain numpy arrays.
    """
    loaded = load_arrays(path)
    arrays = loaded if isinstance(loaded, dict) else {fields[0]: loaded}
    missing = [field for field in fields if field not in arrays]
    if missing:
        raise InvalidArgumentError(
            f"{path}: has no counts of the fields {', '.join(missing)}; save an .npz archive with one array a field"
        )
    return {field: arrays[field] for field in fields}


def _limited(batches: Iterator[Batch], limit: int) -> Iterator[Batch]:
    """Give the first ``limit`` rows."""
    left = limit
    for ids, vectors, metadata in batches:
        if len(ids) >= left:
            yield ids[:left], vectors[:left], None if metadata is None else metadata.slice(0, left)
            return
        left -= len(ids)
        yield ids, vectors, metadata
