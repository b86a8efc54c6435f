"""A sealed segment in memory: its compressed table, ids, metadata and graph, opened by memory map."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np
import pyarrow as pa

from vecstore import schemes
from vecstore.calibration import Calibration
from vecstore.filters import Filter, columns_of, mask
from vecstore.index.hnsw import Graph
from vecstore.metadata import conform, narrowed
from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.schemes.leading import LeadingTables
from vecstore.storage import segment_files
from vecstore.storage.array_files import ArrayFile
from vecstore.storage.checksum import digest_bytes
from vecstore.storage.delta import ids_from_arrow
from vecstore.storage.records import SegmentEntry
from vecstore.storage.segment_files import SegmentFiles, StoredTable, golden_rows
from vecstore.types import F32, I64, U64, IdArray, Mask, Metric

#: Filters whose masks a source keeps; a mask has one byte a row.
CACHED_FILTERS = 32


class RowSource(Protocol):
    """Rows that can be searched and read: a sealed segment, or the delta."""

    first: int
    last: int

    def __len__(self) -> int:
        """Give the number of rows, deleted ones included."""
        ...

    @property
    def codes(self) -> CompressedTable:
        """The table that is searched."""
        ...

    @property
    def finest(self) -> CompressedTable:
        """The most exact copy there is."""
        ...

    @property
    def graph(self) -> Graph | None:
        """The graph over ``codes``, if there is one."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """What is known of the recall of its searches, if it was measured."""
        ...

    def leading(self, metric: Metric) -> LeadingTables | None:
        """Give the first dimensions of the rows under the collection's metric; None where all are compared anyway."""
        ...

    def lookup(self, rows: I64) -> F32:
        """Give float32[n, dim] of ``rows``, checked against their checksums."""
        ...

    def ids(self, rows: I64) -> IdArray:
        """Give the ids of ``rows`` int64[...], in an array of that shape."""
        ...

    def metadata(self, rows: I64, columns: dict[str, str]) -> pa.Table:
        """Give ``columns`` (name -> type name) of ``rows``; columns that are not stored here are null."""
        ...

    def matches(self, where: Filter, columns: dict[str, str]) -> Mask:
        """Give which rows a filter lets pass, bool[n]."""
        ...

    def positions(self, sequences: U64) -> I64:
        """Give the rows that have these sequence numbers; numbers that are not here are left out."""
        ...

    def sequences(self, rows: I64) -> U64:
        """Give the sequence numbers of ``rows``."""
        ...


