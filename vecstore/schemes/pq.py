"""``pq``: product quantisation, with codes of 8 bits or, for scans in registers, of 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import lookup, tiers
from vecstore.kernels.compiling import frozen, sealed
from vecstore.kernels.nibble_tables import part_tables
from vecstore.kernels.nibbles import ENTRIES, NibbleSteps, NibbleSums
from vecstore.kernels.part_sums import PartSums
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    most_that_fits,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.nibbles import blocked, blocks_shape, code_rows, rounded
from vecstore.schemes.scorer import KernelScorer, bias_of
from vecstore.schemes.tiered_kmeans import nearest, tiered_centroids
from vecstore.types import F32, I64, U8, ArrayForm, Metric

__all__ = ["Pq", "PqTable"]


class Pq(Scheme, frozen=True, kw_only=True, tag="pq"):
    """A row is ``parts`` centroids side by side, each of dim / parts floats: one code of ``bits`` bits a part.

    Where ``parts`` does not divide dim, centroids are as wide as the next whole number, and of the last one there are
    fewer floats; the rest are zeros. Plans take parts that divide.

    A distance is a sum of table entries, one a part; nothing is decoded. With 4 bits, scans find the entries of 16 rows
    at once in registers, rounded to whole steps; what they find is scored again.

    Attributes
    ----------
    parts : int
        Codes a row.
    bits : int
        4 or 8: 16 or 256 centroids a part.
    version : int
        Version of this config.

    References
    ----------
    Jegou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011, sections III and IV
    (asymmetric distances); 4 bits as in Andre, Kermarrec and Le Scouarnec, "Cache locality is not enough", VLDB 2015.
    """

    name: ClassVar[str] = "pq"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = "Jegou, Douze and Schmid, Product Quantization for Nearest Neighbor Search, TPAMI 2011"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ("codes",)
    #: 8 bits wait for memory in scans, at a quarter of the speed of float32 rows.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ({"bits": 4},)

    parts: int
    bits: Literal[4, 8] = 4
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the number of parts."""
        super().__post_init__()
        if self.parts < 1:
            raise InvalidArgumentError(f"{self.name}.parts: expected at least 1, got {self.parts}", field="parts")

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the most parts that fit the budget; see :meth:`Scheme.plan`."""
        given = {**(parameters or {}), "scheme": cls.name}
        divisors = [parts for parts in range(1, shape.dim + 1) if shape.dim % parts == 0]
        candidates = [cls.from_dict({"parts": parts, **given}) for parts in divisors]
        return most_that_fits(candidates, shape, budget)

    @property
    def centroids(self) -> int:
        """Centroids of a part."""
        return 1 << self.bits

    def width(self, dim: int) -> int:
        """Give the floats of a centroid.

        Raises
        ------
        InvalidArgumentError
            Fewer parts of that width hold all dimensions.
        """
        width = -(-dim // self.parts)
        enough = -(-dim // width)
        if enough != self.parts:
            raise InvalidArgumentError(
                f"{self.name}.parts: {self.parts} of width {width} exceed {dim} dimensions; {enough} will do",
                field="parts",
            )
        return width

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``codebook``, and ``codes`` (8 bits) or ``blocks`` (4 bits)."""
        return {
            "codebook": ArrayForm(np.float32, (self.parts, self.centroids, self.width(shape.dim))),
            self._codes_name: ArrayForm(np.uint8, self._codes_shape(shape)),
        }

    @property
    def _codes_name(self) -> str:
        return "codes" if self.bits == 8 else "blocks"

    def _codes_shape(self, shape: TableShape) -> tuple[int, ...]:
        return (shape.rows, self.parts) if self.bits == 8 else blocks_shape(shape.rows, -(-self.parts // 2))

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> PqTable:
        """Compute centroids of ``vectors`` float32[n, dim] by k-means, part by part, and give each row its nearest."""
        matrix = table_matrix(vectors)
        shape = TableShape(*matrix.shape)
        width = self.width(shape.dim)
        codebook = np.empty((self.parts, self.centroids, width), np.float32)
        numbers = np.empty((shape.rows, self.parts), np.uint8)
        generator = np.random.default_rng(seed)
        filled = _widened(matrix, self.parts * width)
        for part in range(self.parts):
            own = np.ascontiguousarray(filled[:, part * width : (part + 1) * width])
            codebook[part] = tiered_centroids(own, own[:0], self.centroids, self.centroids, generator)
            numbers[:, part] = nearest(own, codebook[part])[0]
            if on_progress is not None:
                on_progress(shape.rows * (part + 1) // self.parts, shape.rows)
        return self.holding(shape, codebook, numbers)

    def holding(self, shape: TableShape, codebook: F32, numbers: U8) -> PqTable:
        """Give the table of a codebook, see :class:`PqTable`, and the code uint8[n, parts] of each part of each row."""
        return PqTable(self, shape, frozen(codebook), frozen(numbers) if self.bits == 8 else _blocks(numbers))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> PqTable:
        """Make a table of the stored ``codebook``, and ``codes`` or ``blocks``; see :meth:`Scheme.open`."""
        codebook = stored_array(arrays, "codebook", np.float32, (self.parts, self.centroids, self.width(shape.dim)))
        codes = stored_array(arrays, self._codes_name, np.uint8, self._codes_shape(shape))
        return PqTable(self, shape, frozen(codebook), frozen(codes))


def _widened(rows: F32, width: int) -> F32:
    """Give rows float32[n, d] with zeros after them, float32[n, width]; the same array where d is that."""
    return rows if rows.shape[1] == width else np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def _blocks(numbers: U8) -> U8:
    """Give codes uint8[n, M] below 16 in blocks, two a byte (see :mod:`vecstore.kernels.nibbles`)."""
    even = np.pad(numbers, ((0, 0), (0, numbers.shape[1] % 2)))
    return blocked(even[:, ::2] | np.left_shift(even[:, 1::2], np.uint8(4)))


class PqTable(ArrayTable):
    """A codebook, and the codes of all rows.

    Parameters
    ----------
    scheme : Pq
    shape : TableShape
    codebook : float32[parts, centroids, width]
        Frozen, as all arrays.
    codes : uint8[n, parts] or uint8[ceil(n / 16), ceil(parts / 2), 16]
        Of 8 bits, or of 4 bits in blocks.
    """

    refusal: ClassVar[str] = "its centroids suit those it has; fit a new table"
    scheme: Pq

    def __init__(self, scheme: Pq, shape: TableShape, codebook: F32, codes: U8) -> None:
        self.scheme = scheme
        self.shape = shape
        self.codebook = codebook
        self.codes = codes
        self._columns = frozen(codebook.transpose(0, 2, 1))

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        parts, centroids, width = self.codebook.shape
        places = (self.numbers(rows) + np.arange(parts) * centroids).ravel().astype(np.int64)
        whole = out if parts * width == self.shape.dim else np.empty((len(rows), parts * width), np.float32)
        lookup.take(self.codebook.reshape(-1, width), frozen(places), whole.reshape(-1, width))
        if whole is not out:
            out[:] = whole[:, : self.shape.dim]

    def numbers(self, rows: I64) -> U8:
        """Give the code uint8[n, parts] of each part of ``rows`` int64[n]."""
        return self.codes[rows] if self.scheme.bits == 8 else code_rows(self.codes, rows, len(self.codebook))

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once: tables of what each centroid adds."""
        parts, _, width = self.codebook.shape
        # Zeros meet the zeros of centroids and add nothing.
        given = frozen(_widened(queries_matrix(queries, self.shape.dim), parts * width))
        bias = np.float32(0) if metric is Metric.L2 else bias_of(metric)
        if self.scheme.bits == 8:
            tables = np.empty((len(given), *self.codebook.shape[:2]), np.float32)
            fill = tiers.squared_distances if metric is Metric.L2 else tiers.negative_dots
            fill(self.codebook, given, tables)
            sums = PartSums(sealed(tables), self.codes, bias)
            return KernelScorer(self.shape.rows, len(given), sums, sums)
        tables = np.empty((len(given), 2 * self.codes.shape[1], ENTRIES), np.float32)
        part_tables(self._columns, given, metric is Metric.L2, tables)
        exact = NibbleSums(self.codes, sealed(tables), bias)
        steps = rounded(exact.tables)
        quick = NibbleSteps(self.codes, steps.tables, sealed(steps.steps), sealed(steps.bases + bias))
        return KernelScorer(self.shape.rows, len(given), exact, quick, scanned=quick)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``codebook``, and ``codes`` (8 bits) or ``blocks`` (4 bits)."""
        return {"codebook": self.codebook, "codes" if self.scheme.bits == 8 else "blocks": self.codes}
