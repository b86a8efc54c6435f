"""The check that a filter fits the columns of a collection."""

from __future__ import annotations

import difflib
from datetime import datetime
from enum import StrEnum

import pyarrow as pa

from vecstore.errors import FilterError
from vecstore.filters.ast import Between, Compare, Contains, Filter, In, IsNull, Leaf, Like, Value, leaves

#: Column names listed in a message.
_LISTED = 20


class Kind(StrEnum):
    """The sorts of columns that filters can read, as messages call them."""

    BOOL = "bool"
    INTEGER = "int64"
    FLOAT = "float64"
    STRING = "string"
    TIMESTAMP = "timestamp"
    LIST = "list of strings"


#: Exact types of the literals that each kind compares with; a bool is no number here.
_LITERALS: dict[Kind, tuple[type, ...]] = {
    Kind.BOOL: (bool,),
    Kind.INTEGER: (int, float),
    Kind.FLOAT: (int, float),
    Kind.STRING: (str,),
    Kind.TIMESTAMP: (datetime,),
    Kind.LIST: (),
}
_HINTS: dict[Kind, str] = {
    Kind.BOOL: "use = TRUE or = FALSE",
    Kind.INTEGER: "compare it with a number",
    Kind.FLOAT: "compare it with a number",
    Kind.STRING: "compare it with a 'string'",
    Kind.TIMESTAMP: "compare it with TIMESTAMP '2020-12-31 23:59:59', or a datetime in Python",
    Kind.LIST: "use CONTAINS 'item'",
}


def check(condition: Filter, schema: pa.Schema) -> None:
    """Make sure that ``condition`` can be evaluated on columns of ``schema``.

    Parameters
    ----------
    condition : Filter
        The filter.
    schema : pyarrow.Schema
        All metadata columns of the collection: bool, int64, float64, string, timestamp in microseconds, or
        list of strings.

    Raises
    ------
    FilterError
        A column does not exist (the message names the nearest and lists the known ones), or its type does
        not fit what it is compared with.
    """
    for leaf in leaves(condition):
        _check_leaf(leaf, schema)


def kind_of(column_type: pa.DataType) -> Kind | None:
    """Give the kind of an Arrow type, or None for a type that filters cannot read."""
    if pa.types.is_timestamp(column_type):
        return Kind.TIMESTAMP if column_type.unit == "us" else None
    if pa.types.is_list(column_type) or pa.types.is_large_list(column_type):
        return Kind.LIST if _is_string(column_type.value_type) else None
    if _is_string(column_type):
        return Kind.STRING
    exact = {pa.bool_(): Kind.BOOL, pa.int64(): Kind.INTEGER, pa.float64(): Kind.FLOAT}
    return exact.get(column_type)


def _is_string(column_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(column_type) or pa.types.is_large_string(column_type))


def _check_leaf(leaf: Leaf, schema: pa.Schema) -> None:
    index = schema.get_field_index(leaf.column)
    if index < 0:
        raise _unknown(leaf.column, schema.names)
    column_type = schema.field(index).type
    kind = kind_of(column_type)
    if kind is None:
        raise FilterError(
            f"where: column {leaf.column!r} has type {column_type}, which filters cannot read", field="where"
        )
    match leaf:
        case Compare(_, op, value):
            _check_values(leaf.column, kind, (value,))
            if kind is Kind.BOOL and op not in ("eq", "ne"):
                raise _misfit(leaf.column, kind, "has no order")
        case Between(_, low, high):
            _check_values(leaf.column, kind, (low, high))
            if kind is Kind.BOOL:
                raise _misfit(leaf.column, kind, "has no order")
        case In(_, values):
            _check_values(leaf.column, kind, values)
        case Like() if kind is not Kind.STRING:
            raise _misfit(leaf.column, kind, "cannot be used with LIKE, which takes a string column")
        case Contains() if kind is not Kind.LIST:
            raise _misfit(leaf.column, kind, "cannot be used with CONTAINS, which takes a list column")
        case IsNull():
            pass


def _check_values(column: str, kind: Kind, values: tuple[Value, ...]) -> None:
    for value in values:
        if type(value) not in _LITERALS[kind]:
            raise _misfit(column, kind, f"cannot be compared with {value!r} ({type(value).__name__})")


def _misfit(column: str, kind: Kind, problem: str) -> FilterError:
    return FilterError(f"where: column {column!r} of type {kind} {problem}; {_HINTS[kind]}", field="where")


def _unknown(column: str, known: list[str]) -> FilterError:
    close = difflib.get_close_matches(column, known, n=1) or [name for name in known if name.lower() == column.lower()]
    suggestion = f"; did you mean {close[0]!r}?" if close else ";"
    listed = ", ".join(repr(name) for name in known[:_LISTED]) + (", ..." if len(known) > _LISTED else "")
    columns = f"the columns are {listed}" if known else "the collection has no metadata columns"
    return FilterError(f"where: there is no column {column!r}{suggestion} {columns}", field="where")
