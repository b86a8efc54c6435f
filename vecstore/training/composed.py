"""Layers of hybrids: the layout is trained as its own scheme does it, on rows that are rounded by the codec."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.schemes.base import CompressedTable, Scheme, TableShape
from vecstore.schemes.composed import Composed, ComposedTable
from vecstore.training.base import Stage
from vecstore.training.frozen import FrozenEvaluation
from vecstore.types import I64

__all__ = ["ComposedPart"]


class ComposedPart(FrozenEvaluation):
    """The part of the layout's scheme, whose stored rows are rounded where they are read.

    In training, a row that a step reads is what the codec would make of it, and its gradient passes unchanged to the
    float32 row (the straight-through estimator). In eval mode the part looks rows up in the table that it would freeze.

    Memory in training is that of the layout's part: rows are float32 until they are frozen.

    Parameters
    ----------
    scheme : Composed
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.

    References
    ----------
    Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation", 2013,
    section 4 (straight-through).
    """

    def __init__(self, scheme: Composed, shape: TableShape, *, seed: int, scale: float) -> None:
        from vecstore.training import make_part  # which makes this one too

        super().__init__(shape)
        self.scheme = scheme
        self.outer = make_part(scheme.laid_out, shape, seed=seed, scale=scale)
        self.outer.rounding = Rounding(scheme.row_codec)

    def trained(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...], with gradients."""
        self.outer.sparse = self.sparse
        vectors: Tensor = self.outer(rows)
        return vectors

    def freeze(self) -> ComposedTable:
        """Give the table of the current weights."""
        return self.scheme.coded(self.outer.freeze())

    # What the layout's part decides

    def extra_loss(self) -> Tensor:
        """Give that of the layout's part."""
        return self.outer.extra_loss()

    def after_step(self, step: int, steps: int) -> None:
        """Do what the layout's part does."""
        self.outer.after_step(step, steps)

    @property
    def needs_after_step(self) -> bool:
        """Whether the layout's part does anything there."""
        return self.outer.needs_after_step

    def stages(self) -> tuple[Stage, ...]:
        """Give those of the layout's part."""
        return self.outer.stages()

    def begin(self, stage: str) -> None:
        """Get the layout's part ready for a stage."""
        self.outer.begin(stage)

    def row_parameters(self) -> list[nn.Parameter]:
        """Give those of the layout's part."""
        return self.outer.row_parameters()

    def search_parameters(self) -> list[nn.Parameter]:
        """Give those of the layout's part."""
        return self.outer.search_parameters()

    def observe(self, frequency: I64) -> None:
        """Take the counts of the training split."""
        self.outer.observe(frequency)


class Rounding:
    """What a codec makes of rows that are given to it, with straight-through gradients.

    Parameters
    ----------
    codec : Scheme
        Codes each row by itself.
    """

    def __init__(self, codec: Scheme) -> None:
        self._codec = codec

    def __call__(self, rows: Tensor) -> Tensor:
        """Round ``rows`` float[n, width]."""
        rounded: Tensor = _StraightThrough.apply(rows, self._codec)  # type: ignore[no-untyped-call]
        return rounded


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, codec: Scheme) -> Tensor:  # noqa: ARG004 - nothing is kept for backward
        if rows.device.type == "meta":
            return rows.clone()
        table: CompressedTable = codec.fit(rows.detach().float().cpu().numpy())
        return torch.from_numpy(table.lookup(np.arange(len(rows)))).to(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradients[0], None
