"""Places of ids in a table that several fields share."""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.hashing import bucket, mix
from vecstore.types import I64, U8, U64


@kernel
def fill_places(rows: I64, starts: I64, firsts: I64, salts: U64, buckets: Int, out: I64) -> None:
    """Write the places of ``rows`` int64[n] in the shared table into ``out`` int64[n, k].

    ``starts`` int64[fields + 1] are the first rows of the fields and the number of rows; ``salts`` uint64[fields, k].
    A field whose ``firsts`` (int64[fields]) is not negative has places of its own from there on, k an id.
    """
    n_lookups = salts.shape[1]
    for place in range(len(rows)):
        row = rows[place]
        field, above = 0, len(firsts)
        while above - field > 1:
            middle = (field + above) // 2
            if starts[middle] <= row:
                field = middle
            else:
                above = middle
        key = row - starts[field]
        for number in range(n_lookups):
            if firsts[field] >= 0:
                out[place, number] = firsts[field] + key * n_lookups + number
            else:
                out[place, number] = bucket(mix(key, salts[field, number]), buckets)


@kernel
def fill_shared(keys: I64, salts: U64, buckets: Int, out: I64) -> None:
    """Write the shared places of ``keys`` int64[n] of the field with ``salts`` uint64[k] into ``out`` int64[n, k]."""
    for place in range(len(keys)):
        for number in range(len(salts)):
            out[place, number] = bucket(mix(keys[place], salts[number]), buckets)


@kernel
def hash_bytes(data: U8) -> np.uint64:
    """Hash uint8[n], one byte after the other, from their number on."""
    key = mix(len(data), 0)
    for byte in data:
        key = mix(np.int64(key ^ np.uint64(byte)), 0)
    return key


def name_key(data: bytes) -> int:
    """Give the 64-bit key of a name from its UTF-8 bytes.

    ``key = mix(len(data), 0)``, then ``key = mix(key xor byte, 0)`` for each byte.
    """
    return int(hash_bytes(np.array(list(data), np.uint8)))
