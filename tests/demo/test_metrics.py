"""Figures of merit, checked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vecstore_bench.demo import metrics


def test_nearest_orders_by_inner_product_and_breaks_ties_by_row():
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
    queries = np.array([[1, 0], [0, 1]], np.float32)
    assert metrics.nearest(vectors, queries, 3).tolist() == [[0, 3, 2], [1, 2, 0]]
    assert metrics.nearest(vectors, queries, 9).shape == (2, 4)


def test_recall_is_the_mean_share_of_true_ids():
    truth = [["a", "b"], ["c", "d"], []]
    assert metrics.recall([["b", "a"], ["c", "x"], ["y"]], truth) == pytest.approx(0.75)
    assert metrics.recall([[], [], []], truth) == 0.0
    assert math.isnan(metrics.recall([["a"]], [[]]))


def test_recall_wants_as_many_answers_as_truths():
    with pytest.raises(ValueError, match="zip"):
        metrics.recall([["a"]], [["a"], ["b"]])


def test_hit_share_looks_at_the_first_k_only():
    found = [["a", "b"], ["c", "d"], ["e", "f"]]
    expected = [["a"], ["d", "x"], ["y"]]
    assert metrics.hit_share(found, expected, 1) == pytest.approx(1 / 3)
    assert metrics.hit_share(found, expected, 2) == pytest.approx(2 / 3)
    assert math.isnan(metrics.hit_share([], [], 1))


def test_percentiles():
    assert metrics.percentiles([float(n) for n in range(101)]) == (50.0, 99.0)
