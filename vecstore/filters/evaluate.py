"""Evaluate filters on Arrow tables, column by column.

Conditions are three-valued as in SQL: a comparison with null is null, NOT null is null, AND and OR follow
Kleene, and a row passes only where the whole is true. Numbers compare by their mathematical value, whatever
mixture of int64 and float64 they are. NaN is a value that equals nothing and is neither below nor above
anything: ``=``, ``<``, ``<=``, ``>``, ``>=``, ``IN`` and ``BETWEEN`` are false for it, and ``<>``, being
NOT ``=``, is true.
"""

from __future__ import annotations

import math
from datetime import datetime
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vecstore.filters.ast import (
    INT64_MAX,
    INT64_MIN,
    And,
    Between,
    Compare,
    Contains,
    Filter,
    In,
    IsNull,
    Like,
    Not,
    Op,
    Or,
    Value,
    unknown_node,
)
from vecstore.filters.columns import Kind, check, kind_of

if TYPE_CHECKING:
    from vecstore.types import Mask

_KERNELS = {"eq": pc.equal, "lt": pc.less, "le": pc.less_equal, "gt": pc.greater, "ge": pc.greater_equal}


def mask(condition: Filter, table: pa.Table | pa.RecordBatch) -> Mask:
    """Say which rows of ``table`` pass.

    Parameters
    ----------
    condition : Filter
        The filter.
    table : pyarrow.Table or RecordBatch
        n rows with all columns of the collection; columns that a batch of rows lacks are passed as nulls.

    Returns
    -------
    bool[n]
        True where the condition is true; false where it is false or null.

    Raises
    ------
    FilterError
        The condition does not fit the columns.
    """
    check(condition, table.schema)
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    verdict = pc.fill_null(_evaluate(condition, table), False)
    passed: Mask = verdict.to_numpy().astype(np.bool_, copy=False)
    return passed


def _evaluate(condition: Filter, table: pa.Table) -> pa.ChunkedArray:
    """Give the three-valued verdict: bool[n] with nulls."""
    match condition:
        case And():
            return reduce(pc.and_kleene, (_evaluate(operand, table) for operand in condition.operands))
        case Or():
            return reduce(pc.or_kleene, (_evaluate(operand, table) for operand in condition.operands))
        case Not():
            return pc.invert(_evaluate(condition.operand, table))
        case Compare(column, op, value):
            return _compare(table.column(column), op, value)
        case Between(column, low, high):
            values = table.column(column)
            return pc.and_kleene(_compare(values, "ge", low), _compare(values, "le", high))
        case In(column, members):
            return _is_in(table.column(column), members)
        case IsNull(column):
            return pc.is_null(table.column(column))
        case Like(column, pattern):
            return pc.match_like(table.column(column), pattern)
        case Contains(column, item):
            return _contains(table.column(column), item)
        case _:
            raise unknown_node(condition)


def _compare(values: pa.ChunkedArray, op: Op, literal: Value) -> pa.ChunkedArray:
    if op == "ne":
        return pc.invert(_compare(values, "eq", literal))
    nearest = _nearest(literal, kind_of(values.type))
    kernel = _KERNELS[op]
    bound = nearest.below
    if not nearest.exact:
        # The literal lies between two values of the column, so "below it" is "up to the value below it".
        # Nothing is less than the least value, and nothing equals the literal.
        if op == "eq" or (nearest.below is None and op in ("lt", "le")):
            kernel, bound = pc.less, nearest.least
        elif nearest.below is None:
            kernel, bound = pc.greater_equal, nearest.least
        else:
            kernel = pc.less_equal if op in ("lt", "le") else pc.greater
    return kernel(values, _scalar(bound, values.type))


class _Nearest(NamedTuple):
    """Where a literal lies among the values that a column can hold.

    ``below`` is the greatest such value not above the literal (None where all are above), ``exact`` says
    whether it equals the literal, and ``least`` is the smallest value of all (None where never needed).
    """

    below: Any
    exact: bool
    least: Any = None


def _nearest(literal: Value, kind: Kind | None) -> _Nearest:
    if kind is Kind.INTEGER and isinstance(literal, float):
        floor = math.floor(literal)
        if floor < INT64_MIN:
            return _Nearest(None, False, INT64_MIN)
        below = min(floor, INT64_MAX)
        return _Nearest(below, below == literal, INT64_MIN)
    if kind is Kind.FLOAT and isinstance(literal, int):
        # Beyond 2**53 not every int is a float. Python compares the two exactly.
        rounded = float(literal)
        below_float = rounded if rounded <= literal else math.nextafter(rounded, -math.inf)
        return _Nearest(below_float, rounded == literal, -math.inf)
    return _Nearest(literal, True)


def _is_in(values: pa.ChunkedArray, members: tuple[Value, ...]) -> pa.ChunkedArray:
    kind = kind_of(values.type)
    found = [nearest.below for nearest in (_nearest(member, kind) for member in members) if nearest.exact]
    if kind is Kind.FLOAT and 0.0 in found:
        # Equal, but look-up goes by the bits.
        found += [0.0, -0.0]
    lookup = pa.array([_plain(member, values.type) for member in found], values.type)
    # is_in answers false for a null row; here the answer is null, so that NOT IN does not pass it either.
    return pc.if_else(pc.is_null(values), pa.scalar(None, pa.bool_()), pc.is_in(values, lookup))


def _contains(lists: pa.ChunkedArray, item: str) -> pa.ChunkedArray:
    return pa.chunked_array([_contains_chunk(chunk, item) for chunk in lists.chunks], pa.bool_())


def _contains_chunk(lists: pa.ListArray | pa.LargeListArray, item: str) -> pa.BooleanArray:
    """Compare all items at once, then count the hits between the offsets of each list."""
    offsets = lists.offsets.to_numpy()
    first, last = (int(offsets[0]), int(offsets[-1])) if len(lists) else (0, 0)
    items = lists.values.slice(first, last - first)
    hits = pc.fill_null(pc.equal(items, _scalar(item, items.type)), False).to_numpy(zero_copy_only=False)
    hits_before = np.concatenate([[0], np.cumsum(hits)])
    found = np.diff(hits_before[offsets - first]) > 0 if len(lists) else np.empty(0, np.bool_)
    return pa.array(found, pa.bool_(), mask=lists.is_null().to_numpy(zero_copy_only=False))


def _scalar(value: Value, column_type: pa.DataType) -> pa.Scalar:
    return pa.scalar(_plain(value, column_type), column_type)


def _plain(value: Value, column_type: pa.DataType) -> Value:
    """Give a datetime (UTC) without its zone where the column has none, other values as they are."""
    if isinstance(value, datetime) and column_type.tz is None:
        return value.replace(tzinfo=None)
    return value
