"""What a user asks for, a scheme with a transform and a budget, as one scheme."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from vecstore.config import with_transform
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.schemes import Scheme, from_config, get, names
from vecstore.schemes.base import TableShape
from vecstore.schemes.checks import allowed_bytes, check_floor

__all__ = ["requested"]


def requested(
    scheme: str | dict[str, Any],
    *,
    transform: str | None,
    queries: Any = None,
    budget: float | int | None = None,
    walked: bool = False,
    shape: TableShape,
) -> Scheme:
    """Give the scheme that was asked for.

    Parameters
    ----------
    scheme : str or dict
        A name, or a JSON config. With a budget, the config may lack what the budget decides.
    transform : str or None
        A chain of transforms that goes in front of it; see :class:`~vecstore.schemes.transformed.Transformed`.
    queries : array_like, optional
        float32[q, dim] that the transforms are to suit.
    budget : float or int or None
        A fraction of the float32 rows where it is a float in (0, 1], absolute bytes where it is an int; None where the
        scheme has all its parameters.
    walked : bool
        Whether tables are to be searched by graphs: then the form for walks must be within the budget too.
    shape : TableShape
        What the budget is for; may have no rows where there is none.

    Raises
    ------
    InvalidArgumentError
        There is no such scheme, or a setting does not fit it.
    BudgetInfeasible
        Carries the floor in bytes.
    """
    config = with_transform(scheme, transform, queries)
    if isinstance(config, str):
        config = {"scheme": config}
    if not isinstance(config, dict) or not isinstance(config.get("scheme"), str):
        return from_config(config)
    if budget is None:
        _check_complete(config)
        return from_config(config)
    if shape.rows == 0:
        raise InvalidArgumentError("budget: there are no rows that it could be for", field="budget")
    parameters = {name: value for name, value in config.items() if name != "scheme"}
    return _planned(get(config["scheme"]), shape, budget, parameters, walked=walked)


def _planned(
    cls: type[Scheme], shape: TableShape, budget: float | int, parameters: dict[str, Any], *, walked: bool
) -> Scheme:
    """Plan within a budget; where the form for walks takes more, with the most bytes with which it does not.

    Raises
    ------
    BudgetInfeasible
        Carries the floor in bytes.
    """
    chosen: Scheme = cls.plan(shape, budget, None, parameters)
    allowed = allowed_bytes(shape, budget)
    floor = chosen.for_walks().nbytes(shape)
    if not walked or floor <= allowed:
        return chosen
    low, high, found = 0, chosen.nbytes(shape), chosen
    while high - low > 1:
        middle = (low + high) // 2
        try:
            candidate = cls.plan(shape, middle, None, parameters)
        except BudgetInfeasible:
            low = middle
            continue
        needed = candidate.for_walks().nbytes(shape)
        if needed <= allowed:
            low, floor, found = middle, needed, candidate
        else:
            high, floor = middle, min(floor, needed)
    check_floor(cls.name, allowed, floor)
    return found


def _check_complete(config: dict[str, Any]) -> None:
    """Refuse a config, or one behind transforms, that lacks what a budget would decide; unknown schemes pass.

    Raises
    ------
    InvalidArgumentError
        Names what is missing.
    """
    name = config["scheme"]
    if name not in names():
        return
    missing = [field.name for field in structs.fields(get(name)) if field.required and field.name not in config]
    if missing:
        raise InvalidArgumentError(
            f"scheme {name!r} needs {', '.join(missing)}: pass a config such as {{'scheme': {name!r}, {missing[0]!r}: "
            "...}, or budget=..., which decides it",
            field=missing[0],
        )
    inner = config.get("inner")
    if isinstance(inner, dict) and isinstance(inner.get("scheme"), str):
        _check_complete(inner)
