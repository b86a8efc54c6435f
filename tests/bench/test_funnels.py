"""The measurement of funnels: turned vectors keep their distances, and every line is measured."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore
from tests import reference
from vecstore.types import Metric
from vecstore_bench import funnels
from vecstore_bench.data_sets import DataSet


def test_principal_axes_keep_distances_and_put_the_most_first(rng):
    rows, queries = reference.clustered(rng, 300, 12), reference.clustered(rng, 9, 12)
    turned = funnels.on_principal_axes(DataSet("made up", Metric.L2, rows, queries, np.empty((9, 0), np.int64)))
    expected = reference.distances(rows, queries, "l2")
    found = reference.distances(turned.base, turned.queries, "l2")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.max())
    held = (turned.base.astype(np.float64) ** 2).sum(axis=0)
    assert (np.diff(held) <= 1e-5 * held[0]).all()


def test_every_funnel_is_measured_against_the_scan(rng, tmp_path):
    rows = reference.clustered(rng, 600, 12)
    with vecstore.open(tmp_path / "store") as db:
        docs = db.create_collection("rows", dim=12, metric="l2", scheme="full", index=None)
        docs.insert(np.arange(600), rows)
        docs.flush()
        scan, all_kept, few = funnels.measured(docs, rows[:40], ("4:600", "1:1,4:1"), 2)
    assert [scan.funnel, all_kept.funnel, few.funnel] == ["scan", "4:600", "1:1,4:1"]
    assert scan.recall == all_kept.recall == 1 > few.recall
    assert scan.single.median == pytest.approx(1)
    assert few.batch.low <= few.batch.median <= few.batch.high
