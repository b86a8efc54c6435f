"""Hybrids: what is particular to a layout whose rows a codec holds."""

from __future__ import annotations

import numpy as np
import pytest

from tests.schemes.tables import frequency, unit_matrix
from vecstore.errors import CorruptionError, InvalidArgumentError
from vecstore.schemes import from_config, get
from vecstore.schemes.base import TableShape
from vecstore.types import F32

HYBRIDS = ("adapt+int8", "dedup+int8", "mde+alpt")


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


@pytest.mark.parametrize("name", HYBRIDS)
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
