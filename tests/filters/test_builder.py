"""Filters built in Python."""

# ruff: noqa: DTZ001 - datetimes without a zone are part of what is tested

import enum
from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pytest

from vecstore.errors import FilterError
from vecstore.filters import Filter, col, to_text
from vecstore.filters.ast import MAX_IN_VALUES, And, Compare, Or


class Lang(enum.StrEnum):
    GERMAN = "de"


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.int32(5), 5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (Lang.GERMAN, "de"),
        (date(2020, 1, 2), datetime(2020, 1, 2, tzinfo=UTC)),
        (datetime(2020, 1, 2, 3), datetime(2020, 1, 2, 3, tzinfo=UTC)),
        (datetime(2020, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))), datetime(2020, 1, 2, 1, tzinfo=UTC)),
        (np.datetime64("2020-01-02"), datetime(2020, 1, 2, tzinfo=UTC)),
        (np.datetime64("2020-01-02T03:00:00.000000001"), datetime(2020, 1, 2, 3, tzinfo=UTC)),
    ],
)
def test_values_become_plain_types(given, stored):
    value = (col("a") == given).value
    assert value == stored
    assert type(value) is type(stored)


@pytest.mark.parametrize(
    "value",
    [
        None,
        float("nan"),
        float("inf"),
        2**63,
        -(2**63) - 1,
        b"x",
        [1],
        {},
        object(),
        1j,
        "\ud800",
        np.datetime64("NaT"),
    ],
)
def test_other_values_are_refused(value):
    for build in (lambda v: col("a") == v, lambda v: col("a").between(v, v), lambda v: col("a").isin([v])):
        with pytest.raises(FilterError, match="column 'a'"):
            build(value)


def test_operators():
    a = col("a")
    built = [a == 1, a != 1, a < 1, a <= 1, a > 1, a >= 1, 1 > a, 1 <= a]  # noqa: SIM300 - both sides are tested
    assert [condition.op for condition in built] == ["eq", "ne", "lt", "le", "gt", "ge", "lt", "ge"]
    assert repr(a) == "col('a')"


def test_joining_flattens():
    a, b, c = (col(name).is_true() for name in "abc")
    assert (a & b & c) == (a & (b & c)) == And((a, b, c))
    assert (a | b | c) == (a | (b | c)) == Or((a, b, c))
    assert (a & b) != (b & a)
    assert len({a & b, And((a, b)), a | b}) == 2


def test_python_keywords_are_refused():
    a, b = col("a") == 1, col("b") == 2
    for attempt in (lambda: a and b, lambda: a or b, lambda: not a, lambda: 1 < col("a") < 5, lambda: bool(col("a"))):
        with pytest.raises(FilterError, match=r"& \| ~"):
            attempt()


def test_only_filters_join():
    for attempt in (lambda: (col("a") == 1) & True, lambda: (col("a") == 1) | col("b"), lambda: And((col("a") == 1,))):
        with pytest.raises(FilterError, match="where: "):
            attempt()
    with pytest.raises(TypeError):
        {col("a")}


def test_bad_arguments():
    wrong = [
        lambda: col(""),
        lambda: col(5),
        lambda: col("\ud800"),
        lambda: col("a").isin("abc"),
        lambda: col("a").isin(5),
        lambda: col("a").isin([]),
        lambda: col("a").isin(range(MAX_IN_VALUES + 1)),
        lambda: col("a").like(5),
        lambda: col("a").like("x\\y"),
        lambda: col("a").like("x" * 1001),
        lambda: col("a").contains(5),
        lambda: Compare("a", "~", 1),
        lambda: to_text(Filter()),
    ]
    for attempt in wrong:
        with pytest.raises(FilterError, match="where: "):
            attempt()


def test_filters_are_frozen():
    with pytest.raises(AttributeError):
        (col("a") == 1).value = 2
