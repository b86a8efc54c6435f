"""Text to tree, tree to text, and everything that is refused."""

import inspect
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.filters.strategies import filters
from vecstore.errors import FilterError
from vecstore.filters import Filter, as_filter, col, columns_of, parse, to_text
from vecstore.filters.ast import MAX_DEPTH, Compare, In, IsNull, Like, Not

MOMENT = datetime(2020, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("lang = 'de' AND year >= 2015", (col("lang") == "de") & (col("year") >= 2015)),
        ("a=1 or b=2 and not c=3", (col("a") == 1) | ((col("b") == 2) & ~(col("c") == 3))),
        ("(a=1 OR b=2) AND c=3", ((col("a") == 1) | (col("b") == 2)) & (col("c") == 3)),
        ("a = 1 AND (b = 2 AND c = 3)", (col("a") == 1) & (col("b") == 2) & (col("c") == 3)),
        ("a <> 1", col("a") != 1),
        ("a != 1", col("a") != 1),
        ("5 < a", col("a") > 5),
        ("5 >= a", col("a") <= 5),
        ("-5 = a", col("a") == -5),
        ("a = - 5", col("a") == -5),
        ("a = -1.5e3", col("a") == -1500.0),
        ("a = .5", col("a") == 0.5),
        ("a = -9223372036854775808", col("a") == -(2**63)),
        ("a BETWEEN -1 AND 2 AND b", col("a").between(-1, 2) & col("b").is_true()),
        ("a NOT BETWEEN 1 AND 2", ~col("a").between(1, 2)),
        ("a IN (1, -2, 'x', TRUE)", col("a").isin([1, -2, "x", True])),
        ("a NOT IN (1)", ~col("a").isin([1])),
        ("NOT a IN (1)", ~col("a").isin([1])),
        ("a IS NULL", col("a").is_null()),
        ("a IS NOT NULL", ~col("a").is_null()),
        ("a LIKE 'x\\%%'", col("a").like("x\\%%")),
        ("a NOT LIKE '_'", ~col("a").like("_")),
        ("tags CONTAINS 'x'", col("tags").contains("x")),
        ("NOT tags contains 'x' AND b", ~col("tags").contains("x") & col("b").is_true()),
        ("is_open", col("is_open").is_true()),
        ("NOT is_open", ~col("is_open").is_true()),
        ("a = FALSE", col("a") == False),  # noqa: E712
        ("a = TIMESTAMP '2020-01-01 12:00:00'", col("a") == MOMENT),
        ("a = TIMESTAMP '2020-01-01 14:00:00+02:00'", col("a") == MOMENT),
        ("a < date '2020-01-01'", col("a") < MOMENT.replace(hour=0)),
        ("\"my col\" = 'it''s'", col("my col") == "it's"),
        ('"a""b" = 1', col('a"b') == 1),
        ('"AND" = 1', col("AND") == 1),
        ('"a.b" = 1', col("a.b") == 1),
        ("Lang = 'de'", col("Lang") == "de"),
        ("año = 1 AND 年 = 2", (col("año") == 1) & (col("年") == 2)),
        ("date = 1 AND timestamp = 2", (col("date") == 1) & (col("timestamp") == 2)),
        ("select = 1 AND show = 2 AND case = 3", (col("select") == 1) & (col("show") == 2) & (col("case") == 3)),
        ("((a = 1))", col("a") == 1),
        ("a = 1\n\tAND b = 2", (col("a") == 1) & (col("b") == 2)),
        ("a = '-- no comment; /* none */'", col("a") == "-- no comment; /* none */"),
    ],
)
def test_text_means(text, tree):
    assert parse(text) == tree
    assert repr(parse(text)) == repr(tree)  # 1, 1.0 and TRUE are equal in Python, but not here
    assert parse(to_text(tree)) == tree


@settings(max_examples=400, derandomize=True, deadline=None)
@given(filters())
def test_text_reads_back_as_the_same_tree(tree):
    again = parse(to_text(tree))
    assert again == tree
    assert repr(again) == repr(tree)


values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values |= st.datetimes(timezones=st.just(UTC))


@settings(max_examples=400, derandomize=True, deadline=None)
@given(st.text(min_size=1), values)
def test_any_name_and_any_value_reads_back(name, value):
    tree = Compare(name, "eq", value)
    assert repr(parse(to_text(tree))) == repr(tree)


