"""``rabitq``: rotated residuals in 1 to 8 bits a number, unbiased estimates of distances, a bound on their error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import rabitq as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.kernels.rotation import rotate
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import check_magnitude, most_that_fits, stored_arrays, table_matrix
from vecstore.schemes.rabitq_tables import BlocksTable, RowsTable
from vecstore.types import F32, ArrayForm

__all__ = ["Rabitq"]

#: Largest value: squared lengths of residuals in up to 65,536 dimensions must be finite.
LARGEST = 1e16
#: Bits a row from which on walks find their way without going several times as far as over finer codes.
WALKED_BITS = 256
#: Rows encoded between two reports of progress.
_BLOCK_ROWS = 4096


class Rabitq(Scheme, frozen=True, kw_only=True, tag="rabitq"):
    """A row is the centroid and a residual of ``bits`` bits a number: about dim bits / 8 + 8 bytes a row.

    The residual r = row - centroid is rotated at random, and v is the nearest of the vectors whose numbers are odd
    integers from -(2^bits - 1) to 2^bits - 1. With ``scale = |r|^2 / <v, r>`` the product of a query with ``scale * v``
    estimates that with r without bias, and its error is that of a random direction: with the residual left, e =
    |scale v - r|, a standard deviation of about |q| e / sqrt(dim - 1). Distances are these estimates, so squared ones
    may be below 0; ``l2`` and ``cosine`` use the exact |r|^2 (``cosine`` takes rows for unit vectors). The residual of
    a decoded row keeps its length, so that rows can be encoded again.

    Scans of blocks round the queries' tables to whole steps and sum integers; what they find is scored again. Codes row
    by row are compared with queries rounded to a few bits, in walks and in scans alike.

    Attributes
    ----------
    bits : int
        Bits a number, 1 to 8.
    layout : str
        ``blocks`` of rows, which scans read quickest; ``rows`` one after the other (planes filled up to 8 bytes), which
        graph walks read quickest; ``auto``: rows where a segment has a graph, else blocks.
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

    #: As rows for graphs, and in blocks for scans.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"layout": "rows"})

    bits: int = 1
    layout: Literal["auto", "blocks", "rows"] = "auto"
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

    @property
    def _table(self) -> type[BlocksTable] | type[RowsTable]:
        return RowsTable if self.layout == "rows" else BlocksTable

    def walks_quickly(self, shape: TableShape) -> bool:
        """Tell that they are over enough bits a row, one row after the other; see :meth:`Scheme.walks_quickly`."""
        return self.layout == "rows" and self.bits * shape.dim >= WALKED_BITS

    def for_walks(self) -> Scheme:
        """Give the scheme with its codes row by row, unless it says how they lie; see :meth:`Scheme.for_walks`."""
        return msgspec.structs.replace(self, layout="rows") if self.layout == "auto" else self

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``codes``, in blocks also ``scales`` and ``norms``, then ``centroid`` and ``salt``."""
        return self._table.array_forms(shape, self.bits) | {
            "centroid": ArrayForm(np.float32, (shape.dim,)),
            "salt": ArrayForm(np.uint64, (1,)),
        }

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
    ) -> BlocksTable | RowsTable:
        """Encode ``vectors`` float32[n, dim] around their mean; the seed decides the rotation."""
        matrix = table_matrix(vectors)
        self.check(matrix)
        shape = TableShape(*matrix.shape)
        salt = frozen(derived_salts(seed, 1))
        mean = matrix.mean(axis=0, dtype=np.float64) if len(matrix) else np.zeros(shape.dim)
        centroid = frozen(mean.astype(np.float32))
        scales, norms = np.empty(shape.rows, np.float32), np.empty(shape.rows, np.float32)
        width = self._table.packed(np.empty((0, shape.dim), np.uint8), self.bits).shape[1]
        packed = np.empty((shape.rows, width), np.uint8)
        for start in range(0, shape.rows, _BLOCK_ROWS):
            part = slice(start, min(start + _BLOCK_ROWS, shape.rows))
            residuals = matrix[part] - centroid
            rotate(residuals, salt[0])
            numbers = np.empty(residuals.shape, np.uint8)
            kernels.nearest_numbers(residuals, self.bits, numbers, scales[part], norms[part])
            packed[part] = self._table.packed(numbers, self.bits)
            if on_progress is not None:
                on_progress(part.stop, shape.rows)
        arrays = self._table.joined(packed, scales, norms)
        return self.open(shape, {**arrays, "centroid": centroid, "salt": salt})

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> BlocksTable | RowsTable:
        """Make a table of its stored arrays (see :mod:`vecstore.schemes.rabitq_tables`); see :meth:`Scheme.open`."""
        return self._table(self, self.bits, shape, **stored_arrays(arrays, self.array_forms(shape)))
