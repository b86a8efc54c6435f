"""What a table promises, embedded and remote: the same tests run on both."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore
from tests.tables.helpers import DIM, SIZES, constant, frozen, matrix, some_ids
from vecstore import schemes
from vecstore.api import Database, Table


@pytest.fixture
def table(database):
    """Give a stored table of three fields that holds ``matrix()``."""
    return database.put_table("ctr", frozen())


def rows_of(field):
    """Give the part of ``matrix()`` that belongs to a field."""
    names = list(SIZES)
    first = sum(SIZES[name] for name in names[: names.index(field)])
    return matrix()[first : first + SIZES[field]]


def test_the_protocols_are_implemented(database, table):
    assert isinstance(database, Database)
    assert isinstance(table, Table)
    assert (table.name, table.fields, table.dim) == ("ctr", SIZES, DIM)
    assert list(table.fields) == list(SIZES)


def test_look_ups_give_the_rows(table):
    ids = some_ids()
    found = table.lookup(ids)
    assert (found.shape, found.dtype) == ((len(ids), 3, DIM), np.float32)
    for number, field in enumerate(SIZES):
        np.testing.assert_array_equal(found[:, number], rows_of(field)[ids[:, number]])
        np.testing.assert_array_equal(table.lookup(ids[:, number], field=field), found[:, number])
    np.testing.assert_array_equal(table.lookup(ids.tolist()), found)
    np.testing.assert_array_equal(table.lookup(np.asfortranarray(ids.astype(np.uint16))), found)
    assert table.lookup(np.empty((0, 3), np.int64)).shape == (0, 3, DIM)
    assert table.lookup([], field="item").shape == (0, DIM)


@pytest.mark.parametrize("field", list(SIZES))
@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_search_finds_what_comparing_with_every_row_finds(table, field, metric):
    queries, rows = matrix(9)[:5], rows_of(field)
    products = queries.astype(np.float64) @ rows.T
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)
    expected = {
        "ip": -products,
        "l2": ((queries[:, None].astype(np.float64) - rows) ** 2).sum(axis=2),
        "cosine": 1 - products / lengths / np.linalg.norm(queries.astype(np.float64), axis=1)[:, None],
    }[metric]
    hits = table.search(queries, 4, field=field, metric=metric)
    np.testing.assert_array_equal(hits.ids, np.argsort(expected, axis=1)[:, :4])
    np.testing.assert_allclose(hits.distances, np.sort(expected, axis=1)[:, :4], rtol=1e-4, atol=1e-5)
    assert hits.counts.tolist() == [4] * 5


def test_a_search_for_more_than_there_are(table):
    hits = table.search(matrix(9)[0], 10, field="tag")
    assert hits.counts.tolist() == [7]
    assert sorted(hits.ids[0, :7]) == list(range(7))
    assert hits.ids[0, 7:].tolist() == [-1] * 3
    assert np.isinf(hits.distances[0, 7:]).all()


def test_zeros_are_at_cosine_distance_one(database):
    table = database.put_table("zeros", constant(0.0))
    assert table.search([1, 0, 0, 0], 2, metric="cosine").distances.tolist() == [[1.0, 1.0]]
    with pytest.raises(vecstore.InvalidArgumentError, match="zeros"):
        table.search([0, 0, 0, 0], 2, metric="cosine")


def test_a_table_without_fields_gets_one(database):
    rows = matrix(rows=30)
    table = database.put_table("plain", schemes.from_config("full").fit(rows))
    assert table.fields == {"row": 30}
    np.testing.assert_array_equal(table.lookup([3, 29, 3], field="row"), rows[[3, 29, 3]])
    np.testing.assert_array_equal(table.lookup([[3], [29]]), rows[[3, 29]][:, None])
    assert table.search(rows[4], 1, metric="l2").ids.tolist() == [[4]]


def test_tables_are_listed_and_dropped(database, table):
    database.put_table("b", constant(1.0))
    database.create_collection("ctr", dim=3)  # a name of its own kind
    assert database.list_tables() == ["b", "ctr"]
    np.testing.assert_array_equal(database.table("ctr").lookup(some_ids()), table.lookup(some_ids()))
    database.drop_table("ctr")
    assert database.list_tables() == ["b"]
    assert database.list_collections() == ["ctr"]
    for call in (
        lambda: database.table("ctr"),
        lambda: database.drop_table("ctr"),
        lambda: table.lookup(some_ids()),
        table.stats,
        table.versions,
        lambda: table.roll_back(1),
    ):
        with pytest.raises(vecstore.NotFoundError, match="ctr"):
            call()
    assert database.verify() == []


def test_figures(database):
    made = frozen("hash", 0.3)
    table = database.put_table("ctr", made)
    stats = table.stats()
    assert (stats.version, stats.rows, stats.dim, stats.nbytes) == (1, sum(SIZES.values()), DIM, made.nbytes)
    assert stats.ratio == pytest.approx(stats.rows * DIM * 4 / made.nbytes)
    assert stats.overhead_bytes > 0
    assert [part["fields"] for part in stats.parts] == [[field] for field in SIZES]
    assert [part["scheme"] for part in stats.parts] == [part.scheme.to_dict() for part in made.parts]
    assert [part["bytes"] for part in stats.parts] == [part.nbytes for part in made.parts]
    assert [part["rows"] for part in stats.parts] == list(SIZES.values())
    assert sum(part["bytes"] for part in stats.parts) == stats.nbytes
    (version,) = table.versions()
    assert (version.number, version.nbytes, version.current) == (1, made.nbytes, True)


def test_bytes_on_disk_are_those_stated(store):
    stats = store.put_table("ctr", frozen("int8", 0.4)).stats()
    (folder,) = (store.path / "tables").iterdir()
    on_disk = sum(path.stat().st_size for path in folder.iterdir())
    assert on_disk == stats.nbytes + stats.overhead_bytes


def test_look_ups_in_several_tables_at_once(database, table):
    other = database.put_table("other", constant(5.0))
    ids = some_ids()
    found = database.lookup_many(
        [("ctr", None, ids), ("other", "item", [1, 2]), ("ctr", "tag", [6]), ("other", None, [[3]])]
    )
    expected = [table.lookup(ids), other.lookup([1, 2], field="item"), table.lookup([6], field="tag")]
    assert [one.shape for one in found] == [(20, 3, DIM), (2, 4), (1, DIM), (1, 1, 4)]
    for one, right in zip(found, expected, strict=False):
        np.testing.assert_array_equal(one, right)
    assert database.lookup_many([]) == []
    with pytest.raises(vecstore.NotFoundError, match="nowhere"):
        database.lookup_many([("ctr", None, ids), ("nowhere", "item", [1])])
    for wrong in ([("ctr", ids)], [["ctr", None, ids]], "ctr", None):
        with pytest.raises(vecstore.InvalidArgumentError, match=r"\(table, field, ids\)"):
            database.lookup_many(wrong)
    for wrong, message in (
        (("", None, ids), "name: ''"),
        ((7, None, ids), "name: 7"),
        (("ctr", 7, ids), "field: .* 7"),
    ):
        with pytest.raises(vecstore.InvalidArgumentError, match=message):
            database.lookup_many([wrong])


@pytest.mark.parametrize("name", ["hash", "unified", "dhe", "robe"])
def test_unknown_ids_are_hashed_where_the_scheme_does(database, name):
    if name not in schemes.names():
        pytest.skip(f"scheme {name!r} is not there")
    made = frozen(name, 0.5)
    table = database.put_table("ctr", made)
    known, unknown = np.array([3, 5]), np.array([SIZES["user"], 10**12])
    found = table.lookup(np.concatenate([known, unknown]), field="user", on_unknown="hash")
    np.testing.assert_array_equal(found[:2], table.lookup(known, field="user"))
    assert np.isfinite(found).all()
    again = table.lookup(unknown[::-1], field="user", on_unknown="hash")
    np.testing.assert_allclose(again[::-1], found[2:], rtol=1e-5, atol=1e-6)
    rows = table.lookup([[10**12, 0, 1]], on_unknown="hash")
    np.testing.assert_allclose(rows[0, 0], found[3], rtol=1e-5, atol=1e-6)
    with pytest.raises(vecstore.NotFoundError, match=r"600 in row 2 is outside field 'user', which has ids 0 to 599"):
        table.lookup(np.concatenate([known, unknown]), field="user")
    with pytest.raises(vecstore.NotFoundError, match="-1 in row 1 is outside"):
        table.lookup([10**12, -1], field="user", on_unknown="hash")


def test_a_hashed_id_has_the_vector_that_it_has_in_a_larger_field(database):
    table = database.put_table("ctr", frozen("hash", 0.5))
    part = frozen("hash", 0.5).parts[0]
    rows = np.array([SIZES["user"] + 5, 10**9])
    expected = part.rows[part.places(rows)]
    np.testing.assert_array_equal(table.lookup(rows, field="user", on_unknown="hash"), expected)


def test_unknown_ids_are_refused_where_the_scheme_has_none(table):
    for ids in ([600], [-1], [2**63 - 1]):
        with pytest.raises(vecstore.NotFoundError, match="outside field 'user'"):
            table.lookup(ids, field="user")
    with pytest.raises(vecstore.NotFoundError, match=r"600 in row 0 is outside field 'user'.*'full' hashes no others"):
        table.lookup([600], field="user", on_unknown="hash")
    with pytest.raises(vecstore.NotFoundError, match="7 in row 1 is outside field 'tag'"):
        table.lookup([[0, 0, 0], [0, 0, 7]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.lookup([1, 2]), "one column"),
        (lambda t: t.lookup([[1, 2], [3, 4], [5, 6]]), "one column"),
        (lambda t: t.lookup([[1, 2, 3]], field="item"), "int64"),
        (lambda t: t.lookup([1.5], field="item"), "float64"),
        (lambda t: t.lookup(["a"], field="item"), "expected int64"),
        (lambda t: t.lookup([[1, 2, 3], [4]]), "different lengths"),
        (lambda t: t.lookup([1], field="item", on_unknown="zero"), "'error' or 'hash', got 'zero'"),
        (lambda t: t.search(np.ones(DIM)), "pass one of user, item, tag"),
        (lambda t: t.search(np.ones(DIM - 1), field="item"), f"expected {DIM} dimensions"),
        (lambda t: t.search(np.full(DIM, np.nan), field="item"), "NaN"),
        (lambda t: t.search([], field="item"), "none given"),
        (lambda t: t.search(np.ones(DIM), field=3), "field: expected the name"),
        (lambda t: t.lookup([1], field=b"item"), "field: expected the name"),
        (lambda t: t.search(np.ones(DIM), 0, field="item"), "k: expected"),
        (lambda t: t.search(np.ones(DIM), field="item", metric="dot"), "'dot' is not one of"),
        (lambda t: t.roll_back("one"), "version: expected"),
        (lambda t: t.roll_back(0), "version: expected"),
    ],
)
def test_bad_input_is_explained(table, call, message):
    with pytest.raises(vecstore.InvalidArgumentError, match=message):
        call(table)


def test_unknown_fields_are_explained(table):
    for call in (lambda: table.lookup([1], field="song"), lambda: table.search(np.ones(DIM), field="song")):
        with pytest.raises(vecstore.NotFoundError, match="there is no field 'song'; there are: user, item, tag"):
            call()


class _Layer:
    def freeze(self):
        """Be something that has to be frozen first."""


@pytest.mark.parametrize(
    ("name", "given", "options", "message"),
    [
        ("a", np.ones((3, 4)), {}, "got ndarray"),
        ("a", None, {}, "got NoneType"),
        ("a", _Layer(), {}, "call its freeze"),
        ("a/b", constant(1.0), {}, "name: 'a/b' cannot be used"),
        ("", constant(1.0), {}, "name: '' cannot be used"),
        (7, constant(1.0), {}, "name"),
        ("a", constant(1.0), {"keep": 0}, "keep: expected"),
        ("a", constant(1.0), {"keep": 1_001}, "keep: expected.*1000, got 1001"),
        ("a", constant(1.0), {"keep": "3"}, "keep: expected"),
    ],
)
def test_what_cannot_be_stored_is_explained(database, store, name, given, options, message):
    with pytest.raises((vecstore.InvalidArgumentError, vecstore.LimitError), match=message):
        database.put_table(name, given, **options)
    assert database.list_tables() == []
    assert list((store.path / "tables").iterdir()) == []


def test_a_reader_does_not_write(tmp_path):
    with vecstore.open(tmp_path / "store") as database:
        database.put_table("t", constant(1.0))
    with vecstore.open(tmp_path / "store", mode="r") as database:
        table = database.table("t")
        assert table.lookup([1], field="item").tolist() == [[1.0] * 4]
        for call in (
            lambda: database.put_table("u", constant(1.0)),
            lambda: database.drop_table("t"),
            lambda: table.roll_back(1),
        ):
            with pytest.raises(vecstore.ReadOnlyError, match="mode='r'"):
                call()
