"""``autodim``: rows of as many dimensions as a search found right for their field, projected to all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.schemes.base import Capabilities, Family, Progress, Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes, check_budget, check_floor
from vecstore.schemes.full import Full
from vecstore.schemes.projected import ProjectedTable, check_width, open_projected, width_bytes
from vecstore.types import F32

__all__ = ["Autodim", "candidates", "worthwhile"]


class Autodim(Scheme, frozen=True, kw_only=True, tag="autodim"):
    """Row ``id`` is ``rows[id] @ projection + bias``, with ``width`` of dim dimensions; whole rows where width = dim.

    A plan reserves bytes for every field: about the same width for each. The search, which knows all fields, spends the
    bytes of all of them where its weights say (see ``vecstore.training.autodim``), so a frozen table may have other
    widths than its plan, and at most as many bytes.

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
        posthoc=False, appendable=False, exact=False, graph=True, trained=True
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
        (width,) = cls._widths([shape], allowed_bytes(shape, budget))
        return cls.from_dict({**given, "width": width, "scheme": cls.name})

    @classmethod
    def plan_fields(
        cls,
        shapes: Sequence[TableShape],
        allowed: int,
        frequency: Sequence[NDArray[np.int64] | None],  # noqa: ARG003
        parameters: Mapping[str, Any],
    ) -> list[Scheme] | None:
        """Reserve bytes for every field; one that no candidate makes smaller stays ``full`` and is not searched."""
        if "width" in parameters:
            return None
        return [
            cls.from_dict({**parameters, "width": width, "scheme": cls.name}) if len(worthwhile(shape)) > 1 else Full()
            for width, shape in zip(cls._widths(shapes, allowed), shapes, strict=True)
        ]

    @classmethod
    def _widths(cls, shapes: Sequence[TableShape], allowed: int) -> list[int]:
        """Give the largest width that all fields can have, and one more to as many as still fit, small fields first."""
        dim = shapes[0].dim

        def at(width: int, shape: TableShape) -> int:
            return width if width_bytes(shape, width, biased=True) < shape.float32_bytes else dim

        def nbytes(widths: list[int]) -> int:
            return sum(width_bytes(shape, width, biased=True) for width, shape in zip(widths, shapes, strict=True))

        best = [at(candidates(dim)[0], shape) for shape in shapes]
        check_floor(cls.name, allowed, nbytes(best))
        for width in range(candidates(dim)[0] + 1, dim + 1):
            for field in sorted(range(len(shapes)), key=lambda field: shapes[field].rows):
                wider = [*best[:field], at(width, shapes[field]), *best[field + 1 :]]
                if nbytes(wider) > allowed:
                    return best
                best = wider
        return best

    def nbytes(self, shape: TableShape) -> int:
        """Bytes of ``rows``, ``projection`` and ``bias``."""
        check_width(self, self.width, shape)
        return width_bytes(shape, self.width, biased=True)

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
