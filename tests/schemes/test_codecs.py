"""int4, binary, pq and opq: exact small cases and what each promises beyond the battery."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from vecstore import schemes
from vecstore.config import with_transform
from vecstore.errors import InvalidArgumentError
from vecstore.index.exact import exact_search
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.base import TableShape
from vecstore.schemes.scorer import coarse
from vecstore.search import scan_in_stages
from vecstore.types import Metric


def fitted(rows, name, seed=0, **settings):
    return schemes.from_config({"scheme": name, **settings}).fit(rows, seed=seed)


def scanned(scorer, n_queries, n_rows):
    out = np.empty((n_queries, n_rows), np.float32)
    scorer.scan(0, n_rows, out)
    return out


@pytest.fixture
def rows(rng):
    return unit_rows(reference.clustered(rng, 300, 48))


@pytest.fixture
def queries(rng):
    return unit_rows(reference.clustered(rng, 7, 48))


def error(table, rows):
    return float(((table.lookup(np.arange(len(rows))) - rows) ** 2).sum(axis=1).mean())


# int4


def test_int4_codes_are_those_of_the_formula():
    rows = np.array([[0, 1, 2, 3, 15], [0, -1, -2, -3, -15]], np.float32)
    table = fitted(rows, "int4")
    arrays = table.arrays()
    np.testing.assert_array_equal(arrays["centroid"], 0)
    np.testing.assert_array_equal(arrays["offsets"], [0, -15])
    np.testing.assert_array_equal(arrays["steps"], [1, 1])
    np.testing.assert_array_equal(arrays["codes"], [[0 | 3 << 4, 1 | 15 << 4, 2], [15 | 12 << 4, 14, 13]])
    np.testing.assert_array_equal(table.lookup(np.array([0, 1])), rows)


def test_int4_errs_by_at_most_half_a_step(rows):
    table = fitted(rows, "int4")
    steps = table.arrays()["steps"]
    assert (np.abs(table.lookup(np.arange(300)) - rows) <= 0.5001 * steps[:, None] + 1e-7).all()


def test_int4_of_equal_rows_is_exact(rows):
    same = np.repeat(rows[:1], 5, axis=0)
    np.testing.assert_array_equal(fitted(same, "int4").lookup(np.arange(5)), same)


# binary


@pytest.mark.parametrize("dim", [1, 63, 64, 65, 130])
def test_hamming_distances_are_counted_bits(rng, dim):
    rows, queries = rng.standard_normal((2, 150, dim)).astype(np.float32)
    queries = unit_rows(queries[:6])
    scorer = coarse(fitted(rows, "binary").scorer(queries, Metric.IP))
    counts = ((rows >= 0)[None] != (queries >= 0)[:, None]).sum(axis=2)
    found = scanned(scorer, 6, 150)
    np.testing.assert_allclose(found, -(dim - 2 * counts) / dim, atol=1e-6)
    for start, stop in ((0, 1), (60, 70), (149, 150)):
        part = np.empty((6, stop - start), np.float32)
        scorer.scan(start, stop, part)
        np.testing.assert_array_equal(part, found[:, start:stop])
    gathered = np.empty((6, 40), np.float32)
    scorer.gather(np.arange(100, 140), gathered)
    np.testing.assert_array_equal(gathered, found[:, 100:140])


def test_zero_counts_as_positive():
    np.testing.assert_array_equal(fitted(np.array([[0, -1]], np.float32), "binary").lookup(np.array([0])) > 0, [[1, 0]])


# pq and opq


@pytest.mark.parametrize("name", ["pq", "opq"])
@pytest.mark.parametrize("bits", [4, 8])
def test_rows_that_are_centroids_are_exact(rng, name, bits):
    corners = rng.standard_normal((8, 6)).astype(np.float32)
    rows = corners[rng.integers(0, 8, 200)]
    assert error(fitted(rows, name, parts=2, bits=bits), rows) < 1e-10


@pytest.mark.parametrize("bits", [4, 8])
def test_more_parts_and_a_learned_rotation_lose_less(rng, bits):
    mixing = np.linalg.qr(rng.standard_normal((48, 48)))[0] * np.exp(-np.arange(48) / 8)[:, None]
    rows = (rng.standard_normal((600, 48)) @ mixing).astype(np.float32)
    coarse_pq, fine_pq = (fitted(rows, "pq", parts=parts, bits=bits) for parts in (4, 12))
    assert error(fine_pq, rows) < 0.8 * error(coarse_pq, rows)
    assert error(fitted(rows, "opq", parts=12, bits=bits), rows) < 0.9 * error(fine_pq, rows)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("parts", [1, 3, 48])
def test_quick_scans_are_within_the_rounding_of_their_tables(rng, rows, queries, metric, parts):
    scorer = fitted(rows, "pq", parts=parts).scorer(queries, metric)
    quick, exact = scanned(coarse(scorer), 7, 300), scanned(scorer, 7, 300)
    steps = scorer.traversal.steps
    assert (np.abs(quick - exact) <= 0.51 * parts * steps[:, None] + 1e-5).all()
    chosen = rng.integers(0, 300, 30)
    gathered = np.empty((7, 30), np.float32)
    coarse(scorer).gather(chosen, gathered)
    np.testing.assert_array_equal(gathered, quick[:, chosen])


def test_parts_that_do_not_divide_the_dimensions_are_refused(rows):
    for name in ("opq", "mgqe"):
        with pytest.raises(InvalidArgumentError, match="7 does not divide 48"):
            fitted(rows, name, parts=7)
        with pytest.raises(InvalidArgumentError, match="7 does not divide 48"):
            schemes.from_config({"scheme": name, "parts": 7}).check_collection(48, Metric.L2)


def test_parts_of_pq_have_whole_widths(rows):
    for name in ("pq", "magpq"):
        sized = {"parts": 13} if name == "pq" else {"tiers": [{"share": 1, "size": 13}]}
        with pytest.raises(InvalidArgumentError, match="13 of width 4 exceed 48 dimensions; 12 will do"):
            schemes.from_config({"scheme": name, **sized}).check_collection(48, Metric.L2)
    uneven = fitted(rows, "pq", parts=7)
    assert uneven.codebook.shape == (7, 16, 7)
    # Of 7 floats 6 are of the 48 dimensions.
    assert not uneven.codebook[-1, :, 6:].any()


@pytest.mark.parametrize("settings", [{"parts": 0}, {"parts": 4, "bits": 5}, {}])
def test_settings_of_pq_out_of_range(settings):
    with pytest.raises(InvalidArgumentError):
        schemes.from_config({"scheme": "pq", **settings})


def test_an_opq_rotation_is_orthonormal_and_counts(rows):
    table = fitted(rows, "opq", parts=6)
    matrix = table.arrays()["0.matrix"].astype(np.float64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(48), atol=1e-5)
    assert table.nbytes - fitted(rows, "pq", parts=6).nbytes == 48 * 48 * 4
    assert table.scheme.nbytes(TableShape(300, 48)) == table.nbytes


@pytest.mark.parametrize("transform", [None, "rotate"])
def test_int8_without_a_finer_copy_is_scanned_exactly(rng, transform):
    # Neighbours so near one another that a query rounded to int8 orders them otherwise.
    together = (rng.standard_normal(48) + 0.005 * rng.standard_normal((407, 48))).astype(np.float32)
    scheme = with_transform("int8", transform)
    scorer = schemes.from_config(scheme).fit(together[:400]).scorer(together[400:], Metric.L2)
    exact = exact_search(scorer, 7, 400, 5)
    assert (exact_search(coarse(scorer), 7, 400, 24)[0] != exact_search(scorer, 7, 400, 24)[0]).any()
    for found, expected in zip(scan_in_stages(scorer, scorer, 7, 400, 5, 24), exact, strict=True):
        np.testing.assert_array_equal(found, expected)
