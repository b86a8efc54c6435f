"""Decoding of rows whose blocks lie anywhere in one array, where the hash of the row says."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.hashing import bucket, mix
from vecstore.kernels.intrinsics import prefetch_element
from vecstore.kernels.lookup import ROWS_AHEAD
from vecstore.types import F32, I64, U64


@kernel
def _prefetch_blocks(array: F32, row: Int, salts: U64, n_places: Int) -> None:
    for number in range(len(salts)):
        prefetch_element(array, bucket(mix(row, salts[number]), n_places))


@kernel
def take_blocks(array: F32, rows: I64, salts: U64, block: int, out: F32) -> None:
    """Write the blocks of ``rows`` into ``out`` float32[n, d].

    Numbers ``c * block ..`` of row ``i`` are read from ``array`` float32[size] at
    ``bucket(mix(i, salts[c]), size - block + 1)``, so that no block goes over the end.
    """
    dim = out.shape[1]
    n_places = len(array) - block + 1
    for place in range(len(rows)):
        if place + ROWS_AHEAD < len(rows):
            _prefetch_blocks(array, rows[place + ROWS_AHEAD], salts, n_places)
        line = out[place]
        for number in range(len(salts)):
            source = bucket(mix(rows[place], salts[number]), n_places)
            start = number * block
            for column in range(min(block, dim - start)):
                line[start + column] = array[source + column]


@kernel
def flip_signs(rows: I64, salts: U64, out: F32) -> None:
    """Change the signs of ``out`` float32[n, d] in place, where the hash of the row has a bit set.

    Bit ``j % 64`` of ``mix(i, salts[j // 64])`` is that of number j of row ``i``. Without salts nothing changes.
    """
    dim = out.shape[1]
    for place in range(len(rows)):
        line = out[place]
        for word in range(len(salts)):
            bits = mix(rows[place], salts[word])
            # Halves, because 32-bit integers become floats in vectors on every processor.
            for start in range(word * 64, min(word * 64 + 64, dim), 32):
                half = np.uint32(bits >> np.uint64(start - word * 64))
                for column in range(min(32, dim - start)):
                    bit = np.int32((half >> np.uint32(column)) & np.uint32(1))
                    line[start + column] *= np.float32(np.int32(1) - np.int32(2) * bit)
