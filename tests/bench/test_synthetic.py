"""The planted effects are there, can be recovered, and give the stated AUC."""

from __future__ import annotations

import numpy as np
import pytest

from vecstore.errors import InvalidArgumentError
from vecstore_bench.synthetic import CHUNK_ROWS, SyntheticClicks, expected_auc, zipfian

SIZES = {"user": 1000, "item": 300, "hour": 24}


def auc(scores, labels):
    """Share of pairs in the right order, ties half."""
    order = np.argsort(scores, kind="stable")
    _, places, counts = np.unique(scores[order], return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    positive = labels[order] > 0
    n_positive, n_negative = positive.sum(), (~positive).sum()
    return (ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)


def logistic(columns, labels):
    """Maximum likelihood weights by Newton's method; the last is the bias."""
    design = np.column_stack([columns, np.ones(len(labels))])
    weights = np.zeros(design.shape[1])
    for _ in range(8):
        chances = 1 / (1 + np.exp(-design @ weights))
        curvature = (design * (chances * (1 - chances))[:, None]).T @ design
        weights += np.linalg.solve(curvature, design.T @ (labels - chances))
    return weights


def columns_of(data, rows):
    effects = [data.effects(name, rows.ids[:, n], rows.times) for n, name in enumerate(data.sizes)]
    pairs = [
        data.interaction_of(number, *(rows.ids[:, list(data.sizes).index(name)] for name in pair))
        for number, pair in enumerate(data.interactions)
    ]
    return np.column_stack([*effects, *pairs, rows.dense])


@pytest.mark.parametrize(
    ("options", "stated"),
    [({}, 0.795), ({"drift": 1.0}, 0.779), ({"interactions": (("user", "item"),)}, 0.808)],
    ids=["effects", "drift", "interactions"],
)
def test_a_logistic_model_of_the_true_effects_finds_their_weights_and_reaches_the_stated_auc(options, stated):
    data = SyntheticClicks(sizes=SIZES, rows=100_000, **options)
    train, test = data.all("train"), data.all("test")
    weights = logistic(columns_of(data, train), train.labels)
    n_effects = len(SIZES) + len(data.interactions)
    np.testing.assert_allclose(weights[:n_effects], 1, atol=0.1)
    np.testing.assert_allclose(weights[n_effects:-1], data.weights, atol=0.05)
    assert weights[-1] == pytest.approx(data.bias, abs=0.1)
    reached = auc(columns_of(data, test) @ weights[:-1], test.labels)
    assert expected_auc(test.logits) == pytest.approx(stated, abs=0.01)
    assert reached == pytest.approx(expected_auc(test.logits), abs=0.012)
    without_ids = auc(test.dense @ data.weights, test.labels)
    assert without_ids == pytest.approx(0.60, abs=0.03)


def test_effects_can_be_read_off_the_clicks_of_frequent_ids():
    data = SyntheticClicks(sizes={"user": 300, "hour": 24}, rows=300_000, dense_effect=0.0, exponent=0.5)
    rows = data.all("train")
    for number, name in enumerate(data.sizes):
        counts = np.bincount(rows.ids[:, number], minlength=data.sizes[name])
        rates = np.bincount(rows.ids[:, number], rows.labels, data.sizes[name]) / counts
        odds = np.log(rates / (1 - rates))
        found = np.corrcoef(odds, data.effects(name, np.arange(len(odds))))[0, 1]
        assert found > 0.97


def test_drift_turns_effects_and_keeps_their_spread():
    ids = np.arange(20_000)
    data = SyntheticClicks(sizes={"user": 20_000}, rows=10, drift=1.0)
    first, middle, last = (data.effects("user", ids, time) for time in (0.0, 0.5, 1.0))
    for effects in (first, middle, last):
        assert effects.std() == pytest.approx(0.7, rel=0.03)
        assert effects.mean() == pytest.approx(0, abs=0.02)
    assert np.corrcoef(first, middle)[0, 1] == pytest.approx(np.sqrt(0.5), abs=0.03)
    assert np.corrcoef(first, last)[0, 1] == pytest.approx(0, abs=0.03)
    still = SyntheticClicks(sizes={"user": 20_000}, rows=10)
    np.testing.assert_array_equal(still.effects("user", ids, 0.0), still.effects("user", ids, 1.0))


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0, 1.05, 2.0])
def test_ranks_are_zipfian(rng, exponent):
    size, count = 50, 200_000
    expected = 1 / np.arange(1, size + 1) ** exponent
    expected *= count / expected.sum()
    found = np.bincount(zipfian(rng, size, exponent, count), minlength=size)
    assert len(found) == size
    deviations = (found - expected) / np.sqrt(expected)
    assert np.abs(deviations).max() < 4.5
    assert (deviations**2).sum() < 100  # chi-square with 49 degrees of freedom: mean 49, deviation 10
    assert zipfian(rng, 1, exponent, 5).tolist() == [0] * 5


