"""What holds for every scheme in the registry: adding a scheme adds it here by itself."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tests import reference
from tests.schemes.tables import (
    BUDGETS,
    CASES,
    DIM,
    FIELDS_CASE,
    N_ROWS,
    ROOMIEST,
    SHAPE,
    decoded,
    feasible,
    frequency,
    table_of,
    unit_matrix,
)
from vecstore import schemes
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError, NotFoundError
from vecstore.kernels.lengths import unit_rows
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.base import CompressedTable, OpenTable, TableShape
from vecstore.types import ArrayForm, Metric

DIMS = (1, 2, 3, 15, 16, 17, 31, 33, 64, 384)

over_names = pytest.mark.parametrize("name", schemes.names())
over_cases = pytest.mark.parametrize("case", CASES, ids=str)
over_schemes = pytest.mark.parametrize("case", [*ROOMIEST, FIELDS_CASE], ids=str)
over_metrics = pytest.mark.parametrize("metric", list(Metric))


@pytest.fixture
def queries(rng):
    return unit_rows(reference.clustered(rng, 5, DIM))


def bytes_of(table):
    return {key: array.tobytes() for key, array in table.arrays().items()}


# Look-ups


@over_names
@pytest.mark.parametrize(("n_rows", "dim"), [*((67, dim) for dim in DIMS), (1, 17), (2, 17)])
def test_lookup_is_the_twins_before_and_after_storage(rng, name, n_rows, dim):
    shape = TableShape(rows=n_rows, dim=dim)
    matrix = (reference.clustered(rng, n_rows, dim) * np.exp(rng.uniform(-5, 5, (n_rows, 1)))).astype(np.float32)
    scheme = feasible(name, 0.5, shape).planned(shape)
    table = scheme.fit(matrix, frequency=frequency(n_rows))
    assert table.shape == shape
    rows = rng.integers(0, n_rows, 20)
    expected = decoded(table, rows)
    assert np.isfinite(expected).all()
    assert table.lookup(rows).tobytes() == expected.tobytes()
    reopened = table.scheme.open(shape, table.arrays())
    assert reopened.lookup(rows).tobytes() == expected.tobytes()
    if scheme.capabilities.exact:
        assert table.lookup(rows).tobytes() == matrix[rows].tobytes()
    if scheme.capabilities.appendable:
        # What encodes row by row has a twin of the encoder too.
        assert table.lookup(rows).tobytes() == reference.decoded(name, matrix)[rows].tobytes()


@over_cases
def test_lookup_is_the_twins_at_every_budget_and_setting(case):
    table = table_of(case)
    expected = decoded(table)
    assert table.lookup(np.arange(N_ROWS)).tobytes() == expected.tobytes()
    rows = np.array([N_ROWS - 1, 0, 3, 3])
    assert table.lookup(rows).tobytes() == expected[rows].tobytes()
    assert table.lookup(rows.astype(np.uint8)).tobytes() == expected[rows].tobytes()
    assert table.lookup(np.empty(0, np.int64)).shape == (0, DIM)


@over_schemes
def test_lookup_writes_into_out(case):
    table = table_of(case)
    out = np.full((3, DIM), np.nan, np.float32)
    assert table.lookup(np.array([5, 89, 5]), out) is out
    np.testing.assert_array_equal(out, decoded(table, np.array([5, 89, 5])))


@over_schemes
def test_lookup_refuses_an_out_that_does_not_fit(case):
    read_only = np.empty((3, DIM), np.float32)
    read_only.flags.writeable = False
    for out in (
        np.empty((2, DIM), np.float32),
        np.empty((3, DIM - 1), np.float32),
        np.empty((3, DIM), np.float64),
        np.empty((3, 2 * DIM), np.float32)[:, ::2],
        read_only,
    ):
        with pytest.raises(InvalidArgumentError, match="out: expected"):
            table_of(case).lookup(np.array([1, 2, 3]), out)


@over_schemes
def test_rows_outside_are_not_found(case, queries):
    table = table_of(case)
    scorer = table.scorer(queries, Metric.L2)
    for row in (-1, N_ROWS, 2**40):
        with pytest.raises(NotFoundError, match=re.escape(f"no row {row}")):
            table.lookup(np.array([0, row]))
        with pytest.raises(NotFoundError):
            scorer.gather(np.array([row]), np.empty((5, 1), np.float32))


@over_schemes
def test_only_schemes_that_say_so_have_vectors_of_unseen_ids(case):
    table = table_of(case)
    assert isinstance(table, OpenTable) == case.type.capabilities.unseen
    if isinstance(table, OpenTable):
        found = table.lookup_unseen(0, np.array([N_ROWS, 10**12]))
        assert (found.shape, found.dtype) == ((2, DIM), np.float32)
        assert np.isfinite(found).all()


# Budgets and bytes


@over_cases
def test_bytes_are_those_of_the_arrays_and_within_the_budget(case):
    table = table_of(case)
    written = sum(array.nbytes for array in table.arrays().values())
    assert table.nbytes == written
    assert table.scheme.nbytes(SHAPE) == written
    forms = {name: ArrayForm(array.dtype.type, array.shape) for name, array in table.arrays().items()}
    assert list(table.scheme.array_forms(SHAPE).items()) == list(forms.items())
    assert case is FIELDS_CASE or written <= case.allowed()


@over_names
@pytest.mark.parametrize("counted", [True, False])
def test_a_budget_below_the_floor_names_the_floor(name, counted):
    shape = TableShape(rows=1000, dim=64)
    counts = frequency(1000) if counted else None
    with pytest.raises(BudgetInfeasible) as caught:
        schemes.get(name).plan(shape, 1, counts)
    floor = caught.value.floor
    assert schemes.get(name).plan(shape, floor, counts).nbytes(shape) == floor
    with pytest.raises(BudgetInfeasible) as caught:
        schemes.get(name).plan(shape, floor - 1, counts)
    assert caught.value.floor == floor


@over_names
def test_a_larger_budget_never_gives_a_smaller_table(name):
    shape = TableShape(rows=1000, dim=64)
    with pytest.raises(BudgetInfeasible) as caught:
        schemes.get(name).plan(shape, 1, frequency(1000))
    budgets = np.linspace(caught.value.floor, shape.float32_bytes, 40).astype(int).tolist()
    sizes = [schemes.get(name).plan(shape, budget, frequency(1000)).nbytes(shape) for budget in budgets]
    assert sizes == sorted(sizes)
    assert all(size <= budget for size, budget in zip(sizes, budgets, strict=True))
    assert schemes.get(name).plan(shape, 1.0, frequency(1000)).nbytes(shape) <= shape.float32_bytes


@over_cases
def test_planning_the_bytes_of_a_table_gives_no_more(case):
    if case is FIELDS_CASE:
        pytest.skip("fields are planned by plan_fields")
    planned = case.planned()
    assert replace(case, budget=planned.nbytes(SHAPE)).planned().nbytes(SHAPE) <= planned.nbytes(SHAPE)


@over_names
@pytest.mark.parametrize("budget", [0.0, -0.5, 1.5, float("nan"), True, "half", None])
def test_a_budget_that_is_none(name, budget):
    with pytest.raises(InvalidArgumentError, match="budget"):
        schemes.get(name).plan(TableShape(rows=10, dim=4), budget)


@over_names
def test_unknown_parameters_are_refused(name):
    with pytest.raises(InvalidArgumentError, match="colour"):
        schemes.get(name).plan(SHAPE, 10**6, None, {"colour": "red"})


@over_names
def test_a_table_may_have_no_rows(name):
    shape = TableShape(rows=0, dim=4)
    capabilities = schemes.get(name).capabilities
    try:
        table = schemes.get(name).plan(shape, 10**6).fit(np.empty((0, 4), np.float32))
    except InvalidArgumentError:
        # Joint schemes hold fields, which are never empty.
        if not capabilities.joint:
            raise
        return
    assert table.shape == shape
    assert table.nbytes == table.scheme.nbytes(shape)
    assert table.nbytes == 0 or not capabilities.appendable
    assert table.lookup(np.empty(0, np.int64)).shape == (0, 4)


# Distances


@over_cases
@over_metrics
def test_distances_are_those_of_the_decoded_rows(case, metric, queries):
    table = table_of(case)
    rows = decoded(table)
    out = np.full((5, N_ROWS), np.nan, np.float32)
    table.scorer(queries, metric).scan(0, N_ROWS, out)
    scale = max(1.0, float((rows.astype(np.float64) ** 2).sum(1).max()))
    expected = reference.table_distances(table.scheme.to_dict(), table.arrays(), rows, queries, metric)
    np.testing.assert_allclose(out, expected, rtol=0, atol=3e-6 * scale)


@over_names
@over_metrics
def test_distances_in_any_number_of_dimensions(rng, name, metric):
    for dim in DIMS:
        shape = TableShape(rows=40, dim=dim)
        queries = unit_rows(reference.clustered(rng, 4, dim))
        table = table_of(feasible(name, 0.5, shape), 40, dim)
        out = np.full((4, 40), np.nan, np.float32)
        table.scorer(queries, metric).scan(0, 40, out)
        rows = decoded(table)
        scale = max(1.0, float((rows.astype(np.float64) ** 2).sum(1).max()))
        expected = reference.table_distances(table.scheme.to_dict(), table.arrays(), rows, queries, metric)
        np.testing.assert_allclose(out, expected, rtol=0, atol=3e-6 * scale, err_msg=f"dim {dim}")


@over_cases
@over_metrics
def test_scan_gather_and_rerank_agree_bit_for_bit(rng, case, metric, queries):
    scorer = table_of(case).scorer(queries, metric)
    whole = np.empty((5, N_ROWS), np.float32)
    scorer.scan(0, N_ROWS, whole)
    part = np.empty((5, 11), np.float32)
    scorer.scan(40, 51, part)
    np.testing.assert_array_equal(part, whole[:, 40:51])
    rows = rng.integers(0, N_ROWS, 33)
    gathered = np.empty((5, 33), np.float32)
    scorer.gather(rows, gathered)
    np.testing.assert_array_equal(gathered, whole[:, rows])
    own = rng.integers(-1, N_ROWS, (5, 20))
    reranked = np.full((5, 20), np.nan, np.float32)
    scorer.rerank(own, reranked)
    expected = np.where(own < 0, np.inf, np.take_along_axis(whole, np.maximum(own, 0), 1))
    np.testing.assert_array_equal(reranked, expected)


@over_cases
@over_metrics
def test_a_query_alone_gets_the_distances_it_gets_in_a_batch(case, metric, queries):
    table = table_of(case)
    together = np.empty((5, N_ROWS), np.float32)
    table.scorer(queries, metric).scan(0, N_ROWS, together)
    for number in range(5):
        alone = np.empty((1, N_ROWS), np.float32)
        table.scorer(queries[number : number + 1], metric).scan(0, N_ROWS, alone)
        np.testing.assert_array_equal(alone[0], together[number])


@over_cases
@over_metrics
def test_nothing_asked_nothing_given(case, metric, queries):
    table = table_of(case)
    scorer = table.scorer(queries, metric)
    scorer.gather(np.empty(0, np.int64), np.empty((5, 0), np.float32))
    scorer.scan(7, 7, np.empty((5, 0), np.float32))
    scorer.rerank(np.empty((5, 0), np.int64), np.empty((5, 0), np.float32))
    nobody = np.full((5, 3), np.nan, np.float32)
    scorer.rerank(np.full((5, 3), -1), nobody)
    assert np.isposinf(nobody).all()
    none = table.scorer(queries[:0], metric)
    none.scan(0, N_ROWS, np.empty((0, N_ROWS), np.float32))
    none.gather(np.array([1, 2]), np.empty((0, 2), np.float32))
    none.rerank(np.empty((0, 2), np.int64), np.empty((0, 2), np.float32))


@over_schemes
@over_metrics
def test_wrong_arguments_of_scorers(case, metric, queries):
    table = table_of(case)
    for rows in (np.array([0.5]), np.array([[1]]), np.array([True])):
        with pytest.raises(InvalidArgumentError, match="rows: expected int64"):
            table.lookup(rows)
    scorer = table.scorer(queries, metric)
    with pytest.raises(InvalidArgumentError, match="rows: expected int64"):
        scorer.gather(np.array([0.5]), np.empty((5, 1), np.float32))
    for start, stop in ((80, N_ROWS + 1), (-1, 5), (5, 3)):
        with pytest.raises(InvalidArgumentError, match="outside"):
            scorer.scan(start, stop, np.empty((5, abs(stop - start)), np.float32))
    with pytest.raises(InvalidArgumentError, match="rows: expected int64"):
        scorer.rerank(np.zeros((4, 2), np.int64), np.empty((4, 2), np.float32))
    for wrong in (queries[:, :-1], queries[0], queries.astype(np.float64)):
        with pytest.raises(InvalidArgumentError, match="queries: expected float32"):
            table.scorer(wrong, metric)


@over_schemes
@over_metrics
def test_scorers_refuse_an_out_that_does_not_fit(case, metric, queries):
    scorer = table_of(case).scorer(queries, metric)
    read_only = np.empty((5, 2), np.float32)
    read_only.flags.writeable = False
    for out in (np.empty((4, 2), np.float32), np.empty((5, 3), np.float32), np.empty((5, 2)), read_only):
        with pytest.raises(InvalidArgumentError, match="out: expected"):
            scorer.scan(0, 2, out)
        with pytest.raises(InvalidArgumentError, match="out: expected"):
            scorer.gather(np.array([0, 1]), out)
        with pytest.raises(InvalidArgumentError, match="out: expected"):
            scorer.rerank(np.zeros((5, 2), np.int64), out)


# Fitting


@over_schemes
def test_fit_refuses_what_is_no_matrix_of_numbers(case):
    scheme = case.planned()
    wrong = [np.zeros(N_ROWS), np.zeros((N_ROWS, 0)), np.full((N_ROWS, DIM), np.nan), np.full((N_ROWS, DIM), "a")]
    for vectors in wrong:
        with pytest.raises(InvalidArgumentError, match="vectors"):
            scheme.fit(vectors)


@over_schemes
def test_layout_and_dtype_of_the_input_do_not_matter(case):
    matrix, expected = unit_matrix(), bytes_of(case.planned().fit(unit_matrix()))
    spread = np.zeros((2 * N_ROWS, 2 * DIM), np.float32)
    spread[::2, ::2] = matrix
    for same in (np.asfortranarray(matrix), spread[::2, ::2], matrix.astype(np.float64)):
        assert bytes_of(case.planned().fit(same)) == expected


@over_cases
def test_the_same_seed_gives_the_same_arrays(case):
    counts = frequency(N_ROWS) if case.counted else None
    one, two = (bytes_of(case.planned().fit(unit_matrix(), frequency=counts, seed=5)) for _ in range(2))
    assert one == two


@over_schemes
def test_ids_that_never_occur_do_no_harm(case):
    never = np.zeros(N_ROWS, np.int64)
    scheme = case.planned() if case is FIELDS_CASE else case.type.plan(SHAPE, case.budget, never)
    table = scheme.fit(unit_matrix(), frequency=never)
    assert np.isfinite(table.lookup(np.arange(N_ROWS))).all()


@over_schemes
def test_progress_ends_with_all_rows(case):
    reports = []
    case.planned().fit(unit_matrix(), on_progress=lambda done, total: reports.append((done, total)))
    assert reports[-1] == (N_ROWS, N_ROWS)
    assert reports == sorted(reports)


@over_cases
def test_appended_rows_are_stored_as_those_before(case):
    table, further = table_of(case), unit_matrix()[60:]
    if not case.type.capabilities.appendable:
        with pytest.raises(InvalidArgumentError, match=f"{re.escape(case.name)}.*(further|30 more rows)"):
            table.encode(further)
        return
    # The rows it has already, once more: they get the codes that they have.
    added = table.encode(further)
    assert added
    assert set(added) <= set(table.scheme.row_arrays)
    for key, array in added.items():
        np.testing.assert_array_equal(array, table.arrays()[key][60:])
    longer = {key: np.concatenate([a, added[key]]) if key in added else a for key, a in table.arrays().items()}
    opened = table.scheme.open(TableShape(N_ROWS + 30, DIM), longer)
    np.testing.assert_array_equal(opened.lookup(np.arange(N_ROWS, N_ROWS + 30)), table.lookup(np.arange(60, N_ROWS)))


# Storage


@over_cases
def test_row_arrays_have_one_entry_a_row(case):
    arrays = table_of(case).arrays()
    for key in set(case.type.row_arrays) & set(arrays):
        assert len(arrays[key]) == N_ROWS
    # Rows can only be added to arrays that have one entry a row.
    assert set(case.type.row_arrays) & set(arrays) or not case.type.capabilities.appendable


@over_cases
def test_stored_arrays_cannot_be_changed_and_are_not_changed(case):
    table = table_of(case)
    for array in table.arrays().values():
        assert not array.flags.writeable
        assert array.flags.c_contiguous
    copies = {key: array.copy() for key, array in table.arrays().items()}
    opened = table.scheme.open(table.shape, copies)
    assert bytes_of(opened) == bytes_of(table)
    for array in copies.values():
        assert array.flags.writeable, "open() must not change the caller's arrays"


@over_cases
def test_damaged_arrays_are_corruption(case):
    table = table_of(case)
    for key, array in table.arrays().items():
        others = {other: value for other, value in table.arrays().items() if other != key}
        shorter = {key: array[:-1]} if len(array) else {}
        for wrong in ({}, shorter, {key: array.astype(np.complex64)}, {key: array[..., None]}):
            with pytest.raises(CorruptionError, match=key.rpartition(".")[2]):
                table.scheme.open(table.shape, {**others, **wrong})


@over_schemes
def test_arrays_under_another_shape_are_refused_or_hold_that_many_rows(case):
    table = table_of(case)
    for shape in (TableShape(N_ROWS, DIM + 1), TableShape(N_ROWS, 1), TableShape(10**6, DIM), TableShape(1, DIM)):
        try:
            opened = table.scheme.open(shape, table.arrays())
        except (CorruptionError, InvalidArgumentError):
            continue
        # Some forms fit several shapes, such as those that compute rows from any id.
        found = opened.lookup(np.array([0, shape.rows - 1]))
        assert found.shape == (2, shape.dim)
        assert np.isfinite(found).all()


@over_cases
def test_memory_maps_are_searched_in_place(case, queries, tmp_path):
    table = table_of(case)
    mapped = {}
    for key, array in table.arrays().items():
        np.save(tmp_path / f"{key}.npy", array)
        mapped[key] = np.load(tmp_path / f"{key}.npy", mmap_mode="r" if array.size else None)
    reopened = table.scheme.open(table.shape, mapped)
    for key, array in reopened.arrays().items():
        assert np.shares_memory(array, mapped[key]) or not array.size
    one, two = np.empty((5, N_ROWS), np.float32), np.empty((5, N_ROWS), np.float32)
    table.scorer(queries, Metric.L2).scan(0, N_ROWS, one)
    reopened.scorer(queries, Metric.L2).scan(0, N_ROWS, two)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(reopened.lookup(np.arange(N_ROWS)), table.lookup(np.arange(N_ROWS)))


# Configs and protocols


@over_cases
def test_config_survives_json(case):
    config = table_of(case).scheme
    data = config.to_dict()
    read = case.type.from_dict if case is FIELDS_CASE else schemes.from_config
    assert data["scheme"] == case.name
    assert read(data) == config
    with pytest.raises(InvalidArgumentError, match="colour"):
        read({**data, "colour": "red"})
    with pytest.raises(InvalidArgumentError):
        read({**data, "version": 2})


@over_schemes
def test_protocols_are_met_and_graph_capability_is_true(case, queries):
    table = table_of(case)
    assert isinstance(table, CompressedTable)
    for metric in Metric:
        scorer = table.scorer(queries, metric)
        assert isinstance(scorer, Scorer)
        assert (scorer.traversal is not None) == table.scheme.capabilities.graph


def test_every_scheme_is_in_the_cases_at_several_budgets():
    for name in schemes.names():
        assert {case.budget for case in CASES if case.name == name}
    assert len(CASES) > len(BUDGETS) * len(schemes.names()) / 2
