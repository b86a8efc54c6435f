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
from vecstore.types import F32, I64


@kernel
def fill_tail(middle: F32, last: F32, tail: Int, out: F32) -> None:
    """Write the product of ``middle[tail % n2]`` and ``last[tail // n2]`` into ``out`` float32[R, d2 d3]."""
    n_middle, rank, d_middle, _ = middle.shape
    d_last = last.shape[2]
    third = tail // n_middle
    second = tail - third * n_middle
    out[:] = 0
    for above in range(rank):
        for column in range(d_middle):
            start = column * d_last
            for below in range(rank):
                factor = middle[second, above, column, below]
                for place in range(d_last):
                    out[above, start + place] += factor * last[third, below, place]


@kernel
def fill_tails(middle: F32, last: F32, out: F32) -> None:
    """Write every tail into ``out`` float32[n2 n3, R, d2 d3]."""
    for tail in range(len(out)):
        fill_tail(middle, last, tail, out[tail])


@kernel
def _fill_row(first: F32, digit: Int, tail: F32, out: F32) -> None:
    """Write the product of ``first[digit]`` [d1, R] and ``tail`` [R, d2 d3] into ``out`` float32[d1 d2 d3]."""
    _, d_first, rank = first.shape
    width = tail.shape[1]
    out[:] = np.float32(0)
    for column in range(d_first):
        start = column * width
        for above in range(rank):
            factor = first[digit, column, above]
            for place in range(width):
                out[start + place] += factor * tail[above, place]


@kernel
def take_chains(first: F32, middle: F32, last: F32, rows: I64, scratch: F32, out: F32) -> None:
    """Write ``rows`` into ``out`` float32[n, d]; ``scratch`` float32[R, d2 d3] is overwritten.

    A tail serves all rows that follow with the same one: n1 rows of a scan.
    """
    n_first = len(first)
    current = -1
    for place in range(len(rows)):
        tail = rows[place] // n_first
        if tail != current:
            fill_tail(middle, last, tail, scratch)
            current = tail
        _fill_row(first, rows[place] - tail * n_first, scratch, out[place])


@kernel
def take_with_tails(first: F32, tails: F32, rows: I64, out: F32) -> None:
    """Write ``rows`` into ``out`` float32[n, d], with all ``tails`` float32[n2 n3, R, d2 d3] made already."""
    n_first = len(first)
    for place in range(len(rows)):
        tail = rows[place] // n_first
        _fill_row(first, rows[place] - tail * n_first, tails[tail], out[place])
