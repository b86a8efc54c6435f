"""Sizes that kernels and the instructions they are made of agree on."""

from __future__ import annotations

from vecstore.kernels.loading import has_feature

#: Numbers of a vector by the lane rule.
LANES = 16
#: Bytes that the processor fetches together.
CACHE_LINE = 64
#: Queries that the tile functions take together: their accumulators just fit the registers of AVX-512.
TILE = 4
#: Columns that ``add_nibble_sums`` may take at once: 64 additions of at most 254 in four lanes stay below 2^16.
MAX_COLUMNS = 256
#: Entries of its tables are at most this, so that two of them fit a byte.
LARGEST_ENTRY = 127
#: Rows that ``panel_hits`` takes together: their sums, and little else, fill the registers.
PANEL_ROWS = 24 if has_feature("avx512f") else 6
