"""Filters as text: ``lang = 'de' AND year >= 2015`` to a tree and back."""

from __future__ import annotations

from datetime import datetime

from vecstore.errors import FilterError
from vecstore.filters.ast import (
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

_SIGNS: dict[Op, str] = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


def parse(text: str) -> Filter:
    r"""Read a filter from text.

    Parameters
    ----------
    text : str
        A small part of SQL: a column compared with a literal (``= <> != < <= > >=``, either side first),
        ``BETWEEN a AND b``, ``IN (...)``, ``IS NULL``, ``LIKE 'x%'`` (``\`` escapes ``%``, ``_`` and itself),
        ``tags CONTAINS 'x'`` for lists, a bool column by itself, ``AND``, ``OR``, ``NOT`` and parentheses.
        Keywords may be in any case; column names are taken as written, in double quotes where they have
        other characters than letters, digits and ``_``. Literals are ``'strings'`` (a quote is doubled),
        numbers, ``TRUE``, ``FALSE``, ``DATE '2020-12-31'`` and ``TIMESTAMP '2020-12-31 23:59:59+02:00'`` (UTC
        without an offset).

    Returns
    -------
    Filter
        The tree; ``parse(to_text(tree))`` gives an equal one.

    Raises
    ------
    FilterError
        Anything else than the above, a number outside int64 or float64, or over a limit: 262,144 characters,
        50,000 names, values, operators and signs, 24 levels of nesting, 10,000 values of IN. The message shows
        the place.
    """
    # sqlglot is slow to import, and those who build filters in Python never need it.
    from vecstore.filters.parser import parse_text

    if not isinstance(text, str):
        raise FilterError(f"where: expected filter text, got {type(text).__name__}", field="where")
    return parse_text(text)


def as_filter(where: str | Filter | None) -> Filter | None:
    """Give ``where`` as a tree: text is parsed, a tree and None stay as they are.

    Raises
    ------
    FilterError
        The text cannot be parsed, or ``where`` is something else.
    """
    if where is None or isinstance(where, Filter):
        return where
    if isinstance(where, str):
        return parse(where)
    raise FilterError(
        f"where: expected text or a filter, got {type(where).__name__}; write \"lang = 'de'\" or col('lang') == 'de', "
        "and col('flag').is_true() for a bool column",
        field="where",
    )


def to_text(condition: Filter) -> str:
    """Write ``condition`` as text that :func:`parse` reads back as an equal tree.

    Columns are always quoted, so that no name can be taken for a keyword.
    """
    match condition:
        case Compare():
            return f"{_name(condition.column)} {_SIGNS[condition.op]} {_literal(condition.value)}"
        case Between():
            return f"{_name(condition.column)} BETWEEN {_literal(condition.low)} AND {_literal(condition.high)}"
        case In():
            return f"{_name(condition.column)} IN ({', '.join(map(_literal, condition.values))})"
        case IsNull():
            return f"{_name(condition.column)} IS NULL"
        case Like():
            return f"{_name(condition.column)} LIKE {_literal(condition.pattern)}"
        case Contains():
            return f"{_name(condition.column)} CONTAINS {_literal(condition.value)}"
        case And():
            return " AND ".join(map(_nested, condition.operands))
        case Or():
            return " OR ".join(map(_nested, condition.operands))
        case Not():
            return f"NOT {_nested(condition.operand)}"
        case _:
            raise unknown_node(condition)


def _nested(condition: Filter) -> str:
    text = to_text(condition)
    return f"({text})" if isinstance(condition, And | Or) else text


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _literal(value: Value) -> str:
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case datetime():
            return f"TIMESTAMP '{value.replace(tzinfo=None).isoformat(sep=' ')}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            return repr(value)
