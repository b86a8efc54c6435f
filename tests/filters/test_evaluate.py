"""Masks against the row-by-row evaluator, and the corners that random tables seldom meet."""

# ruff: noqa: DTZ001 - datetimes without a zone are part of what is tested

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.filters.reference import truth
from tests.filters.strategies import BIG, SCHEMA, as_table, filters, rows
from vecstore.errors import FilterError
from vecstore.filters import check, col, mask, parse


def expected(condition, data):
    return [truth(condition, row) is True for row in data]


@settings(max_examples=400, derandomize=True, deadline=None)
@given(condition=filters(), data=rows(), cut=st.none() | st.integers(0, 12))
def test_mask_agrees_with_row_by_row_evaluation(condition, data, cut):
    got = mask(condition, as_table(data, cut))
    assert got.dtype == np.bool_
    assert got.tolist() == expected(condition, data)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(condition=filters(), data=rows(), start=st.integers(0, 12), length=st.integers(0, 12))
def test_mask_of_a_slice_is_the_slice_of_the_mask(condition, data, start, length):
    table = as_table(data)
    whole = expected(condition, data)
    assert mask(condition, table.slice(start, length)).tolist() == whole[start : start + length]
    if data:
        batch = table.combine_chunks().to_batches()[0]
        assert mask(condition, batch.slice(start, length)).tolist() == whole[start : start + length]


def column(name, values, column_type):
    return pa.table({name: pa.array(values, column_type)})


def test_negated_conditions_do_not_pass_nulls():
    table = column("lang", ["a", None, "b"], pa.string())
    assert mask(parse("NOT lang IN ('a')"), table).tolist() == [False, False, True]
    assert mask(parse("lang <> 'a'"), table).tolist() == [False, False, True]
    assert mask(parse("NOT lang LIKE 'a%'"), table).tolist() == [False, False, True]
    assert mask(parse("NOT lang IN ('a') OR lang IS NULL"), table).tolist() == [False, True, True]


def test_integers_compare_exactly_with_floats():
    table = column("n", [BIG, BIG + 1, BIG + 2, -(2**63), 2**63 - 1], pa.int64())
    assert mask(col("n") == float(BIG), table).tolist() == [True, False, False, False, False]
    assert mask(col("n") >= BIG + 0.0, table).tolist() == [True, True, True, False, True]
    assert mask(col("n") < 2.0**63, table).tolist() == [True] * 5
    assert mask(col("n") >= -(2.0**63), table).tolist() == [True] * 5
    assert mask(col("n") > -1e300, table).tolist() == [True] * 5
    assert mask(col("n") <= -1e300, table).tolist() == [False] * 5
    assert mask(col("n").isin([0.5, 2.0**63, BIG + 2.0]), table).tolist() == [False, False, True, False, False]


def test_half_years():
    table = column("year", [2009, 2010, 2011, None], pa.int64())
    assert mask(parse("year >= 2010.5"), table).tolist() == [False, False, True, False]
    assert mask(parse("year < 2010.5"), table).tolist() == [True, True, False, False]
    assert mask(parse("year = 2010.5"), table).tolist() == [False] * 4
    assert mask(parse("year <> 2010.5"), table).tolist() == [True, True, True, False]


def test_floats_compare_exactly_with_large_integers():
    table = column("x", [float(BIG), BIG + 2.0, float("nan"), None], pa.float64())
    assert mask(col("x") < BIG + 1, table).tolist() == [True, False, False, False]
    assert mask(col("x") == BIG + 1, table).tolist() == [False] * 4
    assert mask(col("x") != BIG + 1, table).tolist() == [True, True, True, False]
    # As a float, BIG + 3 becomes BIG + 4.
    upper = column("x", [BIG + 2.0, BIG + 4.0], pa.float64())
    assert mask(col("x") < BIG + 3, upper).tolist() == [True, False]
    assert mask(col("x") > BIG + 3, upper).tolist() == [False, True]
    assert mask(col("x") == BIG + 3, upper).tolist() == [False, False]
    assert mask(col("x").isin([BIG + 1, BIG + 2]), table).tolist() == [False, True, False, False]


def test_nan_equals_nothing_and_zero_has_no_sign():
    table = column("x", [float("nan"), 0.0, -0.0], pa.float64())
    for text in ("x = 0", "x <= 0", "x >= 0", "x IN (0)", "x IN (-0.0)", "x BETWEEN 0 AND 0"):
        assert mask(parse(text), table).tolist() == [False, True, True], text
        assert mask(parse(f"NOT ({text})"), table).tolist() == [True, False, False], text
    assert mask(parse("x <> 0"), table).tolist() == [True, False, False]


@pytest.mark.parametrize("zone", ["UTC", None])
def test_moments_are_compared_in_utc(zone):
    table = column("seen", [datetime(2020, 1, 1, 12), datetime(2020, 1, 1, 13), None], pa.timestamp("us", tz=zone))
    berlin = timezone(timedelta(hours=1))
    noon = [
        col("seen") == datetime(2020, 1, 1, 12),
        col("seen") == datetime(2020, 1, 1, 12, tzinfo=UTC),
        col("seen") == datetime(2020, 1, 1, 13, tzinfo=berlin),
        col("seen") == np.datetime64("2020-01-01T12:00:00.000000000"),
        parse("seen = TIMESTAMP '2020-01-01 12:00:00'"),
        parse("TIMESTAMP '2020-01-01T13:00:00+01:00' = seen"),
    ]
    for condition in noon:
        assert mask(condition, table).tolist() == [True, False, False]
    assert mask(parse("seen >= DATE '2020-01-01'"), table).tolist() == [True, True, False]
    assert mask(parse("seen >= DATE '2020-01-02'"), table).tolist() == [False] * 3


