"""``binary``: the sign of every number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import hamming as kernels
from vecstore.kernels import nibble_tables, nibbles
from vecstore.kernels.compiling import frozen
from vecstore.kernels.hamming import BLOCK_ROWS, SignCounts, SignProducts
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, TableShape
from vecstore.schemes.checks import queries_matrix, stored_arrays, table_matrix
from vecstore.schemes.fixed_size import FixedSizeScheme
from vecstore.schemes.scorer import KernelScorer, bias_of
from vecstore.types import F32, I64, U64, ArrayForm, Metric

__all__ = ["Binary", "BinaryTable"]

_WORD_BITS = 64


class Binary(FixedSizeScheme, frozen=True, kw_only=True, tag="binary"):
    """A bit a number: 1 for numbers of at least 0. Decoded rows are unit vectors with numbers of 1 / sqrt(dim).

    Scans and walks count the bits in which the signs of the query differ (Hamming distance); what they find is scored
    again with the query as it is. Put ``transform="centre|rotate"`` in front where numbers are not spread around 0.

    Attributes
    ----------
    version : int
        Version of this config.

    References
    ----------
    Charikar, "Similarity Estimation Techniques from Rounding Algorithms", STOC 2002, section 3; re-ranking with the
    float query as in Yamada, Asai and Hajishirzi, "Efficient Passage Retrieval with Hashing for Open-domain Question
    Answering", ACL 2021.
    """

    name: ClassVar[str] = "binary"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = "Charikar, Similarity Estimation Techniques from Rounding Algorithms, STOC 2002"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    version: Literal[1] = 1

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``words``."""
        return {"words": ArrayForm(np.uint64, _words_shape(shape))}

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,
    ) -> BinaryTable:
        """Keep the signs of ``vectors`` float32[n, dim]."""
        matrix = table_matrix(vectors)
        shape = TableShape(*matrix.shape)
        blocks, width, _ = _words_shape(shape)
        words = np.zeros((blocks * BLOCK_ROWS, width), np.uint64)
        words[: shape.rows] = _signs(matrix)
        if on_progress is not None:
            on_progress(shape.rows, shape.rows)
        return BinaryTable(self, shape, frozen(words.reshape(blocks, BLOCK_ROWS, width).transpose(0, 2, 1)))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> BinaryTable:
        """Make a table of the stored ``words``; see :meth:`Scheme.open`."""
        return BinaryTable(self, shape, **stored_arrays(arrays, self.array_forms(shape)))


def _words_shape(shape: TableShape) -> tuple[int, int, int]:
    return -(-shape.rows // BLOCK_ROWS), -(-shape.dim // _WORD_BITS), BLOCK_ROWS


def _signs(rows: F32) -> U64:
    """Give the signs of float32[n, d] as words uint64[n, ceil(d / 64)]; bits past d are 0."""
    bits = np.packbits(rows >= 0, axis=1, bitorder="little")
    width = -(-rows.shape[1] // _WORD_BITS)
    padded = np.zeros((len(rows), 8 * width), np.uint8)
    padded[:, : bits.shape[1]] = bits
    words: U64 = padded.view("<u8").astype(np.uint64).reshape(len(rows), width)
    return words


class BinaryTable(ArrayTable):
    """Signs of all rows.

    Parameters
    ----------
    scheme : Binary
    shape : TableShape
    words : uint64[ceil(n / 64), ceil(dim / 64), 64]
        See :mod:`vecstore.kernels.hamming`; frozen.
    """

    refusal: ClassVar[str] = "they would not fill a block of rows; fit a new table"
    scheme: Binary

    def __init__(self, scheme: Binary, shape: TableShape, words: U64) -> None:
        self.scheme = scheme
        self.shape = shape
        self.words = words
        self._size = np.float32(1) / np.sqrt(np.float32(shape.dim))

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        kernels.take_signs(self.words, rows, self._size, out)

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows.

        With rows s / sqrt(d) of signs s, <q, s> is twice the sum over the set bits less the sum of q; for the signs of
        q, at the same length, it is |q| (d - 2 differing) / sqrt(d). |q - x|^2 = |q|^2 + 1 - 2 <q, x>.
        """
        given = frozen(queries_matrix(queries, self.shape.dim))
        squares = np.empty(len(given), np.float32)
        nibbles.squared_lengths(given, squares)
        constants = squares + np.float32(1) if metric is Metric.L2 else np.full(len(given), bias_of(metric))
        weight = np.float32(-2 if metric is Metric.L2 else -1)
        tables = np.empty((len(given), 16 * self.words.shape[1], nibbles.ENTRIES), np.float32)
        nibble_tables.subset_sums(given, tables, np.empty(len(given), np.float32))
        signed = (weight * self._size) * (tables + tables - tables[:, :, -1:])
        exact = SignProducts(self.words, frozen(signed), frozen(constants))
        lengths = weight * np.sqrt(squares)
        quick = SignCounts(
            self.words,
            frozen(_signs(given)),
            frozen(lengths * np.float32(-2 / self.shape.dim)),
            frozen(constants + lengths),
        )
        return KernelScorer(self.shape.rows, len(given), exact, quick, scanned=quick)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``words``."""
        return {"words": self.words}
