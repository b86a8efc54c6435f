"""``autodim``: rows of as many dimensions as a search found right for their field, projected to all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.schemes.base import Capabilities, Family, Progress, Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes, check_budget
from vecstore.schemes.projected import ProjectedTable, check_width, open_projected, projected_forms, widest, width_bytes
from vecstore.types import F32, ArrayForm

__all__ = ["Autodim", "candidates", "worthwhile"]


class Autodim(Scheme, frozen=True, kw_only=True, tag="autodim"):
    """Row ``id`` is ``rows[id] @ projection + bias``, with ``width`` of dim dimensions; whole rows where width = dim.

    A plan reserves bytes for every field. The search, which knows all fields, spends the bytes of all of them where its
    weights say (see ``vecstore.training.autodim``), so a frozen table may have other widths than its plan, and at most
    as many bytes.

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
        posthoc=False, appendable=False, exact=False, graph=True, trained=True, searched=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ("rows",)

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

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``rows``, ``projection`` and ``bias``."""
        check_width(self, self.width, shape)
        return projected_forms(shape, self.width, biased=True)

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,  # noqa: ARG002
    ) -> ProjectedTable:
        """Refuse: widths are found by the loss of a model.

        Raises
        ------
        InvalidArgumentError
            Always.
        """
        raise InvalidArgumentError(
            f"scheme 'autodim' cannot be fitted to {len(vectors)} vectors: its widths follow from a model's loss; "
            "train it with vecstore.training.embedding('autodim', ...), or fit 'mde', which has the same form",
            field="scheme",
        )

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> ProjectedTable:
        """Make a table of stored ``rows`` float32[n, width], ``projection`` [width, dim] and ``bias`` [dim]."""
        return open_projected(self, shape, self.width, arrays, biased=True)


def candidates(dim: int) -> list[int]:
    """Give the widths that are searched: 2, 4, 8, ... and dim."""
    return [2**power for power in range(1, dim.bit_length()) if 2**power < dim] + [dim]


def worthwhile(shape: TableShape) -> list[int]:
    """Give the candidates that make a table smaller, and dim."""
    smaller = [own for own in candidates(shape.dim) if width_bytes(shape, own, biased=True) < shape.float32_bytes]
    return [*smaller, shape.dim]
