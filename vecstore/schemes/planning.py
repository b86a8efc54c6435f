"""How a budget becomes parameters, for one table or for many fields under one budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vecstore.errors import BudgetInfeasible
from vecstore.schemes import from_config, get
from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes
from vecstore.schemes.fields import Field, Fields, Part
from vecstore.types import I64

__all__ = ["plan_fields"]

#: Halvings of the shared fraction; after 40 it is known to a billionth of a table.
_STEPS = 40


def plan_fields(
    name: str,
    sizes: Mapping[str, int],
    dim: int,
    budget: float | int,
    *,
    frequency: Mapping[str, I64] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Fields:
    """Choose how the fields of an embedding are stored so that all bytes together stay within ``budget``.

    Schemes with one table a field get a fraction of each field's bytes, the same for all and as large as fits, unless
    they have a rule of their own (:meth:`Scheme.plan_fields`); a field that would not become smaller stays ``full``.
    Joint schemes get one part over all fields.

    Parameters
    ----------
    name : str
        Of the scheme.
    sizes : mapping of str to int
        Field -> number of ids, in order.
    dim : int
        Dimensions of every row.
    budget : float or int
        A fraction of the float32 tables where it is a float in (0, 1], absolute bytes where it is an int.
    frequency : mapping of str to int64[size], optional
        How often each id occurs in the training split.
    parameters : mapping, optional
        Settings of the scheme that are given and not chosen by the budget.

    Raises
    ------
    BudgetInfeasible
        Carries the floor in bytes and says which fraction that is.
    NotFoundError
        There is no such scheme.
    """
    scheme = get(name)
    fields = tuple(Field(name=field, size=size) for field, size in sizes.items())
    total = TableShape(sum(sizes.values()), dim)
    allowed = allowed_bytes(total, budget)
    counts = [None if frequency is None else np.asarray(frequency[field]) for field in sizes]
    parameters = {**scheme.field_parameters, **(parameters or {})}
    if scheme.capabilities.joint:
        joined = None if frequency is None else np.concatenate([frequency[field] for field in sizes])
        config = scheme.plan(total, allowed, joined, _with_fields(scheme, fields, parameters))
        return Fields(fields=fields, parts=(Part(scheme=config.to_dict(), fields=len(fields)),))

    shapes = [TableShape(size, dim) for size in sizes.values()]

    def parts_at(share: float) -> list[Scheme]:
        return [_field_scheme(scheme, s, share, c, parameters) for s, c in zip(shapes, counts, strict=True)]

    chosen = scheme.plan_fields(shapes, allowed, counts, parameters)
    if chosen is None:
        chosen = _largest(parts_at, shapes, allowed, total)
    return Fields(fields=fields, parts=tuple(Part(scheme=config.to_dict()) for config in chosen))


def _with_fields(
    scheme: type[Scheme], fields: tuple[Field, ...], parameters: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Add the fields to the parameters of a joint scheme whose config has a place for them."""
    known = {"fields": [field.to_dict() for field in fields]} if "fields" in scheme.__struct_fields__ else {}
    return {**(parameters or {}), **known}


def _field_scheme(
    scheme: type[Scheme], shape: TableShape, share: float, frequency: I64 | None, parameters: Mapping[str, Any] | None
) -> Scheme:
    """Give the scheme of one field at a share of its bytes: at least its floor, and ``full`` if that is no larger."""
    allowed = int(share * shape.float32_bytes)
    try:
        config = scheme.plan(shape, allowed, frequency, parameters)
    except BudgetInfeasible as error:
        if error.floor >= shape.float32_bytes:
            return from_config("full")
        config = scheme.plan(shape, error.floor, frequency, parameters)
    return config if config.nbytes(shape) < shape.float32_bytes else from_config("full")


def _largest(
    parts_at: Callable[[float], list[Scheme]], shapes: list[TableShape], allowed: int, total: TableShape
) -> list[Scheme]:
    """Give the parts at the largest share whose bytes are allowed."""

    def nbytes(parts: list[Scheme]) -> int:
        return sum(part.nbytes(shape) for part, shape in zip(parts, shapes, strict=True))

    smallest, largest = parts_at(0.0), parts_at(1.0)
    floor = nbytes(smallest)
    if floor > allowed:
        raise BudgetInfeasible(
            f"these fields need at least {floor} bytes ({floor / total.float32_bytes:.3g} of float32), and the budget "
            f"allows {allowed}; raise the budget or choose another scheme",
            floor=floor,
        )
    if nbytes(largest) <= allowed:
        return largest
    best, low, high = smallest, 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        parts = parts_at(middle)
        if nbytes(parts) <= allowed:
            best, low = parts, middle
        else:
            high = middle
    return best
