"""Packed lists: the bytes that the file format documents, there and back, and damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecstore.kernels import links
from vecstore.kernels.compiling import frozen


def packed_list(numbers):
    """Bytes of one list, from the description in docs/file-format.md: the twin of ``links.pack``."""
    numbers = sorted(number for number in numbers if number >= 0)
    if not numbers:
        return b""
    gaps = [number - last for last, number in zip([0, *numbers], numbers, strict=False)]
    width = max(8, *(gap.bit_length() for gap in gaps))
    together = sum(gap << place * width for place, gap in enumerate(gaps))
    return bytes([width]) + together.to_bytes((len(gaps) * width + 7) // 8, "little")


def unpacked(lists, first, shape):
    out = np.empty(shape, np.int32)
    links.unpack(lists, first, out)
    return out


def ascending(table):
    """Rows in the order of unpacked lists: the numbers ascending, then -1."""
    ends = np.iinfo(np.int64).max
    ordered = np.sort(np.where(table < 0, ends, table.astype(np.int64)), axis=1)
    return np.where(ordered == ends, -1, ordered).astype(np.int32)


def damaged_lists(rng, lists):
    """Lists in which some bytes, starts and offsets are anything."""
    data, starts, offsets = (array.copy() for array in lists)
    hit = rng.random(len(data)) < 0.1
    data[hit] = rng.integers(0, 256, hit.sum())
    starts[rng.integers(0, len(starts))] = rng.integers(-(2**62), 2**62)
    hit = rng.random(len(offsets)) < 0.1
    offsets[hit] = rng.integers(0, 2**16, hit.sum())
    return links.Lists(frozen(data), frozen(starts), frozen(offsets))


@settings(deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.integers(-1, 2**31 - 1) | st.integers(-1, 300), min_size=5, max_size=5), max_size=80),
    st.lists(st.lists(st.integers(-1, 2**31 - 1), min_size=2, max_size=2), max_size=3),
)
def test_lists_come_back_and_have_the_documented_bytes(first, second):
    tables = [np.array(first, np.int32).reshape(-1, 5), np.array(second, np.int32).reshape(-1, 2)]
    lists = links.pack(tables)
    np.testing.assert_array_equal(unpacked(lists, 0, tables[0].shape), ascending(tables[0]))
    np.testing.assert_array_equal(unpacked(lists, len(first), tables[1].shape), ascending(tables[1]))
    expected = [packed_list(numbers) for numbers in [*first, *second]]
    assert lists.data.tobytes() == b"".join(expected) + bytes(links.PADDING)
    begins = np.concatenate([[0], np.cumsum([len(part) for part in expected])]).astype(np.int64)
    assert lists.starts.tolist() == begins[:: links.LISTS_PER_START].tolist()
    np.testing.assert_array_equal(lists.starts[np.arange(len(begins)) // links.LISTS_PER_START] + lists.offsets, begins)


def test_the_longest_lists_fit(rng):
    table = np.sort(rng.integers(0, 2**31, (130, links.MAX_NUMBERS), dtype=np.int64), axis=1).astype(np.int32)
    table[:, 0] = 0
    table[:, -1] = 2**31 - 1
    table[:, 1:-1] = np.sort(rng.integers(2**30, 2**31, (130, links.MAX_NUMBERS - 2)), axis=1)
    lists = links.pack([table])
    assert lists.data[0] == 31
    np.testing.assert_array_equal(unpacked(lists, 0, table.shape), table)


def test_random_links_take_little_more_than_their_entropy(rng):
    n_rows, degree = 100_000, 24
    table = rng.integers(0, n_rows, (2_000, degree)).astype(np.int32)
    entropy = degree * (np.log2(n_rows / degree) + np.log2(np.e)) / 8
    assert links.pack([table]).data.nbytes / len(table) < 1.15 * entropy


@pytest.mark.parametrize("number", range(10))
def test_damage_gives_wrong_numbers_but_stays_inside(rng, number):
    table = rng.integers(-1, 5_000 * (number + 1), (700, 12)).astype(np.int32)
    lists = damaged_lists(rng, links.pack([table]))
    found = unpacked(lists, 0, table.shape)
    assert (found >= -1).all()
    whole = (found == ascending(table)).all(axis=1)
    assert 0 < whole.sum() < len(table)


@pytest.mark.parametrize("width", [0, 7, 33, 64, 255])
def test_impossible_widths_are_empty_lists(width):
    lists = links.pack([np.array([[5, 300]], np.int32)])
    data = lists.data.copy()
    data[0] = width
    assert unpacked(lists._replace(data=frozen(data)), 0, (1, 2)).tolist() == [[-1, -1]]
