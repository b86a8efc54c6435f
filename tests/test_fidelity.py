"""The figures of reports, against numpy on whole arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vecstore.fidelity import Fidelity


def of(original, stored):
    fidelity = Fidelity()
    fidelity.add(np.float32(original), np.float32(stored))
    return fidelity


def test_blocks_add_up_to_the_figures_of_all_rows(rng):
    original = rng.normal(size=(50, 7)).astype(np.float32)
    stored = (original + rng.normal(size=(50, 7))).astype(np.float32)
    fidelity = Fidelity()
    for start in range(0, 50, 13):
        fidelity.add(original[start : start + 13], stored[start : start + 13])
    lengths = np.linalg.norm(original, axis=1) * np.linalg.norm(stored, axis=1)
    assert fidelity.relative_error == pytest.approx(((stored - original) ** 2).sum() / (original**2).sum(), rel=1e-6)
    assert fidelity.cosine == pytest.approx(((original * stored).sum(1) / lengths).mean(), rel=1e-6)


def test_exact_rows_of_any_size():
    for factor in (1e-18, 1, 1e18):
        same = of([[factor, 2 * factor]], [[factor, 2 * factor]])
        assert same.relative_error == 0
        assert same.cosine == pytest.approx(1, abs=1e-12)


def test_rows_of_zeros_have_no_direction_and_lost_rows_count_as_a_right_angle():
    fidelity = of([[0, 0], [3, 0], [1, 0]], [[0, 0], [0, 0], [1, 0]])
    assert fidelity.relative_error == pytest.approx(0.9)
    assert fidelity.cosine == pytest.approx(0.5)


def test_nothing_and_nothing_but_zeros():
    assert (Fidelity().relative_error, Fidelity().cosine) == (0, 1)
    assert (of([[0, 0]], [[0, 0]]).relative_error, of([[0, 0]], [[0, 0]]).cosine) == (0, 1)
    assert of([[0, 0]], [[0, 1]]).relative_error == math.inf
