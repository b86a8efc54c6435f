"""``int4``: four bits a number of centred rows, two numbers a byte, with the range of each row."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import int4 as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.int4 import HalvesDot, HalvesL2, RoundedHalvesDot, RoundedHalvesL2
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, TableShape
from vecstore.schemes.checks import check_magnitude, queries_matrix, stored_arrays, table_matrix
from vecstore.schemes.fixed_size import FixedSizeScheme
from vecstore.schemes.scorer import KernelScorer, bias_of
from vecstore.types import F32, I64, U8, ArrayForm, Metric

__all__ = ["Int4", "Int4Table"]

#: Largest value: ranges of centred rows must be finite.
LARGEST = 8e37
#: Rows encoded between two reports of progress.
_BLOCK_ROWS = 4096


class Int4(FixedSizeScheme, frozen=True, kw_only=True, tag="int4"):
    """Subtract the mean of all rows, and round to 16 steps between the smallest and the largest number of a row.

    That is ceil(dim / 2) + 8 bytes a row, and the mean. All steps are in float32: ``step = (max - min) / 15``, code =
    round((x - min) / step), ties to even; decoded as ``centroid + (offset + step * code)``.

    Attributes
    ----------
    version : int
        Version of this config.

    References
    ----------
    Aguerrebere et al., "Similarity search in the blink of an eye with compressed indices", VLDB 2023, section 3.1
    (locally-adaptive vector quantisation, LVQ-4).
    """

    name: ClassVar[str] = "int4"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = "Aguerrebere et al., Similarity search in the blink of an eye, VLDB 2023"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ("codes", "offsets", "steps")

    version: Literal[1] = 1

    def walks_quickly(self, shape: TableShape) -> bool:  # noqa: ARG002
        """Tell that they are: sums of integers; see :meth:`Scheme.walks_quickly`."""
        return True

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``codes``, ``offsets``, ``steps`` and ``centroid``."""
        return {
            "codes": ArrayForm(np.uint8, (shape.rows, -(-shape.dim // 2))),
            "offsets": ArrayForm(np.float32, (shape.rows,)),
            "steps": ArrayForm(np.float32, (shape.rows,)),
            "centroid": ArrayForm(np.float32, (shape.dim,)),
        }

    def check(self, vectors: F32) -> None:
        """Refuse values near the end of float32.

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
    ) -> Int4Table:
        """Round ``vectors`` float32[n, dim]; nothing is drawn, so the seed does not matter."""
        matrix = table_matrix(vectors)
        self.check(matrix)
        shape = TableShape(*matrix.shape)
        mean = matrix.mean(axis=0, dtype=np.float64) if len(matrix) else np.zeros(shape.dim)
        centroid = mean.astype(np.float32)
        codes = np.empty((shape.rows, -(-shape.dim // 2)), np.uint8)
        offsets, steps = np.empty(shape.rows, np.float32), np.empty(shape.rows, np.float32)
        for start in range(0, shape.rows, _BLOCK_ROWS):
            part = slice(start, min(start + _BLOCK_ROWS, shape.rows))
            kernels.quantise(frozen(matrix[part] - centroid), codes[part], offsets[part], steps[part])
            if on_progress is not None:
                on_progress(part.stop, shape.rows)
        return Int4Table(self, shape, frozen(codes), frozen(offsets), frozen(steps), frozen(centroid))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> Int4Table:
        """Make a table of its stored arrays (see :class:`Int4Table`); see :meth:`Scheme.open`."""
        return Int4Table(self, shape, **stored_arrays(arrays, self.array_forms(shape)))


class Int4Table(ArrayTable):
    """Rows of 4-bit codes with an offset and a step each.

    Parameters
    ----------
    scheme : Int4
    shape : TableShape
    codes : uint8[n, ceil(dim / 2)]
        Number j in the low half of byte j, number ceil(dim / 2) + j in its high half; frozen, as all arrays.
    offsets, steps : float32[n]
    centroid : float32[dim]
    """

    refusal: ClassVar[str] = "its mean is that of those it has; fit a new table"
    scheme: Int4

    def __init__(self, scheme: Int4, shape: TableShape, codes: U8, offsets: F32, steps: F32, centroid: F32) -> None:
        self.scheme = scheme
        self.shape = shape
        self.codes = codes
        self.offsets = offsets
        self.steps = steps
        self.centroid = centroid
        self._lengths: F32 | None = None
        self._lock = Lock()

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        kernels.take(self.codes, self.offsets, self.steps, self.centroid, rows, out)

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once: the centroid becomes a part of them."""
        given = frozen(queries_matrix(queries, self.shape.dim))
        asked = _Queries(given, self.centroid, metric)
        rows = self.codes, self.offsets, self.steps
        exact: Operands
        quick: Operands
        if metric is Metric.L2:
            exact = HalvesL2(*rows, asked.moved)
            quick = RoundedHalvesL2(*rows, *asked.rounded, self._squared_row_lengths(), asked.lengths)
        else:
            exact = HalvesDot(*rows, given, asked.constants)
            quick = RoundedHalvesDot(*rows, *asked.rounded, asked.constants)
        return KernelScorer(self.shape.rows, len(given), exact, quick, renew=asked.fill)

    def _squared_row_lengths(self) -> F32:
        """Give those of the centred rows float32[n], computed once; not stored because they follow from the codes."""
        with self._lock:
            if self._lengths is None:
                lengths = np.empty(self.shape.rows, np.float32)
                kernels.squared_lengths(self.codes, self.offsets, self.steps, self.shape.dim, lengths)
                self._lengths = frozen(lengths)
            return self._lengths

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``codes``, ``offsets``, ``steps`` and ``centroid``."""
        return {"codes": self.codes, "offsets": self.offsets, "steps": self.steps, "centroid": self.centroid}


class _Queries:
    """What distances need of queries float32[q, dim], in arrays that are filled again when these change in place.

    Attributes
    ----------
    moved : float32[q, dim]
        The queries less the centroid; for inner products the queries.
    constants : float32[q]
        What the products of rounded or other queries with centred rows are taken from, for inner products.
    rounded : int8[q, 2 ceil(dim / 2)], float32[q], float32[q]
        Codes, scales and sums of ``moved``; see :func:`~vecstore.kernels.int4.round_queries`.
    lengths : float32[q]
        Squared lengths of what the codes stand for.
    """

    def __init__(self, queries: F32, centroid: F32, metric: Metric) -> None:
        count, dim = queries.shape
        self._queries = queries
        self._centroid = centroid.reshape(1, dim)
        self._bias = bias_of(metric)
        self._moved = np.empty((count, dim), np.float32) if metric is Metric.L2 else None
        self._constants = np.empty(count, np.float32)
        codes = np.empty((count, 2 * -(-dim // 2)), np.int8)
        scales, sums, lengths = np.empty((3, count), np.float32)
        self._filled = np.empty((count, dim), np.int8), codes, scales, sums, lengths
        self.moved = queries if self._moved is None else frozen(self._moved)
        self.constants, self.lengths = frozen(self._constants), frozen(lengths)
        self.rounded = frozen(codes), frozen(scales), frozen(sums)
        self.fill()

    def fill(self) -> None:
        """Compute all of it from the queries as they are now."""
        if self._moved is None:
            kernels.products_taken_from(self._bias, self._centroid, self._queries, self._constants)
        else:
            np.subtract(self._queries, self._centroid, out=self._moved)
        kernels.round_queries(self.moved, *self._filled)
