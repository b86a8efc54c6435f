"""Look-ups and figures of tables on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vecstore.errors import InvalidArgumentError
from vecstore.table_api import OnUnknown, TableStats, TableVersion
from vecstore.types import F32, I64
from vecstore.v1 import common_pb2, tables_pb2
from vecstore.wire.arrays import vectors_from_message, vectors_to_message
from vecstore.wire.records import scheme_from_message, scheme_to_message

if TYPE_CHECKING:
    from collections.abc import Mapping

_INT = np.dtype("<i8")
_UNKNOWN: dict[OnUnknown, tables_pb2.OnUnknown] = {
    "error": tables_pb2.ON_UNKNOWN_ERROR,
    "hash": tables_pb2.ON_UNKNOWN_HASH,
}


def lookup_to_message(table: str, field: str | None, ids: Any) -> tables_pb2.TableLookup:
    """Pack one look-up: int64[n, fields], or int64[n] of a field.

    Raises
    ------
    InvalidArgumentError
        Not integers, or another number of axes.
    """
    try:
        given = np.asarray(ids)
    except ValueError as error:
        raise InvalidArgumentError(f"ids: rows have different lengths ({error})", field="ids") from None
    axes = 2 if field is None else 1
    if given.ndim != axes or (given.dtype.kind not in "iu" and given.size):
        expected = "int64[n, fields], one column a field" if field is None else f"int64[n] for the field {field!r}"
        raise InvalidArgumentError(f"ids: expected {expected}, got {given.dtype}{list(given.shape)}", field="ids")
    return tables_pb2.TableLookup(
        table=table,
        field=field,
        ids=np.ascontiguousarray(given, dtype=_INT).tobytes(),
        columns=given.shape[1] if field is None else 0,
    )


def lookup_from_message(message: tables_pb2.TableLookup) -> tuple[str, str | None, I64]:
    """Unpack one look-up.

    Raises
    ------
    InvalidArgumentError
        The bytes are not whole rows of ids.
    """
    field = message.field if message.HasField("field") else None
    row_bytes = _INT.itemsize * (message.columns if field is None else 1)
    if row_bytes == 0 or len(message.ids) % row_bytes:
        raise InvalidArgumentError(
            f"ids: {len(message.ids)} bytes are not rows of {message.columns or 1} integers of {_INT.itemsize} bytes; "
            "set field, or columns to the number of fields",
            field="ids",
        )
    ids = np.frombuffer(message.ids, dtype=_INT).astype(np.int64)
    return message.table, field, ids if field is not None else ids.reshape(-1, message.columns)


def id_count(message: tables_pb2.TableLookup) -> int:
    """Give the number of ids without unpacking them."""
    return len(message.ids) // _INT.itemsize


def on_unknown_to_message(on_unknown: OnUnknown) -> tables_pb2.OnUnknown:
    """Pack what to do about unknown ids.

    Raises
    ------
    InvalidArgumentError
        Neither of the choices.
    """
    if on_unknown not in _UNKNOWN:
        raise InvalidArgumentError(f"on_unknown: expected 'error' or 'hash', got {on_unknown!r}", field="on_unknown")
    return _UNKNOWN[on_unknown]


def on_unknown_from_message(value: tables_pb2.OnUnknown) -> OnUnknown:
    """Unpack what to do about unknown ids; unspecified means an error.

    Raises
    ------
    InvalidArgumentError
        A number that this release does not know.
    """
    if value in (tables_pb2.ON_UNKNOWN_UNSPECIFIED, tables_pb2.ON_UNKNOWN_ERROR):
        return "error"
    if value == tables_pb2.ON_UNKNOWN_HASH:
        return "hash"
    raise InvalidArgumentError(f"on_unknown: {value} is not known to this release", field="on_unknown")


def vectors_of_ids_to_message(vectors: F32) -> common_pb2.Vectors:
    """Pack float32[n, fields, dim] or float32[n, dim] as one row an id."""
    return vectors_to_message(vectors.reshape(-1, vectors.shape[-1]))


def vectors_of_ids_from_message(message: common_pb2.Vectors, lookup: tables_pb2.TableLookup) -> F32:
    """Unpack what was found for ``lookup``.

    Raises
    ------
    InvalidArgumentError
        There are not as many vectors as ids.
    """
    vectors = vectors_from_message(message, field="vectors")
    if len(vectors) != id_count(lookup):
        raise InvalidArgumentError(f"the reply has {len(vectors)} vectors for {id_count(lookup)} ids")
    return vectors if lookup.HasField("field") else vectors.reshape(-1, lookup.columns, message.dim)


def table_to_message(fields: Mapping[str, int], stats: TableStats) -> tables_pb2.GetTableResponse:
    """Pack the fields and figures of a table."""
    return tables_pb2.GetTableResponse(
        fields=[tables_pb2.TableField(name=name, size=size) for name, size in fields.items()],
        dim=stats.dim,
        version=stats.version,
        rows=stats.rows,
        nbytes=stats.nbytes,
        overhead_bytes=stats.overhead_bytes,
        parts=[
            tables_pb2.TablePart(
                scheme=scheme_to_message(part["scheme"]), fields=part["fields"], rows=part["rows"], bytes=part["bytes"]
            )
            for part in stats.parts
        ],
    )


def fields_from_message(message: tables_pb2.GetTableResponse) -> dict[str, int]:
    """Unpack the number of ids of each field."""
    return {field.name: field.size for field in message.fields}


def table_stats_from_message(message: tables_pb2.GetTableResponse) -> TableStats:
    """Unpack the figures of a table."""
    row_bytes = message.dim * 4
    return TableStats(
        version=message.version,
        rows=message.rows,
        dim=message.dim,
        nbytes=message.nbytes,
        overhead_bytes=message.overhead_bytes,
        ratio=message.rows * row_bytes / message.nbytes,
        parts=[
            {
                "scheme": scheme_from_message(part.scheme, field="scheme"),
                "fields": list(part.fields),
                "rows": part.rows,
                "bytes": part.bytes,
                "ratio": part.rows * row_bytes / part.bytes,
            }
            for part in message.parts
        ],
    )


def version_to_message(version: TableVersion) -> tables_pb2.TableVersion:
    """Pack one version of a table."""
    return tables_pb2.TableVersion(
        number=version.number, created=version.created, nbytes=version.nbytes, current=version.current
    )


def version_from_message(message: tables_pb2.TableVersion) -> TableVersion:
    """Unpack one version of a table."""
    return TableVersion(message.number, message.created, message.nbytes, message.current)
