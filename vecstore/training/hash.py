"""The hashed layer: ids share the rows of a smaller table (Weinberger et al., ICML 2009)."""

from __future__ import annotations

from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.schemes.base import TableShape
from vecstore.schemes.hash import Hash, HashTable
from vecstore.training.base import TrainablePart
from vecstore.training.full import to_numpy, uniform_rows
from vecstore.training.hashing import buckets, salts_of, stored_salts

__all__ = ["HashPart"]


class HashPart(TrainablePart):
    """Row ``id`` is row ``bucket(mix(id, salt))`` of a smaller table.

    Parameters
    ----------
    scheme : Hash
    shape : TableShape
    seed : int
        Also gives the salt.
    scale : float
        Bound of the initial weights.
    """

    salt: Tensor

    def __init__(self, scheme: Hash, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        self.register_buffer("salt", salts_of(seed, 1))
        self.rows = nn.Parameter(uniform_rows(scheme.buckets, shape.dim, scale, seed))

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        return self.gathered(self.rows, buckets(rows, int(self.salt[0]), self.scheme.buckets))

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows."""
        return [self.rows]

    def freeze(self) -> HashTable:
        """Give the table of the current weights."""
        return HashTable(self.scheme, self.shape, frozen(to_numpy(self.rows)), stored_salts(self.salt))