def test_ids_are_scattered_one_to_one():
    data = SyntheticClicks(sizes={"user": 97, "site": 100}, rows=200_000, exponent=0.3)
    frequency = data.frequency()
    for name, size in data.sizes.items():
        assert (frequency[name] > 0).all()
        assert frequency[name].sum() == 160_000
        most = np.sort(np.argsort(-frequency[name])[:5])
        assert np.diff(most).max() > 5, f"the most frequent of {size} ids lie together"


def test_splits_follow_each_other_in_time_and_chunks_do_not_show():
    data = SyntheticClicks(sizes=SIZES, rows=150_001, shares=(0.5, 0.3, 0.2))
    splits = [data.all(name) for name in ("train", "valid", "test")]
    assert [len(rows.labels) for rows in splits] == [75_000, 45_001, 30_000]
    times = np.concatenate([rows.times for rows in splits])
    np.testing.assert_allclose(times, (np.arange(150_001) + 0.5) / 150_001)
    assert max(len(rows.labels) for rows in data.stream("train")) <= CHUNK_ROWS
    whole = SyntheticClicks(sizes=SIZES, rows=150_001, shares=(1.0, 0.0, 0.0)).all("train")
    for name in ("ids", "dense", "labels", "logits"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(rows, name) for rows in splits]), getattr(whole, name), err_msg=name
        )
    np.testing.assert_array_equal(whole.logits, data.logits(whole.ids, whole.dense, whole.times))


def test_types_ranges_and_seeds():
    data = SyntheticClicks(sizes=SIZES, rows=500, dense=2)
    rows = data.all("train")
    assert (rows.ids.dtype, rows.ids.shape) == (np.int64, (400, 3))
    assert (rows.dense.dtype, rows.dense.shape) == (np.float32, (400, 2))
    assert rows.labels.dtype == np.float32
    assert set(rows.labels.tolist()) == {0.0, 1.0}
    assert (rows.ids >= 0).all()
    assert (rows.ids < list(SIZES.values())).all()
    np.testing.assert_array_equal(rows.ids, SyntheticClicks(sizes=SIZES, rows=500, dense=2).all("train").ids)
    other = SyntheticClicks(sizes=SIZES, rows=500, dense=2, seed=1)
    assert (other.all("train").ids != rows.ids).any()
    assert (other.effects("user", np.arange(9)) != data.effects("user", np.arange(9))).all()
    assert SyntheticClicks(sizes=SIZES, rows=500, dense=0).all("train").dense.shape == (400, 0)


def test_ten_million_ids_need_no_tables():
    data = SyntheticClicks(sizes={"user": 8_000_000, "item": 1_900_000, "site": 100_000}, rows=10**9)
    rows = next(data.stream("test"))
    assert len(rows.labels) <= CHUNK_ROWS
    assert rows.ids.max(axis=0)[0] > 7_000_000
    assert 0.05 < rows.labels.mean() < 0.5


def test_expected_auc_is_the_mean_over_labels(rng):
    logits = np.round(rng.normal(-1, 1.5, 60), 2)
    logits += np.arange(60) * 1e-6  # no ties, which ranking by the truth has not either
    chances = 1 / (1 + np.exp(-logits))
    wins = pairs = 0.0
    for one in range(60):
        for other in range(60):
            if one != other:
                weight = chances[one] * (1 - chances[other])
                wins += weight * (logits[one] > logits[other])
                pairs += weight
    assert expected_auc(logits) == pytest.approx(wins / pairs)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"sizes": {}}, "sizes"),
        ({"sizes": {"user": 0}}, "sizes"),
        ({"rows": 0}, "rows"),
        ({"shares": (0.5, 0.1, 0.1)}, "shares"),
        ({"interactions": (("user", "nobody"),)}, "nobody"),
    ],
)
def test_wrong_settings(options, field):
    with pytest.raises(InvalidArgumentError, match=field):
        SyntheticClicks(**{"sizes": SIZES, "rows": 10, **options})


def test_wrong_splits():
    data = SyntheticClicks(sizes=SIZES, rows=10)
    with pytest.raises(InvalidArgumentError, match="split"):
        data.all("tset")
    with pytest.raises(InvalidArgumentError, match="no rows"):
        SyntheticClicks(sizes=SIZES, rows=10, shares=(1.0, 0.0, 0.0)).all("test")
