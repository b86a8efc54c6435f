"""Rows of length 1, and the short way to one for a single query."""

from __future__ import annotations

import numpy as np
import pytest

from vecstore.errors import InvalidArgumentError
from vecstore.kernels.lengths import unit_query, unit_rows
from vecstore.types import as_queries


@pytest.mark.parametrize("shape", [(7,), (1, 7)])
def test_a_query_of_the_usual_form_becomes_what_others_become(rng, shape):
    query = rng.standard_normal(shape, dtype=np.float32)
    expected = unit_rows(as_queries(query.astype(np.float64), dim=7))
    np.testing.assert_array_equal(unit_query(query, 7), expected)
    assert query.flags.writeable
    query.setflags(write=False)
    np.testing.assert_array_equal(unit_query(query, 7), expected)
    np.testing.assert_array_equal(unit_query(expected, 7), expected)


@pytest.mark.parametrize(
    "query",
    [
        [1.0] * 7,
        np.ones(7),
        np.ones((2, 7), np.float32),
        np.ones(6, np.float32),
        np.ones(14, np.float32)[::2],
        np.zeros(7, np.float32),
        np.float32([1, np.nan, 1, 1, 1, 1, 1]),
        np.float32([1, 1, 1, 1, 1, 1, -np.inf]),
        np.ma.ones(7, dtype=np.float32),
    ],
    ids=["list", "float64", "two", "short", "strided", "zeros", "NaN", "infinite", "subclass"],
)
def test_other_queries_are_left_to_the_checks(query):
    assert unit_query(query, 7) is None


def test_rows_without_a_direction_are_named():
    with pytest.raises(InvalidArgumentError, match="row 1 is all zeros"):
        unit_rows(np.float32([[1, 0], [0, 0]]))
