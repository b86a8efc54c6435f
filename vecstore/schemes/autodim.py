"""``autodim``: rows of as many dimensions as a search found right for their field, projected to all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels.compiling import frozen
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes, check_budget, table_matrix
from vecstore.schemes.projected import (
    ProjectedTable,
    check_width,
    fitted_projection,
    open_projected,
    principal_axes,
    projected_forms,
    widest,
    width_bytes,
)
from vecstore.types import F32, ArrayForm

__all__ = ["Autodim", "candidates", "worthwhile"]


class Autodim(Scheme, frozen=True, kw_only=True, tag="autodim"):
    """Row ``id`` is ``rows[id] @ projection + bias``, with ``width`` of dim dimensions; whole rows where width = dim.

    A plan reserves bytes for every field. The search, which knows all fields, spends the bytes of all of them where its
    weights say (see ``vecstore.training.autodim``), so a frozen table may have other widths than its plan, and at most
    as many bytes. Fitted to a matrix, the projection holds the principal axes of the rows less their mean, and fields
    share their bytes by what their axes hold (:meth:`plan_fitted`).

    Attributes
    ----------
    width : int
        Dimensions of the stored rows.
    version : int
        Version of this config.

    References
    ----------
    Zhao et al., "AutoDim: Field-aware Embedding Dimension Search in Recommender Systems", WWW 2021, section 2.
    """

    name: ClassVar[str] = "autodim"
    family: ClassVar[Family] = Family.DIMENSION
    paper: ClassVar[str] = "Zhao et al., AutoDim, WWW 2021"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True,
        fitting=Fitting.CLOSED_FORM,
        appendable=False,
        exact=False,
        graph=True,
        trained=True,
        searched=True,
    )
    row_arrays: ClassVar[tuple[str, ...]] = ("rows",)
    #: Not tried: as for mde.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    width: int
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the width."""
        super().__post_init__()
        if self.width < 1:
            raise InvalidArgumentError(f"autodim.width: expected at least 1, got {self.width}", field="width")

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the largest width that fits the budget, not below the smallest candidate; see :meth:`Scheme.plan`."""
        given = dict(parameters or {})
        if "width" in given:
            planned = cls.from_dict({**given, "scheme": cls.name})
            check_budget(cls.name, shape, planned.nbytes(shape), budget)
            return planned
        widths = range(candidates(shape.dim)[0], shape.dim + 1)
        width = widest(cls.name, shape, widths, allowed_bytes(shape, budget), biased=True)
        return cls.from_dict({**given, "width": width, "scheme": cls.name})

    @classmethod
    def plan_fitted(
        cls, planned: Sequence[Self], matrices: Sequence[F32], frequency: Sequence[NDArray[np.int64] | None]
    ) -> list[Self]:
        """Widen the fields whose next principal axis holds most for its bytes, from the smallest candidate on.

        Of a model's loss there is nothing to search with; of squared errors the axes say all.
        """
        shapes = [TableShape(*matrix.shape) for matrix in matrices]
        left = sum(own.nbytes(shape) for own, shape in zip(planned, shapes, strict=True))
        widths = [candidates(shape.dim)[0] for shape in shapes]
        left -= sum(width_bytes(shape, width, biased=True) for shape, width in zip(shapes, widths, strict=True))
        gains = [
            (energy / (shape.rows + shape.dim), -field, -width)
            for field, (matrix, shape, counts) in enumerate(zip(matrices, shapes, frequency, strict=True))
            for width, energy in enumerate(principal_axes(matrix - _mean(matrix, counts), counts)[0].tolist(), 1)
            if width_bytes(shape, width, biased=True) < shape.float32_bytes
        ]
        # The energies of a field fall, so its widths come in order; one that does not fit ends its field.
        for _, field, width in sorted(gains, reverse=True):
            shape = shapes[-field]
            added = 4 * (shape.rows + shape.dim)
            if widths[-field] == -width - 1 and added <= left:
                widths[-field], left = -width, left - added
        return [cls(width=width) for width in widths]

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``rows``, ``projection`` and ``bias``."""
        check_width(self, self.width, shape)
        return projected_forms(shape, self.width, biased=True)

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,
    ) -> ProjectedTable:
        """Project ``vectors`` float32[n, dim], less their mean, to their first principal axes; nothing is drawn."""
        matrix = table_matrix(vectors)
        check_width(self, self.width, TableShape(*matrix.shape))
        bias = frozen(_mean(matrix, frequency)) if self.width < matrix.shape[1] else None
        table = fitted_projection(self, matrix, self.width, frequency, bias)
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return table

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> ProjectedTable:
        """Make a table of stored ``rows`` float32[n, width], ``projection`` [width, dim] and ``bias`` [dim]."""
        return open_projected(self, shape, self.width, arrays, biased=True)


def _mean(matrix: F32, frequency: NDArray[np.int64] | None) -> F32:
    """Give the mean row float32[dim]; zeros where there are no rows."""
    weights = np.ones(len(matrix)) if frequency is None else np.maximum(frequency, 1e-9)
    mean: NDArray[np.float64] = weights @ matrix.astype(np.float64) / max(weights.sum(), 1e-12)
    return mean.astype(np.float32)


def candidates(dim: int) -> list[int]:
    """Give the widths that are searched: 2, 4, 8, ... and dim."""
    return [2**power for power in range(1, dim.bit_length()) if 2**power < dim] + [dim]


def worthwhile(shape: TableShape) -> list[int]:
    """Give the candidates that make a table smaller, and dim."""
    smaller = [own for own in candidates(shape.dim) if width_bytes(shape, own, biased=True) < shape.float32_bytes]
    return [*smaller, shape.dim]
