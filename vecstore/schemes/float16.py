"""``float16``: IEEE half precision, half the bytes at 11 significant bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import lookup
from vecstore.kernels.compiling import frozen
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, TableShape
from vecstore.schemes.checks import (
    check_magnitude,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.fixed_size import FixedSizeScheme
from vecstore.schemes.full import plain_scorer
from vecstore.schemes.scorer import KernelScorer
from vecstore.types import F32, I64, U16, ArrayForm, Metric

__all__ = ["Float16", "Float16Table"]

#: The largest half; what is larger would be stored as infinity.
LARGEST = 65_504.0


class Float16(FixedSizeScheme, frozen=True, kw_only=True, tag="float16"):
    """Round every number to the nearest IEEE half, ties to even: 2 dim bytes a row.

    Attributes
    ----------
    version : int
        Version of this config.
    """

    name: ClassVar[str] = "float16"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = "none: IEEE 754 binary16"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=True, exact=False, graph=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ("rows",)

    version: Literal[1] = 1

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``rows``."""
        return {"rows": ArrayForm(np.float16, (shape.rows, shape.dim))}

    def check(self, vectors: F32) -> None:
        """Refuse values beyond 65504 in either direction.

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
    ) -> Float16Table:
        """Round ``vectors`` float32[n, dim].

        Raises
        ------
        InvalidArgumentError
            See :meth:`check`.
        """
        matrix = table_matrix(vectors)
        self.check(matrix)
        rows = matrix.astype(np.float16)
        if on_progress is not None:
            on_progress(len(rows), len(rows))
        return Float16Table(self, TableShape(*rows.shape), frozen(rows).view(np.uint16))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> Float16Table:
        """Make a table of the stored ``rows`` float16[n, dim]; see :meth:`Scheme.open`."""
        rows = stored_array(arrays, "rows", np.float16, (shape.rows, shape.dim))
        return Float16Table(self, shape, frozen(rows).view(np.uint16))


@dataclass(frozen=True, slots=True)
class Float16Table(ArrayTable):
    """Rows of halves.

    Attributes
    ----------
    bits : uint16[n, dim]
        The halves' bits, because Numba knows no halves.
    """

    scheme: Float16
    shape: TableShape
    bits: U16

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        lookup.take(self.bits, rows, out)

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        return plain_scorer(self.bits, queries_matrix(queries, self.shape.dim), metric)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``rows`` float16[n, dim]."""
        return {"rows": self.bits.view(np.float16)}

    def encode(self, vectors: F32) -> Mapping[str, NDArray[Any]]:
        """Give the ``rows`` of further vectors float32[m, dim]."""
        return self.scheme.fit(vectors).arrays()
