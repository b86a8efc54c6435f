"""The measurement of scans: what it says of a case, and that it does without peers."""

from __future__ import annotations

import sys

import numpy as np

from tests import reference
from vecstore import schemes
from vecstore.types import Metric
from vecstore_bench import scans
from vecstore_bench.data_sets import DataSet


def test_a_case_is_timed_and_its_answers_are_judged(rng):
    rows, queries = reference.clustered(rng, 700, 16), reference.clustered(rng, 8, 16)
    true = reference.nearest(reference.distances(rows, queries, "l2").astype(np.float32), 10)
    data = DataSet("made up", Metric.L2, rows, queries, true[0])
    table = schemes.from_config("full").fit(rows)
    wrong = np.full((8, 10), 699), np.zeros((8, 10), np.float32)
    case = scans.Case("float32", 8, "nobody", lambda: scans._staged(table, queries, Metric.L2), lambda: wrong)
    line = scans.measured(case, data, 1)
    assert line.ours_right == 1
    assert line.theirs_right <= 0.1
    assert line.low <= line.median <= line.high
    assert line.queries_per_second > 0


def test_peers_that_are_not_installed_are_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert scans._peers().faiss is None
    assert "faiss is not installed" in capsys.readouterr().out


def test_distances_in_other_units_are_compared_as_counts(rng):
    counts = rng.integers(0, 30, (4, 10))
    ours = np.sort(counts, axis=1) * np.float32(0.25) - np.float32(3)
    assert scans._same_distances(ours, counts) == 1
    ours[1, 4] += 1
    assert scans._same_distances(ours, counts) < 1
