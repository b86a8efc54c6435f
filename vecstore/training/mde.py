"""The mixed-dimension layer (Ginart et al., ISIT 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from vecstore.schemes.base import TableShape
from vecstore.schemes.mde import Mde
from vecstore.schemes.projected import ProjectedTable, check_width
from vecstore.training.base import TrainablePart
from vecstore.training.projected import ProjectedRows

__all__ = ["MdePart"]


class MdePart(TrainablePart):
    """Rows of ``width`` dimensions, projected to all without a bias; not projected at full width.

    The frozen table's projection is orthonormal, so look-ups differ from :meth:`forward` by rounding: about 1e-6 of a
    row's length.

    Parameters
    ----------
    scheme : Mde
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.
    """

    def __init__(self, scheme: Mde, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        check_width(scheme, scheme.width, shape)
        self.scheme = scheme
        self.weights = ProjectedRows(shape, scheme.width, seed=seed, bound=scale, projected=scheme.width < shape.dim)

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        return self.weights.projected(self.gathered(self.weights.rows, rows))

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows of few dimensions."""
        return [self.weights.rows]

    def freeze(self) -> ProjectedTable:
        """Give the table of the current weights."""
        return self.weights.table(self.scheme, self.shape)
