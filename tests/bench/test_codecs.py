"""The bench of codecs: its measure, and its stages on a small set."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from vecstore import schemes
from vecstore.kernels.lengths import unit_rows
from vecstore.types import Metric
from vecstore_bench.codecs import ndcg, two_stage


def test_ndcg_of_a_case_by_hand():
    found = np.arange(20).reshape(2, 10)
    # First query: hits in places 1 and 3 of three relevant rows; second query: none.
    relevant = [{0, 2, 99}, {5}]
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert ndcg(found, relevant) == pytest.approx((1 + 1 / 2) / ideal / 2)
    assert ndcg(found[:1], [{0, 1}]) == pytest.approx(1)


def test_stages_with_an_exact_copy_find_what_an_exact_scan_finds(rng):
    base = unit_rows(reference.clustered(rng, 500, 64))
    queries = unit_rows(reference.clustered(rng, 8, 64))
    full = schemes.from_config("full").fit(base)
    exact = two_stage(full, full, queries, Metric.COSINE)
    expected = reference.nearest(reference.distances(base, queries, "cosine").astype(np.float32), 10)[0]
    assert (exact == expected).mean() > 0.95
    refined = two_stage(schemes.from_config("rabitq").fit(base), full, queries, Metric.COSINE)
    assert (refined == exact).mean() > 0.9
