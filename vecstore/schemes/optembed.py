"""``optembed``: rows below their field's threshold are pruned, and each field keeps the first columns it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecstore.errors import CorruptionError, InvalidArgumentError
from vecstore.kernels import prefixes as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.grouping import put_columns, sorted_places
from vecstore.schemes import ranked_bitmap
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    allowed_bytes,
    check_floor,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.fields import Field, check_fields, starts_of
from vecstore.schemes.full import plain_scorer
from vecstore.schemes.prefixes import select
from vecstore.schemes.scorer import CheckedScorer, KernelScorer
from vecstore.types import F32, I64, U16, U32, U64, ArrayForm, Mask, Metric

__all__ = ["OptEmbed", "OptEmbedTable", "PrefixScorer", "prefix_table"]


class OptEmbed(Scheme, frozen=True, kw_only=True, tag="optembed"):
    """Store some rows, each as the first ``dims[field]`` numbers; all else is 0.

    The method has no control of its own over bytes. A planned config says how many numbers may be stored; which rows
    and how many columns follow from the trained weights (see :func:`vecstore.schemes.prefixes.select`), and the config
    of the table says how many were. Fitted to an existing matrix, rows are kept by L1 norm, and columns have no order
    of importance that training would have given them, so the error is large unless the matrix has one (such as PCA's).

    Attributes
    ----------
    fields : tuple of Field
        In order; they cover the rows.
    values : int
        Numbers that are stored, or may be.
    version : int
        Version of this config.

    References
    ----------
    Lyu et al., "OptEmbed: Learning Optimal Embedding Table for Click-through Rate Prediction", CIKM 2022, section 3.
    """

    name: ClassVar[str] = "optembed"
    family: ClassVar[Family] = Family.DIMENSION
    paper: ClassVar[str] = "Lyu et al., OptEmbed: Learning Optimal Embedding Table, CIKM 2022"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False, fitting=Fitting.CLOSED_FORM, appendable=False, exact=False, graph=False, joint=True, trained=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    fields: tuple[Field, ...]
    values: int
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check fields and the number of values."""
        super().__post_init__()
        if self.fields:
            check_fields(self.fields)
        if self.values < 0:
            raise InvalidArgumentError(f"optembed.values: expected at least 0, got {self.values}", field="values")

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the most values that fit the budget; see :meth:`Scheme.plan`.

        ``fields`` is one field ``"row"`` by default.
        """
        allowed = allowed_bytes(shape, budget)
        whole = [{"name": "row", "size": shape.rows}] if shape.rows else []
        given = {"fields": whole, "values": min(1, shape.rows), **(parameters or {}), "scheme": cls.name}
        smallest = cls.from_dict(given)
        floor = smallest.nbytes(shape)
        check_floor(cls.name, allowed, floor)
        if "values" in (parameters or {}):
            return smallest
        most = min(smallest.values + (allowed - floor) // 4, shape.rows * shape.dim)
        return cls.from_dict({**given, "values": most})

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``values``, ``words``, ``ranks`` and ``dims``; a table of a planned config has at most so many."""
        return {
            "values": ArrayForm(np.float32, (min(self.values, shape.rows * shape.dim),)),
            **ranked_bitmap.bitmap_forms(shape.rows),
            "dims": ArrayForm(np.uint16, (len(self.fields),)),
        }

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,
    ) -> OptEmbedTable:
        """Keep rows by L1 norm and columns by their squares, weighted by ``frequency``; without training."""
        matrix = table_matrix(vectors)
        if starts_of(self.fields)[-1] != len(matrix):
            raise InvalidArgumentError(
                f"vectors: expected {starts_of(self.fields)[-1]} rows, one an id of the fields, got {len(matrix)}",
                field="vectors",
            )
        norms = np.abs(matrix).sum(1, dtype=np.float64)
        weights = np.ones(len(matrix)) if frequency is None else np.asarray(frequency, np.float64)
        table = prefix_table(self, matrix, *select(matrix, starts_of(self.fields), norms, weights, self.values))
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return table

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> OptEmbedTable:
        """Make a table of the stored ``values``, ``words``, ``ranks`` and ``dims``; see :meth:`Scheme.open`."""
        if starts_of(self.fields)[-1] != shape.rows:
            raise CorruptionError(
                f"optembed: {starts_of(self.fields)[-1]} rows in the fields, {shape.rows} in the table", field="fields"
            )
        values = stored_array(arrays, "values", np.float32, (self.values,))
        dims = stored_array(arrays, "dims", np.uint16, (len(self.fields),))
        if (dims > shape.dim).any():
            raise CorruptionError(f"array 'dims': {dims.max()} columns of {shape.dim}", field="dims")
        marked = int(np.bitwise_count(arrays["words"]).sum(dtype=np.int64)) if _is_words(arrays) else 0
        words, ranks = ranked_bitmap.stored_bitmap(arrays, "words", "ranks", shape.rows, marked)
        table = OptEmbedTable(self, shape, frozen(values), words, ranks, frozen(dims))
        if table.offsets[-1] != self.values:
            raise CorruptionError(
                f"array 'words': its rows have {table.offsets[-1]} values, not {self.values}", field="words"
            )
        return table


