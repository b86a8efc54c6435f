"""Bitmaps with rank for schemes that treat some rows otherwise than the rest: pack, count, check, resolve.

One bit a row and one uint32 for 512 rows replace a remap of 32 bits a row; see :mod:`vecstore.kernels.bitmaps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import CorruptionError, InvalidArgumentError
from vecstore.kernels.bitmaps import BLOCK_WORDS, fill_places, is_set, rank
from vecstore.kernels.compiling import frozen
from vecstore.schemes.checks import stored_array
from vecstore.types import F64, I64, U8, U32, U64, ArrayForm, Mask

__all__ = [
    "bitmap_forms",
    "bitmap_nbytes",
    "is_set",
    "most_frequent",
    "pack",
    "places",
    "rank",
    "selected",
    "stored_bitmap",
    "unpack",
]

_WORD_BITS = 64
_BLOCK_BITS = _WORD_BITS * BLOCK_WORDS


def bitmap_forms(n_rows: int) -> dict[str, ArrayForm]:
    """Give the forms of the ``words`` and ``ranks`` of ``n_rows`` rows."""
    return {
        "words": ArrayForm(np.uint64, (-(-n_rows // _WORD_BITS),)),
        "ranks": ArrayForm(np.uint32, (-(-n_rows // _BLOCK_BITS),)),
    }


def bitmap_nbytes(n_rows: int) -> int:
    """Give the bytes of the words and ranks of ``n_rows`` rows."""
    return sum(form.nbytes for form in bitmap_forms(n_rows).values())


def pack(mask: Mask) -> tuple[U64, U32]:
    """Give the frozen words uint64[ceil(n / 64)] and ranks uint32[ceil(n / 512)] of a mask bool[n]."""
    padded = np.zeros(-(-len(mask) // _WORD_BITS) * _WORD_BITS, np.bool_)
    padded[: len(mask)] = mask
    words = np.packbits(padded, bitorder="little").view("<u8").astype(np.uint64, copy=False)
    return frozen(words), frozen(_ranks_of(words))


def unpack(words: U64, n_rows: int) -> Mask:
    """Give the mask bool[n_rows] of packed words."""
    octets = np.ascontiguousarray(words).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, count=n_rows, bitorder="little").astype(np.bool_)


def places(words: U64, ranks: U32, rows: I64) -> I64:
    """Give int64[n]: the rank r >= 0 of a marked row, ``-1 - r`` of another, whose r counts unmarked rows before it."""
    out = np.empty(len(rows), np.int64)
    fill_places(words, ranks, frozen(rows), out)
    return out


def selected(words: U64, ranks: U32, numbers: I64, *, marked: bool) -> I64:
    """Give int64[n]: the rows whose rank among the marked rows, or among the others, is ``numbers`` int64[n]."""
    wanted = words if marked else ~words
    firsts = np.arange(len(ranks)) * _BLOCK_BITS
    before = ranks.astype(np.int64) if marked else firsts - ranks
    blocks = np.searchsorted(before, numbers, side="right") - 1
    # The last block may have fewer words than others.
    own = np.minimum(blocks[:, None] * BLOCK_WORDS + np.arange(BLOCK_WORDS), len(words) - 1)
    near, left = _place_of(np.bitwise_count(wanted[own]), numbers - before[blocks])
    chosen = np.take_along_axis(own, near[:, None], axis=1)
    octets = np.ascontiguousarray(wanted[chosen]).astype("<u8", copy=False).view(np.uint8)
    bit, _ = _place_of(np.unpackbits(octets, axis=1, bitorder="little"), left)
    return chosen[:, 0] * _WORD_BITS + bit


def stored_bitmap(
    arrays: Mapping[str, NDArray[Any]], words_name: str, ranks_name: str, n_rows: int, n_set: int
) -> tuple[U64, U32]:
    """Give the words and ranks of a stored table, frozen; kernels read other arrays at the ranks, so they are checked.

    Raises
    ------
    CorruptionError
        One is missing or has the wrong form, ranks do not follow from the words, or not ``n_set`` rows are marked.
    """
    words = stored_array(arrays, words_name, np.uint64, (-(-n_rows // _WORD_BITS),))
    ranks = stored_array(arrays, ranks_name, np.uint32, (-(-n_rows // _BLOCK_BITS),))
    marked = int(np.bitwise_count(words).sum(dtype=np.int64))
    if (
        marked != n_set
        or not np.array_equal(ranks, _ranks_of(words))
        or unpack(words[-1:], 64)[_used_bits(n_rows) :].any()
    ):
        raise CorruptionError(
            f"array {words_name!r}: {marked} of {n_rows} rows are marked, expected {n_set}, or {ranks_name!r} differs",
            field=words_name,
        )
    return frozen(words), frozen(ranks)


def most_frequent(n_rows: int, count: int, frequency: I64 | F64 | None) -> Mask:
    """Mark the ``count`` most frequent of ``n_rows`` ids, bool[n_rows]; among equals, and without counts, the first.

    Anything else that is larger for rows that matter more will do as ``frequency``.

    Raises
    ------
    InvalidArgumentError
        There are not so many ids, or not one count an id.
    """
    if count > n_rows:
        raise InvalidArgumentError(f"hot: {count} of {n_rows} rows cannot be hot; plan for this table", field="hot")
    counts = np.zeros(n_rows, np.int64) if frequency is None else np.asarray(frequency)
    if counts.shape != (n_rows,):
        raise InvalidArgumentError(
            f"frequency: expected int64[{n_rows}], got {counts.dtype}{list(counts.shape)}", field="frequency"
        )
    mask = np.zeros(n_rows, np.bool_)
    mask[np.argsort(-counts, kind="stable")[:count]] = True
    return mask


def _place_of(counts: U8, numbers: I64) -> tuple[I64, I64]:
    """Give in which column of ``counts`` uint8[n, m] each of int64[n] things is, and its number within the column."""
    ends = np.cumsum(counts, axis=1, dtype=np.int64)
    columns: I64 = (ends <= numbers[:, None]).sum(axis=1)
    before = np.take_along_axis(ends - counts, columns[:, None], axis=1)[:, 0]
    return columns, numbers - before


def _used_bits(n_rows: int) -> int:
    """Give how many bits of the last word stand for rows."""
    return (n_rows - 1) % _WORD_BITS + 1


def _ranks_of(words: U64) -> U32:
    counts = np.bitwise_count(words).astype(np.int64)
    before = np.concatenate([[0], np.cumsum(counts)])
    return before[:-1:BLOCK_WORDS].astype(np.uint32)
