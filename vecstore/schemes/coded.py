"""Tables of integers: one signed number a value, and scales that give them their size.

``int8``, ``int16`` and ``alpt`` store such tables and differ in how scales come about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import lookup
from vecstore.kernels import scales as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.numbers import OffsetDot, OffsetL2, ScaledDot, ScaledL2
from vecstore.kernels.quantise import quantise
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    check_magnitude,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.fixed_size import FixedSizeScheme
from vecstore.schemes.scorer import KernelScorer, bias_of, unchanged
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = [
    "Codes",
    "IntegerScheme",
    "RowScaledTable",
    "TableScaledTable",
    "code_type",
    "coded_rows",
    "limit_of",
    "stored_codes",
]

#: Largest value: its scale may be rounded up, and the largest code times that must still be finite.
LARGEST = 3.4e38
#: Rows encoded between two reports of progress.
_BLOCK_ROWS = 4096

#: int8 or int16; every value is at most :func:`limit_of` in either direction.
Codes: TypeAlias = NDArray[Any]


def code_type(bits: int) -> type[np.int8 | np.int16]:
    """Give the type of codes of 8 or 16 bits."""
    return np.int8 if bits == 8 else np.int16


def limit_of(codes: type[np.int8 | np.int16]) -> np.float32:
    """Give the largest code, 127 or 32767; the smallest is its negative, so that codes are symmetric."""
    return np.float32(np.iinfo(codes).max)


def stored_codes(arrays: Mapping[str, NDArray[Any]], shape: TableShape, kind: type[np.int8 | np.int16]) -> Codes:
    """Give the ``codes`` of a stored table, frozen; see :func:`~vecstore.schemes.checks.stored_array`."""
    codes: Codes = stored_array(arrays, "codes", kind, (shape.rows, shape.dim))
    return frozen(codes)


def coded_rows(matrix: F32, scales: F32, kind: type[np.int8 | np.int16]) -> Codes:
    """Give the codes of ``matrix`` float32[n, d] to the nearest multiple of ``scales`` float32[n] or float32[1]."""
    codes: Codes = np.empty(matrix.shape, kind)
    # With one scale a table, the table is one long row.
    shape = (len(scales), -1) if len(scales) else (0, matrix.shape[1])
    kernels.round_rows(frozen(matrix.reshape(shape)), frozen(scales), limit_of(kind), codes.reshape(shape))
    return codes


class RowScaledTable(ArrayTable):
    """Rows ``scales[row] * codes[row]``.

    Parameters
    ----------
    scheme : Scheme
    shape : TableShape
    codes : int8[n, dim] or int16[n, dim]
        Read-only and contiguous, as :func:`~vecstore.kernels.compiling.frozen` gives them.
    scales : float32[n]
        Likewise.
    """

    def __init__(self, scheme: Scheme, shape: TableShape, codes: Codes, scales: F32) -> None:
        self.scheme = scheme
        self.shape = shape
        self.codes = codes
        self.scales = scales

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        lookup.take_scaled(self.codes, self.scales, rows, out)

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        given = frozen(queries_matrix(queries, self.shape.dim))
        exact: Operands
        if metric is Metric.L2:
            exact = ScaledL2(self.codes, self.scales, given)
        else:
            exact = ScaledDot(self.codes, self.scales, given, bias_of(metric))
        traversal, renew = self._traversal(given, metric, exact)
        return KernelScorer(self.shape.rows, len(given), exact, traversal, renew=renew)

    def _traversal(self, queries: F32, metric: Metric, exact: Operands) -> tuple[Operands, Callable[[], None]]:  # noqa: ARG002
        """Give the operands of graph walks, and what renews them; subclasses may have faster ones."""
        return exact, unchanged

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``codes`` int8/int16[n, dim] and ``scales`` float32[n]."""
        return {"codes": self.codes, "scales": self.scales}

    def encode(self, vectors: F32) -> Mapping[str, NDArray[Any]]:
        """Give the ``codes`` and ``scales`` of further vectors float32[m, dim]."""
        return self.scheme.fit(vectors).arrays()


