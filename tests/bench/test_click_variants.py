"""Controlled variants: what each changes, and that it changes nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from vecstore.errors import NotFoundError
from vecstore_bench import click_variants
from vecstore_bench.click_rows import in_memory, open_clicks, save_clicks
from vecstore_bench.click_variants import VARIANTS, vary


@pytest.fixture
def varied(clicks, tmp_path):
    """Give what makes a variant of the clicks."""

    def make(variant, seed=0):
        folder = tmp_path / f"{variant}-{seed}"
        save_clicks(clicks, folder)
        vary(folder, variant, seed=seed)
        return in_memory(open_clicks(folder))

    return make


def core_of(clicks):
    """Give the ids of every field that occur twice or more, without id 0."""
    return {name: 1 + np.flatnonzero(counts[1:] > 1) for name, counts in clicks.frequency().items()}


def top_share(counts):
    """Give the share of look-ups that the most frequent tenth of ids has."""
    ranked = np.sort(counts[1:])[::-1]
    return ranked[: max(1, len(ranked) // 10)].sum() / ranked.sum()


def test_the_2_core_has_no_singletons(clicks, varied):
    found = varied("2-core")
    assert found.name == "planted, 2-core"
    for column, (name, core) in enumerate(core_of(clicks).items()):
        assert found.sizes[name] == len(core) + 1
        assert found.frequency()[name][1:].min() >= 2
        for split, rows in clicks.splits.items():
            expected = np.where(np.isin(rows.ids[:, column], core), np.searchsorted(core, rows.ids[:, column]) + 1, 0)
            own = found.splits[split].ids[:, column]
            # Ids are numbered by their rank, so they are compared as groups.
            pairs = set(zip(expected.tolist(), own.tolist(), strict=True))
            assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
            np.testing.assert_array_equal(own == 0, expected == 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_sizes_are_as_promised_and_rows_stay(clicks, varied, variant):
    found, factor = varied(variant), {"sparsified": 2, "densified": 0.5}.get(variant, 1)
    for name, core in core_of(clicks).items():
        assert abs(found.sizes[name] - 1 - factor * len(core)) <= 2
        assert found.frequency()[name].sum() == len(clicks.splits["train"])
    for split, rows in clicks.splits.items():
        own = found.splits[split]
        np.testing.assert_array_equal(own.labels, rows.labels)
        np.testing.assert_array_equal(own.dense, rows.dense)
        assert (own.ids < list(found.sizes.values())).all()
        assert own.ids.min() >= 0
        assert own.ids.dtype == np.int32


def test_split_ids_are_halves_of_one(clicks, varied):
    whole, halves = varied("2-core"), varied("sparsified")
    for split in clicks.splits:
        one, other = whole.splits[split].ids, halves.splits[split].ids
        np.testing.assert_array_equal((other + 1) // 2, one)
    counts = halves.frequency()["user"][1:].reshape(-1, 2)
    many = counts[counts.sum(axis=1) > 100]
    assert (np.abs(many[:, 0] / many.sum(axis=1) - 0.5) < 0.2).all()


def test_more_and_less_skewed_are_what_they_say(varied):
    before = varied("2-core").frequency()["user"]
    more, less = varied("more-skewed").frequency()["user"], varied("less-skewed").frequency()["user"]
    assert top_share(more) > top_share(before) > top_share(less)


def test_a_seed_is_a_seed_whatever_the_blocks(varied, monkeypatch):
    first = varied("sparsified", 3)
    assert varied("sparsified", 4).digest() != first.digest()
    monkeypatch.setattr(click_variants, "_BLOCK_ROWS", 7)
    assert varied("sparsified", 3).digest() == first.digest()


def test_an_unknown_variant_lists_those_there_are(varied):
    with pytest.raises(NotFoundError, match="2-core, sparsified"):
        varied("3-core")
