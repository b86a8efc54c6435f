"""Transforms in front of codecs: what they promise beyond the battery of all schemes."""

from __future__ import annotations

import numpy as np
import pytest

import vecstore
from tests import reference
from tests.schemes.tables import unit_matrix
from vecstore import HnswConfig, schemes
from vecstore.config import with_transform
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.kernels.lengths import unit_rows
from vecstore.kernels.rotation import rotate, rotate_back
from vecstore.query_sketch import opened_sketch, sketch_of
from vecstore.schemes.base import TableShape
from vecstore.schemes.principal import principal_directions
from vecstore.schemes.requested import requested
from vecstore.schemes.transforms import parse_transforms
from vecstore.types import Metric


def transformed(transform, inner="full"):
    return schemes.from_config({"scheme": "transformed", "transform": transform, "inner": {"scheme": inner}})


@pytest.mark.parametrize("dim", [1, 2, 3, 31, 64, 100, 384])
def test_the_rotation_keeps_products_and_is_undone(rng, dim):
    rows = rng.standard_normal((20, dim)).astype(np.float32)
    turned = rows.copy()
    rotate(turned, np.uint64(7))
    np.testing.assert_allclose(turned @ turned.T, rows @ rows.T, atol=1e-5 * dim)
    back = turned.copy()
    rotate_back(back, np.uint64(7))
    assert turned.tobytes() == reference.rotated(rows, np.uint64(7)).tobytes()
    assert back.tobytes() == reference.rotated_back(turned, np.uint64(7)).tobytes()
    np.testing.assert_allclose(back, rows, atol=1e-5)