def test_contains_looks_at_the_right_lists():
    lists = pa.array([["x"], None, [], ["a", None], [None], ["a", "x", "x"]], pa.list_(pa.string()))
    # A null list may still own items underneath; they must not count.
    hidden = pa.ListArray.from_arrays(
        pa.array([0, 1, 2, 3]), pa.array(["x", "x", "y"]), mask=pa.array([False, True, False])
    )
    for start in range(len(lists)):
        table = pa.table({"tags": lists.slice(start)})
        assert mask(col("tags").contains("x"), table).tolist() == [True, False, False, False, False, True][start:]
        assert mask(~col("tags").contains("x"), table).tolist() == [False, False, True, True, True, False][start:]
    table = pa.table({"tags": hidden})
    assert mask(col("tags").contains("x"), table).tolist() == [True, False, False]
    assert mask(~col("tags").contains("x"), table).tolist() == [False, False, True]


@pytest.mark.parametrize(
    "table", [SCHEMA.empty_table(), pa.table([pa.chunked_array([], f.type) for f in SCHEMA], schema=SCHEMA)]
)
def test_empty_tables_give_empty_masks(table):
    text = "flag OR year > 1 OR score IN (1) OR lang LIKE 'a' OR seen IS NULL OR tags CONTAINS 'x'"
    got = mask(parse(text), table)
    assert got.shape == (0,)
    assert got.dtype == np.bool_


def test_all_null_columns_pass_only_is_null():
    table = pa.table([pa.nulls(3, field.type) for field in SCHEMA], schema=SCHEMA)
    for text in ("flag", "NOT flag", "year <> 2010.5", "NOT score IN (1)", "lang LIKE '%'", "NOT tags CONTAINS 'x'"):
        assert mask(parse(text), table).tolist() == [False] * 3, text
    assert mask(parse("year IS NULL AND tags IS NULL AND NOT lang IS NOT NULL"), table).tolist() == [True] * 3


def test_longest_pattern_and_longest_list_are_evaluated():
    table = column("lang", ["é" * 1000, "x"], pa.string())
    assert mask(col("lang").like("_" * 1000), table).tolist() == [True, False]
    assert mask(col("lang").like("%é" * 500), table).tolist() == [True, False]
    many = column("year", list(range(0, 30_000, 1000)), pa.int64())
    assert mask(col("year").isin(range(10_000)), many).tolist() == [True] * 10 + [False] * 20


def test_a_thousand_joined_conditions_are_evaluated():
    table = column("year", [5, 2000], pa.int64())
    condition = col("year") == 0
    for year in range(1, 1000):
        condition |= col("year") == year
    assert mask(condition, table).tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lnag = 'de'", "did you mean 'lang'.*'flag', 'year'"),
        ("LANG = 'de'", "did you mean 'lang'"),
        ("zzzz IS NULL", "no column 'zzzz'; the columns are"),
        ("lang = 5", "'lang' of type string cannot be compared with 5"),
        ("lang = TRUE", "cannot be compared with True"),
        ("lang IN ('a', 1)", "cannot be compared with 1 "),
        ("year = 'x'", "compare it with a number"),
        ("year = TRUE", "cannot be compared with True"),
        ("year", "cannot be compared with True"),
        ("year LIKE '2%'", "LIKE, which takes a string column"),
        ("tags LIKE 'x'", "LIKE, which takes a string column"),
        ("lang CONTAINS 'x'", "CONTAINS, which takes a list column"),
        ("tags = 'x'", "use CONTAINS"),
        ("flag > TRUE", "has no order"),
        ("flag BETWEEN FALSE AND TRUE", "has no order"),
        ("flag = 1", "use = TRUE"),
        ("seen > '2020-01-01'", "compare it with TIMESTAMP"),
        ("score BETWEEN 1 AND 'x'", "cannot be compared with 'x'"),
        ("flag AND NOT (year = 1 OR lang < 2)", "'lang' of type string"),
    ],
)
def test_filters_that_do_not_fit_the_columns(text, message):
    condition = parse(text)
    with pytest.raises(FilterError, match=message):
        check(condition, SCHEMA)
    with pytest.raises(FilterError, match=message):
        mask(condition, SCHEMA.empty_table())


def test_columns_of_other_types_are_refused():
    with pytest.raises(FilterError, match="type date32"):
        check(col("day") == datetime(2020, 1, 1), pa.schema([("day", pa.date32())]))
    with pytest.raises(FilterError, match="type timestamp"):
        check(col("day") == datetime(2020, 1, 1), pa.schema([("day", pa.timestamp("ns"))]))
    with pytest.raises(FilterError, match="no metadata columns"):
        check(col("day").is_null(), pa.schema([]))
