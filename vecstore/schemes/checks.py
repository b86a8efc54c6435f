"""Checks that all schemes share: of arrays from files, of buffers from callers, and of budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError
from vecstore.kernels.compiling import frozen
from vecstore.schemes.base import Scheme, TableShape
from vecstore.types import F32, ArrayForm, as_matrix

__all__ = [
    "allowed_bytes",
    "check_budget",
    "check_floor",
    "check_magnitude",
    "most_that_fits",
    "output_buffer",
    "queries_matrix",
    "stored_array",
    "stored_arrays",
    "table_matrix",
]

_Scalar = TypeVar("_Scalar", bound=np.generic)
_Planned = TypeVar("_Planned", bound=Scheme)


def stored_array(
    arrays: Mapping[str, NDArray[Any]], name: str, dtype: type[_Scalar], shape: tuple[int, ...]
) -> NDArray[_Scalar]:
    """Give one of the arrays of a stored table.

    Raises
    ------
    CorruptionError
        It is missing, or has another dtype or shape.
    """
    if name not in arrays:
        raise CorruptionError(f"array {name!r} is missing; there are: {', '.join(arrays) or 'none'}", field=name)
    array = arrays[name]
    if array.dtype != dtype or array.shape != shape:
        raise CorruptionError(
            f"array {name!r}: expected {np.dtype(dtype)}{list(shape)}, found {array.dtype}{list(array.shape)}",
            field=name,
        )
    return array


def stored_arrays(arrays: Mapping[str, NDArray[Any]], forms: Mapping[str, ArrayForm]) -> dict[str, NDArray[Any]]:
    """Give the arrays of a stored table that have ``forms``, frozen; see :func:`stored_array`."""
    return {name: frozen(stored_array(arrays, name, form.dtype, form.shape)) for name, form in forms.items()}


def table_matrix(vectors: F32) -> F32:
    """Give the vectors of a table as C-contiguous float32[n, dim], refusing what is not finite numbers."""
    array = np.asarray(vectors)
    if array.ndim != 2 or array.shape[1] == 0:
        raise InvalidArgumentError(f"vectors: expected [n, dim], got shape {list(array.shape)}", field="vectors")
    return as_matrix(array, dim=array.shape[1])


def check_magnitude(name: str, vectors: F32, largest: float) -> None:
    """Check that no value of float32[n, dim] is beyond ``largest`` in either direction.

    Raises
    ------
    InvalidArgumentError
        Names the first row that has one, and the scheme.
    """
    if vectors.size == 0 or max(vectors.max(), -vectors.min()) <= largest:
        return
    row = int(np.flatnonzero((np.abs(vectors) > largest).any(axis=1))[0])
    raise InvalidArgumentError(
        f"vectors: row {row} has a value beyond {largest:g}, the largest that scheme {name!r} can hold; "
        "scale the vectors, or use the scheme 'full'",
        field="vectors",
    )


def queries_matrix(queries: F32, dim: int) -> F32:
    """Give queries as C-contiguous float32[q, dim]; any number of them, none included.

    Raises
    ------
    InvalidArgumentError
        Another shape, or not float32.
    """
    if queries.ndim != 2 or queries.shape[1] != dim or queries.dtype != np.float32:
        raise InvalidArgumentError(
            f"queries: expected float32[q, {dim}], got {queries.dtype}{list(queries.shape)}", field="queries"
        )
    return np.ascontiguousarray(queries)


def output_buffer(out: F32 | None, n_rows: int, dim: int) -> F32:
    """Give ``out`` if it can hold the result, or a new array.

    Raises
    ------
    InvalidArgumentError
        ``out`` has another shape or dtype, is not C-contiguous, or is read-only.
    """
    if out is None:
        return np.empty((n_rows, dim), np.float32)
    if out.shape != (n_rows, dim) or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidArgumentError(
            f"out: expected a writable C-contiguous float32[{n_rows}, {dim}], got {out.dtype}{list(out.shape)}",
            field="out",
        )
    return out


def allowed_bytes(shape: TableShape, budget: float | int, *, name: str = "budget") -> int:
    """Give the bytes that a budget allows.

    Parameters
    ----------
    shape : TableShape
    budget : float or int
        A fraction of the float32 table where it is a float in (0, 1], absolute bytes where it is an int.
    name : str
        What messages call it.

    Raises
    ------
    InvalidArgumentError
        The budget is not a number of the above.
    """
    if isinstance(budget, bool) or not isinstance(budget, int | float):
        raise InvalidArgumentError(f"{name}: expected a number, got {budget!r}", field=name)
    if isinstance(budget, float) and not 0 < budget <= 1:
        raise InvalidArgumentError(
            f"{name}: a fraction is above 0 and at most 1, got {budget}; pass an int for bytes", field=name
        )
    return math.floor(budget * shape.float32_bytes) if isinstance(budget, float) else budget


def check_floor(name: str, allowed: int, floor: int) -> None:
    """Check that the smallest form of a scheme fits.

    Parameters
    ----------
    name : str
        Of the scheme.
    allowed : int
        Bytes that the budget allows.
    floor : int
        Bytes of the smallest form for this table.

    Raises
    ------
    BudgetInfeasible
        It does not fit; carries the floor.
    """
    if floor > allowed:
        raise BudgetInfeasible(
            f"scheme {name!r} needs at least {floor} bytes for this table, and the budget allows {allowed}; "
            "raise the budget or choose a smaller scheme",
            floor=floor,
        )


def most_that_fits(candidates: Sequence[_Planned], shape: TableShape, budget: float | int) -> _Planned:
    """Give the last of ``candidates``, schemes of one name in ascending order of bytes, that fits a budget.

    Raises
    ------
    BudgetInfeasible
        None does; carries the bytes of the first.
    """
    allowed = allowed_bytes(shape, budget)
    sizes = [scheme.nbytes(shape) for scheme in candidates]
    check_floor(candidates[0].name, allowed, min(sizes))
    return [scheme for scheme, size in zip(candidates, sizes, strict=True) if size <= allowed][-1]


def check_budget(name: str, shape: TableShape, needed: int, budget: float | int) -> None:
    """Check that a scheme of one fixed size fits a budget; see :func:`allowed_bytes` and :func:`check_floor`."""
    check_floor(name, allowed_bytes(shape, budget), needed)
