"""The layer of ``pca+pq``: whole rows are trained, then coded along principal axes, and centroids trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import TableShape
from vecstore.schemes.composed import ComposedTable
from vecstore.schemes.pca_pq import PcaPq
from vecstore.schemes.pq import PqTable
from vecstore.training.base import Stage
from vecstore.training.frozen import FrozenEvaluation
from vecstore.training.full import to_numpy, uniform_rows
from vecstore.types import I64

__all__ = ["PcaPqPart"]


class PcaPqPart(FrozenEvaluation):
    """Whole rows, whose place a projection, codes and centroids take when the stage ``retrain`` begins.

    From then on centroids are trained; axes and codes stay. Until then training is dense, and eval mode and
    :meth:`freeze` show what the weights of now would give.

    Parameters
    ----------
    scheme : PcaPq
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.

    Notes
    -----
    Memory while training is that of the dense table throughout.
    """

    coded: Tensor
    axes: Tensor
    numbers: Tensor

    def __init__(self, scheme: PcaPq, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        self._frequency: I64 | None = None
        rows_seed, self._codes_seed = (int(own) for own in derived_salts(seed, 2) >> np.uint64(1))
        self.rows = nn.Parameter(uniform_rows(shape.rows, shape.dim, scale, rows_seed))
        width, codec = scheme.width, scheme.product_codec
        self.codebook = nn.Parameter(torch.zeros(codec.parts, codec.centroids, codec.width(width)))
        self.register_buffer("coded", torch.zeros((), dtype=torch.bool))
        # As bits, because a layer that is put to another type must not round axes, which are stored orthonormal.
        self.register_buffer("axes", torch.eye(width, shape.dim).view(torch.int32))
        self.register_buffer("numbers", torch.zeros(shape.rows, codec.parts, dtype=torch.uint8))

    def trained(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...], with gradients."""
        if not self.coded:
            return self.gathered(self.rows, rows)
        parts, centroids, _ = self.codebook.shape
        places = self.numbers[rows].long() + torch.arange(parts, device=rows.device) * centroids
        inside = nn.functional.embedding(places, self.codebook.flatten(0, 1)).flatten(-2)
        return inside @ self.axes.view(torch.float32).to(inside)

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the whole rows."""
        return [self.rows]

    def observe(self, frequency: I64) -> None:
        """Take the counts by which rows weigh when axes are chosen."""
        self._frequency = frequency

    def stages(self) -> tuple[Stage, ...]:
        """Give dense training, then training of the centroids."""
        return (Stage("train", share=0.5, selects=False), Stage("retrain", share=0.5))

    @torch.no_grad()
    def begin(self, stage: str) -> None:
        """Choose axes and codes when ``retrain`` begins."""
        if stage != "retrain" or self.coded:
            return
        made = self._fitted()
        stored, axes = made.stored, made.layout.arrays.get("projection")
        if not isinstance(stored, PqTable):
            raise TypeError(f"{self.scheme.name}: rows are held by {stored.scheme.name!r}")
        if axes is not None:
            self.axes.copy_(torch.from_numpy(axes.copy()).view(torch.int32))
        self.codebook.copy_(torch.from_numpy(stored.codebook.copy()))
        self.numbers.copy_(torch.from_numpy(stored.numbers(np.arange(self.shape.rows))))
        self.coded.fill_(True)

    def freeze(self) -> ComposedTable:
        """Give the table of the current weights."""
        if not self.coded:
            return self._fitted()
        axes, numbers = self.axes.view(torch.float32).cpu().numpy().copy(), self.numbers.cpu().numpy().copy()
        return self.scheme.holding(self.shape, axes, to_numpy(self.codebook), numbers)

    def _fitted(self) -> ComposedTable:
        return self.scheme.fit(to_numpy(self.rows), frequency=self._frequency, seed=self._codes_seed)