PIECES = [
    "a",
    '"b"',
    "1",
    "2.5",
    "'x'",
    "=",
    "<",
    "<>",
    "(",
    ")",
    ",",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS",
    "NULL",
    "LIKE",
    "-",
]
PIECES += [
    "BETWEEN",
    "CONTAINS",
    "TRUE",
    "DATE",
    "TIMESTAMP '2020-01-01'",
    ".",
    "select",
    "case",
    "cast",
    "interval",
    "*",
]
PIECES += [
    "any",
    "as",
    "f(",
    "from",
    "union",
    "end",
    "over",
    "x'",
    '"',
    ";",
    "::",
    "?",
    "@",
    "{",
    "[",
    "--",
    "/*",
    "²",
    "\\",
]


@settings(max_examples=1500, derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=10).map(" ".join) | st.text(max_size=20))
def test_any_text_gives_a_filter_or_a_filter_error(text):
    try:
        tree = parse(text)
    except FilterError:
        return
    assert parse(to_text(tree)) == tree


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "()",
        "1=1",
        "a = 1 OR 1=1",
        "1",
        "'x'",
        "TRUE",
        "NULL",
        "NOT",
        "AND",
        "a =",
        "= 1",
        "a = 1 AND",
        "a = 1 b",
        "a b",
        "a = 1, b = 2",
        "(a = 1",
        "a = 1)",
        "a = b",
        "a == 1",
        "a <=> 1",
        "a = 1 = 2",
        "(a = 1) = TRUE",
        "a = 'x' 'y'",
        "a = 'unterminated",
        '"unterminated = 1',
        "a = 'x'; DROP TABLE t",
        "a = 1; b = 2",
        "a = 1 -- comment",
        "a = 1 /* comment */",
        "a = 1 # comment",
        "a IN (SELECT 1)",
        "a = (SELECT max(b) FROM c)",
        "EXISTS (SELECT 1)",
        "SELECT * FROM t",
        "DROP TABLE t",
        "a UNION SELECT 1",
        "lower(a) = 'x'",
        "f(a)",
        '"f"(a)',
        "date(a) = 1",
        "a = now()",
        "array_contains(tags, 'x')",
        "a = CAST('1' AS INT)",
        "a::int = 1",
        "CASE WHEN a THEN b END",
        "a + 1 = 2",
        "a = 1 + 1",
        "a = 2 * 3",
        "a || 'x' = 'y'",
        "a = -'x'",
        "a = --1",
        "a = -(1)",
        "-a = 1",
        "a = NULL",
        "a <> NULL",
        "a IN (1, NULL)",
        "a IN ()",
        "a IN (b)",
        "a IN 1",
        "a IS TRUE",
        "a IS 5",
        "a IS NOT DISTINCT FROM 1",
        "a BETWEEN 1",
        "a BETWEEN 1 AND",
        "a BETWEEN b AND c",
        "a BETWEEN SYMMETRIC 2 AND 1",
        "a ILIKE 'x'",
        "a LIKE b",
        "a LIKE 5",
        "a LIKE 'x' ESCAPE '!'",
        "a LIKE 'x\\'",
        "a LIKE '\\x'",
        "a LIKE '" + "x" * 1001 + "'",
        "a CONTAINS 5",
        "a CONTAINS",
        "a CONTAINS ('x', 'y')",
        "a @> 'x'",
        "a.b = 1",
        "a[0] = 1",
        "a -> 'b' = 1",
        "* = 1",
        "a = ?",
        "a = :x",
        "a = @x",
        "a = $1",
        "a = {{x}}",
        "a = 1_000",
        "a = 0x1F",
        "a = ²",
        "a = N'x'",
        "a = x'1f'",
        "a = 9223372036854775808",
        "a = -9223372036854775809",
        "a = 1e400",
        "a = " + "9" * 5000,
        "a = DATE 'yesterday'",
        "a = DATE '2020-02-30'",
        "a = DATE 5",
        "a = TIMESTAMP '2020-13-01 00:00:00'",
        "a = TIMESTAMP '0001-01-01 00:00:00+14:00'",
        "a = INTERVAL '1' DAY",
        '"" = 1',
        "a = '\ud800'",
        "\0",
        "(" * 5000,
        "(" * 5000 + "a" + ")" * 5000,
        "NOT " * 5000 + "a",
        "NOT (" * 5000 + "a" + ")" * 5000,
        "a = " + "-" * 5000 + "1",
        "a = 1 AND (" * 5000,
        "f(" * 100 + "a" + ")" * 100,
        " OR ".join(["a = 1"] * 15_000),
        "a = '" + "x" * 300_000 + "'",
        "a IN (" + ", ".join(map(str, range(10_001))) + ")",
    ],
)
def test_refused(text):
    with pytest.raises(FilterError, match=r"^where: "):
        parse(text)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("lang = 'de' AND lower(x) = 'y'", "lower(x)", "functions are not allowed"),
        ("a = b", "a = b", "expected a value"),
        ("$1 = 1", "$1", "needs double quotes"),
        ("lang = 'de'; DROP TABLE t", "; DROP", "';' is not allowed"),
        ("lang = 'de' AND year = 1e999", "1e999", "does not fit"),
        ("lang = 'de' AND year = NULL", "year", "IS NULL"),
        ("tags CONTAINS 5", "5", "takes a 'string'"),
        ("x" * 100 + " = 1 AND year ? 3", "? 3", "'?' is not allowed"),
        ("lang = 'de' AND\n  year ? 3", "? 3", "'?' is not allowed"),
    ],
)
def test_messages_show_the_place(text, place, problem):
    with pytest.raises(FilterError) as caught:
        parse(text)
    first, line, caret, allowed = str(caught.value).split("\n")
    assert problem in first
    assert line[caret.index("^") :].startswith(place)
    assert allowed.startswith("Allowed: ")


