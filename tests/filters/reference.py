"""An independent evaluator: one row at a time, Python values, None for null. Slow and plain on purpose."""

import re

from vecstore.filters.ast import And, Between, Compare, Contains, In, IsNull, Like, Not, Or

COMPARE = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def truth(condition, row):
    """Give True, False or None (unknown) of one row, a dict of Python values."""
    if isinstance(condition, And):
        verdicts = [truth(operand, row) for operand in condition.operands]
        return False if False in verdicts else None if None in verdicts else True
    if isinstance(condition, Or):
        verdicts = [truth(operand, row) for operand in condition.operands]
        return True if True in verdicts else None if None in verdicts else False
    if isinstance(condition, Not):
        verdict = truth(condition.operand, row)
        return None if verdict is None else not verdict
    value = row[condition.column]
    if isinstance(condition, IsNull):
        return value is None
    if value is None:
        return None
    if isinstance(condition, Compare):
        return COMPARE[condition.op](value, condition.value)
    if isinstance(condition, Between):
        return condition.low <= value <= condition.high
    if isinstance(condition, In):
        return any(value == member for member in condition.values)
    if isinstance(condition, Like):
        return re.fullmatch(like_regex(condition.pattern), value, re.DOTALL) is not None
    if isinstance(condition, Contains):
        return any(item == condition.value for item in value)
    raise TypeError(condition)


def like_regex(pattern):
    """Translate a LIKE pattern to Python's ``re``."""
    parts = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            parts.append(re.escape(next(characters)))
        else:
            parts.append({"%": ".*", "_": "."}.get(character) or re.escape(character))
    return "".join(parts)
