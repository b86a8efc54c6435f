"""Hypothesis strategies: random rows over a fixed schema, and random filters that fit it."""

# ruff: noqa: DTZ001 - datetimes without a zone are part of what is tested

from datetime import UTC, datetime

import pyarrow as pa
from hypothesis import strategies as st

from vecstore.filters.ast import And, Between, Compare, Contains, In, IsNull, Like, Not, Or

BIG = 2**53
SCHEMA = pa.schema(
    [
        ("flag", pa.bool_()),
        ("year", pa.int64()),
        ("score", pa.float64()),
        ("lang", pa.string()),
        ("seen", pa.timestamp("us", tz="UTC")),
        ("local", pa.timestamp("us")),
        ("tags", pa.list_(pa.string())),
        ('odd "name"', pa.int64()),
    ]
)

# Few distinct values, so that equal ones meet, and those where int64 and float64 part ways.
ints = st.sampled_from([-(2**63), -BIG - 1, -1, 0, 1, 2, 3, BIG, BIG + 1, BIG + 3, 2**63 - 1]) | st.integers(-5, 5)
floats = st.sampled_from(
    [0.0, -0.0, 0.5, 1.0, -1.5, 2.0, float(BIG), BIG + 2.0, BIG + 4.0, 2.0**63, -(2.0**63), 1e300, -1e300]
)
words = st.text(st.sampled_from("ab%_\\'\"é漢😀.\n*"), max_size=4)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2020, 1, 3), timezones=st.just(UTC)) | st.sampled_from(
    [datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, 0, 0, 0, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)]
)


def patterns():
    """Give LIKE patterns whose backslashes all escape something."""
    parts = st.sampled_from(["a", "b", "%", "_", "\\%", "\\_", "\\\\", "'", "é", "😀", ".", "*", "\n", "(", "["])
    return st.lists(parts, max_size=5).map("".join)


def rows():
    """Give a list of rows as dicts; local times are kept as UTC so that Python can compare them."""
    values = {
        "flag": st.booleans(),
        "year": ints,
        "score": floats | st.just(float("nan")) | st.just(float("inf")) | st.just(float("-inf")),
        "lang": words,
        "seen": moments,
        "local": moments,
        "tags": st.lists(words | st.none(), max_size=3),
        'odd "name"': ints,
    }
    return st.lists(st.fixed_dictionaries({name: st.none() | value for name, value in values.items()}), max_size=12)


def filters():
    """Give filters that fit :data:`SCHEMA`, a few levels deep."""
    ops = st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"])
    literals = {
        st.sampled_from(["year", "score", 'odd "name"']): ints | floats,
        st.just("lang"): words,
        st.sampled_from(["seen", "local"]): moments,
    }
    ordered = [
        st.builds(Compare, column, ops, values)
        | st.builds(Between, column, values, values)
        | st.builds(In, column, st.lists(values, min_size=1, max_size=4).map(tuple))
        for column, values in literals.items()
    ]
    leaf = st.one_of(
        *ordered,
        st.builds(Compare, st.just("flag"), st.sampled_from(["eq", "ne"]), st.booleans()),
        st.builds(In, st.just("flag"), st.lists(st.booleans(), min_size=1, max_size=2).map(tuple)),
        st.builds(IsNull, st.sampled_from(SCHEMA.names)),
        st.builds(Like, st.just("lang"), patterns()),
        st.builds(Contains, st.just("tags"), words),
    )
    return st.recursive(leaf, _joined, max_leaves=6)


def _joined(inner):
    pairs = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.builds(And, pairs) | st.builds(Or, pairs) | st.builds(Not, inner)


def as_table(data, cut=None):
    """Give ``data`` as a table, of two chunks where ``cut`` says where to cut it."""
    columns = []
    for field in SCHEMA:
        values = [row[field.name] for row in data]
        if field.name == "local":
            values = [value and value.replace(tzinfo=None) for value in values]
        pieces = [values] if cut is None else [values[:cut], values[cut:]]
        columns.append(pa.chunked_array([pa.array(piece, field.type) for piece in pieces], field.type))
    return pa.table(columns, schema=SCHEMA)
