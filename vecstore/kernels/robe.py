"""Decoding of rows whose blocks lie anywhere in one array, where the hash of the row says."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.hashing import bucket, mix
from vecstore.kernels.intrinsics import CACHE_LINE, copy_span, prefetch_element
from vecstore.types import F32, I64, U64

#: Rows whose blocks are asked for together, while those of the group before are copied.
GROUP = 16

_SIGN = np.uint32(31)


@kernel
def take_blocks(array: F32, rows: I64, salts: U64, block: int, sign_salts: U64, out: F32) -> None:
    """Write the blocks of ``rows`` into ``out`` float32[n, d], with their signs.

    Numbers ``c * block ..`` of row ``i`` are read from ``array`` float32[size] at
    ``bucket(mix(i, salts[c]), size - block + 1)``, so that no block goes over the end. Signs are those of
    :func:`flip_signs`. While one group of rows is copied, the memory of the next is on its way.
    """
    n_rows, dim = out.shape
    starts = np.empty((len(salts), GROUP), np.int64)
    following = np.empty_like(starts)
    _fill_starts(array, rows[:GROUP], salts, block, starts)
    for first in range(0, n_rows, GROUP):
        last = min(first + GROUP, n_rows)
        _fill_starts(array, rows[last : last + GROUP], salts, block, following)
        for place in range(first, last):
            for number in range(len(salts)):
                column = number * block
                length = min(block, dim - column)
                copy_span(array, starts[number, place - first], length, out, place, column, length)
        flip_signs(rows[first:last], sign_salts, out[first:last])
        starts, following = following, starts


@kernel
def _fill_starts(array: F32, rows: I64, salts: U64, block: Int, out: I64) -> None:
    """Write where the blocks of ``rows`` begin into ``out`` int64[blocks, n], and ask for their memory."""
    n_places = len(array) - block + 1
    for number in range(len(salts)):
        for place in range(len(rows)):
            out[number, place] = bucket(mix(rows[place], salts[number]), n_places)
    for place in range(len(rows)):
        for number in range(len(salts)):
            start = out[number, place]
            for ahead in range(start, start + block, CACHE_LINE // 4):
                prefetch_element(array, ahead)
            prefetch_element(array, start + block - 1)


@kernel
def flip_signs(rows: I64, salts: U64, out: F32) -> None:
    """Change the signs of ``out`` float32[n, d] in place, where the hash of the row has a bit set.

    Bit ``j % 64`` of ``mix(i, salts[j // 64])`` is that of number j of row ``i``. Without salts nothing changes.
    """
    dim = out.shape[1]
    numbers = out.view(np.uint32)
    for place in range(len(rows)):
        for word in range(len(salts)):
            bits = mix(rows[place], salts[word])
            # Halves, because vectors of 32-bit integers match those of the numbers.
            for start in range(word * 64, min(word * 64 + 64, dim), 32):
                half = np.uint32(bits >> np.uint64(start - word * 64))
                for column in range(min(32, dim - start)):
                    numbers[place, start + column] ^= (half >> np.uint32(column)) << _SIGN
