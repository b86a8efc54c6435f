"""Decoding of rows that are chains of three small matrices (tensor trains).

The cores are float32: ``first`` [n1, d1, R], ``middle`` [n2, R, d2, R], ``last`` [n3, R, d3]. Row ``i`` has the digits
``i1 = i % n1`` and ``tail = i // n1``, which in turn is ``i2 = tail % n2`` and ``i3 = tail // n2``.

Order of additions
------------------
The middle and the last core are always multiplied first, into the *tail* float32[R, d2 d3]; then the first core is
multiplied by it. Both sums start at 0 and run over the rank in ascending order, one multiplication and one addition a
step. So a row has the same bits whether its tail was kept from an earlier row, kept in memory, or made anew.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.intrinsics import multiply_matrix
from vecstore.types import F32, I64

#: Rows of a product whose sums are in registers together; dimensions have few factors larger than it.
TILE_ROWS = 4


@kernel
def fill_tail(middle: F32, last: F32, tail: Int, out: F32) -> None:
    """Write the product of ``middle[tail % n2]`` and ``last[tail // n2]`` into ``out`` float32[R, d2 d3]."""
    n_middle, rank, d_middle, _ = middle.shape
    third = tail // n_middle
    second = tail - third * n_middle
    _multiply(
        middle.reshape(-1, rank),
        second * rank * d_middle,
        rank * d_middle,
        last.reshape(-1, last.shape[2]),
        third * rank,
        out.reshape(rank * d_middle, -1),
        0,
    )


@kernel
def fill_tails(middle: F32, last: F32, out: F32) -> None:
    """Write every tail into ``out`` float32[n2 n3, R, d2 d3]."""
    for tail in range(len(out)):
        fill_tail(middle, last, tail, out[tail])


@kernel
def _multiply(left: F32, row: Int, count: Int, right: F32, first: Int, out: F32, place: Int) -> None:
    """Write ``left[row : row + count] @ right[first:]`` into the rows of ``out`` from ``place`` on."""
    zeros = np.zeros(out.shape[1], np.float32)
    done = 0
    while done + TILE_ROWS <= count:
        start = row + done
        multiply_matrix(left, (start, start + 1, start + 2, start + 3), right, first, zeros, 0, out, place + done)
        done += TILE_ROWS
    while done < count:
        multiply_matrix(left, (row + done,), right, first, zeros, 0, out, place + done)
        done += 1


@kernel
def take_chains(first: F32, middle: F32, last: F32, rows: I64, order: I64, scratch: F32, out: F32) -> None:
    """Write ``rows`` into ``out`` float32[n, d], in the given order; ``scratch`` float32[R, d2 d3] is overwritten.

    A tail serves all rows that follow with the same one, so an ``order`` int64[n] by tails makes each tail once.
    """
    n_first, d_first, rank = first.shape
    lines, parts = first.reshape(-1, rank), out.reshape(len(out) * d_first, -1)
    current = -1
    for place in order:
        tail = rows[place] // n_first
        if tail != current:
            fill_tail(middle, last, tail, scratch)
            current = tail
        digit = rows[place] - tail * n_first
        _multiply(lines, digit * d_first, d_first, scratch, 0, parts, place * d_first)


@kernel
def take_with_tails(first: F32, tails: F32, rows: I64, out: F32) -> None:
    """Write ``rows`` into ``out`` float32[n, d], with all ``tails`` float32[n2 n3, R, d2 d3] made already."""
    n_first, d_first, rank = first.shape
    lines, parts = first.reshape(-1, rank), out.reshape(len(out) * d_first, -1)
    stacked = tails.reshape(-1, tails.shape[2])
    for place in range(len(rows)):
        tail = rows[place] // n_first
        digit = rows[place] - tail * n_first
        _multiply(lines, digit * d_first, d_first, stacked, tail * rank, parts, place * d_first)
