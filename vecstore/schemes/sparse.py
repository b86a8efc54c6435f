"""Tables of which only some numbers are stored, the others being 0: what every pruning scheme freezes into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import sparse as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.sparse import Places, Scoring
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    allowed_bytes,
    check_floor,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.places import (
    CODINGS,
    MAX_STORED,
    Coding,
    affordable,
    encode,
    keep_largest,
    named,
    places_forms,
    places_nbytes,
    stored_places,
)
from vecstore.schemes.scorer import CheckedScorer, bias_of
from vecstore.types import F32, I64, ArrayForm, Mask, Metric

__all__ = ["SparseScheme", "SparseScorer", "SparseTable", "pruned_table"]


class SparseScheme(Scheme, frozen=True, kw_only=True):
    """Keep ``values`` numbers of the table in float32 and code their places; subclasses say which are kept.

    Attributes
    ----------
    values : int
        Numbers that are stored; all, where the table has fewer.
    places : {"bitmap", "uint8", "uint16"}
        How their places are coded; see :mod:`vecstore.schemes.places`.
    """

    row_arrays: ClassVar[tuple[str, ...]] = ()

    values: int
    places: Coding

    def __post_init__(self) -> None:
        """Check the number of values."""
        super().__post_init__()
        if not 0 <= self.values <= MAX_STORED:
            raise InvalidArgumentError(
                f"{self.name}.values: expected 0 to {MAX_STORED}, got {self.values}", field="values"
            )

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the coding under which most numbers fit the budget; see :meth:`Scheme.plan`."""
        allowed, n_places, given = allowed_bytes(shape, budget), shape.rows * shape.dim, dict(parameters or {})
        codings = (given["places"],) if given.get("places") in CODINGS else CODINGS
        fitting = [
            cls.from_dict(
                {"values": max(affordable(c, n_places, allowed), 0), "places": c, **given, "scheme": cls.name}
            )
            for c in codings
        ]
        fewest = given.get("values", min(1, n_places))
        floors = {c: places_nbytes(c, n_places, fewest) + 4 * fewest for c in codings}
        check_floor(cls.name, allowed, min(floors.values()))
        within = [config for config in fitting if floors[config.places] <= allowed]
        return max(within, key=lambda config: (config.values, -config.nbytes(shape)))

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``values`` and the arrays of their places."""
        stored = self.stored(shape)
        places = places_forms(self.places, shape.rows * shape.dim, stored)
        return {"values": ArrayForm(np.float32, (stored,)), **places}

    def stored(self, shape: TableShape) -> int:
        """Give the numbers that a table of ``shape`` stores."""
        return min(self.values, shape.rows * shape.dim)

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,
    ) -> SparseTable:
        """Keep the numbers of largest magnitude of ``vectors`` float32[n, dim], in one shot and without training."""
        matrix = table_matrix(vectors)
        table = pruned_table(self, matrix, keep_largest(matrix, self.values))
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return table

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> SparseTable:
        """Make a table of the stored ``values`` and their places; see :meth:`Scheme.open`."""
        stored = self.stored(shape)
        values = stored_array(arrays, "values", np.float32, (stored,))
        places = stored_places(self.places, arrays, shape.rows * shape.dim, stored)
        return SparseTable(self, shape, frozen(values), places)


@dataclass(frozen=True, slots=True)
class SparseTable(ArrayTable):
    """The stored numbers, row after row, and their places.

    Attributes
    ----------
    values : float32[stored]
    places : Places
        Their coded places.
    """

    refusal: ClassVar[str] = "its threshold holds for the whole table; train or fit a new table"

    scheme: SparseScheme
    shape: TableShape
    values: F32
    places: Places

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        kernels.take(self.places, self.values, rows, out)

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows: sums over stored numbers."""
        given = queries_matrix(queries, self.shape.dim)
        return CheckedScorer(SparseScorer(self, frozen(given), metric), self.shape.rows, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``values`` and the arrays of their places."""
        return {"values": self.values, **named(self.places)}


class SparseScorer:
    """Distances from the stored numbers alone.

    Parameters
    ----------
    table : SparseTable
    queries : float32[q, dim]
    metric : Metric
    """

    operands: Operands | None = None
    traversal: Operands | None = None

    def __init__(self, table: SparseTable, queries: F32, metric: Metric) -> None:
        self._table = table
        self._scoring = _prepared(queries, metric)

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self.gather(frozen(np.arange(start, stop, dtype=np.int64)), out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        kernels.gather(self._table.places, self._table.values, rows, self._scoring, out)

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        kernels.rerank(self._table.places, self._table.values, rows, self._table.shape.rows, self._scoring, out)


def _prepared(queries: F32, metric: Metric) -> Scoring:
    if metric is not Metric.L2:
        biases = np.full(len(queries), bias_of(metric), np.float64)
        return Scoring(frozen(queries.T.astype(np.float64)), frozen(biases), np.float64(0), np.float64(-np.inf))
    lengths = np.empty(len(queries), np.float64)
    kernels.squared_lengths(queries, lengths)
    return Scoring(frozen(2 * queries.T.astype(np.float64)), frozen(lengths), np.float64(1), np.float64(0))


def pruned_table(scheme: SparseScheme, matrix: F32, mask: Mask) -> SparseTable:
    """Give the table of the numbers of ``matrix`` float32[n, dim] that ``mask`` bool[n, dim] keeps.

    Parameters
    ----------
    scheme : SparseScheme
        Stores as many numbers as the mask keeps.
    matrix : float32[n, dim]
    mask : bool[n, dim]
    """
    return SparseTable(scheme, TableShape(*matrix.shape), frozen(matrix[mask]), encode(scheme.places, mask))
