"""The hash of every hashed scheme: 64-bit, non-negative, the same in NumPy, Numba and torch, frozen by the format.

``mix`` is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
OOPSLA 2014, figure 20) over key + salt; ``bucket`` maps its upper 32 bits to 0..size-1 by multiplication instead of a
division (Lemire, "Fast random integer generation in an interval", 2019, section 3).
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.types import I64, U64

#: Table sizes must be below this.
MAX_BUCKETS = 2**31 - 1

FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
#: Steps from one derived salt to the next (2^64 over the golden ratio, odd), as SplitMix64 does.
SALT_STEP = np.uint64(0x9E3779B97F4A7C15)

_S30, _S27, _S31, _S32 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(32)


@kernel
def mix(key: Int, salt: Int) -> np.uint64:
    """Give the 64-bit hash of an int64 ``key`` (its two's complement bits) under a uint64 ``salt``."""
    z = np.uint64(key) + np.uint64(salt)
    z = (z ^ (z >> _S30)) * FIRST_FACTOR
    z = (z ^ (z >> _S27)) * SECOND_FACTOR
    return z ^ (z >> _S31)


@kernel
def bucket(hashed: Int, size: Int) -> np.int64:
    """Give the place 0..size-1 of a 64-bit hash in a table of ``size`` < 2^31."""
    return np.int64(((np.uint64(hashed) >> _S32) * np.uint64(size)) >> _S32)


@kernel
def fill_buckets(keys: I64, salt: Int, size: int, out: I64) -> None:
    """Write the bucket of each of ``keys`` int64[n] into ``out`` int64[n]."""
    for place in range(len(keys)):
        out[place] = bucket(mix(keys[place], salt), size)


def buckets(keys: I64, salt: int, size: int) -> I64:
    """Give the bucket 0..size-1 of each of ``keys`` int64[n]."""
    out = np.empty(len(keys), np.int64)
    fill_buckets(np.ascontiguousarray(keys, np.int64), np.uint64(salt), size, out)
    return out


def derived_salts(seed: int, count: int) -> U64:
    """Give ``count`` salts uint64 from a seed: SplitMix64's sequence, so that they are spread and repeatable."""
    with np.errstate(over="ignore"):
        states = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * SALT_STEP
        states = (states ^ (states >> _S30)) * FIRST_FACTOR
        states = (states ^ (states >> _S27)) * SECOND_FACTOR
        return states ^ (states >> _S31)