def _is_words(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Tell whether bits can be counted; what is wrong otherwise is said when the bitmap is opened."""
    return "words" in arrays and arrays["words"].dtype == np.uint64


class OptEmbedTable(ArrayTable):
    """The first columns of the kept rows, field after field.

    Parameters
    ----------
    scheme : OptEmbed
    shape : TableShape
    values : float32[stored]
        Kept rows one after another, each with as many columns as its field has.
    words, ranks : uint64[], uint32[]
        Bitmap with rank of the kept rows.
    dims : uint16[fields]
        Stored columns of each field.

    Attributes
    ----------
    starts, firsts, offsets : int64[fields + 1]
        Rows, kept rows and stored values before each field; they follow from the rest and are not stored.
    """

    refusal: ClassVar[str] = "fields have fixed sizes; train or fit a new table"
    scheme: OptEmbed

    def __init__(self, scheme: OptEmbed, shape: TableShape, values: F32, words: U64, ranks: U32, dims: U16) -> None:
        self.scheme = scheme
        self.shape = shape
        self.values = values
        self.words = words
        self.ranks = ranks
        self.dims = dims
        self.starts = frozen(starts_of(scheme.fields))
        firsts = [int(ranked_bitmap.rank(words, ranks, start)) for start in self.starts[:-1].tolist()]
        self.firsts = frozen(np.array([*firsts, np.bitwise_count(words).sum()], np.int64))
        sizes = np.diff(self.firsts) * dims
        self.offsets = frozen(np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)]))

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        kernels.take(self.values, self.words, self.ranks, self.dims, self.starts, self.firsts, self.offsets, rows, out)

    def stored_rows(self, field: int) -> F32:
        """Give float32[kept, dims[field]]: what is stored of the ``field``-th field."""
        begin, end = self.offsets[field], self.offsets[field + 1]
        return self.values[begin:end].reshape(self.firsts[field + 1] - self.firsts[field], int(self.dims[field]))

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows: only prefixes are scored."""
        given = queries_matrix(queries, self.shape.dim)
        return CheckedScorer(PrefixScorer(self, given, metric), self.shape.rows, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``values``, ``words``, ``ranks`` and ``dims``."""
        return {"values": self.values, "words": self.words, "ranks": self.ranks, "dims": self.dims}


class PrefixScorer:
    """Distances of each field's kept rows on their stored columns; the other columns are 0 and add the same to all.

    Parameters
    ----------
    table : OptEmbedTable
    queries : float32[q, dim]
    metric : Metric
    """

    operands: Operands | None = None
    traversal: Operands | None = None

    def __init__(self, table: OptEmbedTable, queries: F32, metric: Metric) -> None:
        self._table = table
        self._pruned = _to_zero(queries, metric)
        self._scorers: dict[int, tuple[KernelScorer, F32]] = {}
        for field in np.flatnonzero(np.diff(table.offsets)).tolist():
            dim = int(table.dims[field])
            prefixes = plain_scorer(table.stored_rows(field), np.ascontiguousarray(queries[:, :dim]), metric)
            # The bias of a dot product is in the prefixes' distances already.
            tails = _to_zero(queries[:, dim:], metric) if metric is Metric.L2 else np.zeros(len(queries), np.float32)
            self._scorers[field] = prefixes, tails

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self.gather(np.arange(start, stop), out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        out[:] = self._pruned[:, None]
        fields, places = self._resolve(rows)
        order, starts = sorted_places(fields, len(self._table.dims) + 1)
        for field, (prefixes, tails) in self._scorers.items():
            own = order[starts[field] : starts[field + 1]]
            if not len(own):
                continue
            distances = np.empty((len(out), len(own)), np.float32)
            prefixes.gather(places[own], distances)
            distances += tails[:, None]
            put_columns(frozen(distances), frozen(own), out)

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        fields, places = (found.reshape(rows.shape) for found in self._resolve(np.maximum(rows, 0).ravel()))
        out[:] = np.where(rows < 0, np.float32(np.inf), self._pruned[:, None])
        for field, (prefixes, tails) in self._scorers.items():
            own = (fields == field) & (rows >= 0)
            if own.any():
                distances = np.empty(rows.shape, np.float32)
                prefixes.rerank(np.where(own, places, -1), distances)
                out[own] = (distances + tails[:, None])[own]

    def _resolve(self, rows: I64) -> tuple[I64, I64]:
        """Give the field of each row, and its place among the field's kept rows; for a pruned one a field more, 0."""
        table = self._table
        fields, places = np.empty((2, len(rows)), np.int64)
        kernels.resolve(table.words, table.ranks, table.starts, table.firsts, frozen(rows), fields, places)
        return fields, places


def _to_zero(queries: F32, metric: Metric) -> F32:
    """Give the distance float32[q] of each query to a row of zeros, by the kernels' order of additions."""
    distances = np.empty((len(queries), 1), np.float32)
    zero = np.zeros((1, queries.shape[1]), np.float32)
    plain_scorer(frozen(zero), np.ascontiguousarray(queries), metric).scan(0, 1, distances)
    return distances[:, 0]


def prefix_table(scheme: OptEmbed, matrix: F32, keep: Mask, dims: I64) -> OptEmbedTable:
    """Give the table of the kept rows of ``matrix``, cut to the columns of their fields.

    Parameters
    ----------
    scheme : OptEmbed
        The table has its fields, and says how many values are stored.
    matrix : float32[n, dim]
    keep : bool[n]
    dims : int64[fields]
    """
    widths = np.repeat(dims, np.diff(starts_of(scheme.fields)))
    inside = keep[:, None] & (np.arange(matrix.shape[1]) < widths[:, None])
    values = matrix[inside]
    words, ranks = ranked_bitmap.pack(keep)
    stored = msgspec.structs.replace(scheme, values=len(values))
    return OptEmbedTable(
        stored, TableShape(*matrix.shape), frozen(values), words, ranks, frozen(dims.astype(np.uint16))
    )
