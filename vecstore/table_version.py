"""A version of a table in memory: its parts, opened by memory map, and exact search over one field."""

from __future__ import annotations

import threading
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from vecstore.errors import CorruptionError, InvalidArgumentError
from vecstore.index.exact import exact_search
from vecstore.kernels.distance import Operands
from vecstore.kernels.lengths import unit_rows
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import Fields, FieldsTable
from vecstore.schemes.packing import packed_arrays, unpacked
from vecstore.segment import golden_digest
from vecstore.storage.records import TableEntry
from vecstore.storage.sealed_folder import Golden, StoredTable, golden_rows
from vecstore.storage.table_files import TableFiles
from vecstore.table_api import TableStats
from vecstore.types import F32, I64, Hits, Metric

__all__ = ["OpenVersion", "search_field", "stored_version"]

#: Rows decoded at a time to compute their lengths.
_BLOCK_ROWS = 8_192


class OpenVersion:
    """A version opened from its folder; immutable and safe to use from threads.

    Opening maps the files and reads nothing of them; the first use checks all arrays against their checksums. What
    holds a version can use it to the end, also when its folder is removed meanwhile.

    Parameters
    ----------
    folder : Path
        Folder of the version.
    entry : TableEntry
        The catalog's entry of it.
    """

    def __init__(self, folder: Path, entry: TableEntry) -> None:
        self.entry = entry
        self._files = TableFiles.open(folder, entry.digest)
        self.description = self._files.description
        self._lengths: dict[str, F32] = {}
        self._lock = threading.Lock()

    @cached_property
    def scheme(self) -> Fields:
        """Fields and parts."""
        try:
            return Fields.from_dict(self.description.scheme)
        except InvalidArgumentError as error:
            raise CorruptionError(f"{self._files.folder}: {error}", field=self._files.description_file) from None

    @cached_property
    def table(self) -> FieldsTable:
        """The parts; every byte of them is checked the first time."""
        file = self._files.table_arrays()
        file.check_all()
        shape = TableShape(self.description.rows, self.description.dim)
        try:
            arrays = unpacked(self.scheme, shape, file.arrays)
        except InvalidArgumentError as error:
            raise CorruptionError(f"{self._files.folder}: {error}", field=self._files.description_file) from None
        return self.scheme.open(shape, arrays)

    def search(self, queries: F32, k: int, field: str, metric: Metric) -> Hits:
        """Give the k nearest ids of a field; ``queries`` float32[q, dim] are checked."""
        lengths = None
        if metric is Metric.COSINE:
            self.table.field(field)
            with self._lock:
                if field not in self._lengths:
                    self._lengths[field] = _lengths(self.table, field)
                lengths = self._lengths[field]
        return search_field(self.table, queries, k, field, metric, lengths)

    def stats(self) -> TableStats:
        """Give bytes by part, ratio and schemes."""
        dim, parts, first = self.description.dim, [], 0
        names = [field.name for field in self.scheme.fields]
        tables = zip(self.scheme.parts, self.scheme.schemes(), self.scheme.part_shapes(dim), strict=True)
        for part, scheme, shape in tables:
            count = scheme.nbytes(shape)
            parts.append(
                {
                    "scheme": part.scheme,
                    "fields": names[first : first + part.fields],
                    "rows": shape.rows,
                    "bytes": count,
                    "ratio": shape.float32_bytes / count,
                }
            )
            first += part.fields
        arrays = self.description.bytes["arrays"]
        return TableStats(
            version=self.entry.number,
            rows=self.description.rows,
            dim=dim,
            nbytes=arrays,
            overhead_bytes=self.description.bytes["overhead"] + self._files.description_bytes,
            ratio=self.description.rows * dim * 4 / arrays,
            parts=parts,
        )

    def verify(self) -> list[str]:
        """Check all bytes and the golden look-ups; give one line per problem."""
        problems = self._files.check_all()
        if problems:
            return problems
        golden = self.description.golden
        if golden_digest(self.table, np.array(golden.rows, np.int64)) != golden.digest:
            problems.append(f"{self._files.folder}: rows decode to other values than when they were written")
        return problems


def search_field(table: FieldsTable, queries: F32, k: int, field: str, metric: Metric, lengths: F32 | None) -> Hits:
    """Give the k nearest ids of a field by comparing with all of them.

    Parameters
    ----------
    table : FieldsTable
    queries : float32[q, dim]
        Checked.
    k : int
    field : str
    metric : Metric
    lengths : float32[size] or None
        Euclidean length of each row of the field; for cosine.
    """
    part, first, stop = table.field(field)
    if metric is Metric.COSINE and lengths is not None:
        unit = unit_rows(queries, name="queries")
        scorer: Scorer = _CosineScorer(part.scorer(unit, Metric.IP), lengths, first)
    else:
        scorer = part.scorer(queries, metric)
    # The rows of a part's first field begin at 0 and are scanned in order.
    rows = stop if first == 0 else np.arange(first, stop)
    found, distances = exact_search(scorer, len(queries), rows, k)
    ids = np.where(found < 0, -1, found - first)
    return Hits(ids, distances, np.count_nonzero(found >= 0, axis=1).astype(np.int64))


class _CosineScorer:
    """1 - <q, x> / |x| over the inner products of another scorer: rows of tables are not of unit length.

    Parameters
    ----------
    products : Scorer
        Gives -<q, x>, for unit q.
    lengths : float32[size]
        Euclidean lengths of the rows from ``first`` on.
    first : int
        First row.
    """

    operands: Operands | None = None
    traversal: Operands | None = None

    def __init__(self, products: Scorer, lengths: F32, first: int) -> None:
        self._products = products
        # Rows of zeros have no direction: their product is 0, so any divisor gives the distance 1.
        self._divisors = np.where(lengths > 0, lengths, np.float32(1))
        self._first = first

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self._products.scan(start, stop, out)
        self._finish(self._divisors[start - self._first : stop - self._first], out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        self._products.gather(rows, out)
        self._finish(self._divisors[rows - self._first], out)

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        self._products.rerank(rows, out)
        self._finish(self._divisors[np.maximum(rows - self._first, 0)], out)

    @staticmethod
    def _finish(divisors: F32, out: F32) -> None:
        out /= divisors
        out += np.float32(1)


def _lengths(table: FieldsTable, field: str) -> F32:
    """Give the Euclidean length of each row of a field, float32[size]."""
    part, first, stop = table.field(field)
    lengths = np.empty(stop - first, np.float32)
    for start in range(first, stop, _BLOCK_ROWS):
        end = min(start + _BLOCK_ROWS, stop)
        block = part.lookup(np.arange(start, end))
        lengths[start - first : end - first] = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
    return lengths


def stored_version(table: FieldsTable) -> StoredTable:
    """Give what is written of a table, with golden look-ups in every part."""
    starts = table.scheme.part_starts
    golden = [golden_rows(int(stop - start)) + start for start, stop in pairwise(starts)]
    rows = np.concatenate(golden)
    return StoredTable(
        scheme=table.scheme.to_dict(),
        arrays=packed_arrays(table),
        golden=Golden(rows=rows.tolist(), digest=golden_digest(table, rows)),
    )
