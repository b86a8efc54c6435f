"""Tables of rows with few dimensions, which a matrix projects to all dimensions: ``mde`` and ``autodim``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import CorruptionError, InvalidArgumentError
from vecstore.kernels import lookup
from vecstore.kernels import projection as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.numbers import OffsetDot, OffsetL2
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.checks import check_floor, queries_matrix, stored_array
from vecstore.schemes.full import plain_scorer
from vecstore.schemes.scorer import KernelScorer, bias_of
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = [
    "ProjectedTable",
    "check_width",
    "fitted_projection",
    "open_projected",
    "opened_projection",
    "orthonormal",
    "principal_axes",
    "products",
    "projected_forms",
    "residuals",
    "widest",
    "width_bytes",
]

#: How far the products of rows of a projection may be from 0 and 1; float32 leaves about 1e-7.
_TOLERANCE = 1e-4


def projected_forms(shape: TableShape, width: int, *, biased: bool) -> dict[str, ArrayForm]:
    """Give the arrays at a width: rows, projection and bias; the plain rows at full width."""
    forms = {"rows": ArrayForm(np.float32, (shape.rows, width))}
    if width < shape.dim:
        forms["projection"] = ArrayForm(np.float32, (width, shape.dim))
        if biased:
            forms["bias"] = ArrayForm(np.float32, (shape.dim,))
    return forms


def width_bytes(shape: TableShape, width: int, *, biased: bool) -> int:
    """Give the bytes of the arrays of :func:`projected_forms`."""
    return sum(form.nbytes for form in projected_forms(shape, width, biased=biased).values())


def widest(name: str, shape: TableShape, widths: Iterable[int], allowed: int, *, biased: bool) -> int:
    """Give the largest of some widths that fits; whole rows are taken in place of widths that are not smaller.

    Parameters
    ----------
    name : str
        Of the scheme.
    shape : TableShape
    widths : iterable of int
        From 1 to dim.
    allowed : int
        Bytes of the arrays.
    biased : bool
        Whether there is a bias.

    Raises
    ------
    BudgetInfeasible
        Not even the smallest fits.
    """
    sizes = {width: width_bytes(shape, width, biased=biased) for width in widths}
    smaller = {width: size for width, size in sizes.items() if size < shape.float32_bytes}
    usable = smaller if len(smaller) == len(sizes) else {**smaller, shape.dim: shape.float32_bytes}
    check_floor(name, allowed, min(usable.values()))
    return max(width for width, size in usable.items() if size <= allowed)


def check_width(scheme: Scheme, width: int, shape: TableShape) -> None:
    """Check that a table has at least as many dimensions as its rows are wide.

    Raises
    ------
    InvalidArgumentError
        It has not.
    """
    if width > shape.dim:
        raise InvalidArgumentError(f"{scheme.name}.width: {width} is more than {shape.dim} dimensions", field="width")


def orthonormal(rows: NDArray[Any], projection: NDArray[Any]) -> tuple[F32, F32]:
    """Give the same products with orthonormal rows of the projection, frozen.

    ``projection^T = Q R`` gives ``rows @ projection = (rows @ R^T) @ Q^T``. Then distances in few dimensions are those
    in all: nothing is lost to cancellation.

    Parameters
    ----------
    rows : float32[n, c]
    projection : float32[c, d]
        At most as many rows as columns.
    """
    q, r = np.linalg.qr(projection.T.astype(np.float64))
    return frozen((rows.astype(np.float64) @ r.T).astype(np.float32)), frozen(q.T.astype(np.float32))


class ProjectedTable(ArrayTable):
    """Rows ``rows[row] @ projection + bias``.

    Parameters
    ----------
    scheme : Scheme
    shape : TableShape
    rows : float32[n, c]
        Frozen, as all arrays.
    projection : float32[c, dim] or None
        With orthonormal rows; None where c = dim and the rows are whole.
    bias : float32[dim] or None
        None for zeros.
    """

    refusal: ClassVar[str] = "its projection suits those it has; train or fit a new table"

    def __init__(
        self, scheme: Scheme, shape: TableShape, rows: F32, projection: F32 | None = None, bias: F32 | None = None
    ) -> None:
        self.scheme = scheme
        self.shape = shape
        self.rows = rows
        self.projection = projection
        self.bias = bias
        self._constant = frozen(np.zeros(shape.dim, np.float32)) if bias is None else bias

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        if self.projection is None:
            lookup.take(self.rows, rows, out)
        else:
            kernels.take_projected(self.rows, self.projection, self._constant, rows, out)

    def scorer(self, queries: F32, metric: Metric) -> KernelScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows: they are projected too.

        With orthonormal rows P of the projection, <q, e P + b> = <q P^T, e> + <q, b>, and |q - e P - b|^2 is
        |z - e|^2 + |(q - b) - z P|^2 with z = (q - b) P^T, whose last term is of the query alone.
        """
        given = frozen(queries_matrix(queries, self.shape.dim))
        if self.projection is None:
            return plain_scorer(self.rows, given, metric)
        operands: Operands
        if metric is Metric.L2:
            operands = self._squared(given, self.projection)
        else:
            offsets = frozen(bias_of(metric) - products(frozen(self._constant[None, :]), given)[:, 0])
            operands = OffsetDot(self.rows, np.float32(1), frozen(products(self.projection, given)), offsets)
        return KernelScorer(self.shape.rows, len(given), operands, operands)

    def _squared(self, queries: F32, projection: F32) -> OffsetL2:
        centred = frozen(queries - self._constant)
        inside = frozen(products(projection, centred))
        return OffsetL2(self.rows, np.float32(1), inside, residuals(centred, inside, projection))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``rows``, and ``projection`` and ``bias`` where there are."""
        named = {"rows": self.rows, "projection": self.projection, "bias": self.bias}
        return {name: array for name, array in named.items() if array is not None}


def open_projected(
    scheme: Scheme, shape: TableShape, width: int, arrays: Mapping[str, NDArray[Any]], *, biased: bool
) -> ProjectedTable:
    """Make a table of stored arrays.

    Raises
    ------
    CorruptionError
        An array is missing, has another shape or dtype, or the projection's rows are not orthonormal.
    InvalidArgumentError
        The width is larger than the table's dimensions.
    """
    check_width(scheme, width, shape)
    rows = frozen(stored_array(arrays, "rows", np.float32, (shape.rows, width)))
    if width == shape.dim:
        return ProjectedTable(scheme, shape, rows)
    projection = opened_projection(arrays, width, shape.dim)
    bias = frozen(stored_array(arrays, "bias", np.float32, (shape.dim,))) if biased else None
    return ProjectedTable(scheme, shape, rows, projection, bias)


def opened_projection(arrays: Mapping[str, NDArray[Any]], width: int, dim: int) -> F32 | None:
    """Give the stored ``projection`` float32[width, dim]; None at full width, where there is none.

    Raises
    ------
    CorruptionError
        It is missing, has another shape or dtype, or its rows are not orthonormal.
    """
    if width == dim:
        return None
    projection = frozen(stored_array(arrays, "projection", np.float32, (width, dim)))
    if not np.allclose(products(projection, projection), np.eye(width), atol=_TOLERANCE):
        raise CorruptionError("array 'projection': its rows are not orthonormal", field="projection")
    return projection


def residuals(queries: F32, inside: F32, projection: F32) -> F32:
    """Give the squared lengths float32[q] of what queries have outside of the rows of a projection.

    Parameters
    ----------
    queries : float32[q, dim]
    inside : float32[q, width]
        Their coordinates along the rows.
    projection : float32[width, dim]
        With orthonormal rows.
    """
    nearest = np.empty_like(queries)
    zeros = frozen(np.zeros(queries.shape[1], np.float32))
    kernels.take_projected(inside, projection, zeros, frozen(np.arange(len(queries))), nearest)
    out = np.empty(len(queries), np.float32)
    kernels.paired_squared_distances(queries, frozen(nearest), out)
    return frozen(out)


def fitted_projection(
    scheme: Scheme, matrix: F32, width: int, frequency: NDArray[np.int64] | None, bias: F32 | None = None
) -> ProjectedTable:
    """Give the table nearest to ``matrix`` float32[n, dim], in squares of rows weighted by ``frequency``.

    Its projection holds the first principal axes of ``matrix - bias``, so it is the optimum for that bias (Eckart and
    Young); the mean of the rows is the best of all.
    """
    shape = TableShape(*matrix.shape)
    if width == shape.dim:
        return ProjectedTable(scheme, shape, frozen(matrix))
    moved = matrix if bias is None else matrix - bias
    projection = frozen(principal_axes(moved, frequency)[1][:width])
    return ProjectedTable(scheme, shape, frozen(products(projection, frozen(moved))), projection, bias)


def principal_axes(matrix: F32, frequency: NDArray[np.int64] | None) -> tuple[NDArray[np.float64], F32]:
    """Give what the right singular vectors of ``matrix`` float32[n, dim] hold of its squares, and the vectors.

    Parameters
    ----------
    matrix : float32[n, dim]
    frequency : int64[n] or None
        How much a row's squares count.

    Returns
    -------
    energies : float64[dim]
        Falling.
    axes : float32[dim, dim]
        One a row, each with its largest entry positive.
    """
    rows = matrix.astype(np.float64)
    weighted = rows if frequency is None else rows * np.maximum(frequency, 1e-9)[:, None]
    energies, columns = np.linalg.eigh(weighted.T @ rows)
    axes = columns[:, ::-1].T
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.maximum(energies[::-1], 0), (axes * np.where(largest < 0, -1, 1)).astype(np.float32)


def products(rows: F32, queries: F32) -> F32:
    """Give <query, row>, float32[q, n]; both frozen."""
    out = np.empty((len(queries), len(rows)), np.float32)
    kernels.inner_products(rows, queries, out)
    return out
