"""Instruction-level building blocks, written as LLVM vectors so that no C compiler is needed.

Lane rule
---------
Every float sum over a row follows one fixed order. Element i is added to accumulator (i // 16) mod 4, lane
i mod 16, in order of i, by one multiplication and one addition that are never fused. The accumulators are added
as (a0 + a1) + (a2 + a3), and the sixteen lanes by halves: lane j takes lane j + 8, then j + 4, j + 2, j + 1.
IEEE 754 fixes each step, so the result has the same bits on every processor, whatever its vector width, and for
every thread count. Missing elements of the last block count as +0, which changes no bit because an accumulator
that starts at +0 never becomes -0.

Integer sums are exact, so they may use whatever the processor does best: ``vpdpbusd`` where Numba compiles for
AVX-512 VNNI, ordinary vectors elsewhere.

These functions check nothing: callers hand in C-contiguous arrays and rows inside them.
They stay at module level because Numba's disk cache misses every function that closes over an intrinsic.
"""

from __future__ import annotations

from vecstore.kernels.intrinsics.emitting import CACHE_LINE, LANES, TILE, has_feature
from vecstore.kernels.intrinsics.halves import halves_dot, halves_squared_distance
from vecstore.kernels.intrinsics.matrices import multiply_matrix
from vecstore.kernels.intrinsics.memory import (
    bits_float,
    count_below,
    count_ones,
    float_bits,
    load_word,
    prefetch_element,
    prefetch_row,
)
from vecstore.kernels.intrinsics.rows import add_rows, copy_row, copy_span, decode_row, expand_lanes, multiply_rows
from vecstore.kernels.intrinsics.shuffles import LARGEST_ENTRY, MAX_COLUMNS, add_nibble_sums, add_nibble_sums_tile
from vecstore.kernels.intrinsics.sums import dot, dot_tile, integer_dot, squared_distance, squared_distance_tile

__all__ = [
    "CACHE_LINE",
    "LANES",
    "LARGEST_ENTRY",
    "MAX_COLUMNS",
    "TILE",
    "add_nibble_sums",
    "add_nibble_sums_tile",
    "add_rows",
    "bits_float",
    "copy_row",
    "copy_span",
    "count_below",
    "count_ones",
    "decode_row",
    "dot",
    "dot_tile",
    "expand_lanes",
    "float_bits",
    "halves_dot",
    "halves_squared_distance",
    "has_feature",
    "integer_dot",
    "load_word",
    "multiply_matrix",
    "multiply_rows",
    "prefetch_element",
    "prefetch_row",
    "squared_distance",
    "squared_distance_tile",
]
