"""``int8``: one signed byte a number, and a scale a row or one a table."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import ClassVar, Literal

import numpy as np

from vecstore.kernels import quantise as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.numbers import CodesDot, CodesL2, PairsDot, PairsL2
from vecstore.schemes.base import Capabilities, Family, Fitting, Scheme, TableShape
from vecstore.schemes.coded import Codes, IntegerScheme, RowScaledTable
from vecstore.schemes.scorer import bias_of
from vecstore.types import F32, I8, Metric

__all__ = ["Int8", "Int8Table"]


class Int8(IntegerScheme, frozen=True, kw_only=True, tag="int8"):
    """Round every number to a multiple of its row's scale: dim + 4 bytes a row; or of one scale for all rows.

    All steps are in float32: ``scale = max|x| / 127``; ``code = round(x / scale)``, ties to even, clipped to
    -127..127; decoded as ``scale * code``. A row whose scale is 0 has codes 0.

    Trained in low precision, the table has one scale (see ``vecstore.training.int8``).

    Attributes
    ----------
    scales : {"row", "table"}
        A scale for each row, or one for the table.
    version : int
        Version of this config.

    References
    ----------
    Symmetric linear quantisation with a scale a row, as in Guan et al., "Post-Training 4-bit Quantization on
    Embedding Tables" (2019), section 3, at 8 bits and without clipping. Low-precision training as in Li et al.,
    "Adaptive Low-Precision Training for Embeddings in Click-Through Rate Prediction", AAAI 2023 (LPT).
    """

    name: ClassVar[str] = "int8"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = "Guan et al., Post-Training 4-bit Quantization on Embedding Tables, 2019"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=True, exact=False, graph=True, trained=True
    )
    kind: ClassVar[type[np.int8 | np.int16]] = np.int8

    version: Literal[1] = 1

    def by_rows(self, shape: TableShape, codes: Codes, scales: F32) -> Int8Table:
        """Give the table of frozen ``codes`` with a scale a row."""
        return Int8Table(self, shape, codes, scales)


def _squared_lengths(codes: I8, scales: F32) -> F32:
    lengths = np.empty(len(codes), np.float32)
    kernels.squared_lengths(codes, scales, lengths)
    return frozen(lengths)


class _RoundedQueries:
    """Queries float32[q, d] rounded to int8, in arrays that are filled again when the queries have changed in place."""

    def __init__(self, queries: F32) -> None:
        self._queries = queries
        count = len(queries)
        codes, sums = np.empty(queries.shape, np.int8), np.empty(count, np.int32)
        scales, lengths = np.empty(count, np.float32), np.empty(count, np.float32)
        self._filled = codes, scales, sums, lengths
        self.codes, self.scales, self.lengths = frozen(codes), frozen(scales), frozen(lengths)
        self.corrections = frozen(sums)
        self.fill()

    def fill(self) -> None:
        """Round the queries as they are now."""
        kernels.round_queries(self._queries, *self._filled)


class Int8Table(RowScaledTable):
    """Rows of bytes with a scale each.

    Graph walks round the queries to int8 as well, which makes a distance a sum of integers.

    Parameters
    ----------
    scheme : Scheme
    shape : TableShape
    codes : int8[n, dim]
        Read-only and contiguous, as :func:`~vecstore.kernels.distance.frozen` gives them.
    scales : float32[n]
        Likewise.
    """

    def __init__(self, scheme: Scheme, shape: TableShape, codes: Codes, scales: F32) -> None:
        super().__init__(scheme, shape, codes, scales)
        self._lengths: F32 | None = None
        self._lock = Lock()

    def _traversal(
        self,
        queries: F32,
        metric: Metric,
        exact: Operands,  # noqa: ARG002
    ) -> tuple[Operands, Callable[[], None]]:
        rounded = _RoundedQueries(queries)
        shared = (self.codes, self.scales, rounded.codes, rounded.scales, rounded.corrections)
        if metric is Metric.L2:
            return CodesL2(*shared, self._squared_row_lengths(), rounded.lengths), rounded.fill
        return CodesDot(*shared, bias_of(metric)), rounded.fill

    def pairs(self, metric: Metric) -> Operands:
        """Give operands whose query number i is row i."""
        corrections = np.empty(len(self.codes), np.int32)
        kernels.corrections(self.codes, corrections)
        shared = (self.codes, self.scales, frozen(corrections))
        if metric is Metric.L2:
            return PairsL2(*shared, self._squared_row_lengths())
        return PairsDot(*shared, bias_of(metric))

    def _squared_row_lengths(self) -> F32:
        """Give float32[n], computed once; it is not stored because it follows from the codes."""
        with self._lock:
            if self._lengths is None:
                self._lengths = _squared_lengths(self.codes, self.scales)
            return self._lengths
