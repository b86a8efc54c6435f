"""Metadata at the public edge: what users pass becomes one Arrow table of known column types.

Types are ``bool``, ``int64``, ``float64``, ``string``, ``timestamp`` (microseconds, UTC) and
``list<string>``. The first batch that has a column decides its type; later batches must fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from vecstore.errors import InvalidArgumentError, LimitError
from vecstore.types import Metadata

#: Names that a metadata column cannot have, because results use them.
RESERVED = frozenset({"id", "vector", "distance", "query"})
#: Longest column name, in characters.
MAX_NAME = 128
#: Most metadata columns of a collection.
MAX_COLUMNS = 1_024

#: The stored type of each type name.
COLUMN_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "list<string>": pa.list_(pa.string()),
}
#: Seconds from 1970 to the years 1 and 10000: what ``datetime`` can hold lies from the first to before the second.
_FIRST_SECOND = -62_135_596_800
_END_SECOND = 253_402_300_800
#: Steps of a time unit in a second, and seconds in a day.
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_SECONDS = 86_400


def schema_of(columns: dict[str, str]) -> pa.Schema:
    """Give the Arrow schema of stored columns (name -> type name)."""
    return pa.schema([pa.field(name, COLUMN_TYPES[kind]) for name, kind in columns.items()])


def as_metadata(metadata: Metadata | None, rows: int) -> pa.Table:
    """Give ``metadata`` as a table of ``rows`` rows whose columns have stored types; all-null columns are left out.

    Raises
    ------
    InvalidArgumentError
        Another number of rows, a reserved or unusable name, or a type that is not stored.
    """
    if metadata is None:
        return pa.table({})
    table = _as_table(metadata, rows)
    if table.num_columns and table.num_rows != rows:
        raise InvalidArgumentError(f"metadata: {table.num_rows} rows for {rows} ids", field="metadata")
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        _check_name(name)
        if name in columns:
            raise InvalidArgumentError(f"metadata: column {name!r} occurs twice", field=f"metadata.{name}")
        if column.null_count < len(column):
            columns[name] = _stored(name, column)
    return pa.table(columns)


def merged_columns(known: dict[str, str], table: pa.Table) -> dict[str, str]:
    """Give ``known`` plus the new columns of ``table``.

    Raises
    ------
    InvalidArgumentError
        A column has another type than before (int64 where float64 is stored is fine, if float64 holds it exactly).
    LimitError
        There would be more than :data:`MAX_COLUMNS`.
    """
    merged = dict(known)
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = type_name(field.type)
        stored = merged.setdefault(field.name, kind)
        if stored == kind:
            continue
        if (stored, kind) != ("float64", "int64"):
            raise InvalidArgumentError(
                f"metadata: column {field.name!r} is {stored} in this collection, got {kind}; nothing was written. "
                f"The first batch that has a column decides its type: pass {stored}, or use another column name",
                field=f"metadata.{field.name}",
            )
        _check_exact(field.name, column)
    if len(known) < len(merged) > MAX_COLUMNS:
        raise LimitError(
            f"metadata: {len(merged)} columns, the limit is {MAX_COLUMNS} a collection; nothing was written. "
            "Keep what is not filtered on together in one string column, e.g. as JSON",
            field="metadata",
        )
    return merged


def conform(table: pa.Table, columns: dict[str, str], rows: int) -> pa.Table:
    """Give ``table`` with exactly ``columns``: missing ones null, ints widened to float64 where stored so."""
    arrays = []
    schema, present = schema_of(columns), table.schema
    for field in schema:
        place = present.get_field_index(field.name)
        if place < 0:
            arrays.append(pa.nulls(rows, field.type))
            continue
        column = table.column(place)
        # Writing has checked that the values fit. Reading rounds rather than fails: rows that are stored stay readable.
        arrays.append(column if column.type == field.type else column.cast(field.type, safe=False))
    return pa.table(arrays, schema=schema) if arrays else pa.table({"": pa.nulls(rows)}).select([])


def narrowed(table: pa.Table, columns: dict[str, str]) -> pa.Table:
    """Give those of ``columns`` that ``table`` has."""
    places = [table.schema.get_field_index(name) for name in columns]
    return table.select([place for place in places if place >= 0])


def type_name(kind: pa.DataType) -> str:
    """Give the name of a stored type.

    Raises
    ------
    InvalidArgumentError
        The type is not one of those stored.
    """
    for name, stored in COLUMN_TYPES.items():
        if kind == stored:
            return name
    raise InvalidArgumentError(
        f"metadata: type {kind} is not stored; use one of {', '.join(COLUMN_TYPES)}", field="metadata"
    )


def _as_table(metadata: Metadata, rows: int) -> pa.Table:
    if isinstance(metadata, pa.Table):
        return metadata
    if isinstance(metadata, pa.RecordBatch):
        return pa.Table.from_batches([metadata])
    if isinstance(metadata, dict):
        for name, values in metadata.items():
            _check_name(str(name))
            if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
                raise InvalidArgumentError(
                    f"metadata: column {name!r} must be a sequence of {rows} values, got {type(values).__name__}",
                    field=f"metadata.{name}",
                )
            if len(values) != rows:
                raise InvalidArgumentError(
                    f"metadata: column {name!r} has {len(values)} values for {rows} ids", field=f"metadata.{name}"
                )
        return pa.table({str(name): _infer(str(name), values) for name, values in metadata.items()})
    if isinstance(metadata, Sequence) and all(isinstance(row, dict) for row in metadata):
        if len(metadata) != rows:
            raise InvalidArgumentError(f"metadata: {len(metadata)} rows for {rows} ids", field="metadata")
        names = dict.fromkeys(name for row in metadata for name in row)
        for name in names:
            _check_name(str(name))
        return pa.table({str(n): _infer(str(n), [row.get(n) for row in metadata]) for n in names})
    raise InvalidArgumentError(
        f"metadata: expected a dict of columns, a list of dicts or a pyarrow table, got {type(metadata).__name__}",
        field="metadata",
    )


def _infer(name: str, values: Any) -> pa.Array:
    try:
        # In columns of objects NaN means "no value", as in pandas; among floats it is a value.
        return pa.array(values, from_pandas=True) if _has_objects(values) else pa.array(values)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        problem = error
    try:
        # The same for lists: NaN among strings can only mean "no value".
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise InvalidArgumentError(
            f"metadata: column {name!r} has values of mixed or unknown types ({problem}); convert them to one of "
            f"{', '.join(COLUMN_TYPES)}, with None for no value",
            field=f"metadata.{name}",
        ) from None


def _has_objects(values: Any) -> bool:
    return bool(getattr(values, "dtype", None) == "object")


def _check_exact(name: str, column: pa.ChunkedArray) -> None:
    """Refuse integers that float64 would round."""
    try:
        column.cast(pa.float64())
    except pa.ArrowInvalid as error:
        raise InvalidArgumentError(
            f"metadata: column {name!r} is float64 in this collection, which cannot hold these integers exactly "
            f"({error}); nothing was written. Pass them as floats if rounding is fine, or as strings in another column",
            field=f"metadata.{name}",
        ) from None


def _check_years(name: str, column: pa.ChunkedArray) -> None:
    """Refuse times outside the years 1 to 9999: Python's ``datetime`` could not show them."""
    kind = column.type
    if pa.types.is_date32(kind):
        steps, first, end = column.cast(pa.int32()), _FIRST_SECOND // _DAY_SECONDS, _END_SECOND // _DAY_SECONDS
    else:
        per_second = _PER_SECOND["ms" if pa.types.is_date64(kind) else kind.unit]
        steps, first, end = column.cast(pa.int64()), _FIRST_SECOND * per_second, _END_SECOND * per_second
    import pyarrow.compute as pc

    extremes = pc.min_max(steps).as_py()
    if extremes["min"] is not None and not first <= extremes["min"] <= extremes["max"] < end:
        raise InvalidArgumentError(
            f"metadata: column {name!r} has times outside the years 1 to 9999; pass None where there is no date",
            field=f"metadata.{name}",
        )


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"metadata: column name {name!r} has a lone surrogate, which is no Unicode text; rename the column",
            field="metadata",
        ) from None
    if not name or len(name) > MAX_NAME or name in RESERVED or name.startswith("_") or "\0" in name:
        raise InvalidArgumentError(
            f"metadata: column name {name!r} cannot be used: 1 to {MAX_NAME} characters, not starting with '_', "
            f"not one of {', '.join(sorted(RESERVED))}",
            field=f"metadata.{name}",
        )


def _stored(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cast to the stored type of the column's kind; refuse what has none or does not fit."""
    kind = column.type
    try:
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
            kind = column.type
        if pa.types.is_boolean(kind):
            return column
        if pa.types.is_integer(kind):
            return column.cast(pa.int64())
        if pa.types.is_floating(kind):
            return column.cast(pa.float64())
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            return column.cast(pa.string())
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
            _check_years(name, column)
            # Naive times are taken as UTC. Nanoseconds are cut to microseconds, which is no error.
            is_exact = getattr(kind, "unit", "") != "ns"
            if getattr(kind, "tz", None):
                return column.cast(COLUMN_TYPES["timestamp"], safe=is_exact)
            return column.cast(pa.timestamp("us"), safe=is_exact).cast(COLUMN_TYPES["timestamp"])
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            inner = kind.value_type
            if pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner):
                return column.cast(COLUMN_TYPES["list<string>"])
    except pa.ArrowException as error:
        raise InvalidArgumentError(f"metadata: column {name!r}: {error}", field=f"metadata.{name}") from None
    raise InvalidArgumentError(
        f"metadata: column {name!r} has type {kind}, which is not stored; use one of {', '.join(COLUMN_TYPES)}",
        field=f"metadata.{name}",
    )
