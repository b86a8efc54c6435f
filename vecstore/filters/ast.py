"""The filter tree: frozen nodes that say which rows to keep.

Nodes are checked when they are made, so every :class:`Filter` that exists is small enough to evaluate and
can be written as text and read back. What cannot be checked without the columns is left to
:func:`vecstore.filters.check`.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

import msgspec
import numpy as np

from vecstore.errors import FilterError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a column can be compared with. Datetimes are always in UTC here.
Value: TypeAlias = bool | int | float | str | datetime
#: Comparison operators: equal, not equal, less, less or equal, greater, greater or equal.
Op: TypeAlias = Literal["eq", "ne", "lt", "le", "gt", "ge"]

#: Most levels of AND, OR, NOT and comparisons on top of each other.
MAX_DEPTH = 24
#: Most values of one IN list.
MAX_IN_VALUES = 10_000
#: Longest LIKE pattern, in characters.
MAX_PATTERN = 1_000

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1


class Filter(msgspec.Struct, frozen=True, dict=True, tag_field="filter", tag=str.lower):
    """A condition on metadata columns; join filters with ``&``, ``|`` and ``~``.

    A condition is true, false, or null where it looks at a null, as in SQL; a row is kept only where it is
    true. So neither ``lang = 'de'`` nor ``NOT lang = 'de'`` keeps a row without ``lang``; ask for those with
    ``lang IS NULL``.

    Raises
    ------
    FilterError
        On ``and``, ``or``, ``not``, ``if`` and chained comparisons, which Python does not let a filter see.
    """

    @property
    def depth(self) -> int:
        """Levels of nodes, this one included."""
        return 1

    def __and__(self, other: Filter) -> Filter:
        return And((self, _operand(other)))

    def __or__(self, other: Filter) -> Filter:
        return Or((self, _operand(other)))

    def __invert__(self) -> Filter:
        return Not(self)

    def __bool__(self) -> NoReturn:
        raise FilterError(
            "where: a filter is not true or false by itself; join filters with & | ~ instead of and, or, not, "
            "put parentheses around each comparison, and write .between(a, b) instead of a <= column <= b",
            field="where",
        )


class Compare(Filter, frozen=True):
    """Compare ``column`` with a literal."""

    column: str
    op: Op
    value: Value

    def __post_init__(self) -> None:
        _check_column(self.column)
        if self.op not in ("eq", "ne", "lt", "le", "gt", "ge"):
            raise FilterError(f"where: unknown operator {self.op!r}; use eq, ne, lt, le, gt or ge", field="where")
        msgspec.structs.force_setattr(self, "value", _as_value(self.value, self.column))


class Between(Filter, frozen=True):
    """Keep values of ``column`` from ``low`` to ``high``, both included."""

    column: str
    low: Value
    high: Value

    def __post_init__(self) -> None:
        _check_column(self.column)
        msgspec.structs.force_setattr(self, "low", _as_value(self.low, self.column))
        msgspec.structs.force_setattr(self, "high", _as_value(self.high, self.column))


class In(Filter, frozen=True):
    """Keep rows whose ``column`` equals one of ``values``."""

    column: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _check_column(self.column)
        if not 1 <= len(self.values) <= MAX_IN_VALUES:
            raise FilterError(
                f"where: IN on column {self.column!r} has {len(self.values)} values; give 1 to {MAX_IN_VALUES}",
                field="where",
            )
        values = tuple(_as_value(value, self.column) for value in self.values)
        msgspec.structs.force_setattr(self, "values", values)


class IsNull(Filter, frozen=True):
    """Keep rows without a value in ``column``."""

    column: str

    def __post_init__(self) -> None:
        _check_column(self.column)


class Like(Filter, frozen=True):
    r"""Match all of a string column: ``%`` is any characters, ``_`` one character, ``\`` escapes these three."""

    column: str
    pattern: str

    def __post_init__(self) -> None:
        _check_column(self.column)
        pattern = _as_text(self.pattern, self.column, "LIKE")
        if len(pattern) > MAX_PATTERN:
            size = f"{len(pattern)} characters; at most {MAX_PATTERN}"
            raise FilterError(f"where: the LIKE pattern of column {self.column!r} has {size}", field="where")
        rest = pattern.replace("\\\\", "").replace("\\%", "").replace("\\_", "")
        if "\\" in rest:
            raise FilterError(
                f"where: the LIKE pattern of column {self.column!r} has a lone backslash; write \\\\ for a backslash, "
                "\\% and \\_ for these characters themselves",
                field="where",
            )
        msgspec.structs.force_setattr(self, "pattern", pattern)


class Contains(Filter, frozen=True):
    """Keep rows whose list ``column`` has the item ``value``; null items never match."""

    column: str
    value: str

    def __post_init__(self) -> None:
        _check_column(self.column)
        msgspec.structs.force_setattr(self, "value", _as_text(self.value, self.column, "CONTAINS"))


class _Junction(Filter, frozen=True):
    """Two or more operands; nested ones of the same kind are taken up, so that equal conditions are equal trees."""

    operands: tuple[Filter, ...]

    def __post_init__(self) -> None:
        flat: list[Filter] = []
        for operand in self.operands:
            if type(operand) is type(self):
                flat.extend(operand.operands)
            else:
                flat.append(_operand(operand))
        if len(flat) < 2:
            raise FilterError(f"where: {type(self).__name__} needs two filters or more, got {len(flat)}", field="where")
        msgspec.structs.force_setattr(self, "operands", tuple(flat))
        _check_depth(self)

    @cached_property
    def depth(self) -> int:
        """Levels of nodes, this one included."""
        return 1 + max(operand.depth for operand in self.operands)


class And(_Junction, frozen=True):
    """True where all operands are, false where one is false, null otherwise."""


class Or(_Junction, frozen=True):
    """True where one operand is, false where all are false, null otherwise."""


class Not(Filter, frozen=True):
    """True where ``operand`` is false; null stays null."""

    operand: Filter

    def __post_init__(self) -> None:
        _operand(self.operand)
        _check_depth(self)

    @cached_property
    def depth(self) -> int:
        """Levels of nodes, this one included."""
        return 1 + self.operand.depth


#: A node that looks at one column.
Leaf: TypeAlias = Compare | Between | In | IsNull | Like | Contains


def leaves(condition: Filter) -> Iterator[Leaf]:
    """Go through the nodes that look at a column, left to right."""
    match condition:
        case And() | Or():
            for operand in condition.operands:
                yield from leaves(operand)
        case Not():
            yield from leaves(condition.operand)
        case Compare() | Between() | In() | IsNull() | Like() | Contains():
            yield condition
        case _:
            raise unknown_node(condition)


def columns_of(condition: Filter) -> set[str]:
    """Give the names of all columns that ``condition`` looks at."""
    return {leaf.column for leaf in leaves(condition)}


def unknown_node(condition: object) -> FilterError:
    """Make the error for something that is not one of the nodes above."""
    return FilterError(
        f"where: {type(condition).__name__} is no filter; build filters with vecstore.col or from text", field="where"
    )


def _operand(other: object) -> Filter:
    if not isinstance(other, Filter):
        raise FilterError(
            f"where: & | ~ join filters, got {type(other).__name__}; put parentheses around each comparison, and "
            "write .is_true() for a bool column",
            field="where",
        )
    return other


def _check_depth(condition: Filter) -> None:
    if condition.depth > MAX_DEPTH:
        raise FilterError(
            f"where: the filter is nested {condition.depth} levels deep; at most {MAX_DEPTH}", field="where"
        )


def _check_column(name: object) -> None:
    if not isinstance(name, str) or not name or not _is_unicode(name):
        raise FilterError(f"where: {name!r} is no column name; give a non-empty string", field="where")


def _as_text(value: object, column: str, word: str) -> str:
    if not isinstance(value, str) or not _is_unicode(value):
        raise FilterError(f"where: {word} on column {column!r} takes a string, got {value!r}", field="where")
    return str.__str__(value)


def _as_value(value: Any, column: str) -> Value:
    """Give ``value`` as one of the plain types of :data:`Value`, or say why it cannot be one."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, np.generic):
        value = value.item()
    match value:
        case bool():
            return value
        case int() if INT64_MIN <= value <= INT64_MAX:
            return int(value)
        case float() if math.isfinite(value):
            return float(value)
        case str() if _is_unicode(value):
            return str.__str__(value)
        case datetime():
            return _as_utc(value, column)
        case date():
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        case None:
            problem = "null is equal to nothing; use IS NULL, or .is_null() in Python"
        case int() | float():
            problem = f"{value!r} is outside int64 and float64, or not finite"
        case _:
            problem = f"cannot use {value!r} of type {type(value).__name__}; use bool, int, float, str or datetime"
    raise FilterError(f"where: column {column!r}: {problem}", field="where")


def _as_utc(value: datetime, column: str) -> datetime:
    # Subclasses may carry more than microseconds, which a column does not.
    plain = datetime(
        value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.tzinfo
    ).replace(fold=value.fold)
    if plain.tzinfo is None:
        return plain.replace(tzinfo=UTC, fold=0)
    try:
        return plain.astimezone(UTC).replace(fold=0)
    except OverflowError:
        raise FilterError(
            f"where: column {column!r}: {value!r} is outside the years 1 to 9999 in UTC", field="where"
        ) from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
