"""Graphs of collections through inserts, updates, deletes and merges, by either builder."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore
from tests import reference
from vecstore import HnswConfig, StoreConfig
from vecstore.index import hnsw
from vecstore.kernels.lengths import unit_rows

DIM = 16
SETTINGS = StoreConfig(background=False, durability="relaxed", threads=1)
BUILDERS = ["codes", "hnswlib"]


def index(builder):
    return HnswConfig(M=8, ef_construction=60, min_rows=200, builder=builder)


def recall(docs, queries, ef=30):
    found = docs.search(queries, 10, ef=ef).ids
    return reference.recall(found, docs.search(queries, 10, exact=True).ids)


@pytest.fixture
def vectors():
    return unit_rows(reference.clustered(np.random.default_rng(8), 4_200, DIM))


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize(
    ("scheme", "refine"), [("full", None), ("int8", "float16"), ("float16", None), ("int4", "int8")]
)
def test_both_builders_serve_every_kind_of_codes(tmp_path, vectors, scheme, refine, builder):
    with vecstore.open(tmp_path / "store", settings=SETTINGS) as db:
        docs = db.create_collection("c", dim=DIM, metric="l2", scheme=scheme, refine=refine, index=index(builder))
        docs.insert(np.arange(2_000), vectors[:2_000])
        docs.optimize()
        assert docs.stats().segments[0]["graph"]
        assert recall(docs, vectors[4_000:], ef=60) >= (0.98 if refine or scheme != "int8" else 0.9)
        assert db.verify() == []


def test_ten_rounds_of_changes_and_merges_lose_nothing(tmp_path, vectors):
    random = np.random.default_rng(9)
    with vecstore.open(tmp_path / "store", settings=SETTINGS) as db:
        docs = db.create_collection("c", dim=DIM, metric="l2", scheme="int8", refine="float16", index=index("codes"))
        docs.insert(np.arange(2_000), vectors[:2_000])
        docs.flush()
        merges = 0
        for number in range(10):
            docs.upsert(random.choice(2_000, 150, replace=False), vectors[random.integers(0, 4_000, 150)])
            docs.insert(10_000 + 250 * number + np.arange(250), vectors[random.integers(0, 4_000, 250)])
            docs.delete(ids=random.choice(2_000, 100, replace=False).tolist())
            docs.flush()
            while docs.maintenance.merge():
                merges += 1
        assert merges >= 3
        grown = recall(docs, vectors[4_000:])
        docs.optimize()
        assert grown >= recall(docs, vectors[4_000:]) - 0.005


def test_a_merge_goes_on_from_the_largest_graph(tmp_path, vectors, monkeypatch):
    begun, grow = [], hnsw.grow

    def watched(rows, n_rows, config, *, previous, should_stop):
        begun.append(None if previous is None else np.count_nonzero(previous.renumbered >= 0))
        return grow(rows, n_rows, config, previous=previous, should_stop=should_stop)

    monkeypatch.setattr(hnsw, "grow", watched)
    with vecstore.open(tmp_path / "store", settings=SETTINGS) as db:
        docs = db.create_collection("c", dim=DIM, metric="l2", index=index("codes"))
        docs.insert(np.arange(1_000), vectors[:1_000])
        docs.optimize()
        docs.delete(ids=range(50))
        docs.insert(np.arange(2_000, 2_600), vectors[1_000:1_600])
        docs.flush()
        assert docs.maintenance.merge()
        docs.compress("int8")
        docs.insert(np.arange(3_000, 3_010), vectors[1_600:1_610])
        docs.optimize()
        assert begun == [None, 950, None]
        assert recall(docs, vectors[4_000:], ef=60) >= 0.9


def test_a_config_without_a_builder_is_read_and_its_graphs_stay(tmp_path, vectors):
    stored = {"M": 8, "ef_construction": 60, "ef": 64, "min_rows": 200, "seed": 100}
    assert HnswConfig.from_dict(stored) == index("codes")
    with vecstore.open(tmp_path / "store", settings=SETTINGS) as db:
        docs = db.create_collection("c", dim=DIM, metric="l2", index=index("hnswlib"))
        docs.insert(np.arange(500), vectors[:500])
        docs.optimize()
        generation = docs.stats().generation
        assert not docs.maintenance.merge()
        docs.optimize()
        assert docs.stats().generation == generation


def test_another_builder_is_refused():
    with pytest.raises(vecstore.InvalidArgumentError, match="builder"):
        HnswConfig(builder="faiss")
