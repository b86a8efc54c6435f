"""Places of rows in a table that has private rows for some ids and shared rows for the others."""

from __future__ import annotations

from vecstore.kernels.bitmaps import is_set, rank
from vecstore.kernels.compiling import kernel
from vecstore.kernels.hashing import bucket, mix
from vecstore.types import I64, U32, U64


@kernel
def fill_adapted(words: U64, ranks: U32, hot: int, shared: int, salt: int, rows: I64, out: I64) -> None:
    """Write the place of each of ``rows`` int64[n] in the stored rows into ``out`` int64[n].

    A marked row has its rank, one of ``hot`` places; any other has ``hot`` plus its bucket among ``shared``.
    """
    for place in range(len(rows)):
        row = rows[place]
        if is_set(words, row):
            out[place] = rank(words, ranks, row)
        else:
            out[place] = hot + bucket(mix(row, salt), shared)