@pytest.mark.parametrize("dim", [33, 100, 128])
def test_the_rotation_spreads_a_single_number_over_all(dim):
    row = np.zeros((1, dim), np.float32)
    row[0, dim // 3] = 1
    rotate(row, np.uint64(1))
    assert np.abs(row).max() < 5 / np.sqrt(dim)


def test_chains_that_lose_nothing_give_the_rows_back():
    matrix = unit_matrix()
    for chain in ("centre", "rotate", "pca:33", "centre|pca:33|rotate"):
        np.testing.assert_allclose(transformed(chain).fit(matrix).lookup(np.arange(90)), matrix, atol=1e-6)


def test_pca_behind_centre_keeps_as_much_variance_as_any_projection(rng):
    matrix = (rng.standard_normal((200, 12)) * np.arange(1, 13) + 5).astype(np.float32)
    table = transformed("centre|pca:4").fit(matrix)
    variances = np.linalg.eigvalsh(np.cov(matrix.T.astype(np.float64), bias=True))
    error = ((table.lookup(np.arange(200)) - matrix) ** 2).sum(1).mean()
    assert error == pytest.approx(variances[:8].sum(), rel=1e-4)


def test_removed_directions_are_gone_and_unit_rows_have_length_one():
    matrix = unit_matrix()
    table = transformed("remove:2").fit(matrix)
    removed = table.arrays()["0.directions"]
    np.testing.assert_allclose(table.lookup(np.arange(90)) @ removed.T, 0, atol=1e-6)
    assert np.abs(matrix @ removed.T).max() > 0.1
    cut = transformed("truncate:5|unit").fit(matrix).lookup(np.arange(90))
    np.testing.assert_allclose(cut[:, :5], unit_rows(np.ascontiguousarray(matrix[:, :5])), atol=1e-6)


def lost_products(table, rows, queries):
    return float((((table.lookup(np.arange(len(rows))) - rows) @ queries.T) ** 2).mean())


@pytest.fixture
def unlike(rng):
    """Rows that vary most in the first dimensions, and queries that ask for the last ones."""
    rows = (rng.standard_normal((500, 24)) * np.linspace(2, 1, 24)).astype(np.float32)
    queries = (rng.standard_normal((300, 24)) * np.linspace(0.02, 1, 24) ** 2).astype(np.float32)
    return rows, queries


@pytest.mark.parametrize("chain", ["pca:6", "centre|pca:6", "rotate|pca:6", "truncate:20|pca:6"])
def test_pca_keeps_what_queries_ask_for(unlike, chain):
    rows, queries = unlike
    sketch = sketch_of(queries[:150])
    usual, suited = (
        schemes.from_config({"scheme": "transformed", "transform": chain, "inner": {"scheme": "full"}, **more}).fit(
            rows
        )
        for more in ({}, {"queries": sketch})
    )
    assert lost_products(suited, rows, queries[150:]) < 0.8 * lost_products(usual, rows, queries[150:])
    asked = queries[150:]
    distances = np.empty((150, 500), np.float32)
    for metric in (Metric.L2, Metric.IP):
        suited.scorer(asked, metric).scan(0, 500, distances)
        expected = reference.distances(suited.lookup(np.arange(500)), asked, metric)
        np.testing.assert_allclose(distances, expected, atol=2e-3)


@pytest.mark.parametrize("count", [1, 5, 11])
def test_directions_for_queries_lose_no_more_than_those_without(rng, count):
    for _ in range(5):
        rows, queries = rng.standard_normal((2, 90, 12)).astype(np.float32) * rng.random((2, 1, 12), np.float32)
        sketch = opened_sketch(sketch_of(queries))
        moments = rows.astype(np.float64).T @ rows
        losses = []
        for known in (None, sketch):
            kept = principal_directions(rows, count, known).astype(np.float64)
            np.testing.assert_allclose(kept @ kept.T, np.eye(count), atol=1e-5)
            rest = np.eye(12) - kept.T @ kept
            losses.append(np.trace(sketch.moments @ rest @ moments @ rest))
        assert losses[1] <= losses[0] * (1 + 1e-5)


def test_a_sketch_holds_the_moments_of_queries(rng):
    queries = (rng.standard_normal((400, 20)) * np.linspace(0, 2, 20)).astype(np.float32)
    sketch = sketch_of(queries)
    moments = queries.astype(np.float64).T @ queries
    np.testing.assert_allclose(opened_sketch(sketch).moments, moments / np.trace(moments), atol=1e-3)
    many = (rng.standard_normal((400, 80)) * np.geomspace(1, 0.1, 80)).astype(np.float32)
    opened = opened_sketch(sketch_of(many))
    assert opened.directions.shape == (32, 80)
    assert opened.rest > 0
    assert np.trace(opened.moments) == pytest.approx(1)
    assert len(sketch_of(many)) < 7_000
    for few in (np.ones(5), [1.0, 2, 0, 0, 1], np.full((9_000, 5), 1e-30)):
        assert opened_sketch(sketch_of(few)).directions.shape[1] == 5


@pytest.mark.parametrize("text", ["x", ":", "4:", "0:AAAA", "4:AAAA", "4:?", "-4:AAAAAAAAAAA=", "2:AHwAfA=="])
def test_what_is_no_sketch(text):
    with pytest.raises(InvalidArgumentError, match="queries"):
        schemes.from_config(
            {"scheme": "transformed", "transform": "pca:2", "inner": {"scheme": "full"}, "queries": text}
        )


def test_queries_that_shape_nothing_are_refused(rng):
    queries = rng.standard_normal((5, 33)).astype(np.float32)
    for wrong in (
        np.zeros((3, 33)),
        np.full((3, 33), np.nan),
        np.empty((0, 33)),
        "text",
        np.zeros((2, 2, 33)),
        [[1], [2, 3]],
    ):
        with pytest.raises(InvalidArgumentError, match="queries"):
            with_transform("full", "pca:4", wrong)
    with pytest.raises(InvalidArgumentError, match="pass transform"):
        with_transform("full", None, queries)
    with pytest.raises(InvalidArgumentError, match="shape 'pca:K'"):
        schemes.from_config(with_transform("full", "centre|rotate", queries))
    scheme = schemes.from_config(with_transform("full", "pca:4", queries))
    scheme.check_collection(33, Metric.COSINE)
    with pytest.raises(InvalidArgumentError, match="expected 34 dimensions a row, got 33"):
        scheme.check_collection(34, Metric.COSINE)
    with pytest.raises(InvalidArgumentError, match=r"queries: .* 'l2'"):
        scheme.check_collection(33, Metric.L2)


def test_what_queries_ask_of_dimensions_that_are_cut_away_does_not_count(rng):
    rows = rng.standard_normal((400, 24)).astype(np.float32)
    queries = rng.standard_normal((200, 24)).astype(np.float32)
    queries[:, :10] *= 0.01
    queries[:, 20:] *= 50  # cut away by the chain
    config = {"scheme": "transformed", "transform": "truncate:20|pca:10", "inner": {"scheme": "full"}}
    suited = schemes.from_config({**config, "queries": sketch_of(queries)}).fit(rows)
    rows[:, 20:] = 0
    usual = schemes.from_config(config).fit(rows)
    assert lost_products(suited, rows, queries) < 0.1 * lost_products(usual, rows, queries)


def test_the_seed_decides_the_rotation():
    scheme = transformed("rotate")
    salts = [scheme.fit(unit_matrix(), seed=seed).arrays()["0.salt"][0] for seed in (0, 0, 1)]
    assert salts[0] == salts[1] != salts[2]


@pytest.mark.parametrize("chain", ["", "whiten", "pca", "pca:0", "pca:x", "centre:3", "centre|", "pca:-2", "pca:²"])
def test_what_is_no_chain(chain):
    with pytest.raises(InvalidArgumentError, match="transform: "):
        parse_transforms(chain)
    with pytest.raises(InvalidArgumentError, match="transform: "):
        transformed(chain)


def test_blanks_around_names_do_no_harm():
    assert parse_transforms(" centre | pca:3 ") == parse_transforms("centre|pca:3")


def test_what_cannot_be_behind_transforms():
    for inner in ({"scheme": "transformed", "transform": "centre", "inner": {"scheme": "full"}}, {"scheme": "adapt"}):
        with pytest.raises(InvalidArgumentError):
            schemes.from_config({"scheme": "transformed", "transform": "centre", "inner": inner})


def test_more_dimensions_than_there_are_and_lengths_that_count_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"pca:34 .* 33 dimensions"):
        transformed("pca:34").fit(unit_matrix())
    with pytest.raises(InvalidArgumentError, match=r"pca:20 .* 10 dimensions"):
        transformed("truncate:10|pca:20").nbytes(TableShape(5, 33))
    with pytest.raises(InvalidArgumentError, match="'unit' drops the lengths"):
        transformed("truncate:3|unit").check_collection(33, Metric.L2)
    transformed("truncate:3|unit").check_collection(33, Metric.COSINE)


