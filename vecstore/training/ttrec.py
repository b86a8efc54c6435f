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
        n_first, rank = len(self.first), self.scheme.rank
        flat = rows.reshape(-1)
        # Ids repeat within a batch, and n1 of them share a tail: each product of the large cores is made once.
        wanted, places = torch.unique(flat // n_first, return_inverse=True)
        middle = nn.functional.embedding(wanted % len(self.middle), self.middle.flatten(1))
        last = nn.functional.embedding(wanted // len(self.middle), self.last.flatten(1))
        # Sizes are spelled out, because a batch may be empty.
        tails = torch.bmm(
            middle.view(len(wanted), middle.shape[1] // rank, rank), last.view(len(wanted), rank, last.shape[1] // rank)
        ).flatten(1)
        first = nn.functional.embedding(flat % n_first, self.first.flatten(1))
        own = nn.functional.embedding(places, tails)
        chains = torch.bmm(
            first.view(len(flat), first.shape[1] // rank, rank), own.view(len(flat), rank, own.shape[1] // rank)
        )
        return chains.view(*rows.shape, self.shape.dim)

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
