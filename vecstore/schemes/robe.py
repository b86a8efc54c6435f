"""``robe``: all rows read their blocks from one small array, where hashes say (random offset block embedding)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import hashing
from vecstore.kernels import robe as kernels
from vecstore.kernels.compiling import frozen
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    allowed_bytes,
    check_floor,
    queries_matrix,
    stored_arrays,
    table_matrix,
)
from vecstore.schemes.indirect import DecodingScorer
from vecstore.schemes.scorer import CheckedScorer
from vecstore.types import F32, I64, U64, ArrayForm, Metric

__all__ = ["Robe", "RobeTable"]

_SALT_BYTES = 8
#: Default length of a block: half a cache line.
_BLOCK = 8
#: Unknown ids of field f are rows from (f + 1) 2^48 on.
_UNSEEN_BITS = 48
#: Signs that one hash gives.
_WORD = 64


class Robe(Scheme, frozen=True, kw_only=True, tag="robe"):
    """Numbers ``c block`` to ``(c + 1) block`` of row ``i`` lie in one array at an offset hashed from ``i`` and ``c``.

    The offset is ``bucket(mix(i, salt c), size - block + 1)``, so blocks overlap anywhere but never wrap. The paper
    hashes with ((A e + B i + C c + D) mod P) mod size for a prime P of 31 bits; this project's 64-bit hash with a salt
    a block takes its place, which knows no limit of ids and needs no division. Fields share the array: their rows lie
    one behind another, as the paper's offset ids do.

    Attributes
    ----------
    size : int
        Numbers in the array.
    block : int
        Length of a block in numbers (the Z of "ROBE-Z" in the paper; *not* the number of blocks of a row). The last
        block of a row is cut where the dimension is no multiple.
    signed : bool
        Whether each number is multiplied by a hashed sign, so that colliding numbers do not bias inner products.
    version : int
        Version of this config.

    References
    ----------
    Desai, Chou and Shrivastava, "Random Offset Block Embedding (ROBE) for compressed embedding tables in deep learning
    recommendation systems", MLSys 2022, section 3.
    """

    name: ClassVar[str] = "robe"
    family: ClassVar[Family] = Family.HASHING
    paper: ClassVar[str] = "Desai et al., Random Offset Block Embedding (ROBE), MLSys 2022"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False,
        fitting=Fitting.CLOSED_FORM,
        appendable=False,
        exact=False,
        graph=False,
        joint=True,
        trained=True,
        unseen=True,
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    size: int
    block: int = _BLOCK
    signed: bool = True
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the lengths of the array and of a block."""
        super().__post_init__()
        if self.block < 1:
            raise InvalidArgumentError(f"robe.block: expected at least 1, got {self.block}", field="block")
        if not self.block <= self.size <= hashing.MAX_BUCKETS:
            raise InvalidArgumentError(
                f"robe.size: expected {self.block} (a block) to {hashing.MAX_BUCKETS}, got {self.size}", field="size"
            )

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the largest array that fits the budget beside the salts; see :meth:`Scheme.plan`."""
        given = {"block": min(_BLOCK, shape.dim), **(parameters or {})}
        allowed = allowed_bytes(shape, budget)
        smallest = cls.from_dict({"size": given["block"], **given, "scheme": cls.name})
        floor = smallest.nbytes(shape)
        check_floor(cls.name, allowed, floor)
        if "size" in given:
            return smallest
        fitting = smallest.size + (allowed - floor) // 4
        useful = max(smallest.size, min(shape.rows * shape.dim, hashing.MAX_BUCKETS))
        return cls.from_dict({**smallest.to_dict(), "size": min(fitting, useful)})

    def blocks(self, dim: int) -> int:
        """Give the number of blocks of a row."""
        return -(-dim // self.block)

    def n_salts(self, dim: int) -> int:
        """Give the number of salts: one a block, and one for every 64 signs."""
        return self.blocks(dim) + (-(-dim // _WORD) if self.signed else 0)

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``array`` and ``salts``."""
        return {
            "array": ArrayForm(np.float32, (self.size,)),
            "salts": ArrayForm(np.uint64, (self.n_salts(shape.dim),)),
        }

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> RobeTable:
        """Give each number of the array the mean of those that read it (weighted by ``frequency``): least squares.

        With several numbers to a place, most of a matrix is lost: train instead.
        """
        matrix = table_matrix(vectors)
        shape = TableShape(*matrix.shape)
        salts = frozen(hashing.derived_salts(seed, self.n_salts(shape.dim)))
        sums, totals = np.zeros(self.size), np.zeros(self.size)
        weights = np.ones(shape.rows) if frequency is None else np.maximum(frequency, 1e-9)
        values = matrix.copy()
        kernels.flip_signs(np.arange(shape.rows), salts[self.blocks(shape.dim) :], values)
        for number in range(self.blocks(shape.dim)):
            starts = hashing.buckets(np.arange(shape.rows), int(salts[number]), self.size - self.block + 1)
            for column in range(number * self.block, min((number + 1) * self.block, shape.dim)):
                places = starts + (column - number * self.block)
                sums += np.bincount(places, values[:, column] * weights, self.size)
                totals += np.bincount(places, weights, self.size)
        array = (sums / np.maximum(totals, 1e-12)).astype(np.float32)
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return RobeTable(self, shape, frozen(array), salts)

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> RobeTable:
        """Make a table of the stored ``array`` float32[size] and ``salts`` uint64; see :meth:`Scheme.open`."""
        return RobeTable(self, shape, **stored_arrays(arrays, self.array_forms(shape)))


@dataclass(frozen=True, slots=True)
class RobeTable(ArrayTable):
    """The shared array, and the salts that say who reads where.

    Attributes
    ----------
    array : float32[size]
    salts : uint64[blocks + words]
        Of the blocks of a row, then of every 64 signs.
    """

    refusal: ClassVar[str] = "ids share numbers; train or fit a new table"

    scheme: Robe
    shape: TableShape
    array: F32
    salts: U64

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        n_blocks = self.scheme.blocks(self.shape.dim)
        kernels.take_blocks(self.array, rows, self.salts[:n_blocks], self.scheme.block, self.salts[n_blocks:], out)

    def lookup_unseen(self, field: int, ids: I64) -> F32:
        """Give float32[n, dim] of ``ids`` int64[n] past the end of the ``field``-th field: any row has a vector.

        They are rows ``id + (field + 1) 2^48``, which no id inside a field is.
        """
        out = np.empty((len(ids), self.shape.dim), np.float32)
        self.take(frozen(ids + ((field + 1) << _UNSEEN_BITS)), out)
        return out

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows.

        Rows are decoded in blocks: with overlaps anywhere, no two rows share a partial sum.
        """
        given = queries_matrix(queries, self.shape.dim)
        return CheckedScorer(DecodingScorer(self.lookup, given, metric), self.shape.rows, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``array`` and ``salts``."""
        return {"array": self.array, "salts": self.salts}
