"""Metadata at its limits: values that do not fit, odd names, missing values, many columns."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

import vecstore
from vecstore import InvalidArgumentError, LimitError, StoreConfig
from vecstore.metadata import MAX_COLUMNS, as_metadata, conform, merged_columns
from vecstore.view import Views

QUIET = StoreConfig(background=False)
VECTOR = [[1.0, 2.0]]


@pytest.fixture
def db(tmp_path):
    with vecstore.open(tmp_path / "store", settings=QUIET) as database:
        yield database


@pytest.fixture
def docs(db):
    return db.create_collection("docs", dim=2, metric="l2")


# -- numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**63 - 1])
def test_integers_that_a_column_of_floats_cannot_hold_are_refused_on_writing(db, docs, number):
    docs.insert([1], VECTOR, {"f": [1.5]})
    for write in (docs.insert, docs.upsert):
        with pytest.raises(InvalidArgumentError, match=r"'f' is float64.*exactly.*nothing was written") as caught:
            write([2], VECTOR, {"f": [number]})
        assert caught.value.field == "metadata.f"
    docs.insert([3], VECTOR, {"f": [2**53]})
    docs.flush()
    assert docs.search(VECTOR, 5).counts.tolist() == [2]
    assert [point.metadata["f"] for point in docs.get([1, 3])] == [1.5, 2.0**53]
    assert db.verify() == []


def test_reading_rounds_what_an_earlier_release_let_in():
    table = conform(pa.table({"f": [2**53 + 1, None]}), {"f": "float64"}, 2)
    assert table.column("f").to_pylist() == [2.0**53, None]


def test_verify_reports_rows_that_arrow_cannot_read_and_goes_on(db, docs, monkeypatch):
    db.create_collection("other", dim=2)

    def snapshot(self):
        raise pa.ArrowInvalid("no such offset")

    monkeypatch.setattr(Views, "snapshot", snapshot)
    assert db.verify() == ["collection 'docs': no such offset", "collection 'other': no such offset"]


def test_another_type_is_refused_with_the_remedy(docs):
    docs.insert([1], VECTOR, {"year": [2001]})
    with pytest.raises(InvalidArgumentError, match=r"'year' is int64.*got float64.*first batch.*another column name"):
        docs.insert([2], VECTOR, {"year": [2001.5]})


# -- times ----------------------------------------------------------------------------------------------------

FIRST = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
LAST = dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)
SECOND = -62_135_596_800
END = 253_402_300_800

OUTSIDE = {
    "wraps": pa.array([2**62], pa.timestamp("s")),
    "year 33658": pa.array([10**12], pa.timestamp("s")),
    "year 33658 of a zone": pa.array([10**12], pa.timestamp("s", tz="Europe/Berlin")),
    "year 10000": pa.array([END * 1_000_000], pa.timestamp("us")),
    "before year 1": pa.array([SECOND * 1000 - 1], pa.timestamp("ms")),
    "one of many": pa.array([0, None, END], pa.timestamp("s")),
    "days": pa.array([2**31 - 1], pa.date32()),
    "day before year 1": pa.array([SECOND // 86_400 - 1], pa.date32()),
    "milliseconds of days": pa.array([END * 1000], pa.date64()),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_times_that_datetime_cannot_show_are_refused(docs, case):
    values = OUTSIDE[case]
    with pytest.raises(InvalidArgumentError, match=r"'t' has times outside the years 1 to 9999") as caught:
        docs.insert(range(len(values)), VECTOR * len(values), {"t": values})
    assert caught.value.field == "metadata.t"
    assert (docs.count(), docs.stats().columns) == (0, {})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([SECOND, END - 1], pa.timestamp("s")), [FIRST, LAST.replace(microsecond=0)]),
        (pa.array([SECOND * 10**6, END * 10**6 - 1], pa.timestamp("us", tz="UTC")), [FIRST, LAST]),
        (
            pa.array([SECOND // 86_400, END // 86_400 - 1], pa.date32()),
            [FIRST, dt.datetime(9999, 12, 31, tzinfo=dt.UTC)],
        ),
        (
            np.array(["2020-01-02T03:04:05.123456789", "NaT"], "datetime64[ns]"),
            [dt.datetime(2020, 1, 2, 3, 4, 5, 123_456, tzinfo=dt.UTC), None],
        ),
    ],
)
def test_times_up_to_the_limits_come_back(docs, values, expected):
    docs.insert([1, 2], VECTOR * 2, {"t": values})
    assert [point.metadata["t"] for point in docs.get([1, 2])] == expected


# -- names and missing values ---------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", [{"\ud800": [1]}, [{"\ud800": 1}]])
def test_column_names_that_are_no_text_are_refused(docs, metadata):
    with pytest.raises(InvalidArgumentError, match="surrogate") as caught:
        docs.insert([1], VECTOR, metadata)
    str(caught.value).encode()
    caught.value.field.encode()


@pytest.mark.parametrize(
    "values",
    [["s", float("nan")], np.array(["s", np.nan], object), pa.array(["s", None]).dictionary_encode()],
    ids=["list", "objects", "dictionary"],
)
def test_nan_among_objects_is_no_value(docs, values):
    docs.insert([1, 2], VECTOR * 2, {"text": values})
    assert [point.metadata["text"] for point in docs.get([1, 2])] == ["s", None]


def test_a_column_of_objects_that_are_all_nan_has_no_type_yet():
    nothing = np.array([np.nan, np.nan], object)
    assert as_metadata({"text": nothing}, 2).num_columns == 0


def test_nan_among_floats_stays_a_value(docs):
    docs.insert([1, 2, 3], VECTOR * 3, {"f": [1.0, float("nan"), None]})
    one, nan, none = (point.metadata["f"] for point in docs.get([1, 2, 3]))
    assert (one, np.isnan(nan), none) == (1.0, True, None)


# -- results --------------------------------------------------------------------------------------------------


def test_results_without_columns_share_no_dict(docs):
    docs.insert([1, 2], VECTOR * 2)
    for results in (docs.get([1, 2]), docs.search(VECTOR, 2)[0]):
        results[0].metadata["mine"] = 1
        assert results[1].metadata == {}


def test_a_slice_of_hits_is_hits(docs):
    docs.insert([1, 2, 3], [[0, 0], [1, 0], [5, 5]], {"x": ["a", "b", "c"]})
    hits = docs.search([[0, 0], [5, 5], [1, 0]], 2)
    for part in (slice(0, 1), slice(1, None), slice(None, None, -1), slice(3, 9), slice(0, 0)):
        some = hits[part]
        assert isinstance(some, vecstore.Hits)
        assert list(some) == list(hits)[part]
        assert some.to_arrow().column("x").to_pylist() == [hit.metadata["x"] for line in some for hit in line]
    assert len(docs.search([[0, 0], [5, 5]], 2, columns=[])[1:]) == 1
    with pytest.raises(IndexError):
        hits[3]


# -- many columns ---------------------------------------------------------------------------------------------


def test_columns_are_limited(docs):
    names = [f"c{i}" for i in range(MAX_COLUMNS)]
    docs.insert([1], VECTOR, {name: [i] for i, name in enumerate(names)})
    with pytest.raises(LimitError, match="1025 columns, the limit is 1024") as caught:
        docs.insert([2], VECTOR, {"one_more": [1]})
    assert caught.value.field == "metadata"
    docs.insert([3], VECTOR, {"c0": [5]})
    docs.flush()
    assert docs.search(VECTOR, 2)[0][0].metadata["c1023"] == 1023
    assert docs.get([3], columns=["c0"])[0].metadata == {"c0": 5}


def test_a_collection_over_the_limit_from_before_stays_writable():
    known = {f"c{i}": "int64" for i in range(MAX_COLUMNS + 5)}
    assert merged_columns(known, pa.table({"c0": [1]})) == known


class CountedTable:
    """A table that counts how often its list of names is built: once for each column is quadratic."""

    def __init__(self, table):
        self._table = table
        self.asked = 0

    def __getattr__(self, name):
        self.asked += name == "column_names"
        return getattr(self._table, name)


def test_columns_are_found_without_going_through_their_names():
    table = CountedTable(pa.table({f"c{i}": [i] for i in range(50)}))
    columns = {f"c{i}": "int64" for i in range(0, 60, 2)}
    assert conform(table, columns, 1).column_names == list(columns)
    assert table.asked <= 1