class TableScaledTable(ArrayTable):
    """Rows ``scale * codes[row]``: one scale for the whole table.

    Parameters
    ----------
    scheme : Scheme
    shape : TableShape
    codes : int8[n, dim] or int16[n, dim]
        As for :class:`RowScaledTable`.
    scale : float32[1]
        Likewise.
    """

    def __init__(self, scheme: Scheme, shape: TableShape, codes: Codes, scale: F32) -> None:
        self.scheme = scheme
        self.shape = shape
        self.codes = codes
        self.scale = scale

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        lookup.take_times(self.codes, self.scale[0], rows, out)

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        given = frozen(queries_matrix(queries, self.shape.dim))
        operands: Operands
        if metric is Metric.L2:
            operands = OffsetL2(self.codes, self.scale[0], given, frozen(np.zeros(len(given), np.float32)))
        else:
            operands = OffsetDot(self.codes, self.scale[0], given, frozen(np.full(len(given), bias_of(metric))))
        return KernelScorer(self.shape.rows, len(given), operands, operands, renew=unchanged)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``codes`` int8/int16[n, dim] and ``scale`` float32[1]."""
        return {"codes": self.codes, "scale": self.scale}

    def encode(self, vectors: F32) -> Mapping[str, NDArray[Any]]:
        """Give the ``codes`` of further vectors float32[m, dim] at this table's scale, clipped to its range.

        Raises
        ------
        InvalidArgumentError
            Another number of dimensions.
        """
        matrix = table_matrix(vectors)
        if matrix.shape[1] != self.shape.dim:
            raise InvalidArgumentError(
                f"vectors: expected {self.shape.dim} dimensions a row, got {matrix.shape[1]}", field="vectors"
            )
        return {"codes": frozen(coded_rows(matrix, self.scale, self.codes.dtype.type))}


class IntegerScheme(FixedSizeScheme, frozen=True, kw_only=True):
    """What ``int8`` and ``int16`` share: plain rounding, with a scale a row or one a table.

    A scale a row is ``max|x| / limit`` of the row. The scale of a table is the one with the smallest squared error over
    all its values (see :func:`~vecstore.kernels.scales.search_scales`), because one outlier must not cost all rows.
    """

    row_arrays: ClassVar[tuple[str, ...]] = ("codes", "scales")
    field_parameters: ClassVar[Mapping[str, Any]] = {"scales": "table"}
    kind: ClassVar[type[np.int8 | np.int16]]

    scales: Literal["row", "table"] = "row"

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``codes``, and ``scales`` or ``scale``."""
        scales = {"scales": (shape.rows,)} if self.scales == "row" else {"scale": (1,)}
        codes = {"codes": ArrayForm(self.kind, (shape.rows, shape.dim))}
        return codes | {name: ArrayForm(np.float32, size) for name, size in scales.items()}

    def check(self, vectors: F32) -> None:
        """Refuse values so near the end of float32 that the largest code times a rounded scale would pass it.

        Raises
        ------
        InvalidArgumentError
            Names the first row that has one.
        """
        check_magnitude(self.name, vectors, LARGEST)

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,
    ) -> RowScaledTable | TableScaledTable:
        """Round ``vectors`` float32[n, dim]; nothing is learned, so the seed does not matter."""
        matrix = table_matrix(vectors)
        self.check(matrix)
        shape = TableShape(*matrix.shape)
        if self.scales == "row":
            return self.by_rows(shape, *self._rounded(matrix, on_progress))
        scale = np.empty(1, np.float32)
        kernels.search_scales(frozen(matrix.reshape(1, -1)), limit_of(self.kind), scale)
        codes = coded_rows(matrix, scale, self.kind)
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return TableScaledTable(self, shape, frozen(codes), frozen(scale))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> RowScaledTable | TableScaledTable:
        """Make a table of the stored ``codes`` int8/int16[n, dim] and ``scales`` float32[n] or ``scale`` float32[1]."""
        codes = stored_codes(arrays, shape, self.kind)
        if self.scales == "row":
            return self.by_rows(shape, codes, frozen(stored_array(arrays, "scales", np.float32, (shape.rows,))))
        return TableScaledTable(self, shape, codes, frozen(stored_array(arrays, "scale", np.float32, (1,))))

    def by_rows(self, shape: TableShape, codes: Codes, scales: F32) -> RowScaledTable:
        """Give the table of frozen ``codes`` with a scale a row."""
        return RowScaledTable(self, shape, codes, scales)

    def _rounded(self, matrix: F32, on_progress: Progress | None) -> tuple[Codes, F32]:
        codes: Codes = np.empty(matrix.shape, self.kind)
        scales = np.empty(len(matrix), np.float32)
        for start in range(0, len(matrix), _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, len(matrix))
            quantise(frozen(matrix[start:stop]), codes[start:stop], scales[start:stop], limit_of(self.kind))
            if on_progress is not None:
                on_progress(stop, len(matrix))
        return frozen(codes), frozen(scales)
