"""Tables of the scheme ``rabitq``: codes in blocks of rows, for scans, or row by row, for graph walks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import bit_rows, int4, nibble_tables, nibbles
from vecstore.kernels import rabitq as kernels
from vecstore.kernels.bit_rows import BitBounds, BitEstimates
from vecstore.kernels.compiling import bound, frozen, sealed
from vecstore.kernels.nibbles import PlaneBounds, PlaneProducts, PlaneSteps
from vecstore.kernels.rotation import rotate, rotate_back
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.checks import queries_matrix
from vecstore.schemes.nibbles import blocked, blocks_shape, rounded
from vecstore.schemes.scorer import KernelScorer, bias_of
from vecstore.types import F32, I32, I64, U8, U64, ArrayForm, Metric

__all__ = ["BlocksTable", "RabitqTable", "RowsTable"]

#: Standard deviations of the error that a bound allows for.
EPSILON = 1.9


class _Weights(NamedTuple):
    """Weights of |r|^2, and of the product with r, in a distance."""

    norm: np.float32
    product: np.float32


_WEIGHTS = {
    Metric.L2: _Weights(np.float32(1), np.float32(2)),
    Metric.COSINE: _Weights(np.float32(0.5), np.float32(1)),
    Metric.IP: _Weights(np.float32(0), np.float32(1)),
}


class RabitqTable(ArrayTable):
    """What tables of both layouts share.

    Parameters
    ----------
    scheme : Scheme
    bits : int
        Bits a number.
    shape : TableShape
    centroid : float32[dim]
    salt : uint64[1]
        Names the rotation.
    """

    refusal: ClassVar[str] = "they would need the rotation and the centroid of those it has; fit a new table"

    def __init__(self, scheme: Scheme, bits: int, shape: TableShape, centroid: F32, salt: U64) -> None:
        self.scheme = scheme
        self.bits = bits
        self.shape = shape
        self.centroid = centroid
        self.salt = salt
        self._residuals: F32 | None = None
        self._lock = Lock()

    @abstractmethod
    def take_numbers(self, rows: I64, out: I32) -> None:
        """Write the numbers v of ``rows`` int64[n] into ``out`` int32[n, dim]."""

    @abstractmethod
    def scales_and_norms(self, rows: I64) -> tuple[F32, F32]:
        """Give the scales |r|^2 / <v, r> and the squared lengths |r|^2 of ``rows`` int64[n], both float32[n]."""

    @abstractmethod
    def sizes(self) -> F32:
        """Give the squared lengths of the numbers v of all rows, float32[n]."""

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        numbers = np.empty(out.shape, np.int32)
        self.take_numbers(rows, numbers)
        sizes = (numbers.astype(np.int64) ** 2).sum(axis=1).astype(np.float32)
        factors = np.sqrt(self.scales_and_norms(rows)[1]) / np.sqrt(sizes)
        np.multiply(numbers.astype(np.float32), factors[:, None], out=out)
        rotate_back(out, self.salt[0])
        out += self.centroid

    def residuals(self) -> F32:
        """Give |scale v - r| of each row, computed once; it is not stored because it follows from what is."""
        with self._lock:
            if self._residuals is None:
                scales, norms = self.scales_and_norms(np.arange(self.shape.rows))
                square = scales.astype(np.float64) ** 2 * self.sizes() - norms
                self._residuals = frozen(np.sqrt(np.maximum(square, 0)).astype(np.float32))
            return self._residuals

    def centring(self, queries: F32, metric: Metric, rest: F32, offsets: F32) -> Callable[[], None]:
        """Give what writes queries less the centroid into ``rest`` float32[q, d], and what is added to distances.

        |q - x|^2 = |q - c|^2 + |r|^2 - 2 <q - c, r>, which for unit rows gives 1 - <q, x> as well; for inner products,
        <q, x> = <q, c> + <q, r>.
        """
        if metric is not Metric.IP:
            return bound(kernels.residuals, queries, self.centroid, metric is not Metric.L2, rest, offsets)
        add = bound(int4.products_taken_from, bias_of(metric), frozen(self.centroid[None, :]), queries, offsets)

        def move() -> None:
            np.copyto(rest, queries)
            add()

        return move

    def slack_factor(self, metric: Metric) -> np.float32:
        """Give the slack of a query over its length."""
        return np.float32(EPSILON * _WEIGHTS[metric].product / np.sqrt(max(self.shape.dim - 1, 1)))


class BlocksTable(RabitqTable):
    """Codes in blocks of 16 rows (see :mod:`vecstore.kernels.nibbles`).

    Parameters
    ----------
    scheme, bits, shape, centroid, salt
        As for :class:`RabitqTable`.
    codes : uint8[ceil(n / 16), bits ceil(dim / 8), 16]
        Planes; frozen, as all arrays.
    scales, norms : float32[n]
        |r|^2 / <v, r>, and |r|^2.
    """

    def __init__(
        self,
        scheme: Scheme,
        bits: int,
        shape: TableShape,
        *,
        codes: U8,
        scales: F32,
        norms: F32,
        centroid: F32,
        salt: U64,
    ) -> None:
        super().__init__(scheme, bits, shape, centroid, salt)
        self.codes = codes
        self.scales = scales
        self.norms = norms

    @staticmethod
    def array_forms(shape: TableShape, bits: int) -> dict[str, ArrayForm]:
        """Give ``codes``, ``scales``, ``norms``."""
        return {
            "codes": ArrayForm(np.uint8, blocks_shape(shape.rows, bits * -(-shape.dim // 8))),
            "scales": ArrayForm(np.float32, (shape.rows,)),
            "norms": ArrayForm(np.float32, (shape.rows,)),
        }

    @staticmethod
    def packed(numbers: U8, bits: int) -> U8:
        """Give the planes of uint8[n, dim] side by side, uint8[n, bits ceil(dim / 8)], the least significant first."""
        planes = [np.packbits((numbers >> bit) & 1, axis=1, bitorder="little") for bit in range(bits)]
        return np.concatenate(planes, axis=1)

    @staticmethod
    def joined(planes: U8, scales: F32, norms: F32) -> dict[str, NDArray[Any]]:
        """Give the arrays of all rows."""
        return {"codes": blocked(planes), "scales": frozen(scales), "norms": frozen(norms)}

    def take_numbers(self, rows: I64, out: I32) -> None:
        """Write the numbers v; see :meth:`RabitqTable.take_numbers`."""
        nibbles.take_planes(self.codes, self.bits, rows, out)

    def scales_and_norms(self, rows: I64) -> tuple[F32, F32]:
        """Give scales and squared lengths; see :meth:`RabitqTable.scales_and_norms`."""
        return self.scales[rows], self.norms[rows]

    def sizes(self) -> F32:
        """Give the squared lengths of the numbers v; see :meth:`RabitqTable.sizes`."""
        sizes = np.empty(self.shape.rows, np.float32)
        kernels.sizes(self.codes, self.bits, self.shape.dim, sizes)
        return sizes

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        given = frozen(queries_matrix(queries, self.shape.dim))
        n_queries, codes = len(given), 2 * -(-self.shape.dim // 8)
        turned, offsets = np.empty(given.shape, np.float32), np.empty(n_queries, np.float32)
        self.centring(given, metric, turned, offsets)()
        rotate(turned, self.salt[0])
        tables = np.empty((n_queries, codes, nibbles.ENTRIES), np.float32)
        totals = np.empty(n_queries, np.float32)
        nibble_tables.subset_sums(sealed(turned), tables, totals)
        steps = rounded(sealed(tables))
        nibble_tables.product_steps(totals, np.float32((1 << self.bits) - 1), steps.steps, steps.bases)
        weights, added = _WEIGHTS[metric], sealed(offsets)
        exact = PlaneProducts(self.codes, self.scales, self.norms, tables, sealed(totals), added, *weights)
        quick = PlaneSteps(
            self.codes,
            self.scales,
            self.norms,
            steps.tables,
            self.bits,
            sealed(steps.steps),
            sealed(steps.bases),
            added,
            *weights,
        )
        return KernelScorer(
            self.shape.rows, n_queries, exact, quick, lambda: self._bounds(quick, turned, metric), scanned=quick
        )

    def _bounds(self, quick: PlaneSteps, turned: F32, metric: Metric) -> PlaneBounds:
        """Give the operands of bounds: :data:`EPSILON` standard deviations of the estimate and of rounding.

        A rounded entry is off by a number that is spread evenly over one step: its variance is step^2 / 12.
        """
        lengths = np.empty(len(turned), np.float32)
        nibbles.squared_lengths(turned, lengths)
        weight = np.float32(EPSILON) * quick.product_weight
        slacks = self.slack_factor(metric) * np.sqrt(lengths)
        entries = 2 * -(-self.shape.dim // 8) * (4**self.bits - 1) / 3
        roughs = weight * np.float32(np.sqrt(entries / 12)) * quick.steps
        return PlaneBounds(quick, self.residuals(), frozen(slacks), frozen(roughs))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``codes``, ``scales``, ``norms``, ``centroid`` and ``salt``."""
        return {
            "codes": self.codes,
            "scales": self.scales,
            "norms": self.norms,
            "centroid": self.centroid,
            "salt": self.salt,
        }


