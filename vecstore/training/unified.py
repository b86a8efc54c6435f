"""The multiplexed layer: all fields share the rows of one table (Coleman et al., NeurIPS 2023)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import starts_of
from vecstore.schemes.unified import Unified, UnifiedTable, salts_of
from vecstore.training.base import TrainablePart
from vecstore.training.full import to_numpy, uniform_rows
from vecstore.training.hashing import bucket_of, mix

__all__ = ["UnifiedPart"]


class UnifiedPart(TrainablePart):
    """Look-up j of an id is row ``bucket(mix(id, salts[field, j]))`` of one table; the row is their chain.

    Parameters
    ----------
    scheme : Unified
    shape : TableShape
    seed : int
        Also gives the salts, together with the names of the fields.
    scale : float
        Bound of the initial weights.
    """

    key: Tensor
    salts: Tensor
    starts: Tensor
    firsts: Tensor

    def __init__(self, scheme: Unified, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        count = scheme.lookups(shape.dim)
        key = derived_salts(seed, 1)
        self.register_buffer("key", torch.from_numpy(key.view(np.int64)))
        self.register_buffer("salts", torch.from_numpy(salts_of(scheme, key, count).view(np.int64).copy()))
        self.register_buffer("starts", torch.from_numpy(starts_of(scheme.fields)), persistent=False)
        self.register_buffer("firsts", torch.from_numpy(scheme.firsts(shape.dim)), persistent=False)
        self.rows = nn.Parameter(uniform_rows(scheme.table_rows(shape.dim), scheme.width, scale, seed))

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        return self.gathered(self.rows, self.places(rows)).reshape(*rows.shape, self.shape.dim)

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows."""
        return [self.rows]

    def places(self, rows: Tensor) -> Tensor:
        """Give the table rows int64[..., look-ups] of ``rows`` int64[...]."""
        fields = torch.bucketize(rows, self.starts[1:], right=True)
        keys = (rows - self.starts[fields])[..., None]
        shared = bucket_of(mix(keys + self.salts[fields], 0), self.scheme.buckets)
        if not self.scheme.exempt:
            return shared
        count = self.salts.shape[1]
        firsts = self.firsts[fields][..., None]
        own = firsts + keys * count + torch.arange(count, device=rows.device)
        return torch.where(firsts < 0, shared, own)

    def freeze(self) -> UnifiedTable:
        """Give the table of the current weights."""
        salts, key = (frozen(bits.cpu().numpy().copy().view(np.uint64)) for bits in (self.salts, self.key))
        return UnifiedTable(self.scheme, self.shape, frozen(to_numpy(self.rows)), salts, key)
