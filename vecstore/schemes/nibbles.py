"""Arrays of 4-bit codes, and tables of what they add (see :mod:`vecstore.kernels.nibbles`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vecstore.kernels import nibble_tables
from vecstore.kernels.compiling import frozen, sealed
from vecstore.kernels.nibble_spans import BLOCK_ROWS
from vecstore.kernels.nibbles import ENTRIES
from vecstore.types import F32, I64, U8

__all__ = ["RoundedTables", "blocked", "blocks_shape", "code_rows", "rounded"]


def blocks_shape(rows: int, columns: int) -> tuple[int, int, int]:
    """Give the shape of the blocks that hold ``columns`` bytes of each row; the last block is filled up."""
    return -(-rows // BLOCK_ROWS), columns, BLOCK_ROWS


def blocked(rows: U8) -> U8:
    """Give bytes uint8[n, columns] in blocks, frozen; the places past the last row are 0."""
    shape = blocks_shape(*rows.shape)
    padded = np.zeros((shape[0] * BLOCK_ROWS, shape[1]), np.uint8)
    padded[: len(rows)] = rows
    return frozen(padded.reshape(shape[0], BLOCK_ROWS, shape[1]).transpose(0, 2, 1))


def code_rows(codes: U8, rows: I64, count: int) -> U8:
    """Give the first ``count`` codes of ``rows`` int64[n] of blocks, uint8[n, count]."""
    own = codes[rows // BLOCK_ROWS, :, rows % BLOCK_ROWS]
    both: U8 = np.stack([own & 15, own >> 4], axis=2).reshape(len(rows), 2 * codes.shape[1])
    return both[:, :count]


class RoundedTables(NamedTuple):
    """Tables in whole steps, as scans use them, frozen; steps and bases are not.

    See :func:`vecstore.kernels.nibble_tables.round_tables`.
    """

    tables: U8
    steps: F32
    bases: F32


def rounded(tables: F32) -> RoundedTables:
    """Round tables float32[q, 2 W, 16]."""
    n_queries, codes, _ = tables.shape
    width = -(-codes // 2 // 4) * 4
    entries = np.zeros((n_queries, 2, width, ENTRIES), np.uint8)
    steps, bases = np.empty(n_queries, np.float32), np.empty(n_queries, np.float32)
    nibble_tables.round_tables(tables, entries, steps, bases)
    return RoundedTables(sealed(entries), steps, bases)
