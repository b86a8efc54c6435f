"""The magnitude-pruned layer (Deng et al., "DeepLight", WSDM 2021, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vecstore.schemes.base import TableShape
from vecstore.schemes.deeplight import DeepLight
from vecstore.training.base import Stage
from vecstore.training.full import uniform_rows
from vecstore.training.pruning import PrunedPart, largest

__all__ = ["DeepLightPart"]

#: Steps between two prunings.
PRUNE_EVERY = 10
#: How far from its end the schedule may be when checkpoints become eligible.
TOLERANCE = 1e-3


class DeepLightPart(PrunedPart):
    """Dense weights of which ever more are set to 0.

    The paper's sparsity after t steps of pruning is S (1 - 0.99^(t/100)), which takes 68,700 steps to come within 1e-3
    of S. Here the stage ``prune`` of any length does so: S (1 - 0.001^(step/steps)). In the stage ``settle`` it is S.
    The optimiser's state is kept, and between two prunings zeros may regrow.

    Parameters
    ----------
    scheme : DeepLight
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.
    """

    def __init__(self, scheme: DeepLight, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(scheme, shape)
        self.rows = nn.Parameter(uniform_rows(shape.rows, shape.dim, scale, seed))
        self._stage = "warm-up"

    def dense(self, rows: Tensor) -> Tensor:
        """Give the weights of ``rows``."""
        return self.gathered(self.rows, rows)

    def whole(self) -> Tensor:
        """Give all weights."""
        return self.rows

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows."""
        return [self.rows]

    def stages(self) -> tuple[Stage, ...]:
        """Give the dense start, the pruning, and training at the final sparsity, whose checkpoints are eligible."""
        return (
            Stage("warm-up", share=0.2, selects=False),
            Stage("prune", share=0.5, selects=False),
            Stage("settle", share=0.3),
        )

    def begin(self, stage: str) -> None:
        """Note the stage."""
        self._stage = stage

    def after_step(self, step: int, steps: int) -> None:
        """Prune in every 10th step and the last one."""
        if self._stage != "warm-up" and (step % PRUNE_EVERY == 0 or step == steps):
            mask = largest(self.rows, self.kept(step / steps))
            with torch.no_grad():
                self.rows.masked_fill_(~mask, 0)

    def kept(self, progress: float) -> int:
        """Give how many weights a pruning leaves after that share of the current stage."""
        total, stored = self.shape.rows * self.shape.dim, self.scheme.stored(self.shape)
        reached = 1.0 if self._stage == "settle" else 1 - TOLERANCE**progress
        return total - int(reached * (total - stored))