class RowsTable(RabitqTable):
    """Codes row by row, each with its scale and squared length (see :mod:`vecstore.kernels.bit_rows`).

    Parameters
    ----------
    scheme, bits, shape, centroid, salt
        As for :class:`RabitqTable`.
    codes : uint64[n, bits ceil(dim / 64) + 1]
        Planes, and the word behind them; frozen, as all arrays.
    """

    def __init__(self, scheme: Scheme, bits: int, shape: TableShape, *, codes: U64, centroid: F32, salt: U64) -> None:
        super().__init__(scheme, bits, shape, centroid, salt)
        self.codes = codes

    @staticmethod
    def array_forms(shape: TableShape, bits: int) -> dict[str, ArrayForm]:
        """Give ``codes``."""
        return {"codes": ArrayForm(np.uint64, (shape.rows, bits * -(-shape.dim // 64) + 1))}

    @staticmethod
    def packed(numbers: U8, bits: int) -> U8:
        """Give the planes of uint8[n, dim] side by side, each filled up to whole words of 8 bytes."""
        width = 8 * -(-numbers.shape[1] // 64)
        planes = np.zeros((len(numbers), bits, width), np.uint8)
        for bit in range(bits):
            own = np.packbits((numbers >> bit) & 1, axis=1, bitorder="little")
            planes[:, bit, : own.shape[1]] = own
        return planes.reshape(len(numbers), bits * width)

    @staticmethod
    def joined(planes: U8, scales: F32, norms: F32) -> dict[str, NDArray[Any]]:
        """Give the arrays of all rows."""
        tails = np.stack([scales, norms], axis=1).astype("<f4", copy=False).view(np.uint8)
        together = np.concatenate([planes, tails], axis=1)
        return {"codes": frozen(together.view("<u8").astype(np.uint64, copy=False))}

    def take_numbers(self, rows: I64, out: I32) -> None:
        """Write the numbers v; see :meth:`RabitqTable.take_numbers`."""
        bit_rows.take_bits(self.codes, self.bits, rows, out)

    def scales_and_norms(self, rows: I64) -> tuple[F32, F32]:
        """Give scales and squared lengths; see :meth:`RabitqTable.scales_and_norms`."""
        both = self.codes[rows, -1:].view(np.float32)
        return both[:, 0], both[:, 1]

    def sizes(self) -> F32:
        """Give the squared lengths of the numbers v; see :meth:`RabitqTable.sizes`."""
        sizes = np.empty(self.shape.rows, np.float32)
        bit_rows.sizes(self.codes, self.bits, self.shape.dim, sizes)
        return sizes

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows.

        All distances are estimates with rounded queries.
        """
        given = frozen(queries_matrix(queries, self.shape.dim))
        n_queries, width = len(given), -(-self.shape.dim // 64)
        rest = np.empty(given.shape, np.float32)
        planes = np.empty((n_queries, bit_rows.query_planes(self.bits) * width), np.uint64)
        offsets, steps, bases, slacks, roughs = np.empty((5, n_queries), np.float32)
        move = self.centring(given, metric, rest, offsets)
        turn = bound(
            bit_rows.rotate_and_round,
            rest,
            self.salt[0],
            self.bits,
            width,
            (self.slack_factor(metric), self._rough_factor(metric)),
            planes,
            steps,
            bases,
            slacks,
            roughs,
        )

        def renew() -> None:
            move()
            turn()

        renew()
        estimates = BitEstimates(
            self.codes, width, frozen(planes), frozen(steps), frozen(bases), frozen(offsets), *_WEIGHTS[metric]
        )
        return KernelScorer(
            self.shape.rows,
            n_queries,
            estimates,
            estimates,
            lambda: BitBounds(estimates, self.residuals(), frozen(slacks), frozen(roughs)),
            renew=renew,
        )

    def _rough_factor(self, metric: Metric) -> np.float32:
        """Give what rounding a query adds to its bounds, over the distance between neighbouring numbers.

        A rounded number is off by up to half of that, evenly spread, which has the variance 1 / 12.
        """
        squares = self.shape.dim * (4**self.bits - 1) / 3
        return np.float32(EPSILON * _WEIGHTS[metric].product * np.sqrt(squares / 12))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``codes``, ``centroid`` and ``salt``."""
        return {"codes": self.codes, "centroid": self.centroid, "salt": self.salt}
