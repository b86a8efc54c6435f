"""``rabitq``: rotated residuals in 1 to 8 bits a number, unbiased estimates of distances, a bound on their error."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import nibble_tables, nibbles
from vecstore.kernels import rabitq as kernels
from vecstore.kernels.compiling import frozen, sealed
from vecstore.kernels.hashing import derived_salts
from vecstore.kernels.nibbles import PlaneBounds, PlaneProducts, PlaneSteps
from vecstore.kernels.rotation import rotate, rotate_back
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    check_magnitude,
    most_that_fits,
    queries_matrix,
    stored_arrays,
    table_matrix,
)
from vecstore.schemes.nibbles import blocked, blocks_shape, rounded
from vecstore.schemes.projected import products
from vecstore.schemes.scorer import KernelScorer, bias_of
from vecstore.types import F32, I64, U8, U64, ArrayForm, Metric

__all__ = ["Rabitq", "RabitqTable"]

#: Largest value: squared lengths of residuals in up to 65,536 dimensions must be finite.
LARGEST = 1e16
#: Standard deviations of the error that a bound allows for.
EPSILON = 1.9
#: Weights of |r|^2 and of the product with r in a distance.
_L2_WEIGHTS, _COSINE_WEIGHTS = (np.float32(1), np.float32(2)), (np.float32(0.5), np.float32(1))
#: Rows encoded between two reports of progress.
_BLOCK_ROWS = 4096


class Rabitq(Scheme, frozen=True, kw_only=True, tag="rabitq"):
    """A row is the centroid and a residual of ``bits`` bits a number: ceil(dim / 8) bits + 8 bytes a row.

    The residual r = row - centroid is rotated at random, and v is the nearest of the vectors whose numbers are odd
    integers from -(2^bits - 1) to 2^bits - 1. With ``scale = |r|^2 / <v, r>`` the product of a query with ``scale * v``
    estimates that with r without bias, and its error is that of a random direction: with the residual left, e =
    |scale v - r|, a standard deviation of about |q| e / sqrt(dim - 1). Distances are these estimates, so squared ones
    may be below 0; ``l2`` and ``cosine`` use the exact |r|^2 (``cosine`` takes rows for unit vectors). The residual of
    a decoded row keeps its length, so that rows can be encoded again.

    Scans round the queries' tables to whole steps and sum integers; what they find is scored again.

    Attributes
    ----------
    bits : int
        Bits a number, 1 to 8.
    version : int
        Version of this config.

    References
    ----------
    Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors with a Theoretical Error Bound for Approximate Nearest
    Neighbor Search", SIGMOD 2024, sections 3.1 to 3.3; for more than one bit Gao et al., "Practical and Asymptotically
    Optimal Quantization of High-Dimensional Vectors in Euclidean Space for Approximate Nearest Neighbor Search", SIGMOD
    2025, with a search over 32 scales for the nearest vector instead of all.
    """

    name: ClassVar[str] = "rabitq"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = "Gao and Long, RaBitQ, SIGMOD 2024"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ("scales", "norms")

    bits: int = 1
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the number of bits."""
        super().__post_init__()
        if not 1 <= self.bits <= 8:
            raise InvalidArgumentError(f"rabitq.bits: expected 1 to 8, got {self.bits}", field="bits")

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the most bits that fit the budget; see :meth:`Scheme.plan`."""
        given = {**(parameters or {}), "scheme": cls.name}
        candidates = [cls.from_dict({"bits": bits, **given}) for bits in range(1, 9)]
        return most_that_fits(candidates, shape, budget)

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``codes``, ``scales``, ``norms``, ``centroid`` and ``salt``."""
        return {
            "codes": ArrayForm(np.uint8, self._blocks(shape)),
            "scales": ArrayForm(np.float32, (shape.rows,)),
            "norms": ArrayForm(np.float32, (shape.rows,)),
            "centroid": ArrayForm(np.float32, (shape.dim,)),
            "salt": ArrayForm(np.uint64, (1,)),
        }

    def _blocks(self, shape: TableShape) -> tuple[int, int, int]:
        return blocks_shape(shape.rows, self.bits * -(-shape.dim // 8))

    def check(self, vectors: F32) -> None:
        """Refuse values whose squares are too large.

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
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> RabitqTable:
        """Encode ``vectors`` float32[n, dim] around their mean; the seed decides the rotation."""
        matrix = table_matrix(vectors)
        self.check(matrix)
        shape = TableShape(*matrix.shape)
        salt = frozen(derived_salts(seed, 1))
        mean = matrix.mean(axis=0, dtype=np.float64) if len(matrix) else np.zeros(shape.dim)
        centroid = frozen(mean.astype(np.float32))
        scales, norms = np.empty(shape.rows, np.float32), np.empty(shape.rows, np.float32)
        packed = np.empty((shape.rows, self._blocks(shape)[1]), np.uint8)
        for start in range(0, shape.rows, _BLOCK_ROWS):
            part = slice(start, min(start + _BLOCK_ROWS, shape.rows))
            residuals = matrix[part] - centroid
            rotate(residuals, salt[0])
            numbers = np.empty(residuals.shape, np.uint8)
            kernels.nearest_numbers(residuals, self.bits, numbers, scales[part], norms[part])
            packed[part] = _planes(numbers, self.bits)
            if on_progress is not None:
                on_progress(part.stop, shape.rows)
        return RabitqTable(self, shape, blocked(packed), frozen(scales), frozen(norms), centroid, salt)

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> RabitqTable:
        """Make a table of its stored arrays (see :class:`RabitqTable`); see :meth:`Scheme.open`."""
        return RabitqTable(self, shape, **stored_arrays(arrays, self.array_forms(shape)))


def _planes(numbers: U8, bits: int) -> U8:
    """Give the planes of uint8[n, d] side by side, uint8[n, bits ceil(d / 8)], the least significant first."""
    planes = [np.packbits((numbers >> bit) & 1, axis=1, bitorder="little") for bit in range(bits)]
    return np.concatenate(planes, axis=1)


class _Prepared(NamedTuple):
    """Queries, rotated, and how an estimate of theirs is put together; see ``PlaneProducts``."""

    queries: F32
    offsets: F32
    norm_weight: np.float32
    product_weight: np.float32


class RabitqTable(ArrayTable):
    """Codes of all rows, and what turns products with them into distances.

    Parameters
    ----------
    scheme : Rabitq
    shape : TableShape
    codes : uint8[ceil(n / 16), bits ceil(dim / 8), 16]
        Planes, in blocks (see :mod:`vecstore.kernels.nibbles`); frozen, as all arrays.
    scales, norms : float32[n]
        |r|^2 / <v, r>, and |r|^2.
    centroid : float32[dim]
    salt : uint64[1]
        Names the rotation.
    """

    refusal: ClassVar[str] = "they would not fill a block of rows; fit a new table"
    scheme: Rabitq

    def __init__(
        self, scheme: Rabitq, shape: TableShape, codes: U8, scales: F32, norms: F32, centroid: F32, salt: U64
    ) -> None:
        self.scheme = scheme
        self.shape = shape
        self.codes = codes
        self.scales = scales
        self.norms = norms
        self.centroid = centroid
        self.salt = salt
        self._residuals: F32 | None = None
        self._lock = Lock()

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        numbers = np.empty(out.shape, np.int32)
        nibbles.take_planes(self.codes, self.scheme.bits, rows, numbers)
        sizes = (numbers.astype(np.int64) ** 2).sum(axis=1).astype(np.float32)
        factors = np.sqrt(self.norms[rows]) / np.sqrt(sizes)
        np.multiply(numbers.astype(np.float32), factors[:, None], out=out)
        rotate_back(out, self.salt[0])
        out += self.centroid

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        prepared = self._prepared(queries_matrix(queries, self.shape.dim), metric)
        n_queries, codes = len(prepared.queries), 2 * -(-self.shape.dim // 8)
        tables = np.empty((n_queries, codes, nibbles.ENTRIES), np.float32)
        totals = np.empty(n_queries, np.float32)
        nibble_tables.subset_sums(prepared.queries, tables, totals)
        steps = rounded(sealed(tables))
        nibble_tables.product_steps(totals, np.float32((1 << self.scheme.bits) - 1), steps.steps, steps.bases)
        exact = PlaneProducts(
            self.codes, self.scales, self.norms, tables, sealed(totals), prepared.offsets, *prepared[2:]
        )
        quick = PlaneSteps(
            self.codes,
            self.scales,
            self.norms,
            steps.tables,
            self.scheme.bits,
            sealed(steps.steps),
            sealed(steps.bases),
            prepared.offsets,
            *prepared[2:],
        )
        return KernelScorer(
            self.shape.rows, n_queries, exact, quick, lambda: self._bounds(quick, prepared), scanned=quick
        )

    def _prepared(self, queries: F32, metric: Metric) -> _Prepared:
        """Rotate the queries, for squared distances as residuals of the centroid.

        |q - x|^2 = |q - c|^2 + |r|^2 - 2 <q - c, r>, which for unit rows gives 1 - <q, x> as well; for inner products,
        <q, x> = <q, c> + <q, r>.
        """
        if metric is Metric.IP:
            offsets = bias_of(metric) - products(frozen(self.centroid[None, :]), frozen(queries))[:, 0]
            turned = np.array(queries, np.float32)
            weights = np.float32(0), np.float32(1)
        else:
            turned, offsets = np.empty(queries.shape, np.float32), np.empty(len(queries), np.float32)
            kernels.residuals(frozen(queries), self.centroid, metric is not Metric.L2, turned, offsets)
            weights = _L2_WEIGHTS if metric is Metric.L2 else _COSINE_WEIGHTS
        rotate(turned, self.salt[0])
        return _Prepared(sealed(turned), sealed(offsets), *weights)

    def _bounds(self, quick: PlaneSteps, prepared: _Prepared) -> PlaneBounds:
        """Give the operands of bounds: :data:`EPSILON` standard deviations of the estimate and of rounding.

        A rounded entry is off by a number that is spread evenly over one step: its variance is step^2 / 12.
        """
        lengths = np.empty(len(prepared.queries), np.float32)
        nibbles.squared_lengths(prepared.queries, lengths)
        weight = np.float32(EPSILON) * prepared.product_weight
        slacks = weight * np.sqrt(lengths / np.float32(max(self.shape.dim - 1, 1)))
        entries = 2 * -(-self.shape.dim // 8) * (4**self.scheme.bits - 1) / 3
        roughs = weight * np.float32(np.sqrt(entries / 12)) * quick.steps
        return PlaneBounds(quick, self._left(), frozen(slacks), frozen(roughs))

    def _left(self) -> F32:
        """Give |scale v - r| of each row, computed once; it is not stored because it follows from what is."""
        with self._lock:
            if self._residuals is None:
                sizes = np.empty(self.shape.rows, np.float32)
                kernels.sizes(self.codes, self.scheme.bits, self.shape.dim, sizes)
                square = self.scales.astype(np.float64) ** 2 * sizes - self.norms
                self._residuals = frozen(np.sqrt(np.maximum(square, 0)).astype(np.float32))
            return self._residuals

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``codes``, ``scales``, ``norms``, ``centroid`` and ``salt``."""
        return {
            "codes": self.codes,
            "scales": self.scales,
            "norms": self.norms,
            "centroid": self.centroid,
            "salt": self.salt,
        }
