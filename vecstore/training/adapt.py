"""The layer of private rows for frequent ids and shared rows for the others (adaptive embedding of DeepRec)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.adapt import Adapt, AdaptTable, adapted_places
from vecstore.schemes.base import TableShape
from vecstore.schemes.ranked_bitmap import most_frequent, pack
from vecstore.training.base import TrainablePart
from vecstore.training.full import to_numpy, uniform_rows
from vecstore.types import I64

__all__ = ["AdaptPart"]


class AdaptPart(TrainablePart):
    """The place of a hot id is its rank among the hot ones; that of another id its bucket, after the hot rows.

    Parameters
    ----------
    scheme : Adapt
    shape : TableShape
    seed : int
        Also gives the salt.
    scale : float
        Bound of the initial weights.

    Notes
    -----
    Until :meth:`observe` is called, the first ids are the hot ones.
    """

    places: Tensor

    def __init__(self, scheme: Adapt, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        self.salt = derived_salts(seed, 1)
        self.rows = nn.Parameter(uniform_rows(scheme.hot + scheme.shared, shape.dim, scale, seed))
        # Found once instead of in each step: where every id's row is, int64[n].
        self.register_buffer("places", torch.empty(shape.rows, dtype=torch.int64))
        self._choose(None)

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        return self.gathered(self.rows, self.places[rows])

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows."""
        return [self.rows]

    def observe(self, frequency: I64) -> None:
        """Make the most frequent ids the hot ones."""
        self._choose(frequency)

    def freeze(self) -> AdaptTable:
        """Give the table of the current weights."""
        words, ranks = pack(self.places.cpu().numpy() < self.scheme.hot)
        return AdaptTable(self.scheme, self.shape, frozen(to_numpy(self.rows)), words, ranks, frozen(self.salt))

    def _choose(self, frequency: I64 | None) -> None:
        words, ranks = pack(most_frequent(self.shape.rows, self.scheme.hot, frequency))
        places = adapted_places(self.scheme, words, ranks, self.salt, np.arange(self.shape.rows))
        self.places.copy_(torch.from_numpy(places))
