"""The first dimensions of rows as tables of their own, copied into memory when they are first asked for.

Read where they are stored, the first dimensions would cost almost as much as whole rows: memory gives a few bytes here
and there at a third of the rate. So they are put side by side, in int8, whatever the scheme of the rows. Under
``cosine`` they are given the length 1 again, as those of Matryoshka-trained vectors are meant to be compared.

References
----------
Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

import numpy as np

from vecstore.effort import MAX_STAGES
from vecstore.schemes.base import CompressedTable
from vecstore.schemes.int8 import Int8
from vecstore.schemes.transforms import Unit
from vecstore.types import F32, I64, Metric

__all__ = ["LeadingTables"]

#: Rows decoded at a time.
_BLOCK_ROWS = 8192


class LeadingTables:
    """Tables of the first dimensions of the same rows, as many as one search may take; safe to use from threads.

    Parameters
    ----------
    lookup : callable
        Gives float32[n, dim] of rows int64[n].
    n_rows : int
    metric : Metric
    """

    def __init__(self, lookup: Callable[[I64], F32], n_rows: int, metric: Metric) -> None:
        self._lookup = lookup
        self._n_rows = n_rows
        self._metric = metric
        self._tables: OrderedDict[int, CompressedTable] = OrderedDict()
        self._lock = Lock()

    def of(self, dims: int) -> CompressedTable:
        """Give the table of the first ``dims`` dimensions: dims + 4 bytes a row."""
        with self._lock:
            if dims not in self._tables:
                self._tables[dims] = self._made(dims)
            self._tables.move_to_end(dims)
            if len(self._tables) > MAX_STAGES:
                self._tables.popitem(last=False)
            return self._tables[dims]

    def _made(self, dims: int) -> CompressedTable:
        leading = np.empty((self._n_rows, dims), np.float32)
        for start in range(0, self._n_rows, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, self._n_rows)
            block = self._lookup(np.arange(start, stop))[:, :dims]
            leading[start:stop] = Unit().encode(block) if self._metric is Metric.COSINE else block
        return Int8().fit(leading)
