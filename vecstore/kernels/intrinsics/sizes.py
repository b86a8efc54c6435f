"""Sizes that kernels and the instructions they are made of agree on."""

from __future__ import annotations

from vecstore.kernels.loading import has_feature

#: Numbers of a vector by the lane rule.
LANES = 16
#: Distances that ``not_above`` compares with a limit at once; nearly all of them are above it.
GLANCE = 64
#: Bytes that the processor fetches together.
CACHE_LINE = 64
#: Largest code of queries of ``narrow_dot``, a sign and six bits: two products with 255 fit 16 bits.
NARROW = 63
#: Queries that the tile functions take together: their accumulators just fit the registers of AVX-512.
TILE = 4
#: Columns whose entries ``sum_nibbles`` adds in bytes, four columns side by side.
GROUP_COLUMNS = 16
#: Columns that it may take at once: sums of 64 groups, of four times 255 each, stay below 2^16.
MAX_COLUMNS = 1024
#: Planes of a query whose bits ``weighted_differing`` counts together; queries have a multiple of so many.
PLANES = 4
#: Rows that ``panel_hits`` takes together: their sums, and little else, fill the registers.
PANEL_ROWS = 24 if has_feature("avx512f") else 6
