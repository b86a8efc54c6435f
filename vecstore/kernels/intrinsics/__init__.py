"""Instruction-level building blocks, written as LLVM vectors so that no C compiler is needed.

Lane rule
---------
Every float sum over a row follows one fixed order. Element i is added to accumulator (i // 16) mod 4, lane
i mod 16, in order of i, by one multiplication and one addition that are never fused. The accumulators are added
as (a0 + a1) + (a2 + a3), and the sixteen lanes by halves: lane j takes lane j + 8, then j + 4, j + 2, j + 1.
IEEE 754 fixes each step, so the result has the same bits on every processor, whatever its vector width, and for
every thread count. Missing elements of the last block count as +0, which changes no bit because an accumulator
that starts at +0 never becomes -0.

Integer sums are exact, so they may use whatever the processor does best: instructions for bytes where Numba compiles
for AVX-512 VNNI or AVX2, ordinary vectors elsewhere.

These functions check nothing: callers hand in C-contiguous arrays and rows inside them.
They are named here and defined in modules that are imported when a kernel has to be compiled, because they need Numba.
"""

from __future__ import annotations

from vecstore.kernels.compiling import intrinsic
from vecstore.kernels.intrinsics.sizes import (
    CACHE_LINE,
    GLANCE,
    GROUP_COLUMNS,
    LANES,
    MAX_COLUMNS,
    NARROW,
    PANEL_ROWS,
    PLANES,
    TILE,
)

_HALVES = "vecstore.kernels.intrinsics.halves"
_INTEGERS = "vecstore.kernels.intrinsics.integers"
_MATRICES = "vecstore.kernels.intrinsics.matrices"
_MEMORY = "vecstore.kernels.intrinsics.memory"
_PANELS = "vecstore.kernels.intrinsics.panels"
_ROWS = "vecstore.kernels.intrinsics.rows"
_NIBBLES = "vecstore.kernels.intrinsics.nibble_sums"
_SUMS = "vecstore.kernels.intrinsics.sums"

halves_dot = intrinsic(_HALVES, "halves_dot")
halves_integer_dot = intrinsic(_HALVES, "halves_integer_dot")
halves_squared_distance = intrinsic(_HALVES, "halves_squared_distance")
integer_dot = intrinsic(_INTEGERS, "integer_dot")
narrow_dot = intrinsic(_INTEGERS, "narrow_dot")
multiply_matrix = intrinsic(_MATRICES, "multiply_matrix")
bits_float = intrinsic(_MEMORY, "bits_float")
count_below = intrinsic(_MEMORY, "count_below")
count_differing = intrinsic(_MEMORY, "count_differing")
count_ones = intrinsic(_MEMORY, "count_ones")
float_bits = intrinsic(_MEMORY, "float_bits")
load_word = intrinsic(_MEMORY, "load_word")
not_above = intrinsic(_MEMORY, "not_above")
prefetch_element = intrinsic(_MEMORY, "prefetch_element")
prefetch_row = intrinsic(_MEMORY, "prefetch_row")
weighted_differing = intrinsic(_MEMORY, "weighted_differing")
panel_hits = intrinsic(_PANELS, "panel_hits")
add_rows = intrinsic(_ROWS, "add_rows")
copy_row = intrinsic(_ROWS, "copy_row")
copy_span = intrinsic(_ROWS, "copy_span")
decode_row = intrinsic(_ROWS, "decode_row")
expand_lanes = intrinsic(_ROWS, "expand_lanes")
mix_lanes = intrinsic(_ROWS, "mix_lanes")
mix_spans = intrinsic(_ROWS, "mix_spans")
multiply_rows = intrinsic(_ROWS, "multiply_rows")
sum_nibbles = intrinsic(_NIBBLES, "sum_nibbles")
dot = intrinsic(_SUMS, "dot")
dot_tile = intrinsic(_SUMS, "dot_tile")
squared_distance = intrinsic(_SUMS, "squared_distance")
squared_distance_tile = intrinsic(_SUMS, "squared_distance_tile")

__all__ = [
    "CACHE_LINE",
    "GLANCE",
    "GROUP_COLUMNS",
    "LANES",
    "MAX_COLUMNS",
    "NARROW",
    "PANEL_ROWS",
    "PLANES",
    "TILE",
    "add_rows",
    "bits_float",
    "copy_row",
    "copy_span",
    "count_below",
    "count_differing",
    "count_ones",
    "decode_row",
    "dot",
    "dot_tile",
    "expand_lanes",
    "float_bits",
    "halves_dot",
    "halves_integer_dot",
    "halves_squared_distance",
    "integer_dot",
    "load_word",
    "mix_lanes",
    "mix_spans",
    "multiply_matrix",
    "multiply_rows",
    "narrow_dot",
    "not_above",
    "panel_hits",
    "prefetch_element",
    "prefetch_row",
    "squared_distance",
    "squared_distance_tile",
    "sum_nibbles",
    "weighted_differing",
]
