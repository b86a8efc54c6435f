"""Lists of ascending numbers in as few bits as whole widths allow: the links of a graph.

A list is kept as the gaps between its numbers, the first counted from 0, all with the bits of the widest. Where n
numbers are spread over a range r as links are, that takes about log2(r / n) + 2 bits a number, little above the 1.44 +
log2(r / n) that any code needs.

The lists lie one behind another in bytes: each begins with a byte that holds its width, from 8 on so that the length
of a list in bytes says how many numbers it has, and the gaps follow, least significant bit first. An empty list has no
bytes.

Lists are data from a file. Whatever the bytes are, unpacking reads inside the arrays and gives at most as many
numbers as asked; the numbers themselves are for the caller to check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, frozen, inlined, kernel
from vecstore.kernels.intrinsics import load_word, prefetch_element
from vecstore.types import I32, I64, U8, U16

#: Zero bytes after the last list, so that eight bytes can be read from anywhere inside.
PADDING = 8
#: Lists whose places are counted from one start.
LISTS_PER_START = 64
#: Most numbers of a list: then the bytes of 64 lists can be counted in 16 bits.
MAX_NUMBERS = 256

_LEAST_WIDTH = 8
_MOST_WIDTH = 32


class Lists(NamedTuple):
    """Packed lists.

    Attributes
    ----------
    data : uint8[bytes + 8]
    starts : int64[ceil((lists + 1) / 64)]
        Where in ``data`` the lists 0, 64, 128, ... begin.
    offsets : uint16[lists + 1]
        How far behind that each list begins; the last is where all end.
    """

    data: U8
    starts: I64
    offsets: U16


@inlined
def begin_of(lists: Lists, number: Int) -> Int:
    """Give where in the data a list begins."""
    begin: Int = lists.starts[number >> 6] + np.int64(lists.offsets[number])
    return begin


@inlined
def prefetch_place(lists: Lists, number: Int) -> None:
    """Ask for what says where a list is, ahead of :func:`prefetch_list`, which would wait for it."""
    prefetch_element(lists.offsets, number)


@inlined
def prefetch_list(lists: Lists, number: Int) -> None:
    """Ask for the memory of a list of up to two cache lines ahead of its use."""
    prefetch_element(lists.data, begin_of(lists, number))
    prefetch_element(lists.data, begin_of(lists, number + 1) - 1)


@inlined
def shape_of(lists: Lists, number: Int, most: Int) -> tuple[Int, Int, Int]:
    """Give the bit where the gaps of a list begin, how many there are, at most ``most``, and the bits of each."""
    begin, end = begin_of(lists, number), begin_of(lists, number + 1)
    inside = begin >= 0 and begin < end <= len(lists.data) - PADDING
    width = np.int64(lists.data[begin]) if inside else 0
    count = 8 * (end - begin - 1) // width if _LEAST_WIDTH <= width <= _MOST_WIDTH else 0
    return 8 * (begin + 1), min(count, most), width


@inlined
def gap(lists: Lists, bit: Int, width: Int) -> np.uint64:
    """Give the gap of ``width`` bits that begins at a bit of the data."""
    word = load_word(lists.data, bit >> 3) >> np.uint64(bit & 7)
    bits: np.uint64 = word & ((np.uint64(1) << np.uint64(width)) - np.uint64(1))
    return bits


@kernel
def unpack(lists: Lists, first: int, out: I32) -> None:
    """Write the lists first, first + 1, ... into the rows of ``out`` int32[m, w], -1 past each one's end.

    Numbers that are too large for int32 end a list: they are damage.
    """
    for row in range(len(out)):
        bit, count, width = shape_of(lists, first + row, out.shape[1])
        number: Int = 0
        out[row] = -1
        for place in range(count):
            number += np.int64(gap(lists, bit, width))
            bit += width
            if number > np.iinfo(np.int32).max:
                break
            out[row, place] = number


@kernel
def pack_table(table: I32, begins: I64, data: U8) -> None:
    """Write the numbers of each row of ``table`` int32[m, w], those below 0 left out, as a list.

    Parameters
    ----------
    table : int32[m, w]
        Rows ascending.
    begins : int64[m + 1]
        Where the lists begin and the last ends, as :func:`list_bytes` counts.
    data : uint8[bytes]
        Out; zero before.
    """
    for row in range(len(table)):
        width = width_of(table[row])
        if begins[row] == begins[row + 1]:
            continue
        data[begins[row]] = width
        bit, last = 8 * (begins[row] + 1), np.int64(0)
        for number in table[row]:
            if number < 0:
                continue
            left = (np.int64(number) - last) << (bit & 7)
            byte = bit >> 3
            while left:
                data[byte] |= left & 255
                left >>= 8
                byte += 1
            bit += width
            last = np.int64(number)


@kernel
def width_of(numbers: I32) -> Int:
    """Give the bits that the gaps of ascending ``numbers`` int32[w] take, those below 0 left out."""
    last, gaps = np.int64(0), np.int64(0)
    for number in numbers:
        if number >= 0:
            gaps |= np.int64(number) - last
            last = np.int64(number)
    width: Int = _LEAST_WIDTH
    while gaps >> width:
        width += 1
    return width


@kernel
def list_bytes(table: I32, out: I64) -> None:
    """Write the bytes that the numbers of each row of ``table`` int32[m, w] take as a list into ``out`` int64[m]."""
    for row in range(len(table)):
        count: Int = 0
        for number in table[row]:
            count += number >= 0
        out[row] = (8 + count * width_of(table[row]) + 7) // 8 if count else 0


def pack(tables: Sequence[I32]) -> Lists:
    """Pack the rows of tables int32[m, w], w up to 256, one table behind another.

    Numbers below 0 mean nothing. The order of numbers in a row is not kept.
    """
    ordered = [frozen(np.sort(table, axis=1)) for table in tables]
    sizes = [np.empty(len(table), np.int64) for table in tables]
    for table, size in zip(ordered, sizes, strict=True):
        list_bytes(table, size)
    begins = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    data = np.zeros(begins[-1] + PADDING, np.uint8)
    first = 0
    for table in ordered:
        pack_table(table, frozen(begins[first : first + len(table) + 1]), data)
        first += len(table)
    starts = begins[::LISTS_PER_START].copy()
    offsets = (begins - np.repeat(starts, LISTS_PER_START)[: len(begins)]).astype(np.uint16)
    return Lists(frozen(data), frozen(starts), frozen(offsets))
