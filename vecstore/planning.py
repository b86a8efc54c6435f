"""How a budget becomes parameters, for one field or many: every byte that will be written counts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from vecstore.errors import BudgetInfeasible
from vecstore.schemes import get
from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes
from vecstore.schemes.fields import Field, Fields, Part
from vecstore.schemes.full import Full
from vecstore.schemes.packing import PACK, packed
from vecstore.schemes.planning import Slot, fill, reachable, share_bytes, total_cost
from vecstore.storage.sealed_folder import golden_rows
from vecstore.storage.table_files import frame_bytes, part_bytes
from vecstore.types import I64

__all__ = ["frame_cost", "plan_fields", "scheme_bytes", "stored_bytes"]


def plan_fields(
    name: str,
    sizes: Mapping[str, int],
    dim: int,
    budget: float | int,
    *,
    frequency: Mapping[str, I64] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Fields:
    """Choose how the fields of an embedding are stored so that a stored version stays within ``budget``.

    The budget covers every byte of the version's files: arrays, constants, bitmaps, checksums, description, framing.
    What remains unused is less than a step of any field (see :func:`vecstore.schemes.planning.fill`), or more than the
    scheme's largest form has a use for. A larger budget never gives a smaller table.

    Schemes with one table a field get a fraction of each field's bytes, the same for all unless they have a rule of
    their own (:meth:`Scheme.plan_fields`), and then what is left over; a field that would not become smaller stays
    ``full``, so all of them are at 1.0 where the scheme can use as much. Joint schemes get one part over all fields,
    whatever their sizes; they share rows at 1.0 too (``unified`` can exempt fields).

    Parameters
    ----------
    name : str
        Of the scheme.
    sizes : mapping of str to int
        Field -> number of ids, in order.
    dim : int
        Dimensions of every row.
    budget : float or int
        A fraction of the float32 tables where it is a float in (0, 1], absolute bytes where it is an int. 1.0 allows
        the uncompressed tables with their description and framing, though these come on top of the float32 bytes.
    frequency : mapping of str to int64[size], optional
        How often each id occurs in the training split.
    parameters : mapping, optional
        Settings of the scheme that are given and not chosen by the budget.

    Raises
    ------
    BudgetInfeasible
        Carries the floor and the next reachable budgets in bytes, and says which fractions they are.
    NotFoundError
        There is no such scheme.
    """
    scheme = get(name)
    fields = tuple(Field(name=field, size=size) for field, size in sizes.items())
    slots = _slots(scheme, fields, dim, frequency, {**scheme.field_parameters, **(parameters or {})})
    total = TableShape(sum(sizes.values()), dim)
    frame = _frame(fields, len(slots), total)
    allowed = allowed_bytes(total, budget)
    if isinstance(budget, float) and budget == 1:
        allowed = frame + sum(slot.cost(Full()) for slot in slots)
    if allowed < frame + total_cost(slots, share_bytes(slots)(0.0)):
        steps = [frame + step for step in reachable(slots)]
        raise BudgetInfeasible(_infeasible(name, total, allowed, steps), floor=steps[0], reachable=tuple(steps))
    count = len(fields) if scheme.capabilities.joint else 1
    parts = [Part(scheme=config.to_dict(), fields=count) for config in fill(slots, allowed - frame)]
    return Fields(fields=fields, parts=tuple(parts))


def frame_cost(fields: tuple[Field, ...], dim: int) -> int:
    """Give an upper bound of the bytes of a stored version with a part a field, without what the parts add."""
    return _frame(fields, len(fields), TableShape(sum(field.size for field in fields), dim))


def stored_bytes(plan: Fields, dim: int) -> int:
    """Give an upper bound, near to it, of the bytes of all files of a stored version of these fields."""
    shapes = plan.part_shapes(dim)
    parts = zip(plan.parts, plan.schemes(), shapes, strict=True)
    frame = _frame(plan.fields, len(shapes), TableShape(int(plan.starts[-1]), dim))
    return frame + sum(scheme_bytes(shape, part.fields, scheme) for part, scheme, shape in parts)


def scheme_bytes(shape: TableShape, fields: int, scheme: Scheme) -> int:
    """Give an upper bound of the bytes that a part of some fields adds to a stored version."""
    forms = scheme.array_forms(shape)
    part = Part(scheme=scheme.to_dict(), fields=fields).to_dict()
    if packed(forms):
        return part_bytes(part, {}, scheme.nbytes(shape))
    # The number of the part in front of a name has at most four digits.
    return part_bytes(part, {f"0000.{name}": form for name, form in forms.items()}, 0)


def _slots(
    scheme: type[Scheme],
    fields: tuple[Field, ...],
    dim: int,
    frequency: Mapping[str, I64] | None,
    parameters: Mapping[str, Any],
) -> list[Slot]:
    counts = None if frequency is None else [np.asarray(frequency[field.name]) for field in fields]
    if scheme.capabilities.joint:
        shape = TableShape(sum(field.size for field in fields), dim)
        known = {"fields": [field.to_dict() for field in fields]} if "fields" in scheme.__struct_fields__ else {}
        joined = None if counts is None else np.concatenate(counts)
        return [Slot(scheme, shape, joined, {**parameters, **known}, partial(scheme_bytes, shape, len(fields)))]
    shapes = [TableShape(field.size, dim) for field in fields]
    return [
        Slot(scheme, shape, None if counts is None else counts[number], parameters, partial(scheme_bytes, shape, 1))
        for number, shape in enumerate(shapes)
    ]


def _frame(fields: tuple[Field, ...], parts: int, total: TableShape) -> int:
    """Give the bytes of a version's folder that are there whatever the parts hold."""
    scheme = {**Fields(fields=fields, parts=(Part(scheme={}, fields=len(fields)),)).to_dict(), "parts": []}
    golden = parts * len(golden_rows(3))
    return frame_bytes(scheme, rows=total.rows, dim=total.dim, golden=golden, pack=PACK)


def _infeasible(name: str, total: TableShape, allowed: int, steps: list[int]) -> str:
    listed = [f"{step:,} bytes ({_fraction(step / total.float32_bytes)} of float32)" for step in steps]
    further = f"; larger tables begin at {', '.join(listed[1:])}" if listed[1:] else ""
    return (
        f"scheme {name!r} needs at least {listed[0]} for these fields, description and framing included, and the "
        f"budget allows {allowed:,}{further}; raise the budget or choose another scheme"
    )


def _fraction(share: float) -> str:
    """Give a share rounded up to four digits, so that it is enough when it is passed as a budget."""
    digits = 3 - math.floor(math.log10(share))
    return f"{math.ceil(share * 10**digits) / 10**digits:.4g}"
