"""The hash of :mod:`vecstore.kernels.hashing` on torch tensors: the same bits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vecstore.kernels import hashing
from vecstore.kernels.compiling import frozen
from vecstore.types import U64


def _signed(value: np.uint64 | int) -> int:
    """Give a uint64 as the int64 of the same bits, which is what torch computes with."""
    return int(np.uint64(int(value) & 0xFFFF_FFFF_FFFF_FFFF).view(np.int64))


def salts_of(seed: int, count: int) -> Tensor:
    """Give ``count`` salts int64 (the bits of uint64) from a seed, to be registered as a buffer of a part."""
    return torch.from_numpy(hashing.derived_salts(seed, count).view(np.int64))


def stored_salts(salts: Tensor) -> U64:
    """Give the salts of :func:`salts_of` as they are stored, frozen uint64."""
    return frozen(salts.cpu().numpy().copy().view(np.uint64))


_FIRST, _SECOND = _signed(hashing.FIRST_FACTOR), _signed(hashing.SECOND_FACTOR)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift copies the sign bit."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def mix(keys: Tensor, salt: int) -> Tensor:
    """Give the 64-bit hash of int64 ``keys``, as int64 of the same bits; int64 arithmetic wraps as uint64 does."""
    z = keys + _signed(salt)
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def buckets(keys: Tensor, salt: int, size: int) -> Tensor:
    """Give the bucket 0..size-1 of each of int64 ``keys``, for ``size`` < 2^31."""
    return bucket_of(mix(keys, salt), size)


def bucket_of(hashed: Tensor, size: int) -> Tensor:
    """Give the place 0..size-1 of each 64-bit hash, int64 of its bits, for ``size`` < 2^31."""
    return (_shifted(hashed, 32) * size) >> 32
