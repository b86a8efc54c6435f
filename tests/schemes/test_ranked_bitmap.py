"""Bitmaps with rank."""

from __future__ import annotations

import numpy as np
import pytest

from vecstore.errors import CorruptionError, InvalidArgumentError
from vecstore.schemes.ranked_bitmap import (
    bitmap_nbytes,
    is_set,
    most_frequent,
    pack,
    places,
    rank,
    stored_bitmap,
    unpack,
)

SIZES = (0, 1, 63, 64, 65, 511, 512, 513, 3000)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_rows_resolve_to_their_place_among_their_kind(rng, size, share):
    mask = rng.random(size) < share
    words, ranks = pack(mask)
    assert words.nbytes + ranks.nbytes == bitmap_nbytes(size)
    np.testing.assert_array_equal(unpack(words, size), mask)
    expected = [mask[:row].sum() if mask[row] else -1 - (~mask[:row]).sum() for row in range(size)]
    np.testing.assert_array_equal(places(words, ranks, np.arange(size)), np.array(expected, np.int64))
    assert [is_set(words, row) for row in range(size)] == mask.tolist()
    assert [rank(words, ranks, row) for row in range(size)] == [mask[:row].sum() for row in range(size)]
    opened = stored_bitmap({"w": words, "r": ranks}, "w", "r", size, int(mask.sum()))
    assert opened[0].tobytes() == words.tobytes()


def test_bits_are_least_significant_first():
    mask = np.zeros(70, bool)
    mask[[0, 3, 65]] = True
    assert pack(mask)[0].tolist() == [0b1001, 0b10]


@pytest.mark.parametrize("damage", ["count", "rank", "bit", "beyond"])
def test_damage_is_corruption(rng, damage):
    mask = rng.random(1000) < 0.5
    words, ranks = (array.copy() for array in pack(mask))
    count = int(mask.sum())
    if damage == "count":
        count += 1
    elif damage == "rank":
        ranks[1] += 1
    elif damage == "bit":
        words[3] ^= np.uint64(1)
    else:
        words[-1] = ~np.uint64(0)
        count = int(np.bitwise_count(words).sum())
    with pytest.raises(CorruptionError, match="w"):
        stored_bitmap({"w": words, "r": ranks}, "w", "r", 1000, count)


def test_the_first_of_equally_frequent_ids_are_taken():
    counts = np.array([1, 5, 1, 7, 1])
    np.testing.assert_array_equal(most_frequent(5, 3, counts), [True, True, False, True, False])
    np.testing.assert_array_equal(most_frequent(5, 2, None), [True, True, False, False, False])
    with pytest.raises(InvalidArgumentError, match="hot"):
        most_frequent(5, 6, None)
    with pytest.raises(InvalidArgumentError, match="frequency"):
        most_frequent(5, 1, counts[:4])