class Segment:
    """A segment opened from its folder; immutable and safe to use from threads.

    Opening maps the files and reads nothing of them. Searching checks the codes and the graph against their
    checksums once; look-ups check the blocks they touch.
    """

    def __init__(self, folder: Path, entry: SegmentEntry) -> None:
        self.name = entry.segment
        self.entry = entry
        self.first = entry.first
        self.last = entry.last
        self._files = SegmentFiles.open(folder, entry.digest)
        self.description = self._files.description
        self._masks: OrderedDict[Filter, Mask] = OrderedDict()
        self._leading: LeadingTables | None = None
        self._lock = Lock()

    def __len__(self) -> int:
        """Give the number of rows, deleted ones included."""
        return self.description.rows

    @property
    def _shape(self) -> TableShape:
        return TableShape(rows=self.description.rows, dim=self.description.dim)

    @cached_property
    def _codes_file(self) -> ArrayFile:
        return self._files.arrays(segment_files.CODES)

    @cached_property
    def _refine_file(self) -> ArrayFile:
        return self._files.arrays(segment_files.REFINE)

    @cached_property
    def _codes_table(self) -> CompressedTable:
        return schemes.from_config(self.description.scheme).open(self._shape, self._codes_file.arrays)

    @cached_property
    def _refine_table(self) -> CompressedTable | None:
        if self.description.refine is None:
            return None
        return schemes.from_config(self.description.refine).open(self._shape, self._refine_file.arrays)

    @cached_property
    def codes(self) -> CompressedTable:
        """The searched table; every byte of it is checked the first time."""
        self._codes_file.check_all()
        return self._codes_table

    @cached_property
    def finest(self) -> CompressedTable:
        """The refine copy where there is one, else the codes; every byte is checked the first time."""
        if self._refine_table is None:
            return self.codes
        self._refine_file.check_all()
        return self._refine_table

    @cached_property
    def graph(self) -> Graph | None:
        """The graph, checked the first time."""
        if self.description.graph is None:
            return None
        file = self._files.arrays(segment_files.GRAPH)
        file.check_all()
        return Graph.open(file.arrays, len(self))

    @cached_property
    def calibration(self) -> Calibration | None:
        """What was measured when the segment was written; None for segments of a seal, and of old releases."""
        stored = self.description.calibration
        return None if stored is None else Calibration.from_dict(stored)

    def leading(self, metric: Metric) -> LeadingTables:
        """Give the first dimensions of the rows under the collection's metric; they are in memory once used."""
        with self._lock:
            if self._leading is None:
                self._leading = LeadingTables(self.lookup, len(self), metric)
            return self._leading

    @cached_property
    def _table(self) -> pa.Table:
        return self._files.rows()

    @cached_property
    def _sequence_column(self) -> U64 | None:
        """Sequence numbers where they have gaps, else None."""
        if self._table.schema.get_field_index(segment_files.SEQUENCE_COLUMN) < 0:
            return None
        sequences: U64 = self._table.column(segment_files.SEQUENCE_COLUMN).chunk(0).to_numpy()
        return sequences

    @property
    def _is_consecutive(self) -> bool:
        return self.last - self.first == len(self) - 1

    def lookup(self, rows: I64) -> F32:
        """Give float32[n, dim] of ``rows`` from the finest copy; the blocks they touch are checked."""
        if self._refine_table is not None:
            self._refine_file.check_rows(rows, type(self._refine_table.scheme).row_arrays)
            return self._refine_table.lookup(rows)
        self._codes_file.check_rows(rows, type(self._codes_table.scheme).row_arrays)
        return self._codes_table.lookup(rows)

    @cached_property
    def _int_ids(self) -> I64 | None:
        """The ids as an array, where they are int64 (a map, not a copy)."""
        column = self._table.column("id").chunk(0)
        return column.to_numpy() if pa.types.is_integer(column.type) else None

    def ids(self, rows: I64) -> IdArray:
        """Give the ids of ``rows`` int64[...], in an array of that shape."""
        if self._int_ids is not None:
            return self._int_ids[rows]
        return ids_from_arrow(self._table.column("id").take(pa.array(rows.ravel()))).reshape(rows.shape)

    def metadata(self, rows: I64, columns: dict[str, str]) -> pa.Table:
        """Give ``columns`` of ``rows``; columns added to the collection later are null."""
        return conform(narrowed(self._table, columns).take(pa.array(rows)), columns, len(rows))

    def matches(self, where: Filter, columns: dict[str, str]) -> Mask:
        """Give which rows ``where`` lets pass; the masks of the latest filters are kept."""
        with self._lock:
            if where in self._masks:
                self._masks.move_to_end(where)
                return self._masks[where]
        used = {name: columns[name] for name in columns_of(where)}
        passing = mask(where, conform(narrowed(self._table, used), used, len(self)))
        with self._lock:
            self._masks[where] = passing
            if len(self._masks) > CACHED_FILTERS:
                self._masks.popitem(last=False)
        return passing

    def positions(self, sequences: U64) -> I64:
        """Give the rows that have these sequence numbers."""
        inside = sequences[(sequences >= self.first) & (sequences <= self.last)]
        if self._is_consecutive:
            return (inside - np.uint64(self.first)).astype(np.int64)
        column = self._sequence_column
        if column is None:
            return np.empty(0, np.int64)
        rows: I64 = np.searchsorted(column, inside).astype(np.int64)
        is_here: Mask = column[np.minimum(rows, len(column) - 1)] == inside
        found: I64 = rows[is_here]
        return found

    def sequences(self, rows: I64) -> U64:
        """Give the sequence numbers of ``rows``."""
        if self._is_consecutive or self._sequence_column is None:
            return rows.astype(np.uint64) + np.uint64(self.first)
        sequences: U64 = self._sequence_column[rows]
        return sequences

    def verify(self) -> list[str]:
        """Check all bytes, the golden look-ups and the graph; give one line per problem."""
        problems = self._files.check_all()
        if problems:
            return problems
        copies = {"codes": self._codes_table, "refine": self._refine_table}
        for part, golden in self.description.golden.items():
            table = copies[part]
            if table is None or golden_digest(table, np.array(golden.rows, np.int64)) != golden.digest:
                problems.append(f"{self._files.folder}: {part} decode to other values than when they were written")
        if self.graph is None and self.description.graph is not None:
            problems.append(f"{self._files.folder}: the graph is missing")
        return problems


def golden_digest(table: CompressedTable, rows: I64) -> str:
    """Give the digest of the decoded bytes of ``rows``."""
    return digest_bytes(table.lookup(rows).astype("<f4").tobytes())


def stored_table(table: CompressedTable) -> StoredTable:
    """Give what is written of a table, with golden look-ups."""
    rows = golden_rows(table.shape.rows)
    golden = segment_files.Golden(rows=rows.tolist(), digest=golden_digest(table, rows))
    return StoredTable(scheme=table.scheme.to_dict(), arrays=table.arrays(), golden=golden)
