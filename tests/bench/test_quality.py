"""AUC and log loss against counts of all pairs and the definition."""

from __future__ import annotations

import numpy as np
import pytest

from vecstore.errors import InvalidArgumentError
from vecstore_bench.quality import auc, log_loss


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_auc_is_the_share_of_pairs_in_order(rng, levels):
    labels = (rng.random(200) < 0.3).astype(np.float32)
    scores = rng.integers(0, levels, 200).astype(np.float64)
    wins = [(one > other) + 0.5 * (one == other) for one in scores[labels == 1] for other in scores[labels == 0]]
    assert auc(labels, scores) == pytest.approx(np.mean(wins), abs=1e-12)
    assert auc(1 - labels, scores) == pytest.approx(1 - np.mean(wins), abs=1e-12)


def test_auc_of_perfect_and_of_useless_scores():
    labels = np.array([0, 0, 1, 1], np.float32)
    assert auc(labels, np.array([-3.0, -2, 5, 9])) == 1
    assert auc(labels, -np.array([-3.0, -2, 5, 9])) == 0
    assert auc(labels, np.zeros(4)) == 0.5


@pytest.mark.parametrize(
    ("labels", "scores", "what"), [([1, 1], [0.1, 0.2], "positive and negative"), ([0, 1], [0.1, np.nan], "finite")]
)
def test_auc_says_what_it_cannot_rank(labels, scores, what):
    with pytest.raises(InvalidArgumentError, match=what):
        auc(np.array(labels, np.float32), np.array(scores))


def test_log_loss(rng):
    labels = (rng.random(50) < 0.4).astype(np.float32)
    logits = rng.normal(0, 2, 50)
    chances = 1 / (1 + np.exp(-logits))
    expected = -np.mean(np.where(labels == 1, np.log(chances), np.log(1 - chances)))
    assert log_loss(labels, logits) == pytest.approx(expected)
    assert log_loss(np.array([1, 0], np.float32), np.array([-1000.0, 0])) == pytest.approx((1000 + np.log(2)) / 2)
