"""The plan of schemes whose bytes follow from the shape alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.checks import check_budget

__all__ = ["FixedSizeScheme"]


class FixedSizeScheme(Scheme, frozen=True, kw_only=True):
    """A scheme that a budget gives nothing to choose: its table fits or does not."""

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the config with the given ``parameters`` if its table fits the budget; see :meth:`Scheme.plan`."""
        planned = cls.from_dict({**(parameters or {}), "scheme": cls.name})
        check_budget(cls.name, shape, planned.nbytes(shape), budget)
        return planned
