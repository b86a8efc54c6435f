"""How wide walks go: as far as an ``ef`` that is given says, and far enough for many hits where it is the settings'."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore
from tests import reference
from vecstore import HnswConfig
from vecstore.index.hnsw import Graph
from vecstore.widths import walk_depth

#: So many that no walk here takes longer than a scan.
N_ROWS = 16_000


@pytest.fixture
def walked(monkeypatch):
    """The (count, ef) of every walk."""
    seen, search = [], Graph.search

    def noted(self, scorer, n_queries, count, ef, **others):
        seen.append((count, ef))
        return search(self, scorer, n_queries, count, ef, **others)

    monkeypatch.setattr(Graph, "search", noted)
    return seen


@pytest.mark.parametrize(
    ("scheme", "refine", "k", "ef", "expected"),
    [
        ("int8", "float16", 10, 10, (10, 10)),
        ("int8", "float16", 10, 15, (15, 15)),
        ("int8", "float16", 10, 60, (15, 60)),
        ("int8", "float16", 10, 5, (10, 10)),
        ("int8", "float16", 30, None, (45, 60)),
        ("int8", "float16", 10, None, (15, 40)),
        ("int4", "int8", 10, 200, (100, 200)),
        ("int4", "int8", 10, 20, (20, 20)),
        ("full", None, 10, 12, (10, 12)),
        ("full", None, 30, None, (30, 60)),
        ("rabitq", "int8", 10, 33, (33, 33)),
    ],
)
def test_walks_of_collections(tmp_path, walked, scheme, refine, k, ef, expected):
    rows = reference.clustered(np.random.default_rng(1), N_ROWS, 32)
    with vecstore.open(tmp_path) as db:
        index = HnswConfig(M=8, ef_construction=40, ef=40, min_rows=100)
        docs = db.create_collection("docs", dim=32, scheme=scheme, refine=refine, index=index)
        docs.insert(np.arange(N_ROWS), rows)
        docs.optimize()
        walked.clear()
        docs.search(rows[:2], k, ef=ef)
    assert walked == [expected]


def test_filtered_walks_are_wide_enough(tmp_path, walked):
    rows = reference.clustered(np.random.default_rng(1), N_ROWS, 32)
    with vecstore.open(tmp_path) as db:
        index = HnswConfig(M=8, ef_construction=40, min_rows=100)
        docs = db.create_collection("docs", dim=32, scheme="int8", refine="float16", index=index)
        docs.insert(np.arange(N_ROWS), rows, {"even": [number % 2 == 0 for number in range(N_ROWS)]})
        docs.optimize()
        walked.clear()
        docs.search(rows[:2], 10, ef=10, where="even = true")
        docs.search(rows[:2], 15, ef=10, where="even = true")
    assert walked == [(15, 24), (23, 30)]


def test_what_is_scored_again_was_found():
    for ef in (10, 17, 40, 200, 1000):
        assert walk_depth(10, ef, final=False, rough=False, bounded=False) == min(ef, 15)
        assert walk_depth(10, ef, final=False, rough=True, bounded=False) == min(ef, 100)
        assert walk_depth(10, ef, final=False, rough=True, bounded=True) == ef
        assert walk_depth(10, ef, final=True, rough=True, bounded=True) == 10
    assert [walk_depth(k, 1000, final=False, rough=False, bounded=False) for k in (1, 5, 7, 100)] == [8, 8, 11, 150]
