"""The bench of codecs: its stages on a small set."""

from __future__ import annotations

import numpy as np

from tests import reference
from vecstore import schemes
from vecstore.kernels.lengths import unit_rows
from vecstore.types import Metric
from vecstore_bench.codecs import two_stage


def test_stages_with_an_exact_copy_find_what_an_exact_scan_finds(rng):
    base = unit_rows(reference.clustered(rng, 500, 64))
    queries = unit_rows(reference.clustered(rng, 8, 64))
    full = schemes.from_config("full").fit(base)
    exact = two_stage(full, full, queries, Metric.COSINE)
    expected = reference.nearest(reference.distances(base, queries, "cosine").astype(np.float32), 10)[0]
    assert (exact == expected).mean() > 0.95
    refined = two_stage(schemes.from_config("rabitq").fit(base), full, queries, Metric.COSINE)
    assert (refined == exact).mean() > 0.9
