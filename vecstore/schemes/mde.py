"""``mde``: rows of fewer dimensions for less popular fields, and a matrix that projects them to all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import projection as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.base import (
    Capabilities,
    CompressedTable,
    Family,
    Fitting,
    Progress,
    Scheme,
    TableShape,
    popularity_of,
)
from vecstore.schemes.checks import allowed_bytes, check_budget, queries_matrix, table_matrix
from vecstore.schemes.layouts import LaidOut, Layout
from vecstore.schemes.projected import (
    ProjectedTable,
    check_width,
    fitted_projection,
    open_projected,
    opened_projection,
    products,
    projected_forms,
    residuals,
    widest,
)
from vecstore.schemes.scorer import bias_of
from vecstore.schemes.transformed import shifted_scorer
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = ["Mde", "ProjectedLayout", "popularity_widths"]


class Mde(LaidOut, frozen=True, kw_only=True, tag="mde"):
    """Row ``id`` is ``rows[id] @ projection``, with ``width`` of dim dimensions; whole rows where width = dim.

    Fields of an embedding get their widths together, by popularity: ``base (p / largest p) ** alpha``, where the
    popularity p of a field is how often its ids occur on average, or 1 / ids where that is not known. ``alpha`` rises
    from 0 to 1 with ``base = dim`` until the fields fit the budget; if they do not at 1, ``base`` falls.

    Attributes
    ----------
    width : int
        Dimensions of the stored rows.
    rounding : {"integer", "power-of-two"}
        What the planner rounds widths to; the paper's authors use powers of two.
    version : int
        Version of this config.

    References
    ----------
    Ginart et al., "Mixed Dimension Embeddings with Application to Memory-Efficient Recommendation Systems", ISIT 2021,
    section 3 and algorithm 1. Fitted to a matrix, the projection holds its first principal directions without centring,
    weighted by frequency where that is given (Eckart and Young, 1936: no other gives a smaller squared error).
    """

    name: ClassVar[str] = "mde"
    family: ClassVar[Family] = Family.DIMENSION
    paper: ClassVar[str] = "Ginart et al., Mixed Dimension Embeddings, ISIT 2021"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CLOSED_FORM, appendable=False, exact=False, graph=True, trained=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ("rows",)
    stored_rows: ClassVar[str] = "rows"
    #: Not tried: transforms in front of int8 have the same directions in a quarter of the bytes.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    width: int
    rounding: Literal["integer", "power-of-two"] = "integer"
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the width."""
        super().__post_init__()
        if self.width < 1:
            raise InvalidArgumentError(f"mde.width: expected at least 1, got {self.width}", field="width")

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the largest width that fits the budget; see :meth:`Scheme.plan`."""
        given = dict(parameters or {})
        if "width" in given:
            planned = cls.from_dict({**given, "scheme": cls.name})
            check_budget(cls.name, shape, planned.nbytes(shape), budget)
            return planned
        rounding = cls.from_dict({**given, "width": 1, "scheme": cls.name}).rounding
        widths = {_rounded(width, shape.dim, rounding) for width in range(1, shape.dim + 1)}
        width = widest(cls.name, shape, widths, allowed_bytes(shape, budget), biased=False)
        return cls.from_dict({**given, "width": width, "scheme": cls.name})

    @classmethod
    def plan_fields(
        cls,
        shapes: Sequence[TableShape],
        frequency: Sequence[NDArray[np.int64] | None],
        parameters: Mapping[str, Any],
    ) -> Callable[[float], list[Scheme]] | None:
        """Give the widths of all fields by the rule of popularity; see :meth:`Scheme.plan_fields`."""
        if "width" in parameters:
            return None
        rounding = cls.from_dict({**parameters, "width": 1, "scheme": cls.name}).rounding
        popularity = [popularity_of(shape, counts) for shape, counts in zip(shapes, frequency, strict=True)]

        def at(share: float) -> list[Scheme]:
            wanted = popularity_widths(popularity, shapes[0].dim, 2 - 2 * share, rounding)
            return [cls.from_dict({**parameters, "width": own, "scheme": cls.name}) for own in wanted]

        return at

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``rows`` and ``projection``."""
        check_width(self, self.width, shape)
        return projected_forms(shape, self.width, biased=False)

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,
    ) -> ProjectedTable:
        """Project ``vectors`` float32[n, dim] to their first principal directions; nothing is drawn."""
        matrix = table_matrix(vectors)
        check_width(self, self.width, TableShape(*matrix.shape))
        table = fitted_projection(self, matrix, self.width, frequency)
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return table

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> ProjectedTable:
        """Make a table of the stored ``rows`` float32[n, width] and ``projection`` float32[width, dim]."""
        return open_projected(self, shape, self.width, arrays, biased=False)

    def layout(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> ProjectedLayout:
        """Give the projection of stored rows, if there is one; see :meth:`LaidOut.layout`."""
        check_width(self, self.width, shape)
        return ProjectedLayout(shape, opened_projection(arrays, self.width, shape.dim))

    def largest(self, vectors: F32) -> F32:
        """Give the lengths of rows, which their coordinates along other axes may reach."""
        found: F32 = np.sqrt(np.float32(vectors.shape[1])) * super().largest(vectors)
        return found


class ProjectedLayout(Layout):
    """Each row is the stored row of its number, projected to all dimensions where stored rows have fewer.

    Parameters
    ----------
    shape : TableShape
    projection : float32[width, dim] or None
        With orthonormal rows, frozen; None where stored rows are whole.
    """

    def __init__(self, shape: TableShape, projection: F32 | None) -> None:
        super().__init__(shape, {} if projection is None else {"projection": projection})
        self._projection = projection
        self._zeros = frozen(np.zeros(shape.dim, np.float32))

    def take(self, stored: CompressedTable, rows: I64, out: F32) -> None:
        """Write rows; see :meth:`Layout.take`."""
        if self._projection is None:
            stored.lookup(rows, out)
            return
        decoded = stored.lookup(rows)
        kernels.take_projected(frozen(decoded), self._projection, self._zeros, frozen(np.arange(len(rows))), out)

    def scorer(self, stored: CompressedTable, queries: F32, metric: Metric) -> Scorer:
        """Prepare queries as :meth:`ProjectedTable.scorer` does: they are scored in few dimensions, in the codes."""
        given = frozen(queries_matrix(queries, self.shape.dim))
        if self._projection is None:
            return stored.scorer(given, metric)
        inside = frozen(products(self._projection, given))
        if metric is Metric.L2:
            offsets = residuals(given, inside, self._projection)
            return shifted_scorer(stored.scorer(inside, Metric.L2), self.shape.rows, offsets)
        offsets = frozen(np.full(len(given), bias_of(metric), np.float32))
        return shifted_scorer(stored.scorer(inside, Metric.IP), self.shape.rows, offsets)


def popularity_widths(popularity: Sequence[float], dim: int, parameter: float, rounding: str) -> list[int]:
    """Give the widths of fields by the rule of :class:`Mde`.

    Parameters
    ----------
    popularity : sequence of float
        One a field.
    dim : int
    parameter : float
        From 0 to 1 it is alpha, with base dim; from 1 to 2 alpha is 1 and base ``dim ** (2 - parameter)``.
    rounding : {"integer", "power-of-two"}

    Returns
    -------
    list of int
        From 1 to dim; none grows with the parameter.
    """
    alpha, base = min(parameter, 1.0), dim ** min(1.0, 2 - parameter)
    highest = max(popularity)
    wanted = [base * (own / highest) ** alpha if highest > 0 else base for own in popularity]
    return [_rounded(width, dim, rounding) for width in wanted]


def _rounded(width: float, dim: int, rounding: str) -> int:
    """Give a width from 1 to ``dim``."""
    power = 2 ** math.floor(math.log2(max(width, 1)) + 0.5)
    return min(max(math.floor(width + 0.5) if rounding == "integer" else power, 1), dim)
