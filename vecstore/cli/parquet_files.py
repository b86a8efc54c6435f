"""Import and export Parquet files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vecstore.cli.source import Batch, ReadOptions, Source, check_columns, check_dim, finite_matrix, row_number_note
from vecstore.config import CollectionConfig, decode_json, encode_json
from vecstore.errors import FormatError, InvalidArgumentError
from vecstore.storage.atomic import fsync_path
from vecstore.types import F32, IdArray, as_ids

#: Key of the file's schema metadata that holds the settings of the exported collection, as JSON.
_CONFIG_KEY = b"vecstore.collection"
#: Bytes in memory that make a row group: large enough to compress and to be read in one go.
_ROW_GROUP_BYTES = 64 << 20


def open_parquet(path: Path, options: ReadOptions) -> Source:
    """Open a Parquet file with a column of vectors (lists of half, float or double).

    Raises
    ------
    FormatError
        Not a Parquet file.
    InvalidArgumentError
        No column of vectors, or a column that cannot be stored.
    """
    file = _open(path)
    schema = file.schema_arrow
    vector = _vector_field(path, schema, options.vector_column or "vector")
    id_name = _id_name(path, schema, options.id_column)
    left_out = {vector.name, id_name} | options.skip_columns
    kept = [name for name in schema.names if name not in left_out]
    check_columns(path, pa.schema([field for field in schema if field.name in kept]))
    names = [name for name in (id_name, vector.name) if name is not None]
    dim = check_dim(path, _dim(path, file, vector))
    return Source(
        rows=file.metadata.num_rows,
        dim=dim,
        batches=_batches(path, file, [*names, *kept], (id_name, vector.name, dim), options.batch_size),
        notes=() if id_name is not None else (row_number_note(path, "id"),),
        config=_stored_config(path, schema),
    )


def write_parquet(
    path: Path,
    batches: Iterator[pa.RecordBatch],
    empty: pa.Schema,
    config: CollectionConfig,
    advance: Callable[[int], None],
) -> int:
    """Write batches to a file that appears under its name only when it is complete; give the number of rows.

    Parameters
    ----------
    path : Path
        The file; replaced where it exists.
    batches : iterator of pyarrow.RecordBatch
        Rows as :meth:`vecstore.api.Collection.scan` gives them.
    empty : pyarrow.Schema
        Columns to write where there is no batch.
    config : CollectionConfig
        Settings of the collection, kept in the file so that an import can restore them.
    advance : callable
        Called with the number of rows just written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    first = next(batches, None)
    schema = (empty if first is None else first.schema).with_metadata({_CONFIG_KEY: encode_json(config.to_dict())})
    plain = [name for name in schema.names if name != "vector"]
    try:
        # Dictionaries and statistics cost time and help nobody on vectors.
        with pq.ParquetWriter(
            temporary, schema, compression="zstd", use_dictionary=plain, write_statistics=plain
        ) as writer:
            rows = 0
            for group in _row_groups(first, batches):
                writer.write_table(group)
                rows += group.num_rows
                advance(group.num_rows)
        fsync_path(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _row_groups(first: pa.RecordBatch | None, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join batches into row groups."""
    if first is None:
        return
    waiting, size = [first], first.nbytes
    for batch in batches:
        if size >= _ROW_GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, size = [], 0
        waiting.append(batch)
        size += batch.nbytes
    yield pa.Table.from_batches(waiting)


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path, memory_map=True)
    except pa.ArrowException as error:
        raise FormatError(f"{path}: not a Parquet file ({error})") from None


def _vector_field(path: Path, schema: pa.Schema, name: str) -> pa.Field:
    candidates = [field.name for field in schema if _is_vector(field.type)]
    if name in candidates:
        return schema.field(name)
    problem = f"has no column {name!r}" if name not in schema.names else f"column {name!r} is {schema.field(name).type}"
    hint = f"--vector-column {candidates[0]} would fit" if candidates else "no column of the file is one"
    raise InvalidArgumentError(f"{path}: {problem}; expected lists of half, float or double ({hint})")


def _is_vector(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and pa.types.is_floating(kind.value_type))


def _id_name(path: Path, schema: pa.Schema, wanted: str | None) -> str | None:
    name = wanted or "id"
    if name not in schema.names:
        if wanted is None:
            return None
        raise InvalidArgumentError(f"{path}: has no column {name!r}; its columns are: {', '.join(schema.names)}")
    kind = schema.field(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InvalidArgumentError(f"{path}: column {name!r} is {kind}; ids are integers or strings")
    return name


def _dim(path: Path, file: pq.ParquetFile, vector: pa.Field) -> int:
    if pa.types.is_fixed_size_list(vector.type):
        return int(vector.type.list_size)
    for batch in file.iter_batches(batch_size=1, columns=[vector.name]):
        if batch.num_rows:
            return int(pc.list_value_length(batch.column(0))[0].as_py() or 0)
    raise InvalidArgumentError(f"{path}: holds no rows, so the number of dimensions is unknown")


def _stored_config(path: Path, schema: pa.Schema) -> CollectionConfig | None:
    stored = (schema.metadata or {}).get(_CONFIG_KEY)
    if stored is None:
        return None
    try:
        return CollectionConfig.from_dict(decode_json(stored))
    except InvalidArgumentError as error:
        raise FormatError(
            f"{path}: its collection settings cannot be read ({error}); a newer vecstore wrote it?"
        ) from None


def _batches(
    path: Path, file: pq.ParquetFile, names: list[str], layout: tuple[str | None, str, int], batch_size: int
) -> Iterator[Batch]:
    id_name, vector_name, dim = layout
    start = 0
    with file:
        try:
            for batch in file.iter_batches(batch_size=batch_size, columns=names):
                vectors = _matrix(path, batch.column(vector_name), dim, start)
                ids = _ids(path, None if id_name is None else batch.column(id_name), start, batch.num_rows)
                used = [name for name in (id_name, vector_name) if name is not None]
                metadata = pa.Table.from_batches([batch.drop_columns(used)]) if len(names) > len(used) else None
                yield ids, vectors, metadata
                start += batch.num_rows
        except pa.ArrowException as error:
            raise FormatError(f"{path}: cannot be read from row {start} on ({error})") from None


def _ids(path: Path, column: pa.Array | None, start: int, rows: int) -> IdArray:
    if column is None:
        return np.arange(start, start + rows, dtype=np.int64)
    if column.null_count:
        row = start + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InvalidArgumentError(f"{path}: row {row} has no id; fill it in or remove the row")
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    try:
        return as_ids(column.to_pylist() if is_text else column.to_numpy())
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: rows {start} to {start + rows - 1}: {error}") from None


def _matrix(path: Path, column: Any, dim: int, start: int) -> F32:
    """Give a column of lists as float32[n, dim]."""
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise InvalidArgumentError(f"{path}: row {start + row} has no vector; fill it in or remove the row")
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != dim)
    if len(wrong):
        row = int(wrong[0])
        raise InvalidArgumentError(f"{path}: row {start + row} has {lengths[row]} dimensions, row 0 has {dim}")
    values = column.flatten()
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // dim
        raise InvalidArgumentError(f"{path}: row {start + row}: the vector holds a null; correct or remove the row")
    matrix = values.to_numpy(zero_copy_only=False).reshape(-1, dim)
    return finite_matrix(path, matrix, range(start, start + len(matrix)))
