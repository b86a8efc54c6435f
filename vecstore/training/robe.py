"""The layer whose rows read blocks of one array (Desai et al., MLSys 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.schemes.base import TableShape
from vecstore.schemes.robe import Robe, RobeTable
from vecstore.training.base import TrainablePart
from vecstore.training.full import to_numpy, uniform_rows
from vecstore.training.hashing import buckets, mix, salts_of, stored_salts

__all__ = ["RobePart"]


class RobePart(TrainablePart):
    """Block ``c`` of row ``i`` begins at ``bucket(mix(i, salt c), size - block + 1)`` of one array, with hashed signs.

    Parameters
    ----------
    scheme : Robe
    shape : TableShape
    seed : int
        Also gives the salts.
    scale : float
        Bound of the initial weights.
    """

    salts: Tensor

    def __init__(self, scheme: Robe, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        self.register_buffer("salts", salts_of(seed, scheme.n_salts(shape.dim)))
        # Rows of one number, which can be gathered.
        self.array = nn.Parameter(uniform_rows(scheme.size, 1, scale, seed))

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        values = self.gathered(self.array, self._places(rows))[..., 0]
        return values * self._signs(rows) if self.scheme.signed else values

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the array, every number of which is a row."""
        return [self.array]

    def freeze(self) -> RobeTable:
        """Give the table of the current weights; look-ups have the bits of ``forward``."""
        return RobeTable(self.scheme, self.shape, frozen(to_numpy(self.array[:, 0])), stored_salts(self.salts))

    def _places(self, rows: Tensor) -> Tensor:
        """Give where each number of ``rows`` is read, int64[..., dim]."""
        salts = self.salts[: self.scheme.blocks(self.shape.dim)].tolist()
        n_places = self.scheme.size - self.scheme.block + 1
        starts = torch.stack([buckets(rows, salt, n_places) for salt in salts], dim=-1)
        within = torch.arange(self.scheme.block, device=rows.device)
        return (starts[..., None] + within).flatten(-2)[..., : self.shape.dim]

    def _signs(self, rows: Tensor) -> Tensor:
        """Give the sign of each number of ``rows``, float32[..., dim]."""
        salts = self.salts[self.scheme.blocks(self.shape.dim) :].tolist()
        words = torch.stack([mix(rows, salt) for salt in salts], dim=-1)
        bits = (words[..., None] >> torch.arange(64, device=rows.device)) & 1
        return 1 - 2 * bits.flatten(-2)[..., : self.shape.dim].to(self.array.dtype)
