"""How well logits predict labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError

__all__ = ["auc", "log_loss"]


def auc(labels: NDArray[np.float32], scores: NDArray[np.float64]) -> float:
    """Give the share of pairs of a positive and a negative row that ``scores`` put in order; ties count half.

    Parameters
    ----------
    labels : float32[n]
        0 or 1, with at least one of each.
    scores : float64[n]
        Larger for what is more likely positive.

    Raises
    ------
    InvalidArgumentError
        Labels of one kind only, or scores that are not numbers.
    """
    positive = labels > 0.5
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        raise InvalidArgumentError("labels: the AUC needs positive and negative rows", field="labels")
    if not np.isfinite(scores).all():
        raise InvalidArgumentError("scores: some are not finite; the training diverged", field="scores")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # Equal scores share the mean of their ranks, which start from 1.
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[places][positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def log_loss(labels: NDArray[np.float32], logits: NDArray[np.float64]) -> float:
    """Give the mean of -log p(label) in nats, of logits float64[n] of any size."""
    return float(np.mean(np.logaddexp(0, logits) - labels * logits))
