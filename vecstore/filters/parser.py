"""Read filter text: sqlglot parses it, and an allow-list of its node classes becomes our tree.

The tokenizer below knows only the words of this grammar; every other word is a column name, so columns may be
called ``key``, ``date`` or ``select``. Three gates follow one another: which tokens may occur, what sqlglot's
grammar makes of them, and which classes (with which arguments) we take over. Whatever passes none of the
rules is refused, so a later sqlglot that reads more SQL does not widen what we accept.
"""

from __future__ import annotations

import math
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from sqlglot import Token, Tokenizer, TokenType, exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.parser import Parser

from vecstore.errors import FilterError
from vecstore.filters.ast import (
    INT64_MAX,
    INT64_MIN,
    MAX_DEPTH,
    MAX_IN_VALUES,
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
)

if TYPE_CHECKING:
    from collections.abc import Callable

#: Longest filter text, in characters: room for the longest IN list of any int64.
MAX_TEXT = 256 * 1024
#: Most names, values, operators and signs of a text, so that no text takes seconds to parse.
MAX_TOKENS = 50_000

_ALLOWED = (
    "Allowed: a column compared with a value (= <> != < <= > >=), BETWEEN, IN (...), IS NULL, LIKE, CONTAINS, a bool "
    "column by itself, AND, OR, NOT, parentheses, \"quoted columns\", 'strings', numbers, TRUE, FALSE, "
    "DATE '...' and TIMESTAMP '...'."
)
#: Characters shown on each side of the place of an error.
_CONTEXT = 60

