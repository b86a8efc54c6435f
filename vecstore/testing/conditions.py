"""Filters evaluated one row at a time in plain Python: slow, short, and independent of the engine."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from vecstore.filters.ast import And, Between, Compare, Contains, Filter, In, IsNull, Like, Not, Or

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def passes(condition: Filter, row: Mapping[str, Any]) -> bool:
    """Tell whether a row (column -> value, None for null) passes; null counts as no.

    Raises
    ------
    TypeError
        The node is of a kind that is not known here.
    """
    return _verdict(condition, row) is True


def _verdict(condition: Filter, row: Mapping[str, Any]) -> bool | None:
    """Give true, false or null, by the rules of SQL."""
    match condition:
        case And(operands=operands):
            return _all([_verdict(operand, row) for operand in operands])
        case Or(operands=operands):
            inverted = _all([_inverse(_verdict(operand, row)) for operand in operands])
            return _inverse(inverted)
        case Not(operand=operand):
            return _inverse(_verdict(operand, row))
        case IsNull(column=column):
            return row.get(column) is None
        case _:
            return _leaf(condition, row)


def _leaf(condition: Filter, row: Mapping[str, Any]) -> bool | None:
    value = row.get(getattr(condition, "column", ""))
    if value is None:
        return None
    match condition:
        case Compare(op=op, value=literal):
            return _OPERATORS[op](value, literal)
        case Between(low=low, high=high):
            return bool(low <= value <= high)
        case In(values=values):
            return value in values
        case Like(pattern=pattern):
            return re.fullmatch(_regex(pattern), value, re.DOTALL) is not None
        case Contains(value=item):
            return item in value
    raise TypeError(f"{type(condition).__name__} is not a known kind of condition")


def _all(verdicts: list[bool | None]) -> bool | None:
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _inverse(verdict: bool | None) -> bool | None:
    return None if verdict is None else not verdict


def _regex(pattern: str) -> str:
    wild = {"%": ".*", "_": "."}
    tokens = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join(re.escape(token[1]) if len(token) == 2 else wild.get(token, re.escape(token)) for token in tokens)