def test_values_that_a_transform_could_move_out_of_range_are_refused():
    matrix = np.full((2, 33), 30_000, np.float32)
    schemes.from_config("float16").check(matrix)
    with pytest.raises(InvalidArgumentError, match="float16"):
        transformed("rotate", "float16").check(matrix)


def test_a_budget_decides_what_the_codec_lacks():
    shape = TableShape(1000, 64)
    chosen = requested("mgqe", transform="centre", budget=0.5, shape=shape)
    assert chosen.to_dict()["inner"]["parts"] >= 1
    assert chosen.nbytes(shape) <= 0.5 * shape.float32_bytes
    with pytest.raises(BudgetInfeasible) as caught:
        requested("int8", transform="pca:8", budget=100, shape=shape)
    assert caught.value.floor == transformed("pca:8", "int8").nbytes(shape)
    with pytest.raises(InvalidArgumentError, match="no rows"):
        requested("int8", transform=None, budget=0.5, shape=TableShape(0, 64))
    for transform in (None, "centre"):
        with pytest.raises(InvalidArgumentError, match=r"'mgqe' needs parts: .* or budget=") as refused:
            requested("mgqe", transform=transform, shape=shape)
        assert refused.value.field == "parts"


@pytest.mark.parametrize("metric", list(Metric))
def test_collections_search_through_transforms_by_graph_and_scan(tmp_path, rng, metric):
    base = unit_rows(reference.clustered(rng, 600, 32))
    queries = base[:20] + np.float32(0.02) * rng.standard_normal((20, 32)).astype(np.float32)
    with vecstore.open(tmp_path) as db:
        docs = db.create_collection(
            "docs", dim=32, metric=metric, scheme="int8", transform="centre|rotate", index=HnswConfig(min_rows=100)
        )
        docs.insert(np.arange(600), base)
        docs.optimize()
        exact = docs.search(queries, 10, exact=True)
        found = docs.search(queries, 10, ef=200)
        assert (found.ids == exact.ids).mean() > 0.95
        same = found.ids == exact.ids
        np.testing.assert_allclose(found.distances[same], exact.distances[same], atol=2e-2)
        report = docs.compress("int8", transform="centre|pca:16", budget=0.3, refine="full")
        assert report.bytes_after > 0
        assert docs.config.scheme["transform"] == "centre|pca:16"
        refined = docs.search(queries, 10, ef=300)
        assert (refined.ids == exact.ids).mean() > 0.9
