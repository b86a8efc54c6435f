"""The quotient-remainder layer (Shi et al., KDD 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import TableShape
from vecstore.schemes.compo import Compo, CompoTable
from vecstore.training.base import TrainablePart, generator
from vecstore.training.full import to_numpy, uniform_rows

__all__ = ["CompoPart"]

#: Spread of the smaller factor of a product around 1.
_SPREAD = 0.1


class CompoPart(TrainablePart):
    """Row ``i`` is ``quotient[i // m]`` times (or plus) ``remainder[i % m]``.

    Initial rows have the variance of U(-scale, scale). A product of two such factors would not: it would be tiny, and
    the gradient of each factor, scaled by the other, with it. So the smaller factor of a product lies around 1, and the
    larger, which tells more ids apart, has the scale.

    Parameters
    ----------
    scheme : Compo
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights of a full table.
    """

    def __init__(self, scheme: Compo, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        quotients, remainders = scheme.quotients(shape.rows), scheme.remainders
        first, second = (int(own >> 1) for own in derived_salts(seed, 2).tolist())
        if scheme.aggregate == "sum":
            bound = scale / math.sqrt(2)
            quotient = uniform_rows(quotients, shape.dim, bound, first)
            remainder = uniform_rows(remainders, shape.dim, bound, second)
        else:
            # E[(x y)^2] = E[x^2] (1 + spread^2).
            bound = scale / math.sqrt(1 + _SPREAD**2)
            large = uniform_rows(max(quotients, remainders), shape.dim, bound, first)
            small = _rows_around_one(min(quotients, remainders), shape.dim, second)
            quotient, remainder = (large, small) if quotients > remainders else (small, large)
        self.quotient = nn.Parameter(quotient)
        self.remainder = nn.Parameter(remainder)

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        quotient = self.gathered(self.quotient, rows // self.scheme.remainders)
        remainder = self.gathered(self.remainder, rows % self.scheme.remainders)
        return quotient * remainder if self.scheme.aggregate == "product" else quotient + remainder

    def row_parameters(self) -> list[nn.Parameter]:
        """Give both tables."""
        return [self.quotient, self.remainder]

    def freeze(self) -> CompoTable:
        """Give the table of the current weights; look-ups have the bits of ``forward``."""
        return CompoTable(self.scheme, self.shape, frozen(to_numpy(self.quotient)), frozen(to_numpy(self.remainder)))


def _rows_around_one(rows: int, dim: int, seed: int) -> Tensor:
    """Give float32[rows, dim] from N(1, spread^2)."""
    return 1 + _SPREAD * torch.randn(rows, dim, generator=generator(seed))
