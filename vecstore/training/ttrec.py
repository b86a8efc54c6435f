"""The tensor-train layer (Yin et al., MLSys 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import TableShape
from vecstore.schemes.ttrec import Ttrec, TtrecTable
from vecstore.training.base import TrainablePart, generator
from vecstore.training.full import to_numpy

__all__ = ["TtrecPart"]

#: Only normal numbers at least this far from 0 are drawn, so that few products of three are near 0.
_CUT = 2.0


class TtrecPart(TrainablePart):
    """Row ``i`` is a chain of three matrices, one of each core, chosen by the digits of ``i``.

    Initial cores are "sampled Gaussian" (TT-Rec, section 3.2): normal numbers with |z| >= 2. An element is a sum of
    R^2 products of three, so each core has the standard deviation that makes the element's ``scale / sqrt(3)``, that of
    U(-scale, scale), whatever the rank.

    Parameters
    ----------
    scheme : Ttrec
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights of a full table.
    """

    def __init__(self, scheme: Ttrec, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        # Var(element) = R^2 Var(core)^3.
        deviation = (scale / math.sqrt(3) / scheme.rank) ** (1 / 3)
        seeds = (int(own >> 1) for own in derived_salts(seed, 3).tolist())
        first, middle, last = (
            nn.Parameter(deviation * _unit_tails(core, own))
            for core, own in zip(scheme.core_shapes(), seeds, strict=True)
        )
        self.first, self.middle, self.last = first, middle, last

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        n_first, n_middle, n_last = self.scheme.row_factors
        rank = self.scheme.rank
        flat = rows.reshape(-1)
        tails = flat // n_first
        # Ids repeat within a batch, and n1 of them share a tail: each product of the large cores is made once. Tails
        # with the same middle matrix are neighbours.
        wanted, places = torch.unique(tails % n_middle * n_last + tails // n_middle, return_inverse=True)
        first = nn.functional.embedding(flat % n_first, self.first.flatten(1))
        own = nn.functional.embedding(places, self._tails(wanted))
        # Sizes are spelled out, because a batch may be empty.
        chains = torch.bmm(
            first.view(len(flat), first.shape[1] // rank, rank), own.view(len(flat), rank, own.shape[1] // rank)
        )
        return chains.view(*rows.shape, self.shape.dim)

    def _tails(self, wanted: Tensor) -> Tensor:
        """Give middle times last matrix float32[n, R d2 d3] of ascending tails int64[n], ``i2 n3 + i3``.

        One product for each middle matrix: a copy of it for each tail would be n R^2 d2 numbers.
        """
        n_last, rank, d_last = self.last.shape
        counts = torch.bincount(wanted // n_last, minlength=len(self.middle)).tolist()
        last = nn.functional.embedding(wanted % n_last, self.last.flatten(1)).view(-1, rank, d_last)
        products = [
            middle.flatten(0, 1) @ own.transpose(0, 1).flatten(1)
            for middle, own in zip(self.middle.unbind(), torch.split(last, counts), strict=True)
            if len(own)
        ]
        if not products:
            return last.new_zeros(0, rank * self.scheme.dim_factors[1] * d_last)
        # [R d2, n d3] -> [n, R d2 d3]
        together = torch.cat(products, dim=1)
        return together.view(len(together), -1, d_last).transpose(0, 1).flatten(1)

    def freeze(self) -> TtrecTable:
        """Give the table of the current weights.

        Look-ups add in another order than torch: they differ from ``forward`` by rounding, at most about
        ``2^-23 (R + 2)`` times the sum of the absolute products.
        """
        cores = (self.first, self.middle, self.last)
        return TtrecTable(self.scheme, self.shape, *(frozen(to_numpy(core)) for core in cores))


def _unit_tails(shape: tuple[int, ...], seed: int) -> Tensor:
    """Give normal numbers with |z| >= 2, divided by their standard deviation.

    The distribution function is inverted on its tail. Its second moment is 1 + c f(c) / Q(c) at the cut c, with density
    f and upper tail Q: 5.7 instead of 1.
    """
    tail = 0.5 * math.erfc(_CUT / math.sqrt(2))
    density = math.exp(-(_CUT**2) / 2) / math.sqrt(2 * math.pi)
    source = generator(seed)
    # 1 - [0, 1) leaves out 0, whose normal number is infinite.
    distances = -torch.special.ndtri(tail * (1 - torch.rand(shape, generator=source, dtype=torch.float64)))
    signs = torch.randint(0, 2, shape, generator=source) * 2 - 1
    drawn: Tensor = signs * distances / math.sqrt(1 + _CUT * density / tail)
    return drawn.float()
