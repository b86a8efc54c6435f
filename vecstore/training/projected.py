"""Rows of few dimensions and the matrix that projects them: what ``mde`` trains, and ``autodim`` after its search."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.projected import ProjectedTable, orthonormal
from vecstore.training.full import to_numpy, uniform_rows

__all__ = ["ProjectedRows"]


class ProjectedRows(nn.Module):
    """``rows[id] @ projection + bias``.

    Rows are drawn from U(-bound, bound), and the projection from U(-sqrt(3 / width), sqrt(3 / width)), so that the
    products have the variance of the rows.

    Parameters
    ----------
    shape : TableShape
        Rows and dimensions of the products.
    width : int
        Dimensions of the rows.
    seed : int
    bound : float
    projected : bool
        Whether there is a projection.
    biased : bool
        Whether there is a bias; it begins as zeros.
    """

    def __init__(
        self, shape: TableShape, width: int, *, seed: int, bound: float, projected: bool = True, biased: bool = False
    ) -> None:
        super().__init__()
        rows_seed, projection_seed = (int(own) for own in derived_salts(seed, 2) >> np.uint64(1))
        self.width = width
        self.rows = nn.Parameter(uniform_rows(shape.rows, width, bound, rows_seed))
        self.projection = self.bias = None
        if projected:
            spread = math.sqrt(3 / width)
            self.projection = nn.Parameter(uniform_rows(width, shape.dim, spread, projection_seed))
        if biased:
            self.bias = nn.Parameter(torch.zeros(shape.dim))

    def forward(self, rows: Tensor, *, sparse: bool = False) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]; ``sparse`` is whether the gradient of the rows is sparse."""
        return self.projected(nn.functional.embedding(rows, self.rows, sparse=sparse))

    def projected(self, vectors: Tensor) -> Tensor:
        """Give float32[..., dim] of rows float32[..., width]."""
        if self.projection is not None:
            vectors = vectors @ self.projection
        return vectors if self.bias is None else vectors + self.bias

    def table(self, scheme: Scheme, shape: TableShape) -> ProjectedTable:
        """Give the table of the current weights: whole rows at full width, else with an orthonormal projection."""
        if self.projection is None or self.width == shape.dim:
            return ProjectedTable(
                scheme, shape, frozen(to_numpy(self(torch.arange(shape.rows, device=self.rows.device))))
            )
        rows, projection = orthonormal(to_numpy(self.rows), to_numpy(self.projection))
        return ProjectedTable(
            scheme, shape, rows, projection, None if self.bias is None else frozen(to_numpy(self.bias))
        )