_COMPARISONS: dict[type[exp.Expression], Op] = {
    exp.EQ: "eq",
    exp.NEQ: "ne",
    exp.LT: "lt",
    exp.LTE: "le",
    exp.GT: "gt",
    exp.GTE: "ge",
}
#: The operator once both sides are exchanged.
_MIRRORED: dict[Op, Op] = {"eq": "eq", "ne": "ne", "lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


class _FilterTokenizer(Tokenizer):
    # CONTAINS takes the place of a binary operator that the grammar knows and the token gate keeps out otherwise.
    KEYWORDS: ClassVar[dict[str, TokenType]] = {
        "<>": TokenType.NEQ,
        "!=": TokenType.NEQ,
        "<=": TokenType.LTE,
        ">=": TokenType.GTE,
        "AND": TokenType.AND,
        "OR": TokenType.OR,
        "NOT": TokenType.NOT,
        "BETWEEN": TokenType.BETWEEN,
        "IN": TokenType.IN,
        "IS": TokenType.IS,
        "LIKE": TokenType.LIKE,
        "CONTAINS": TokenType.AT_GT,
        "NULL": TokenType.NULL,
        "TRUE": TokenType.TRUE,
        "FALSE": TokenType.FALSE,
        "DATE": TokenType.DATE,
        "TIMESTAMP": TokenType.TIMESTAMP,
    }
    COMMANDS: ClassVar[set[TokenType]] = set()
    # No comments: their characters reach the token gate, which refuses them.
    COMMENTS: ClassVar[list[str | tuple[str, str]]] = []


_TOKENS = frozenset(_FilterTokenizer.KEYWORDS.values()) | {
    TokenType.L_PAREN,
    TokenType.R_PAREN,
    TokenType.COMMA,
    TokenType.DASH,
    TokenType.DOT,
    TokenType.EQ,
    TokenType.LT,
    TokenType.GT,
    TokenType.VAR,
    TokenType.IDENTIFIER,
    TokenType.STRING,
    TokenType.NUMBER,
}
#: What would call a function, were a parenthesis to follow.
_NAMES = frozenset({TokenType.IDENTIFIER, TokenType.DATE, TokenType.TIMESTAMP})


def parse_text(text: str) -> Filter:
    """Give the filter that ``text`` says; see :func:`vecstore.filters.parse`."""
    if len(text) > MAX_TEXT:
        raise FilterError(f"where: the filter text has {len(text)} characters; at most {MAX_TEXT}", field="where")
    try:
        tokens = _FilterTokenizer().tokenize(text)
    except TokenError:
        _fail(text, len(text), "the text ends inside quotes; close them, and double a quote that is meant as such")
    tokens = _screened(text, tokens)
    try:
        trees = Parser().parse(tokens, text)
    except ParseError as error:
        place = error.errors[0]
        found = (token.start for token in tokens if (token.line, token.col) == (place["line"], place["col"]))
        _fail(text, next(found, 0), "this cannot be understood here, or something is missing next to it")
    except RecursionError:
        _fail(text, 0, "the filter is nested too deep for the stack of this call")
    if len(trees) != 1 or not isinstance(trees[0], exp.Expression):
        _fail(text, 0, "the filter is empty; leave it out to keep all rows")
    return _Reader(text).condition(trees[0])


def _screened(text: str, tokens: list[Token]) -> list[Token]:
    """Give ``tokens`` with all names quoted, or refuse what is in no filter.

    Refuses functions too, and nesting that the recursive parser could not bear.
    """
    if len(tokens) > MAX_TOKENS:
        _fail(text, 0, f"the filter has {len(tokens)} names, values, operators and signs; at most {MAX_TOKENS}")
    screened: list[Token] = []
    parentheses = negations = 0
    for token in tokens:
        kind = token.token_type
        if kind not in _TOKENS:
            _fail(text, token.start, f"{text[token.start : token.end + 1]!r} is not allowed")
        if kind is TokenType.L_PAREN:
            if screened and screened[-1].token_type in _NAMES:
                _fail(text, screened[-1].start, "functions are not allowed")
            parentheses += 1
        elif kind is TokenType.R_PAREN:
            parentheses -= 1
        # Signs and NOTs nest as long as nothing else stands between them.
        negations = negations + 1 if kind in (TokenType.NOT, TokenType.DASH) else 0
        if parentheses + negations > MAX_DEPTH:
            _fail(text, token.start, f"the filter is nested too deep (at most {MAX_DEPTH} levels)")
        screened.append(_quoted(text, token) if kind is TokenType.VAR else token)
    return screened


def _quoted(text: str, name: Token) -> Token:
    """Give a bare name as a quoted one, which no rule of sqlglot's grammar takes for a word of SQL."""
    if not name.text.isidentifier():
        _fail(text, name.start, "a column name with other characters than letters, digits and _ needs double quotes")
    return Token(TokenType.IDENTIFIER, name.text, name.line, name.col, name.start, name.end)


class _Reader:
    """Turns sqlglot's tree of one text into ours."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._readers: dict[type[Any], Callable[[exp.Expression], Filter]] = {
            exp.And: self._and,
            exp.Or: self._or,
            exp.Not: self._not,
            exp.Column: self._bool_column,
            exp.Between: self._between,
            exp.In: self._in,
            exp.Is: self._is_null,
            exp.Like: self._like,
            exp.ArrayContainsAll: self._contains,
            **dict.fromkeys(_COMPARISONS, self._compare),
        }

    def condition(self, node: Any) -> Filter:
        while type(node) is exp.Paren:
            node = self._only(node, "this").this
        reader = self._readers.get(type(node))
        if reader is None:
            self._refuse(node, "this is no condition on a column")
        return reader(node)

    def _and(self, node: exp.Expression) -> Filter:
        return And(self._operands(node))

    def _or(self, node: exp.Expression) -> Filter:
        return Or(self._operands(node))

    def _operands(self, node: Any) -> tuple[Filter, ...]:
        # A AND B AND C leans to the left, as deep as there are operands: go down in a loop.
        kind = type(node)
        reverse = []
        while type(node) is kind:
            self._only(node, "this", "expression")
            reverse.append(node.expression)
            node = node.this
        reverse.append(node)
        return tuple(self.condition(operand) for operand in reversed(reverse))

    def _not(self, node: exp.Expression) -> Filter:
        return Not(self.condition(self._only(node, "this").this))

    def _bool_column(self, node: exp.Expression) -> Filter:
        return Compare(self._column(node), "eq", True)

    def _compare(self, node: exp.Expression) -> Filter:
        self._only(node, "this", "expression")
        op = _COMPARISONS[type(node)]
        left, right = node.this, node.expression
        if type(right) is exp.Column:
            left, right, op = right, left, _MIRRORED[op]
        if type(left) is not exp.Column:
            self._refuse(node, "expected a column compared with a value")
        return Compare(self._column(left), op, self._value(right))

    def _between(self, node: exp.Expression) -> Filter:
        self._only(node, "this", "low", "high")
        return Between(self._column(node.this), self._value(node.args["low"]), self._value(node.args["high"]))

    def _in(self, node: exp.Expression) -> Filter:
        self._only(node, "this", "expressions")
        if not 1 <= len(node.expressions) <= MAX_IN_VALUES:
            self._refuse(node, f"IN takes 1 to {MAX_IN_VALUES} values in parentheses, got {len(node.expressions)}")
        return In(self._column(node.this), tuple(self._value(value) for value in node.expressions))

    def _is_null(self, node: exp.Expression) -> Filter:
        self._only(node, "this", "expression")
        if type(node.expression) is not exp.Null:
            self._refuse(node, "IS takes NULL or NOT NULL only")
        return IsNull(self._column(node.this))

    def _like(self, node: exp.Expression) -> Filter:
        self._only(node, "this", "expression", "negate")
        like = Like(self._column(node.this), self._string(node.expression, "LIKE"))
        # NOT LIKE comes as a flag from some releases of sqlglot, wrapped in a Not from others.
        return Not(like) if node.args.get("negate") else like

    def _contains(self, node: exp.Expression) -> Filter:
        self._only(node, "this", "expression")
        return Contains(self._column(node.this), self._string(node.expression, "CONTAINS"))

    def _column(self, node: Any) -> str:
        if type(node) is not exp.Column:
            self._refuse(node, "expected a column, and a value to compare it with")
        name = self._only(node, "this").this
        if type(name) is not exp.Identifier or not name.name:
            self._refuse(node, "expected a column name")
        return str(name.name)

    def _value(self, node: Any) -> Value:
        if type(node) is exp.Boolean:
            return bool(node.this)
        if type(node) is exp.Cast:
            return self._moment(node)
        if type(node) is exp.Neg and type(node.this) is exp.Literal and not node.this.is_string:
            return self._number(node.this, "-")
        if type(node) is exp.Null:
            self._refuse(node, "nothing compares with NULL; write IS NULL or IS NOT NULL")
        if type(node) is not exp.Literal:
            self._refuse(node, "expected a value: a 'string', a number, TRUE, FALSE, DATE '...' or TIMESTAMP '...'")
        return str(node.this) if node.is_string else self._number(node, "")

    def _number(self, node: exp.Expression, sign: str) -> int | float:
        digits = sign + str(node.this)
        whole = digits.lstrip("-").isdecimal()
        try:
            number = int(digits) if whole else float(digits)
        except ValueError:
            self._refuse(node, "this number cannot be read")
        if not (INT64_MIN <= number <= INT64_MAX if whole else math.isfinite(number)):
            self._refuse(node, "the number does not fit int64 or float64")
        return number

    def _moment(self, node: exp.Expression) -> datetime:
        kind = node.args["to"].this
        if kind not in (exp.DataType.Type.DATE, exp.DataType.Type.TIMESTAMP):
            self._refuse(node, "only DATE '...' and TIMESTAMP '...' are known here")
        written = self._string(node.this, kind.name)
        try:
            if kind == exp.DataType.Type.TIMESTAMP:
                return datetime.fromisoformat(written)
            return datetime.combine(date.fromisoformat(written), time())
        except ValueError:
            self._refuse(node, "no such moment; write DATE '2020-12-31' or TIMESTAMP '2020-12-31 23:59:59'")

    def _string(self, node: Any, word: str) -> str:
        if type(node) is not exp.Literal or not node.is_string:
            self._refuse(node, f"{word} takes a 'string'")
        return str(node.this)

    def _only(self, node: exp.Expression, *names: str) -> exp.Expression:
        """Give ``node`` if it has no arguments but ``names``: an unknown one could change the meaning."""
        if any(value and name not in names for name, value in node.args.items()):
            self._refuse(node, "this form is not allowed (quote a column name that has a dot)")
        return node

    def _refuse(self, node: Any, problem: str) -> NoReturn:
        starts: list[int] = []
        # Some nodes do not know their place; the smallest part of the tree around them that does is near enough.
        while node is not None and not starts:
            starts = [part.meta["start"] for part in node.walk() if "start" in part.meta]
            node = node.parent
        _fail(self._text, min(starts, default=0), problem)


def _fail(text: str, place: int, problem: str) -> NoReturn:
    """Raise with the text around ``place`` and a caret under it."""
    start, stop = max(0, place - _CONTEXT), place + _CONTEXT
    before = ("..." if start else "") + text[start:place]
    after = text[place:stop] + ("..." if stop < len(text) else "")
    line = "".join(char if char.isprintable() else " " for char in before + after)
    raise FilterError(f"where: {problem}\n  {line}\n  {' ' * len(before)}^\n{_ALLOWED}", field="where") from None