def test_long_chains_are_flat():
    tree = parse(" OR ".join(f"a = {value}" for value in range(5000)))
    assert len(tree.operands) == 5000
    assert tree.depth == 2
    assert parse(to_text(tree)) == tree


def test_the_longest_list_reads_back():
    tree = col("a").isin(range(-(2**63), -(2**63) + 10_000))
    assert parse(to_text(tree)) == tree


def test_the_deepest_filters_read_back():
    negated = IsNull("a")
    for _ in range(MAX_DEPTH - 1):
        negated = Not(negated)
    mixed = In("a", (1,))
    for level in range(MAX_DEPTH - 1):
        mixed = (col("b") == 1) & mixed if level % 2 else (col("b") == 1) | mixed
    alternating = In("a", (1,))
    for level in range(MAX_DEPTH - 1):
        alternating = (col("b") == 1) & alternating if level % 2 else ~alternating
    for tree in (negated, mixed, alternating):
        assert tree.depth == MAX_DEPTH
        assert parse(to_text(tree)) == tree
        with pytest.raises(FilterError, match="nested"):
            Not(tree)


def test_a_nearly_used_up_stack_gives_a_filter_error():
    nested = "(" * 20 + "a = 1" + ")" * 20

    def burrow(levels):
        if levels:
            return burrow(levels - 1)
        try:
            return parse(nested)
        except FilterError as error:
            return str(error)

    outcome = burrow(sys.getrecursionlimit() - len(inspect.stack()) - 150)
    # A compiled sqlglot does not use Python's stack and gets through.
    assert outcome == (col("a") == 1) if isinstance(outcome, Filter) else "too deep for the stack" in outcome


def test_as_filter_and_columns_of():
    tree = (col("a") == 1) & ~(col("b").contains("x") | col("a").is_null())
    assert as_filter(None) is None
    assert as_filter(tree) is tree
    assert as_filter("a = 1") == (col("a") == 1)
    assert columns_of(tree) == {"a", "b"}
    for wrong in (5, col("a"), {"a": 1}, b"a = 1"):
        with pytest.raises(FilterError, match="expected text or a filter"):
            as_filter(wrong)
    with pytest.raises(FilterError, match="expected filter text"):
        parse(5)


def test_sqlglot_is_imported_by_parsing_only():
    program = (
        "import sys; from vecstore.filters import col, to_text, parse\n"
        "to_text(col('a') == 1); before = 'sqlglot' in sys.modules, 'pyarrow.dataset' in sys.modules\n"
        "parse('a = 1'); assert (before, 'sqlglot' in sys.modules) == ((False, False), True)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_like_keeps_its_pattern():
    assert parse("a LIKE '%\\_\\\\'") == Like("a", "%\\_\\\\")
