"""The delta in memory: rows newer than the last sealed segment, kept as float32 and searched exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa

from vecstore import schemes
from vecstore.calibration import Calibration
from vecstore.filters import Filter, columns_of, mask
from vecstore.index.hnsw import Graph
from vecstore.metadata import conform
from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.storage.delta import Batch
from vecstore.types import F32, I64, U64, IdArray, Mask, Metric


class _Buffer:
    """Float32 rows that grow by doubling; snapshots keep views of what was written before them."""

    def __init__(self, dim: int, capacity: int) -> None:
        self.rows = np.empty((capacity, dim), np.float32)
        self.used = 0

    def extended(self, used: int, vectors: F32) -> _Buffer:
        """Append behind the first ``used`` rows: here if they are the latest and there is room, else in a copy."""
        total = used + len(vectors)
        buffer = self
        if used != self.used or total > len(self.rows):
            buffer = _Buffer(self.rows.shape[1], max(total, 2 * used))
            buffer.rows[:used] = self.rows[:used]
        buffer.rows[used:total] = vectors
        buffer.used = total
        return buffer


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Ids and metadata of consecutive rows."""

    ids: IdArray
    table: pa.Table

    def joined(self, other: _Chunk, columns: dict[str, str]) -> _Chunk:
        parts = [conform(c.table, columns, len(c.ids)) for c in (self, other)]
        table = pa.concat_tables(parts).combine_chunks() if columns else pa.table({})
        return _Chunk(np.concatenate([self.ids, other.ids]), table)


class Delta:
    """The unsealed rows as of one commit; immutable, later states share its memory.

    Attributes
    ----------
    first : int
        Sequence number of row 0; rows have consecutive numbers.
    vectors : float32[n, dim]
        The rows.
    """

    def __init__(self, first: int, buffer: _Buffer, rows: int, chunks: tuple[_Chunk, ...]) -> None:
        self.first = first
        self.last = first + rows - 1
        self.vectors: F32 = buffer.rows[:rows]
        self._buffer = buffer
        self._chunks = chunks

    @classmethod
    def empty(cls, first: int, dim: int) -> Self:
        """Give a delta without rows that begins at sequence number ``first``."""
        return cls(first, _Buffer(dim, 0), 0, ())

    def extended(self, batches: Iterable[Batch], columns: dict[str, str]) -> Delta:
        """Give this delta with further batches.

        Chunks are joined like the digits of a binary counter, so that thousands of single-row writes cost a
        logarithmic number of copies each.
        """
        buffer, rows, chunks = self._buffer, len(self), list(self._chunks)
        for batch in batches:
            buffer = buffer.extended(rows, batch.vectors)
            rows += len(batch)
            chunks.append(_Chunk(batch.ids, batch.metadata))
            while len(chunks) > 1 and len(chunks[-2].ids) <= 2 * len(chunks[-1].ids):
                last = chunks.pop()
                chunks[-1] = chunks[-1].joined(last, columns)
        return Delta(self.first, buffer, rows, tuple(chunks))

    def since(self, first: int, columns: dict[str, str]) -> Delta:
        """Give the rows from sequence number ``first`` on, in memory of their own."""
        skip = min(max(first - self.first, 0), len(self))
        rest = Delta.empty(first, self.vectors.shape[1])
        if skip == len(self):
            return rest
        kept = np.arange(skip, len(self))
        batch = Batch(self.ids(kept), self.vectors[skip:], self.metadata(kept, columns))
        return rest.extended([batch], columns)

    def __len__(self) -> int:
        """Give the number of rows, deleted ones included."""
        return len(self.vectors)

    @cached_property
    def codes(self) -> CompressedTable:
        """The rows as an uncompressed table."""
        shape = TableShape(rows=len(self), dim=self.vectors.shape[1])
        return schemes.from_config("full").open(shape, {"rows": self.vectors})

    @property
    def finest(self) -> CompressedTable:
        """The rows, which are exact."""
        return self.codes

    @property
    def graph(self) -> Graph | None:
        """None: the delta is small and scanned."""
        return None

    @property
    def calibration(self) -> Calibration | None:
        """None: the delta is exact."""
        return None

    def leading(self, metric: Metric) -> None:
        """Give None: the delta is small, changes with every write, and is compared in whole."""

    @cached_property
    def _ids(self) -> IdArray:
        return np.concatenate([c.ids for c in self._chunks]) if self._chunks else np.empty(0, np.int64)

    def lookup(self, rows: I64) -> F32:
        """Give float32[n, dim] of ``rows``."""
        return self.vectors[rows]

    def ids(self, rows: I64) -> IdArray:
        """Give the ids of ``rows`` int64[...], in an array of that shape."""
        return self._ids[rows]

    def metadata(self, rows: I64, columns: dict[str, str]) -> pa.Table:
        """Give ``columns`` of ``rows``."""
        return self._table(columns).take(pa.array(rows)) if columns else conform(pa.table({}), {}, len(rows))

    def matches(self, where: Filter, columns: dict[str, str]) -> Mask:
        """Give which rows ``where`` lets pass."""
        return mask(where, self._table({name: columns[name] for name in columns_of(where)}))

    def positions(self, sequences: U64) -> I64:
        """Give the rows that have these sequence numbers."""
        inside = sequences[(sequences >= self.first) & (sequences < self.first + len(self))]
        return (inside - np.uint64(self.first)).astype(np.int64)

    def sequences(self, rows: I64) -> U64:
        """Give the sequence numbers of ``rows``."""
        return rows.astype(np.uint64) + np.uint64(self.first)

    def _table(self, columns: dict[str, str]) -> pa.Table:
        parts = [conform(chunk.table, columns, len(chunk.ids)) for chunk in self._chunks]
        return pa.concat_tables(parts) if parts else conform(pa.table({}), columns, 0)
