"""The exact scan gives the brute-force answer, in a fixed order, for any number of rows and queries."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from vecstore import schemes
from vecstore.errors import InvalidArgumentError
from vecstore.index.exact import exact_search
from vecstore.types import Metric


@pytest.fixture
def table(rng):
    return schemes.from_config("full").fit(reference.clustered(rng, 3_000, 12))


def brute_force(table, queries, metric, k, rows=None):
    rows = np.arange(table.shape.rows) if rows is None else rows
    found = np.empty((len(queries), len(rows)), np.float32)
    table.scorer(queries, metric).gather(rows, found)
    return reference.nearest(found, k, rows)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize(("n_queries", "k"), [(1, 1), (3, 10), (40, 200), (1500, 5), (2, 3500)])
def test_all_rows(rng, table, metric, n_queries, k):
    queries = reference.clustered(rng, n_queries, 12)
    rows, distances = exact_search(table.scorer(queries, metric), n_queries, 3_000, k)
    expected = brute_force(table, queries, metric, k)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(distances, expected[1])


@pytest.mark.parametrize("kept", [0, 1, 9, 700])
def test_chosen_rows(rng, table, kept):
    queries = reference.clustered(rng, 30, 12)
    chosen = rng.permutation(3_000)[:kept]
    rows, distances = exact_search(table.scorer(queries, Metric.L2), 30, chosen, 10)
    expected = brute_force(table, queries, Metric.L2, 10, chosen)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_array_equal(distances, expected[1])


def test_equal_distances_go_to_the_lower_row(rng):
    table = schemes.from_config("full").fit(np.ones((500, 3), np.float32))
    scorer = table.scorer(np.ones((2, 3), np.float32), Metric.IP)
    rows, _ = exact_search(scorer, 2, 500, 7)
    assert rows.tolist() == [list(range(7))] * 2
    rows, _ = exact_search(scorer, 2, rng.permutation(500), 7)
    assert rows.tolist() == [list(range(7))] * 2


def test_no_queries_and_no_rows():
    table = schemes.from_config("full").fit(np.empty((0, 3), np.float32))
    rows, distances = exact_search(table.scorer(np.ones((2, 3), np.float32), Metric.L2), 2, 0, 4)
    assert (rows == -1).all()
    assert np.isinf(distances).all()
    rows, _ = exact_search(table.scorer(np.empty((0, 3), np.float32), Metric.L2), 0, 0, 4)
    assert rows.shape == (0, 4)


def test_k_below_one(table):
    with pytest.raises(InvalidArgumentError, match="k: expected"):
        exact_search(table.scorer(np.ones((1, 12), np.float32), Metric.L2), 1, 3_000, 0)
