"""Small parts are stored behind one another in one array; tables stored before there were packs stay readable."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tables.helpers import ROWS, SIZES, frozen
from vecstore.errors import CorruptionError
from vecstore.schemes import names
from vecstore.schemes.packing import PACK, packed_arrays, unpacked

#: What cannot be fitted is packed in the battery of budgets, where layers are trained.
FITTED = [name for name in names() if name != "autodim"]


@pytest.mark.parametrize("name", FITTED)
def test_unpacked_arrays_are_those_that_were_packed(name):
    table = frozen(name, 1.0)
    stored = packed_arrays(table)
    assert set(stored) == {PACK}
    assert stored[PACK].nbytes == table.nbytes
    found = unpacked(table.scheme, table.shape, stored)
    assert set(found) == set(table.arrays())
    for key, array in table.arrays().items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        assert found[key].tobytes() == array.tobytes()
        assert not array.nbytes or np.shares_memory(found[key], stored[PACK]), "nothing is copied"
    reopened = table.scheme.open(table.shape, found)
    assert reopened.lookup(np.arange(ROWS)).tobytes() == table.lookup(np.arange(ROWS)).tobytes()


def test_large_parts_keep_arrays_of_their_own():
    assert set(packed_arrays(frozen("int8", 1.0, sizes={"large": 20_000, **SIZES}))) == {PACK, "0.codes", "0.scale"}
    assert set(packed_arrays(frozen("full", 1.0, sizes={"large": 5_000}))) == {"0.rows"}


def test_tables_of_before_there_were_packs_open():
    table = frozen("hash", 0.5)
    assert unpacked(table.scheme, table.shape, table.arrays()) == dict(table.arrays())


@pytest.mark.parametrize("arrays", [{}, {PACK: np.zeros(7, np.uint8)}, {PACK: np.zeros(7, np.float32)}])
def test_a_pack_that_does_not_fit_is_corrupt(arrays):
    table = frozen("hash", 0.5)
    with pytest.raises(CorruptionError, match=PACK):
        unpacked(table.scheme, table.shape, arrays)
