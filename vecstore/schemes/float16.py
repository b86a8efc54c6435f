"""``float16``: IEEE half precision, half the bytes at 11 significant bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.kernels import lookup
from vecstore.kernels.compiling import frozen
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    check_budget,
    check_magnitude,
    output_buffer,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.full import plain_scorer
from vecstore.schemes.scorer import KernelScorer, check_rows
from vecstore.types import F32, I64, U16, ArrayForm, Metric

__all__ = ["Float16", "Float16Table"]

#: The largest half; what is larger would be stored as infinity.
LARGEST = 65_504.0


class Float16(Scheme, frozen=True, kw_only=True, tag="float16"):
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

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the config if a table of halves fits the budget; see :meth:`Scheme.plan`."""
        planned = cls.from_dict({**(parameters or {}), "scheme": cls.name})
        check_budget(cls.name, shape, planned.nbytes(shape), budget)
        return planned

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
class Float16Table:
    """Rows of halves.

    Attributes
    ----------
    bits : uint16[n, dim]
        The halves' bits, because Numba knows no halves.
    """

    scheme: Float16
    shape: TableShape
    bits: U16

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.bits.nbytes

    def lookup(self, rows: I64, out: F32 | None = None) -> F32:
        """Give float32[n, dim] of ``rows`` int64[n], written into ``out`` where given.

        Raises
        ------
        NotFoundError
            A row outside the table.
        InvalidArgumentError
            ``rows`` are not integers, or ``out`` cannot hold the result.
        """
        checked = check_rows(rows, self.shape.rows)
        out = output_buffer(out, len(checked), self.shape.dim)
        lookup.take(self.bits, checked, out)
        return out

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        return plain_scorer(self.bits, queries_matrix(queries, self.shape.dim), metric)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``rows`` float16[n, dim]."""
        return {"rows": self.bits.view(np.float16)}

    def encode(self, vectors: F32) -> Mapping[str, NDArray[Any]]:
        """Give the ``rows`` of further vectors float32[m, dim]."""
        return self.scheme.fit(vectors).arrays()
