"""What a user asks for, a scheme with a transform and a budget, as one scheme."""

from __future__ import annotations

from typing import Any

from vecstore.config import with_transform
from vecstore.errors import InvalidArgumentError
from vecstore.schemes import Scheme, from_config, get
from vecstore.schemes.base import TableShape

__all__ = ["requested"]


def requested(
    scheme: str | dict[str, Any], *, transform: str | None, budget: float | int | None = None, shape: TableShape
) -> Scheme:
    """Give the scheme that was asked for.

    Parameters
    ----------
    scheme : str or dict
        A name, or a JSON config. With a budget, the config may lack what the budget decides.
    transform : str or None
        A chain of transforms that goes in front of it; see :class:`~vecstore.schemes.transformed.Transformed`.
    budget : float or int or None
        A fraction of the float32 rows where it is a float in (0, 1], absolute bytes where it is an int; None where the
        scheme has all its parameters.
    shape : TableShape
        What the budget is for; may have no rows where there is none.

    Raises
    ------
    InvalidArgumentError
        There is no such scheme, or a setting does not fit it.
    BudgetInfeasible
        Carries the floor in bytes.
    """
    config = with_transform(scheme, transform)
    if isinstance(config, str):
        config = {"scheme": config}
    if budget is None or not isinstance(config, dict) or not isinstance(config.get("scheme"), str):
        return from_config(config)
    if shape.rows == 0:
        raise InvalidArgumentError("budget: there are no rows that it could be for", field="budget")
    parameters = {name: value for name, value in config.items() if name != "scheme"}
    return get(config["scheme"]).plan(shape, budget, None, parameters)
