"""The layer with learned factors a frequency group and dimension (Kong et al., "AutoSrh", TKDE 2022)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.schemes.autosrh import AutoSrh
from vecstore.schemes.base import TableShape
from vecstore.training.base import Stage, Update, stretch
from vecstore.training.full import uniform_rows
from vecstore.training.pruning import PrunedPart
from vecstore.types import I64

__all__ = ["AutoSrhPart", "frequency_groups"]

GROUPS = 6
#: Learning rate of the factors, and the least steps of a search in which it brings one from 1 to 0.
SEARCH_RATE = 1e-3
SEARCH_STEPS = 1_000
#: Weight of the factors' L1 norm in the loss of the search.
L1_WEIGHT = 1e-5
#: Keeps a group that got no gradient at 0 instead of 0 / 0.
_TINY = 1e-30


class _DividedGradient(torch.autograd.Function):
    """The identity, whose gradient float32[groups, dim] is divided by the mean magnitude of each group's."""

    @staticmethod
    def forward(ctx: Any, factors: Tensor) -> Tensor:  # noqa: ARG004
        return factors.view_as(factors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient / gradient.abs().mean(1, keepdim=True).clamp_min(_TINY)


def _divided_gradient(factors: Tensor) -> Tensor:
    same: Tensor = _DividedGradient.apply(factors)  # type: ignore[no-untyped-call]
    return same


def frequency_groups(frequency: I64, groups: int = GROUPS) -> I64:
    """Give the group int64[n] of each id by its count: 0 has the most frequent ones; equal counts are never split.

    An id that has m more frequent ones before it is in group floor(groups m / n).
    """
    counts = np.asarray(frequency)
    ascending = np.sort(counts)
    more_frequent = len(counts) - np.searchsorted(ascending, counts, side="right")
    return (groups * more_frequent // max(len(counts), 1)).astype(np.int64)


class AutoSrhPart(PrunedPart):
    """Dense weights times a factor in [0, 1] for each group of ids and each dimension.

    The factors rescale magnitudes, so that the final cut falls on the dimensions that a group needs least. That cut is
    one shot: the method has no fine-tuning after it. Without counts (:meth:`observe`) all ids are one group.

    Their gradients are divided by their mean magnitude, so that a step moves a factor by about its rate, 0.001. In a
    search of fewer than 1,000 steps no factor could get from 1 to 0; there each move is stretched by 1,000 / steps.

    Parameters
    ----------
    scheme : AutoSrh
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.
    """

    groups: Tensor
    before: Tensor

    def __init__(self, scheme: AutoSrh, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(scheme, shape)
        self.rows = nn.Parameter(uniform_rows(shape.rows, shape.dim, scale, seed))
        self.factors = nn.Parameter(torch.ones(GROUPS, shape.dim))
        self.register_buffer("before", self.factors.detach().clone())
        self.register_buffer("groups", torch.zeros(shape.rows, dtype=torch.int64))
        self._searching = False
        # One node of the graph for all uses in a step, so that their gradients are added before they are divided.
        self._used: Tensor = self.factors.detach()

    def dense(self, rows: Tensor) -> Tensor:
        """Give the weights of ``rows`` times the factors of their groups."""
        self._used = _divided_gradient(self.factors) if self._searching else self.factors.detach()
        return self.gathered(self.rows, rows) * self._used[self.groups[rows]]

    def whole(self) -> Tensor:
        """Give all weights with the factors multiplied in."""
        return self.rows * self.factors[self.groups]

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows."""
        return [self.rows]

    def observe(self, frequency: I64) -> None:
        """Group the ids by their counts int64[n]."""
        with torch.no_grad():
            self.groups.copy_(torch.from_numpy(frequency_groups(frequency)))

    def stages(self) -> tuple[Stage, ...]:
        """Give the dense start, the search with the host as it is, and training of all with the factors fixed.

        Checkpoints of the last are eligible: what is validated is the table after the final cut.
        """
        search = (Update("table"), Update("search", split="valid", optimiser="sgd", rate=SEARCH_RATE))
        return (
            Stage("warm-up", share=0.3, updates=(Update("weights"),), selects=False),
            Stage("search", share=0.3, updates=search, selects=False),
            Stage("retrain", share=0.4, updates=(Update("weights"),)),
        )

    def begin(self, stage: str) -> None:
        """Let the factors get gradients in the search only."""
        self._searching = stage == "search"
        with torch.no_grad():
            self.before.copy_(self.factors)

    def search_parameters(self) -> list[nn.Parameter]:
        """Give the factors; they are multiplied into the table."""
        return [self.factors]

    def extra_loss(self) -> Tensor:
        """Give the L1 norm of the factors times 1e-5 in the search, once for each ``forward``."""
        if not self._searching:
            return super().extra_loss()
        # The node is let go, so that the part can be copied between steps.
        used, self._used = self._used, self.factors.detach()
        return L1_WEIGHT * used.abs().sum()

    def after_step(self, step: int, steps: int) -> None:  # noqa: ARG002
        """Stretch the move of the factors in a short search, and clip them to [0, 1]."""
        if self._searching:
            stretch(self.factors, self.before, max(1.0, SEARCH_STEPS / steps))
            with torch.no_grad():
                self.before.copy_(self.factors.clamp_(0, 1))
