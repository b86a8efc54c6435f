"""``full``: float32 rows as they are; the baseline and the exact copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import lookup
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.numbers import PlainDot, PlainL2
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, TableShape
from vecstore.schemes.checks import queries_matrix, stored_arrays, table_matrix
from vecstore.schemes.fixed_size import FixedSizeScheme
from vecstore.schemes.scorer import KernelScorer, bias_of, unchanged
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = ["Full", "FullTable"]


class Full(FixedSizeScheme, frozen=True, kw_only=True, tag="full"):
    """Keep every number as float32: 4 dim bytes a row.

    Attributes
    ----------
    version : int
        Version of this config.
    """

    name: ClassVar[str] = "full"
    family: ClassVar[Family] = Family.BASELINE
    paper: ClassVar[str] = "none: IEEE 754 binary32"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.EXACT, appendable=True, exact=True, graph=True, trained=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ("rows",)

    version: Literal[1] = 1

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``rows``."""
        return {"rows": ArrayForm(np.float32, (shape.rows, shape.dim))}

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,
    ) -> FullTable:
        """Keep ``vectors`` float32[n, dim]; they are not copied if they are contiguous already."""
        rows = table_matrix(vectors)
        if on_progress is not None:
            on_progress(len(rows), len(rows))
        return FullTable(self, TableShape(*rows.shape), frozen(rows))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> FullTable:
        """Make a table of the stored ``rows`` float32[n, dim]; see :meth:`Scheme.open`."""
        return FullTable(self, shape, **stored_arrays(arrays, self.array_forms(shape)))


@dataclass(frozen=True, slots=True)
class FullTable(ArrayTable):
    """Uncompressed rows.

    Attributes
    ----------
    rows : float32[n, dim]
    """

    scheme: Full
    shape: TableShape
    rows: F32

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        lookup.take(self.rows, rows, out)

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        return plain_scorer(self.rows, queries_matrix(queries, self.shape.dim), metric)

    def pairs(self, metric: Metric) -> Operands:
        """Give operands whose query number i is row i."""
        return plain_scorer(self.rows, self.rows, metric).operands

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``rows``."""
        return {"rows": self.rows}

    def encode(self, vectors: F32) -> Mapping[str, NDArray[Any]]:
        """Give the ``rows`` of further vectors float32[m, dim]."""
        return self.scheme.fit(vectors).arrays()


def plain_scorer(rows: NDArray[Any], queries: F32, metric: Metric) -> KernelScorer:
    """Give the scorer of rows that are plain numbers: float32, or halves as uint16."""
    operands: Operands
    if metric is Metric.L2:
        operands = PlainL2(rows, frozen(queries))
    else:
        operands = PlainDot(rows, frozen(queries), bias_of(metric))
    return KernelScorer(len(rows), len(queries), operands, operands, renew=unchanged)
