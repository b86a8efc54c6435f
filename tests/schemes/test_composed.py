"""Hybrids: what is particular to a layout whose rows a codec holds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.schemes.tables import frequency, unit_matrix
from vecstore.errors import CorruptionError, InvalidArgumentError
from vecstore.schemes import from_config, get
from vecstore.schemes.base import TableShape
from vecstore.types import F32

HYBRIDS = ("adapt+int8", "dedup+int8", "mde+alpt", "pca+pq")


@pytest.mark.parametrize("name", HYBRIDS)
def test_rows_are_what_the_codec_makes_of_the_rows_of_the_layout(name):
    matrix, counts = unit_matrix(), frequency(90)
    hybrid = get(name).plan(TableShape(*matrix.shape), 0.2, counts)
    table = hybrid.fit(matrix, frequency=counts)
    plain = hybrid.laid_out.fit(matrix, frequency=counts)
    arrays = dict(plain.arrays())
    stored: F32 = arrays[hybrid.laid_out.stored_rows]
    coded = hybrid.row_codec.fit(stored.reshape(-1, stored.shape[-1]))
    arrays[hybrid.laid_out.stored_rows] = coded.lookup(np.arange(coded.shape.rows)).reshape(stored.shape)
    expected = plain.scheme.open(plain.shape, arrays)
    np.testing.assert_array_equal(table.lookup(np.arange(90)), expected.lookup(np.arange(90)))
    assert table.nbytes == plain.nbytes - stored.nbytes + coded.nbytes


@pytest.mark.parametrize("name", HYBRIDS[:3])
def test_at_equal_bytes_there_are_more_rows_or_wider_ones(name):
    shape = TableShape(5000, 64)
    hybrid = get(name).plan(shape, 0.1)
    plain = get(hybrid.laid_out.name).plan(shape, 0.1)
    ours, theirs = hybrid.laid_out.stored_shape(shape), plain.stored_shape(shape)
    assert ours.rows * ours.dim > 2.5 * theirs.rows * theirs.dim
    assert 0.95 * 0.1 * shape.float32_bytes < hybrid.nbytes(shape) <= 0.1 * shape.float32_bytes


def test_settings_reach_the_layout_and_the_codec():
    shape = TableShape(1000, 16)
    hybrid = get("mde+alpt").plan(shape, 1.0, None, {"outer": {"width": 3}, "codec": {"bits": 16}})
    assert (hybrid.outer["width"], hybrid.codec["bits"]) == (3, 16)
    with pytest.raises(InvalidArgumentError, match="settings of 'alpt'"):
        get("mde+alpt").plan(shape, 1.0, None, {"codec": {"scheme": "int8"}})
    with pytest.raises(InvalidArgumentError, match="expected a config of 'adapt'"):
        from_config({"scheme": "adapt+int8", "outer": {"scheme": "full"}, "codec": {"scheme": "int8"}})


def test_a_layout_that_points_outside_of_the_rows_is_corruption():
    table = from_config(
        {
            "scheme": "dedup+int8",
            "outer": {"scheme": "dedup", "blocks": 7, "block_rows": 2},
            "codec": {"scheme": "int8"},
        }
    ).fit(unit_matrix())
    wrong = np.full_like(table.arrays()["map"], 7)
    with pytest.raises(CorruptionError, match="block 7 of 7"):
        table.scheme.open(table.shape, {**table.arrays(), "map": wrong})


def test_axes_and_codes_are_chosen_together():
    shape = TableShape(100_000, 16)
    planned = {budget: get("pca+pq").plan(shape, budget) for budget in (0.5, 0.1, 0.05, 0.02)}
    sizes = [own.nbytes(shape) for own in planned.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert all(size <= budget * shape.float32_bytes for budget, size in zip(planned, sizes, strict=True))
    # A code of 4 bits an axis is worth more than further axes only once most of them are there.
    forms = {budget: (own.width, own.codec["parts"]) for budget, own in planned.items()}
    assert forms[0.5] == (15, 15)
    assert all(width > parts for budget, (width, parts) in forms.items() if budget < 0.1)
    eight = get("pca+pq").plan(shape, 0.1, None, {"outer": {"width": 10}, "codec": {"bits": 8}})
    assert (eight.width, eight.codec["bits"], eight.codec["parts"]) == (10, 8, 5)
    with pytest.raises(InvalidArgumentError, match="width 16 and parts None do not fit 16 dimensions"):
        get("pca+pq").plan(shape, 0.1, None, {"outer": {"width": 16}})


def test_rows_that_vary_most_along_one_axis_lose_less_than_in_codes_of_their_numbers():
    # As vectors of ids do once they are trained.
    rng = np.random.default_rng(0)
    spread = np.array([6.0] + [1.0] * 15)
    turned, _ = np.linalg.qr(rng.normal(size=(16, 16)))
    matrix = ((rng.normal(size=(2000, 16)) * spread) @ turned).astype(np.float32)
    hybrid = get("pca+pq").plan(TableShape(2000, 16), 0.05)
    plain = get("pq").plan(TableShape(2000, 16), 0.05)

    def lost(scheme):
        return float(np.square(scheme.fit(matrix).lookup(np.arange(2000)) - matrix).sum())

    assert hybrid.nbytes(TableShape(2000, 16)) <= 0.05 * matrix.nbytes
    assert lost(hybrid) < 0.9 * lost(plain)
