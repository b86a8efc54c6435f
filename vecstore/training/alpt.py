"""Adaptive low-precision training: integers with a learned step a row (Li et al., AAAI 2023)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from vecstore.schemes.alpt import Alpt
from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.schemes.coded import limit_of
from vecstore.training.base import Stage, Update
from vecstore.training.rounding import RoundedPart

__all__ = ["AlptPart", "rounded_to_steps"]

#: Learning rate of the steps.
_RATE = 2e-5
#: Steps stay above this fraction of the initial one.
_LEAST = 1 / 64


class AlptPart(RoundedPart):
    """Rows of codes times a step, which is learned with the gradient of LSQ.

    A training step has two updates on the same batch (:meth:`stages`). The first updates the batch's decoded rows. The
    second runs the host again with those rows rounded to their steps, and updates the steps. Then :meth:`after_step`
    writes the rows back at the new steps by stochastic rounding. The workspace tells the two apart by itself: decoded
    rows are multiples of their steps and give them no gradient, except at the end of the range.

    Parameters
    ----------
    scheme : Alpt
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.
    """

    def __init__(self, scheme: Alpt, shape: TableShape, *, seed: int, scale: float) -> None:
        limit = float(limit_of(scheme.kind))
        # Weights from U(-b, b) have a mean magnitude of b / 2.
        first = scale / math.sqrt(limit) if scheme.initial_step is None else scheme.initial_step
        super().__init__(shape, scheme.kind, torch.full((shape.rows, 1), first), seed=seed, bound=scale)
        self.scheme = scheme
        self.least_step = first * _LEAST
        self.steps = nn.Parameter(self.scales.clone())

    def stages(self) -> tuple[Stage, ...]:
        """Give one stage: each step updates the weights, and then the steps, on the same batch."""
        return (Stage("train", updates=(Update("weights"), Update("search", rate=_RATE))),)

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the workspaces of rows and steps."""
        return [self.rows, self.steps]

    def search_parameters(self) -> list[nn.Parameter]:
        """Give the workspace of the steps."""
        return [self.steps]

    def _take_up(self, rows: Tensor) -> None:
        super()._take_up(rows)
        self.steps[rows] = self.scales[rows]

    def _trained(self, rows: Tensor) -> Tensor:
        values = self.gathered(self.rows, rows)
        steps = self.gathered(self.steps, rows)
        factor = 1 / math.sqrt(max(len(rows), 1) * self.shape.dim * self.limit)
        return rounded_to_steps(values, steps, self.limit, factor)

    def _write_back(self, used: Tensor) -> None:
        steps = self.steps[used].clamp_min(self.least_step)
        self.codes[used] = self._round(self.rows[used], steps)
        self.scales[used] = steps

    def freeze(self) -> CompressedTable:
        """Give the table of the codes and steps as they were trained."""
        return self.scheme.table(self.shape, *self.frozen_arrays())


class _RoundedToSteps(torch.autograd.Function):
    """Deterministic rounding, with LSQ's gradient on the steps (Esser et al., ICLR 2020, equations 1 to 3)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, steps: Tensor, limit: float, factor: float) -> Tensor:
        scaled = values / steps
        codes = (scaled + 0.5).floor().clamp(-limit, limit)
        ctx.save_for_backward(torch.where(scaled.abs() < limit, codes - scaled, codes))
        ctx.factor = factor
        return codes * steps

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        gradient = gradients[0]
        # A row's step gets the sum over the row, in whatever order torch adds.
        return gradient, (gradient * slopes).sum(-1, keepdim=True) * ctx.factor, None, None


def rounded_to_steps(values: Tensor, steps: Tensor, limit: float, factor: float) -> Tensor:
    """Give ``values`` rounded to multiples of ``steps``, halves upwards, at most ``limit`` of them.

    Parameters
    ----------
    values : float32[..., dim]
        Their gradient passes unchanged, also outside the range: a weight at the bound must be able to come back.
    steps : float32[..., 1]
        Their gradient is ``round(v) - v`` inside the range, v = value / step, and the limit with its sign outside,
        summed over the row and times ``factor``.
    limit : float
        Largest code.
    factor : float
        1 / sqrt(batch dim limit).
    """
    rounded: Tensor = _RoundedToSteps.apply(values, steps, limit, factor)  # type: ignore[no-untyped-call]
    return rounded
