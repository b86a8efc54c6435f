"""What is particular to float16 and int8."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests import reference
from vecstore import schemes
from vecstore.errors import InvalidArgumentError
from vecstore.kernels.intrinsics import NARROW
from vecstore.kernels.lengths import unit_rows
from vecstore.types import Metric


@pytest.mark.parametrize("value", [65_505.0, -65_520.0, 1e30])
def test_float16_refuses_what_it_cannot_hold(value):
    matrix = np.zeros((5, 3), np.float32)
    matrix[3, 1] = value
    scheme = schemes.from_config("float16")
    with pytest.raises(InvalidArgumentError, match="row 3"):
        scheme.check(matrix)
    with pytest.raises(InvalidArgumentError, match="row 3"):
        scheme.fit(matrix)


def test_float16_holds_its_largest_and_smallest():
    matrix = np.float32([[65_504, -65_504, 2.0**-24, -(2.0**-24), 0.0, -0.0]])
    scheme = schemes.from_config("float16")
    scheme.check(matrix)
    assert scheme.fit(matrix).lookup(np.array([0])).tobytes() == matrix.tobytes()


def test_int8_stays_finite_up_to_its_largest():
    matrix = np.nextafter(np.float32(3.4e38), np.float32(0), dtype=np.float32) * np.float32([[1, -1, 0]])
    scheme = schemes.from_config("int8")
    scheme.check(matrix)
    assert np.isfinite(scheme.fit(matrix).lookup(np.array([0]))).all()
    with pytest.raises(InvalidArgumentError, match=r"row 0 has a value beyond 3.4e\+38"):
        scheme.fit(np.float32([[np.finfo(np.float32).max, 0, 0]]))


def test_full_holds_every_float32():
    matrix = np.float32([[np.finfo(np.float32).max, -1, 1e-45]])
    assert schemes.from_config("full").fit(matrix).lookup(np.array([0])).tobytes() == matrix.tobytes()


def test_int8_error_is_at_most_half_a_step(rng):
    matrix = reference.clustered(rng, 200, 50)
    table = schemes.from_config("int8").fit(matrix)
    steps = table.arrays()["scales"][:, None]
    assert (np.abs(table.lookup(np.arange(200)) - matrix) <= steps * 0.5001).all()


@pytest.mark.parametrize("metric", list(Metric))
def test_int8_walks_with_rounded_queries_and_scores_with_exact_ones(rng, metric):
    matrix, queries = unit_rows(reference.clustered(rng, 300, 64)), unit_rows(reference.clustered(rng, 6, 64))
    table = schemes.from_config("int8").fit(matrix)
    scorer = table.scorer(queries, metric)
    assert scorer.operands is not scorer.traversal
    codes, scales = reference.quantise(queries, NARROW)
    rounded = codes.astype(np.float32) * scales[:, None]
    expected = reference.distances(table.lookup(np.arange(300)), rounded, metric)
    walked = np.empty((6, 300), np.float32)
    type(scorer)(300, 6, scorer.traversal, scorer.traversal).scan(0, 300, walked)
    np.testing.assert_allclose(walked, expected, atol=3e-6)


def test_row_lengths_are_computed_once_from_all_threads(rng):
    matrix = reference.clustered(rng, 5_000, 64)
    table = schemes.from_config("int8").fit(matrix)
    with ThreadPoolExecutor(8) as pool:
        scorers = list(pool.map(lambda _: table.scorer(matrix[:1], Metric.L2), range(16)))
    assert len({id(scorer.traversal.norms) for scorer in scorers}) == 1


def test_plain_numbers_walk_with_what_they_score_with(rng):
    matrix = reference.clustered(rng, 10, 8)
    for name in ("full", "float16"):
        scorer = schemes.from_config(name).fit(matrix).scorer(matrix[:2], Metric.IP)
        assert scorer.operands is scorer.traversal
