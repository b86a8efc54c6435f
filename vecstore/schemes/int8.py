"""``int8``: one signed byte a number and one scale a row."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import lookup
from vecstore.kernels import quantise as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import CodesDot, CodesL2, Operands, ScaledDot, ScaledL2
from vecstore.schemes.base import Capabilities, Family, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    check_budget,
    check_magnitude,
    output_buffer,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.scorer import KernelScorer, bias_of, check_rows
from vecstore.types import F32, I8, I64, Metric

__all__ = ["Int8", "Int8Table"]

#: Largest value: its scale may be rounded up, and 127 times that must still be finite.
LARGEST = 3.4e38
#: Rows encoded between two reports of progress.
_BLOCK_ROWS = 4096


class Int8(Scheme, frozen=True, kw_only=True, tag="int8"):
    """Round every number to a multiple of its row's scale: dim + 4 bytes a row.

    All steps are in float32: ``scale = max|x| / 127``; ``code = round(x / scale)``, ties to even, clipped to
    -127..127; decoded as ``scale * code``. A row whose scale is 0 has codes 0.

    Attributes
    ----------
    version : int
        Version of this config.

    References
    ----------
    Symmetric linear quantisation with a scale a row, as in Guan et al., "Post-Training 4-bit Quantization on
    Embedding Tables" (2019), section 3, at 8 bits and without clipping.
    """

    name: ClassVar[str] = "int8"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = "Guan et al., Post-Training 4-bit Quantization on Embedding Tables, 2019"
    capabilities: ClassVar[Capabilities] = Capabilities(posthoc=True, appendable=True, exact=False, graph=True)
    row_arrays: ClassVar[tuple[str, ...]] = ("codes", "scales")

    version: Literal[1] = 1

    @classmethod
    def plan(cls, shape: TableShape, budget: float | int, frequency: NDArray[np.int64] | None = None) -> Self:  # noqa: ARG003
        """Give the config if a table of bytes and scales fits the budget; see :meth:`Scheme.plan`."""
        planned = cls()
        check_budget(cls.name, shape, planned.nbytes(shape), budget)
        return planned

    def nbytes(self, shape: TableShape) -> int:
        """Bytes of ``codes`` and ``scales``."""
        return shape.rows * (shape.dim + 4)

    def check(self, vectors: F32) -> None:
        """Refuse values so near the end of float32 that 127 rounded steps would pass it.

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
    ) -> Int8Table:
        """Round ``vectors`` float32[n, dim]; nothing is learned, so the seed does not matter.

        Raises
        ------
        InvalidArgumentError
            See :meth:`check`.
        """
        matrix = table_matrix(vectors)
        self.check(matrix)
        codes, scales = _room_for(matrix)
        for start in range(0, len(matrix), _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, len(matrix))
            kernels.quantise(frozen(matrix[start:stop]), codes[start:stop], scales[start:stop])
            if on_progress is not None:
                on_progress(stop, len(matrix))
        return Int8Table(self, TableShape(*matrix.shape), frozen(codes), frozen(scales))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> Int8Table:
        """Make a table of the stored ``codes`` int8[n, dim] and ``scales`` float32[n]; see :meth:`Scheme.open`."""
        codes = stored_array(arrays, "codes", np.int8, (shape.rows, shape.dim))
        scales = stored_array(arrays, "scales", np.float32, (shape.rows,))
        return Int8Table(self, shape, frozen(codes), frozen(scales))


def _room_for(matrix: F32) -> tuple[I8, F32]:
    return np.empty(matrix.shape, np.int8), np.empty(len(matrix), np.float32)


def _squared_lengths(codes: I8, scales: F32) -> F32:
    lengths = np.empty(len(codes), np.float32)
    kernels.squared_lengths(codes, scales, lengths)
    return frozen(lengths)


class Int8Table:
    """Rows of bytes with a scale each.

    Parameters
    ----------
    scheme : Int8
    shape : TableShape
    codes : int8[n, dim]
        Read-only and contiguous, as :func:`~vecstore.kernels.distance.frozen` gives them.
    scales : float32[n]
        Likewise.
    """

    def __init__(self, scheme: Int8, shape: TableShape, codes: I8, scales: F32) -> None:
        self.scheme = scheme
        self.shape = shape
        self.codes = codes
        self.scales = scales
        self._lengths: F32 | None = None
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.codes.nbytes + self.scales.nbytes

    def lookup(self, rows: I64, out: F32 | None = None) -> F32:
        """Give float32[n, dim] of ``rows`` int64[n], written into ``out`` where given.

        Raises
        ------
        NotFoundError
            A row outside the table.
        InvalidArgumentError
            ``rows`` are not integers, or ``out`` cannot hold the result.
        """
        checked = check_rows(rows, self.shape.rows)
        out = output_buffer(out, len(checked), self.shape.dim)
        lookup.take_scaled(self.codes, self.scales, checked, out)
        return out

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows.

        Graph walks round the queries to int8 as well, which makes a distance a sum of integers.
        """
        given = queries_matrix(queries, self.shape.dim)
        exact: Operands
        if metric is Metric.L2:
            exact = ScaledL2(self.codes, self.scales, frozen(given))
        else:
            exact = ScaledDot(self.codes, self.scales, frozen(given), bias_of(metric))
        return KernelScorer(self.shape.rows, len(given), exact, self._traversal(given, metric))

    def _traversal(self, queries: F32, metric: Metric) -> CodesDot | CodesL2:
        codes, scales = _room_for(queries)
        corrections = np.empty(len(queries), np.int32)
        kernels.quantise(frozen(queries), codes, scales)
        codes, scales = frozen(codes), frozen(scales)
        kernels.corrections(codes, corrections)
        shared = (self.codes, self.scales, codes, scales, frozen(corrections))
        if metric is Metric.L2:
            return CodesL2(*shared, self._squared_row_lengths(), _squared_lengths(codes, scales))
        return CodesDot(*shared, bias_of(metric))

    def _squared_row_lengths(self) -> F32:
        """Give float32[n], computed once; it is not stored because it follows from the codes."""
        with self._lock:
            if self._lengths is None:
                self._lengths = _squared_lengths(self.codes, self.scales)
            return self._lengths

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``codes`` int8[n, dim] and ``scales`` float32[n]."""
        return {"codes": self.codes, "scales": self.scales}

    def encode(self, vectors: F32) -> Mapping[str, NDArray[Any]]:
        """Give the ``codes`` and ``scales`` of further vectors float32[m, dim]."""
        return self.scheme.fit(vectors).arrays()
