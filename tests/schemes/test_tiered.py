"""Tiers by the length of rows: how they are cut, what they cost, and searches through them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests import reference
from vecstore import schemes
from vecstore.errors import InvalidArgumentError, NotFoundError
from vecstore.index.exact import exact_search
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.base import TableShape
from vecstore.schemes.ranked_bitmap import bitmap_nbytes
from vecstore.schemes.scorer import coarse, quick
from vecstore.schemes.tier_map import TierMap
from vecstore.types import Metric

SHAPE = TableShape(700, 24)
over_names = pytest.mark.parametrize("name", ["magpq", "magsvd"])


@pytest.fixture
def rows(rng):
    """Rows whose lengths differ by a factor of ten, in no order."""
    lengths = np.exp(rng.uniform(0, np.log(10), (SHAPE.rows, 1)))
    return (unit_rows(reference.clustered(rng, SHAPE.rows, SHAPE.dim)) * lengths).astype(np.float32)


def fitted(name, rows, budget=0.3, **settings):
    return schemes.get(name).plan(TableShape(*rows.shape), budget, None, settings).fit(rows)


def tiers_of(table):
    return table.tier_map.locate(np.arange(table.shape.rows))[0]


@over_names
@pytest.mark.parametrize("groups", [2, 3, 5])
def test_tiers_have_equal_total_length_and_longer_rows_more(rows, name, groups):
    table = fitted(name, rows, groups=groups)
    owners, lengths = tiers_of(table), np.linalg.norm(rows.astype(np.float64), axis=1)
    totals = np.array([lengths[owners == tier].sum() for tier in range(groups)])
    assert np.abs(totals - totals.mean()).max() <= lengths.max()
    bounds = [(lengths[owners == tier].min(), lengths[owners == tier].max()) for tier in range(groups)]
    assert all(low[1] <= high[0] for low, high in pairwise(bounds))
    counts = np.bincount(owners)
    assert (np.diff(counts) < 0).all()
    sizes = np.array([tier.size for tier in table.scheme.tiers])
    assert (np.diff(sizes) >= 0).all()


def test_dimensions_of_an_svd_are_by_the_rule_and_as_many_as_fit(rows):
    table = fitted("magsvd", rows, 0.4, groups=3)
    counts = np.array(table.scheme.counts(SHAPE.rows))
    sizes = np.array([tier.size for tier in table.scheme.tiers])
    weights = counts**-0.3 / (counts**-0.3).max()
    # Each is the whole part of one scale times its weight.
    assert (sizes / weights).max() < ((sizes + 1) / weights).min()
    more = np.floor(((sizes + 1) / weights).min() * weights * (1 + 1e-9)).astype(int)
    extra = sum((count + SHAPE.dim) * 4 * (new - old) for count, new, old in zip(counts, more, sizes, strict=True))
    planned = schemes.get("magsvd").plan(SHAPE, 0.4, None, {"groups": 3}).nbytes(SHAPE)
    assert table.nbytes <= planned < table.nbytes + extra
    # The steps of a plan for tiers of equally many rows are those of one tier.
    assert planned <= 0.4 * SHAPE.float32_bytes < planned + (SHAPE.rows // 3 + 1 + SHAPE.dim) * 4


def test_bytes_are_those_of_the_tiers_and_of_a_bit_a_row(rows):
    table = fitted("magpq", rows)
    inner = sum(part.nbytes for part in table.parts)
    assert table.nbytes == inner + bitmap_nbytes(SHAPE.rows)


@over_names
def test_rows_of_one_length_are_one_tier_and_the_plain_scheme(rows, name):
    same = unit_rows(rows)
    table = fitted(name, same)
    (tier,) = table.scheme.tiers
    plain = schemes.get("pq")(parts=tier.size) if name == "magpq" else schemes.get("mde")(width=tier.size)
    every = np.arange(SHAPE.rows)
    np.testing.assert_array_equal(table.lookup(every), plain.fit(same).lookup(every))
    assert table.nbytes == plain.nbytes(SHAPE)


@over_names
def test_rows_of_zeros_are_stored(name):
    table = fitted(name, np.zeros((300, 24), np.float32))
    assert not table.lookup(np.arange(300)).any()


@over_names
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_searches_find_what_all_distances_say(rng, rows, name, metric, groups):
    scorer = fitted(name, rows, groups=groups).scorer(rows[:7] + np.float32(0.1), metric)
    distances = np.empty((7, SHAPE.rows), np.float32)
    scorer.scan(0, SHAPE.rows, distances)
    some = np.sort(rng.choice(SHAPE.rows, 300, replace=False))
    for searched, every in ((SHAPE.rows, np.arange(SHAPE.rows)), (some, some), (some[:3], some[:3])):
        found, near = exact_search(scorer, 7, searched, 12)
        expected = np.sort(distances[:, every], axis=1)[:, :12]
        np.testing.assert_allclose(near[:, : expected.shape[1]], expected, rtol=1e-5, atol=1e-4)
        assert np.isinf(near[:, expected.shape[1] :]).all()
        there = found >= 0
        assert (there.sum(axis=1) == expected.shape[1]).all()
        assert np.isin(found[there], every).all()
        own = np.take_along_axis(distances, np.maximum(found, 0), axis=1)
        np.testing.assert_allclose(near[there], own[there], rtol=1e-5, atol=1e-4)
    with pytest.raises(NotFoundError):
        exact_search(scorer, 7, np.array([SHAPE.rows]), 1)


def test_quick_scans_are_those_of_the_tiers(rows):
    scorer = fitted("magpq", rows).scorer(rows[:3], Metric.L2)
    assert quick(scorer).parts[0].operands is scorer.parts[0].scanned
    assert coarse(scorer).parts[1].operands is scorer.parts[1].traversal
    plain = fitted("magpq", rows, 0.9, inner={"bits": 8}).scorer(rows[:3], Metric.L2)
    assert quick(plain) is plain


@pytest.mark.parametrize("n_tiers", [1, 2, 5])
@pytest.mark.parametrize("n_rows", [1, 63, 64, 511, 513, 3000])
def test_places_in_tiers_and_back(rng, n_tiers, n_rows):
    owners = rng.integers(0, n_tiers, n_rows)
    found = TierMap.of(owners, n_tiers)
    tiers, places = found.locate(np.arange(n_rows))
    np.testing.assert_array_equal(tiers, owners)
    for tier in range(n_tiers):
        own = np.flatnonzero(owners == tier)
        np.testing.assert_array_equal(places[own], np.arange(len(own)))
        np.testing.assert_array_equal(found.rows_of(tier, np.arange(len(own))), own)
    counts = np.bincount(owners, minlength=n_tiers).tolist()
    assert TierMap.open(counts, found.arrays()).arrays().keys() == found.forms(counts).keys()


@over_names
@pytest.mark.parametrize(
    "settings",
    [
        {"tiers": []},
        {"tiers": [{"share": 0.5, "size": 2}]},
        {"tiers": [{"share": 1.5, "size": 2}, {"share": -0.5, "size": 2}]},
        {"tiers": [{"share": 1.0, "size": 0}]},
        {"tiers": [{"share": 1.0, "size": 2}], "alpha": 2.0},
        {"tiers": [{"share": 1.0, "size": 2}], "inner": {"colour": "red"}},
        {},
    ],
)
def test_settings_out_of_range(name, settings):
    with pytest.raises(InvalidArgumentError):
        schemes.from_config({"scheme": name, **settings})


@pytest.mark.parametrize("groups", [0, 9, 2.0, True, "two"])
def test_numbers_of_tiers_that_are_none(groups):
    with pytest.raises(InvalidArgumentError, match="groups"):
        schemes.get("magpq").plan(SHAPE, 0.3, None, {"groups": groups})
