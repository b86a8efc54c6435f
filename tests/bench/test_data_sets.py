"""Data sets on disk, and figures of merit of ranked answers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench import vector_sets
from vecstore.errors import FormatError, NotFoundError
from vecstore.types import Metric
from vecstore_bench.data_sets import exact_neighbours, folder_of, load, prepared
from vecstore_bench.ranking import mrr, ndcg, recall


def test_ndcg_of_a_case_by_hand():
    found = np.arange(20).reshape(2, 10)
    # First query: hits in places 1 and 3 of three relevant rows; second query: none.
    relevant = [{0, 2, 99}, {5}]
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert ndcg(found, relevant) == pytest.approx((1 + 1 / 2) / ideal / 2)
    assert ndcg(found[:1], [{0, 1}]) == pytest.approx(1)


def test_mrr_and_recall_of_a_case_by_hand():
    found = np.array([[7, 3, 5], [1, 2, 4], [0, 8, 9]])
    assert mrr(found, [{5, 3}, {1}, {6}]) == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert mrr(found, [{5}, {2}, {6}], k=2) == pytest.approx((0 + 1 / 2 + 0) / 3)
    assert recall(found, np.array([[3, 7], [4, 9], [5, 6]]), 2) == pytest.approx(2 / 6)


def test_a_set_with_neighbours_is_read_whole_or_in_part(tmp_path, rng):
    folder = vector_sets.with_neighbours(tmp_path / "made", rng)
    data = prepared(load("made", tmp_path), queries=30)
    assert (data.metric, data.base.shape, data.queries.shape) == (Metric.L2, (300, 16), (30, 16))
    assert (exact_neighbours(data.base, data.queries, data.metric, 100) == data.neighbours).mean() > 0.999
    assert data.filters["third"].where == "kind = 1"
    assert data.filters["third"].neighbours.shape == (30, 10)
    assert data.metadata.column_names == ["kind"]
    part = prepared(load("made", tmp_path), rows=150)
    assert part.base.shape == (150, 16)
    assert part.neighbours.max() < 150
    assert not part.filters
    assert part.metadata is None
    assert folder_of(str(folder)) == folder_of("made", str(tmp_path)) == folder


def test_a_set_with_judgements_has_those_of_the_test_split(tmp_path, rng):
    vector_sets.with_judgements(tmp_path / "texts", rng)
    data = prepared(load("texts", tmp_path))
    assert data.metric is Metric.COSINE
    assert data.relevant == tuple(frozenset({number, number + 1}) for number in range(0, 20, 2))
    np.testing.assert_allclose(np.linalg.norm(data.base, axis=1), 1, atol=1e-6)
    # Every claim is nearest to the first of its documents.
    np.testing.assert_array_equal(data.neighbours[:, 0], np.arange(0, 20, 2))
    assert prepared(load("texts", tmp_path), rows=50).relevant is None


def test_what_is_no_set_is_refused(tmp_path, rng):
    with pytest.raises(NotFoundError, match=r"vectors\.npz"):
        folder_of("nowhere", str(tmp_path))
    vector_sets.with_neighbours(tmp_path / "made", rng)
    (tmp_path / "made" / "groundtruth_l2.npz").unlink()
    with pytest.raises(FormatError, match="groundtruth"):
        load("made", tmp_path)
