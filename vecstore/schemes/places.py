"""The places of the stored numbers of a sparse table: three codings, of which the smallest is chosen from the budget.

========== ============================================ ========================= ===============
coding     arrays                                       bits a place of the table bits a number
========== ============================================ ========================= ===============
``bitmap`` ``words`` uint64, ``ranks`` uint32           1.0625                    0
``uint8``  ``offsets`` uint8, ``starts`` uint32         0.125                     8
``uint16`` ``offsets`` uint16, ``starts`` uint32        0.0005                    16
========== ============================================ ========================= ===============

The bitmap is smallest where more than 12 % of the numbers are stored, ``uint16`` below 1.6 %. Column numbers with a
start a row, as in CSR, would cost 32 bits a row more; see :mod:`vecstore.kernels.sparse` for the two layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import CorruptionError
from vecstore.kernels import selection
from vecstore.kernels.compiling import frozen
from vecstore.kernels.sparse import BitmapPlaces, BlockPlaces, Places
from vecstore.schemes.checks import stored_array
from vecstore.schemes.ranked_bitmap import bitmap_forms, pack, stored_bitmap
from vecstore.types import F32, I64, ArrayForm, Mask

__all__ = [
    "CODINGS",
    "Coding",
    "affordable",
    "encode",
    "keep_largest",
    "named",
    "places_forms",
    "places_nbytes",
    "stored_places",
]

Coding: TypeAlias = Literal["bitmap", "uint8", "uint16"]
CODINGS: tuple[Coding, ...] = ("bitmap", "uint8", "uint16")

#: Stored numbers are counted in uint32.
MAX_STORED = 2**32 - 1

_OFFSETS: dict[Coding, Any] = {"uint8": np.uint8, "uint16": np.uint16}
_VALUE_BYTES = 4


def places_forms(coding: Coding, n_places: int, stored: int) -> dict[str, ArrayForm]:
    """Give the forms of the arrays that say which ``stored`` of ``n_places`` places are stored."""
    if coding == "bitmap":
        return bitmap_forms(n_places)
    return {
        "offsets": ArrayForm(_OFFSETS[coding], (stored,)),
        "starts": ArrayForm(np.uint32, (_blocks(coding, n_places) + 1,)),
    }


def places_nbytes(coding: Coding, n_places: int, stored: int) -> int:
    """Give the bytes of the arrays of :func:`places_forms`."""
    return sum(form.nbytes for form in places_forms(coding, n_places, stored).values())


def affordable(coding: Coding, n_places: int, allowed: int) -> int:
    """Give how many float32 numbers with their places fit into ``allowed`` bytes; negative where not even 0 do."""
    each = _VALUE_BYTES + (0 if coding == "bitmap" else _offset_bytes(coding))
    return min((allowed - places_nbytes(coding, n_places, 0)) // each, n_places, MAX_STORED)


def keep_largest(matrix: F32, count: int) -> Mask:
    """Give the mask bool[n, dim] of the ``count`` numbers of largest magnitude; of equal ones, the first.

    The threshold is the exact order statistic, to which bisection would converge. What is not a number counts as 0.
    Nothing of the size of the matrix is made but the mask.
    """
    if count <= 0 or count >= matrix.size:
        return np.full(matrix.shape, count > 0)
    words = frozen(np.ascontiguousarray(matrix).view(np.uint32).reshape(-1))
    by_upper = np.zeros(selection.UPPER_HALVES, np.int64)
    selection.count_upper(words, by_upper)
    upper, missing = _last_taken(by_upper, count)
    by_lower = np.zeros(selection.LOWER_HALVES, np.int64)
    selection.count_lower(words, upper, by_lower)
    lower, missing = _last_taken(by_lower, missing)
    mask = np.empty(matrix.size, np.bool_)
    selection.mark(words, (upper << selection.LOWER_BITS) + lower, missing, mask)
    return mask.reshape(matrix.shape)


def _last_taken(counts: I64, wanted: int) -> tuple[int, int]:
    """Give the least value that is among the ``wanted`` largest, and how many of that value are among them."""
    at_least = np.cumsum(counts[::-1])[::-1]
    value = int(np.flatnonzero(at_least >= wanted)[-1])
    return value, wanted - int(at_least[value] - counts[value])


def encode(coding: Coding, mask: Mask) -> Places:
    """Give the coded places of a mask bool[n, dim]."""
    if coding == "bitmap":
        return BitmapPlaces(*pack(mask.ravel()))
    stored = np.flatnonzero(mask)
    bits = 8 * _offset_bytes(coding)
    firsts = np.arange(_blocks(coding, mask.size) + 1, dtype=np.int64) << bits
    starts = np.searchsorted(stored, firsts).astype(np.uint32)
    offsets = (stored & ((1 << bits) - 1)).astype(_OFFSETS[coding])
    return BlockPlaces(frozen(offsets), frozen(starts))


def named(places: Places) -> Mapping[str, NDArray[Any]]:
    """Give the arrays of coded places by their stored names."""
    if isinstance(places, BitmapPlaces):
        return {"words": places.words, "ranks": places.ranks}
    return {"offsets": places.offsets, "starts": places.starts}


def stored_places(coding: Coding, arrays: Mapping[str, NDArray[Any]], n_places: int, stored: int) -> Places:
    """Give the places of a stored table; kernels read and write where they say, so they are checked.

    Raises
    ------
    CorruptionError
        An array is missing or has the wrong form, or they do not describe ``stored`` places.
    """
    if coding == "bitmap":
        return BitmapPlaces(*stored_bitmap(arrays, "words", "ranks", n_places, stored))
    blocks, dtype = _blocks(coding, n_places), _OFFSETS[coding]
    offsets = stored_array(arrays, "offsets", dtype, (stored,))
    starts = stored_array(arrays, "starts", np.uint32, (blocks + 1,))
    ends = starts.astype(np.int64)
    counts = ends[1:] - ends[:-1]
    if starts[0] != 0 or starts[-1] != stored or (counts < 0).any():
        raise CorruptionError(f"array 'starts': it does not count up from 0 to {stored}", field="starts")
    owners = np.repeat(np.arange(blocks, dtype=np.int64), counts)
    places = (owners << (8 * offsets.itemsize)) + offsets
    if stored and ((np.diff(places) <= 0).any() or places[-1] >= n_places):
        raise CorruptionError(f"array 'offsets': it is not ascending within {n_places} places", field="offsets")
    return BlockPlaces(frozen(offsets), frozen(starts))


def _offset_bytes(coding: Coding) -> int:
    return 1 if coding == "uint8" else 2


def _blocks(coding: Coding, n_places: int) -> int:
    return -(-n_places // (1 << (8 * _offset_bytes(coding))))
