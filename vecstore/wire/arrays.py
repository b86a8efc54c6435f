"""Vectors, ids and tables of metadata on the wire."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vecstore.errors import InvalidArgumentError
from vecstore.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vecstore.types import F32, IdArray

# The wire is little-endian whatever the machine.
_FLOAT = np.dtype("<f4")
_INT = np.dtype("<i8")


def vectors_to_message(matrix: F32) -> common_pb2.Vectors:
    """Pack float32[n, dim]."""
    return common_pb2.Vectors(float32=floats_to_bytes(matrix), dim=matrix.shape[1], count=len(matrix))


def vectors_from_message(message: common_pb2.Vectors, *, field: str) -> F32:
    """Unpack float32[count, dim], writable and contiguous.

    Raises
    ------
    InvalidArgumentError
        ``dim`` is 0, or the bytes are not ``count * dim`` float32.
    """
    if message.dim == 0:
        raise InvalidArgumentError(f"{field}: dim is 0; send the number of values a row", field=f"{field}.dim")
    expected = message.count * message.dim * _FLOAT.itemsize
    if len(message.float32) != expected:
        raise InvalidArgumentError(
            f"{field}: {message.count} rows of {message.dim} float32 are {expected} bytes, got {len(message.float32)}",
            field=f"{field}.float32",
        )
    return floats_from_bytes(message.float32).reshape(message.count, message.dim)


def floats_to_bytes(values: F32) -> bytes:
    """Pack float32 of any shape, in C order."""
    return np.ascontiguousarray(values, dtype=_FLOAT).tobytes()


def floats_from_bytes(data: bytes) -> F32:
    """Unpack float32[n] into a writable array (kernels are compiled for those)."""
    return np.frombuffer(data, dtype=_FLOAT).astype(np.float32)


def ids_to_message(ids: IdArray) -> common_pb2.Ids:
    """Pack int64[n], or an object array of n strings."""
    if ids.dtype == np.int64:
        return common_pb2.Ids(int64_ids=np.ascontiguousarray(ids, dtype=_INT).tobytes())
    return common_pb2.Ids(string_ids=common_pb2.StringIds(values=ids.tolist()))


def ids_from_message(message: common_pb2.Ids, *, field: str = "ids") -> IdArray:
    """Unpack int64[n] or an object array of n strings.

    Raises
    ------
    InvalidArgumentError
        Neither kind is set, or the bytes are not whole integers.
    """
    kind = message.WhichOneof("kind")
    if kind is None:
        raise InvalidArgumentError(f"{field}: missing; set int64_ids or string_ids", field=field)
    if kind == "int64_ids":
        if len(message.int64_ids) % _INT.itemsize:
            raise InvalidArgumentError(
                f"{field}: {len(message.int64_ids)} bytes are not a whole number of {_INT.itemsize}-byte integers",
                field=f"{field}.int64_ids",
            )
        return np.frombuffer(message.int64_ids, dtype=_INT).astype(np.int64)
    strings = np.empty(len(message.string_ids.values), object)
    strings[:] = list(message.string_ids.values)
    return strings


def id_count(message: common_pb2.Ids) -> int:
    """Give the number of ids without unpacking them."""
    return len(message.int64_ids) // _INT.itemsize or len(message.string_ids.values)


def table_to_bytes(table: pa.Table) -> bytes:
    """Pack a table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def table_from_bytes(data: bytes, *, field: str) -> pa.Table:
    """Unpack an Arrow IPC stream and check every offset and length in it.

    Raises
    ------
    InvalidArgumentError
        The bytes are not a sound Arrow IPC stream.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgumentError(
            f"{field}: not a sound Arrow IPC stream ({error}); send a schema and record batches", field=field
        ) from None
    return table


def batch_to_bytes(batch: pa.RecordBatch) -> bytes:
    """Pack one record batch as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def batch_from_bytes(data: bytes) -> pa.RecordBatch:
    """Unpack the one record batch of an Arrow IPC stream.

    Raises
    ------
    InvalidArgumentError
        The bytes are not such a stream.
    """
    table = table_from_bytes(data, field="batch_arrow")
    batches = table.to_batches()
    if len(batches) != 1:
        raise InvalidArgumentError(f"batch_arrow: expected one record batch, got {len(batches)}", field="batch_arrow")
    return batches[0]


def columns_to_message(columns: Sequence[str] | None) -> common_pb2.Columns | None:
    """Pack a choice of columns; None (all of them) is an absent message.

    Raises
    ------
    InvalidArgumentError
        A single string, or names that are not strings.
    """
    if columns is None:
        return None
    names = list(columns) if isinstance(columns, Iterable) and not isinstance(columns, str) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise InvalidArgumentError(f"columns: expected a list of names, got {columns!r}", field="columns")
    return common_pb2.Columns(names=names)
