"""The dense layer: the reference that compression is measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.schemes.base import TableShape
from vecstore.schemes.full import Full, FullTable
from vecstore.training.base import TrainablePart, generator
from vecstore.types import F32

__all__ = ["FullPart", "to_numpy", "uniform_rows"]


class FullPart(TrainablePart):
    """One float32 row an id, drawn from U(-scale, scale).

    Parameters
    ----------
    scheme : Full
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.
    """

    def __init__(self, scheme: Full, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        self.rows = nn.Parameter(uniform_rows(shape.rows, shape.dim, scale, seed))

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        return self.gathered(self.rows, rows)

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows."""
        return [self.rows]

    def freeze(self) -> FullTable:
        """Give the table of the current weights."""
        return FullTable(self.scheme, self.shape, frozen(to_numpy(self.rows)))


def uniform_rows(rows: int, dim: int, scale: float, seed: int) -> Tensor:
    """Give float32[rows, dim] from U(-scale, scale)."""
    return (torch.rand(rows, dim, generator=generator(seed)) * 2 - 1) * scale


def to_numpy(weights: Tensor) -> F32:
    """Give a copy of weights as a numpy array float32, which is what tables hold, whatever type they are trained in."""
    values: F32 = weights.detach().float().cpu().numpy().copy()
    return values
