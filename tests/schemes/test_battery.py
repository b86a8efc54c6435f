"""What holds for every scheme in the registry: adding a scheme adds it here by itself."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests import reference
from vecstore import schemes
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError, NotFoundError
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.types import Metric, unit_rows

DIMS = (1, 2, 3, 15, 16, 17, 31, 33, 64, 384)

pytestmark = pytest.mark.parametrize("name", schemes.names())


def fitted(name, matrix, **options):
    return schemes.from_config(name).fit(matrix, **options)


@pytest.fixture
def matrix(rng):
    return unit_rows(reference.clustered(rng, 90, 33))


@pytest.fixture
def queries(rng):
    return unit_rows(reference.clustered(rng, 5, 33))


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n_rows", [1, 2, 67])
def test_lookup_is_the_twins_before_and_after_storage(rng, name, dim, n_rows):
    matrix = (reference.clustered(rng, n_rows, dim) * np.exp(rng.uniform(-5, 5, (n_rows, 1)))).astype(np.float32)
    expected = reference.decoded(name, matrix)
    table = fitted(name, matrix)
    assert table.shape == TableShape(rows=n_rows, dim=dim)
    rows = rng.integers(0, n_rows, 50)
    assert table.lookup(rows).tobytes() == expected[rows].tobytes()
    reopened = table.scheme.open(table.shape, table.arrays())
    assert reopened.lookup(rows).tobytes() == expected[rows].tobytes()
    if table.scheme.capabilities.exact:
        assert table.lookup(rows).tobytes() == matrix[rows].tobytes()


@pytest.mark.parametrize("dim", DIMS)
def test_bytes_are_those_of_the_arrays_and_of_the_plan(rng, name, dim):
    matrix = reference.clustered(rng, 40, dim)
    table = fitted(name, matrix)
    written = sum(array.nbytes for array in table.arrays().values())
    assert table.nbytes == written
    assert table.scheme.nbytes(table.shape) == written
    planned = schemes.get(name).plan(table.shape, written)
    assert planned.nbytes(table.shape) <= written


def test_a_budget_below_the_floor_names_the_floor(name):
    shape = TableShape(rows=1000, dim=64)
    with pytest.raises(BudgetInfeasible) as caught:
        schemes.get(name).plan(shape, 1)
    floor = caught.value.floor
    assert schemes.get(name).plan(shape, floor).nbytes(shape) == floor
    with pytest.raises(BudgetInfeasible):
        schemes.get(name).plan(shape, floor - 1)
    assert schemes.get(name).plan(shape, 1.0).nbytes(shape) <= shape.float32_bytes


@pytest.mark.parametrize("budget", [0.0, -0.5, 1.5, float("nan"), True, "half", None])
def test_a_budget_that_is_none(name, budget):
    with pytest.raises(InvalidArgumentError, match="budget"):
        schemes.get(name).plan(TableShape(rows=10, dim=4), budget)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dim", DIMS)
def test_distances_are_those_of_the_decoded_rows(rng, name, metric, dim):
    matrix, queries = unit_rows(reference.clustered(rng, 70, dim)), unit_rows(reference.clustered(rng, 4, dim))
    scorer = fitted(name, matrix).scorer(queries, metric)
    out = np.full((4, 70), np.nan, np.float32)
    scorer.scan(0, 70, out)
    expected = reference.distances(reference.decoded(name, matrix), queries, metric)
    np.testing.assert_allclose(out, expected, atol=3e-6)


@pytest.mark.parametrize("metric", list(Metric))
def test_scan_gather_and_rerank_agree_bit_for_bit(rng, name, metric, matrix, queries):
    scorer = fitted(name, matrix).scorer(queries, metric)
    whole = np.empty((5, 90), np.float32)
    scorer.scan(0, 90, whole)
    part = np.empty((5, 11), np.float32)
    scorer.scan(40, 51, part)
    np.testing.assert_array_equal(part, whole[:, 40:51])
    rows = rng.integers(0, 90, 33)
    gathered = np.empty((5, 33), np.float32)
    scorer.gather(rows, gathered)
    np.testing.assert_array_equal(gathered, whole[:, rows])
    own = rng.integers(-1, 90, (5, 20))
    reranked = np.empty((5, 20), np.float32)
    scorer.rerank(own, reranked)
    expected = np.where(own < 0, np.inf, np.take_along_axis(whole, np.maximum(own, 0), 1))
    np.testing.assert_array_equal(reranked, expected)


@pytest.mark.parametrize("metric", list(Metric))
def test_a_query_alone_gets_the_distances_it_gets_in_a_batch(name, metric, matrix, queries):
    table = fitted(name, matrix)
    together = np.empty((5, 90), np.float32)
    table.scorer(queries, metric).scan(0, 90, together)
    for number in range(5):
        alone = np.empty((1, 90), np.float32)
        table.scorer(queries[number : number + 1], metric).scan(0, 90, alone)
        np.testing.assert_array_equal(alone[0], together[number])


def test_nothing_asked_nothing_given(name, matrix, queries):
    table = fitted(name, matrix)
    assert table.lookup(np.empty(0, np.int64)).shape == (0, 33)
    scorer = table.scorer(queries, Metric.L2)
    scorer.gather(np.empty(0, np.int64), np.empty((5, 0), np.float32))
    scorer.scan(7, 7, np.empty((5, 0), np.float32))
    scorer.rerank(np.empty((5, 0), np.int64), np.empty((5, 0), np.float32))
    none = table.scorer(queries[:0], Metric.COSINE)
    none.scan(0, 90, np.empty((0, 90), np.float32))


def test_a_table_may_have_no_rows(name):
    table = fitted(name, np.empty((0, 4), np.float32))
    assert table.shape == TableShape(rows=0, dim=4)
    assert table.nbytes == 0 or not table.scheme.row_arrays
    assert table.lookup(np.empty(0, np.int64)).shape == (0, 4)


def test_lookup_writes_into_out(name, matrix):
    table = fitted(name, matrix)
    out = np.full((3, 33), np.nan, np.float32)
    assert table.lookup(np.array([5, 89, 5]), out) is out
    np.testing.assert_array_equal(out, reference.decoded(name, matrix)[[5, 89, 5]])


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 33), np.float32),
        np.empty((3, 32), np.float32),
        np.empty((3, 33), np.float64),
        np.empty((3, 66), np.float32)[:, ::2],
    ],
    ids=["rows", "dim", "dtype", "strides"],
)
def test_lookup_refuses_an_out_that_does_not_fit(name, matrix, out):
    with pytest.raises(InvalidArgumentError, match="out: expected"):
        fitted(name, matrix).lookup(np.array([1, 2, 3]), out)


def test_read_only_outputs_are_refused(name, matrix, queries):
    out = np.empty((5, 90), np.float32)
    out.flags.writeable = False
    table = fitted(name, matrix)
    with pytest.raises(InvalidArgumentError, match="out: expected"):
        table.scorer(queries, Metric.IP).scan(0, 90, out)
    buffer = np.empty((1, 33), np.float32)
    buffer.flags.writeable = False
    with pytest.raises(InvalidArgumentError, match="out: expected"):
        table.lookup(np.array([1]), buffer)


@pytest.mark.parametrize("row", [-1, 90, 2**40])
def test_rows_outside_are_not_found(name, matrix, queries, row):
    table = fitted(name, matrix)
    with pytest.raises(NotFoundError, match=re.escape(f"no row {row}")):
        table.lookup(np.array([0, row]))
    with pytest.raises(NotFoundError):
        table.scorer(queries, Metric.L2).gather(np.array([row]), np.empty((5, 1), np.float32))


def test_wrong_arguments_of_scorers(name, matrix, queries):
    table = fitted(name, matrix)
    with pytest.raises(InvalidArgumentError, match="rows: expected int64"):
        table.lookup(np.array([0.5]))
    with pytest.raises(InvalidArgumentError, match="rows: expected int64"):
        table.lookup(np.array([[1]]))
    scorer = table.scorer(queries, Metric.L2)
    with pytest.raises(InvalidArgumentError, match="outside"):
        scorer.scan(80, 91, np.empty((5, 11), np.float32))
    with pytest.raises(InvalidArgumentError, match="out: expected"):
        scorer.scan(0, 90, np.empty((4, 90), np.float32))
    with pytest.raises(InvalidArgumentError, match="rows: expected int64"):
        scorer.rerank(np.zeros((4, 2), np.int64), np.empty((4, 2), np.float32))
    for wrong in (queries[:, :32], queries[0], queries.astype(np.float64)):
        with pytest.raises(InvalidArgumentError, match="queries: expected float32"):
            table.scorer(wrong, Metric.L2)


@pytest.mark.parametrize(
    "vectors",
    [np.zeros(4, np.float32), np.zeros((2, 0), np.float32), np.full((2, 2), np.nan), np.array([["a"]])],
    ids=["flat", "no-dim", "nan", "text"],
)
def test_fit_refuses_what_is_no_matrix_of_numbers(name, vectors):
    with pytest.raises(InvalidArgumentError, match="vectors"):
        fitted(name, vectors)


def test_layout_and_dtype_of_the_input_do_not_matter(name, matrix):
    rows = np.arange(90)
    expected = fitted(name, matrix).lookup(rows)
    spread = np.zeros((180, 66), np.float32)
    spread[::2, ::2] = matrix
    for same in (np.asfortranarray(matrix), spread[::2, ::2], matrix.astype(np.float64)):
        np.testing.assert_array_equal(fitted(name, same).lookup(rows), expected)


def test_the_same_seed_gives_the_same_arrays(name, matrix):
    one, two = (fitted(name, matrix, seed=5).arrays() for _ in range(2))
    assert one.keys() == two.keys()
    for key in one:
        assert one[key].tobytes() == two[key].tobytes()


def test_appended_rows_get_the_codes_they_would_have_had(name, matrix):
    table = fitted(name, matrix[:60])
    if not table.scheme.capabilities.appendable:
        pytest.skip(f"{name} cannot encode further rows")
    added, whole = table.encode(matrix[60:]), fitted(name, matrix).arrays()
    assert set(added) == set(table.scheme.row_arrays)
    for key in table.scheme.row_arrays:
        np.testing.assert_array_equal(added[key], whole[key][60:])


def test_row_arrays_have_one_entry_a_row(name, matrix):
    table = fitted(name, matrix)
    assert set(table.scheme.row_arrays) <= set(table.arrays())
    for key in table.scheme.row_arrays:
        assert len(table.arrays()[key]) == 90


def test_stored_arrays_cannot_be_changed_and_may_be_read_only(name, matrix):
    table = fitted(name, matrix)
    for array in table.arrays().values():
        assert not array.flags.writeable
    copies = {key: array.copy() for key, array in table.arrays().items()}
    table.scheme.open(table.shape, copies)
    for array in copies.values():
        assert array.flags.writeable, "open() must not change the caller's arrays"


def test_damaged_arrays_are_corruption(name, matrix):
    table = fitted(name, matrix)
    for key, array in table.arrays().items():
        others = {other: value for other, value in table.arrays().items() if other != key}
        for wrong in ({}, {key: array[:-1]}, {key: array.astype(np.float64)}, {key: array[..., None]}):
            with pytest.raises(CorruptionError, match=key):
                table.scheme.open(table.shape, {**others, **wrong})


def test_memory_maps_are_searched_in_place(name, matrix, queries, tmp_path):
    table = fitted(name, matrix)
    mapped = {}
    for key, array in table.arrays().items():
        np.save(tmp_path / f"{key}.npy", array)
        mapped[key] = np.load(tmp_path / f"{key}.npy", mmap_mode="r")
    reopened = table.scheme.open(table.shape, mapped)
    for key, array in reopened.arrays().items():
        assert np.shares_memory(array, mapped[key])
    one, two = np.empty((5, 90), np.float32), np.empty((5, 90), np.float32)
    table.scorer(queries, Metric.L2).scan(0, 90, one)
    reopened.scorer(queries, Metric.L2).scan(0, 90, two)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(reopened.lookup(np.arange(90)), table.lookup(np.arange(90)))


def test_config_survives_json(name):
    config = schemes.from_config(name)
    data = config.to_dict()
    assert data["scheme"] == name
    assert schemes.from_config(data) == config
    with pytest.raises(InvalidArgumentError, match="colour"):
        schemes.from_config({**data, "colour": "red"})
    with pytest.raises(InvalidArgumentError):
        schemes.from_config({**data, "version": 2})


def test_the_class_says_what_it_is(name):
    scheme = schemes.get(name)
    assert scheme.name == name
    assert scheme.paper
    assert scheme.__doc__
    assert scheme.row_arrays


def test_protocols_are_met_and_graph_capability_is_true(name, matrix, queries):
    table = fitted(name, matrix)
    assert isinstance(table, CompressedTable)
    scorer = table.scorer(queries, Metric.IP)
    assert isinstance(scorer, Scorer)
    assert (scorer.traversal is not None) == table.scheme.capabilities.graph


def test_progress_ends_with_all_rows(name, matrix):
    reports = []
    fitted(name, matrix, on_progress=lambda done, total: reports.append((done, total)))
    assert reports[-1] == (90, 90)
    assert reports == sorted(reports)
