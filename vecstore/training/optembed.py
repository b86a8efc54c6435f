"""The layer of pruned rows and prefixes (Lyu et al., "OptEmbed", CIKM 2022, section 3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import starts_of
from vecstore.schemes.optembed import OptEmbed, OptEmbedTable, prefix_table
from vecstore.schemes.prefixes import select
from vecstore.training.base import Stage, Update, generator
from vecstore.training.full import to_numpy, uniform_rows
from vecstore.training.pruning import CachedForm
from vecstore.types import I64

__all__ = ["OptEmbedPart"]

#: Weight of sum exp(-threshold), which pushes thresholds up, and the rate at which they move, of the ranges that the
#: paper searched.
THRESHOLD_WEIGHT = 1e-4
THRESHOLD_RATE = 1e-4


class _Step(torch.autograd.Function):
    """1 where z > 0, else 0; backward by the long-tailed estimate of the step's slope (paper, section 3.2).

    The slope is 2 - 4 |z| up to |z| = 0.4, then 0.4 up to 1, then 0.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return (z > 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        distance = z.abs()
        slope = torch.where(distance <= 0.4, 2 - 4 * distance, torch.where(distance <= 1, 0.4, 0.0))
        return gradient * slope


def _step(z: Tensor) -> Tensor:
    passed: Tensor = _Step.apply(z)  # type: ignore[no-untyped-call]
    return passed


class OptEmbedPart(CachedForm):
    """Rows that pass their field's threshold, cut to their field's prefix.

    In the stage ``search`` a row passes where its L1 norm is above the threshold, and every look-up is cut to a prefix
    of random length, so that the first columns learn to matter most. The paper then finds a prefix a field by an
    evolution on validation quality without regard to size. Here the choice is made under the budget, in one pass over
    the weights: rows by their margin over the threshold, columns by their squares weighted with the ids' counts
    (:func:`vecstore.schemes.prefixes.select`). In the stage ``retrain`` the chosen numbers are trained from their
    initial values, together with a fresh host.

    Parameters
    ----------
    scheme : OptEmbed
    shape : TableShape
    seed : int
        Of the initial weights and of the random prefixes.
    scale : float
        Bound of the initial weights.
    """

    owners: Tensor
    counts: Tensor
    keep: Tensor
    dims: Tensor
    chosen: Tensor

    def __init__(self, scheme: OptEmbed, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        self._seed, self._scale = seed, scale
        self._lengths = generator(int(derived_salts(seed, 1)[0] >> np.uint64(1)))
        self._starts = starts_of(scheme.fields)
        self.rows = nn.Parameter(self._initial_rows())
        self.thresholds = nn.Parameter(torch.zeros(len(scheme.fields)))
        owners = np.repeat(np.arange(len(scheme.fields)), np.diff(self._starts))
        self.register_buffer("owners", torch.from_numpy(owners), persistent=False)
        self.register_buffer("counts", torch.ones(shape.rows, dtype=torch.float64))
        # The outcome of the search, once there is one.
        self.register_buffer("chosen", torch.zeros((), dtype=torch.bool))
        self.register_buffer("keep", torch.ones(shape.rows, dtype=torch.bool))
        self.register_buffer("dims", torch.full((len(scheme.fields),), shape.dim, dtype=torch.int64))

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        vectors = self.gathered(self.rows, rows)
        fields = self.owners[rows]
        if self.training and not self.chosen:
            passed = _step(vectors.abs().sum(-1) - self.thresholds[fields])
            lengths = torch.randint(1, self.shape.dim + 1, rows.shape, generator=self._lengths).to(rows.device)
            return (vectors * passed.unsqueeze(-1)).masked_fill(~self._prefix(lengths), 0)
        keep, dims = self.form()
        return vectors.masked_fill(~(keep[rows].unsqueeze(-1) & self._prefix(dims[fields])), 0)

    def evaluated_form(self) -> tuple[Tensor, ...]:
        """Give the kept rows bool[n] and prefix lengths int64[fields]: the chosen ones, or today's choice."""
        if self.chosen:
            return self.keep, self.dims
        weights = to_numpy(self.rows)
        thresholds = to_numpy(self.thresholds).astype(np.float64)
        margins = np.abs(weights).sum(1, dtype=np.float64) - np.repeat(thresholds, np.diff(self._starts))
        counts = self.counts.cpu().numpy()
        keep, dims = select(weights, self._starts, margins, counts, self.scheme.values)
        return torch.from_numpy(keep).to(self.keep.device), torch.from_numpy(dims).to(self.dims.device)

    def freeze(self) -> OptEmbedTable:
        """Give the table of the kept rows and prefixes."""
        keep, dims = self.form()
        return prefix_table(self.scheme, to_numpy(self.rows), keep.cpu().numpy(), dims.cpu().numpy())

    def extra_loss(self) -> Tensor:
        """Give the penalty of low thresholds while they are learned."""
        if self.chosen:
            return super().extra_loss()
        return THRESHOLD_WEIGHT * torch.exp(-self.thresholds).sum()

    def stages(self) -> tuple[Stage, ...]:
        """Give the search, where weights and thresholds both learn from training batches, and the final training."""
        search = (Update("weights"), Update("search", optimiser="sgd", rate=THRESHOLD_RATE))
        return (
            Stage("search", share=0.5, updates=search, selects=False),
            Stage("retrain", share=0.5, updates=(Update("weights"),), restarts_host=True),
        )

    def begin(self, stage: str) -> None:
        """Before ``retrain``: keep today's choice for good, and start its weights anew."""
        if stage != "retrain" or self.chosen:
            return
        keep, dims = self.form()
        with torch.no_grad():
            self.keep.copy_(keep)
            self.dims.copy_(dims)
            self.chosen.fill_(True)
            self.rows.copy_(self._initial_rows())

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows."""
        return [self.rows]

    def search_parameters(self) -> list[nn.Parameter]:
        """Give the thresholds."""
        return [self.thresholds]

    def observe(self, frequency: I64) -> None:
        """Take the counts int64[n], which weight the squares of rows."""
        with torch.no_grad():
            self.counts.copy_(torch.from_numpy(np.asarray(frequency, np.float64)))

    def _initial_rows(self) -> Tensor:
        return uniform_rows(self.shape.rows, self.shape.dim, self._scale, self._seed)

    def _prefix(self, lengths: Tensor) -> Tensor:
        """Give bool[..., dim]: the columns below ``lengths`` int64[...]."""
        return torch.arange(self.shape.dim, device=lengths.device) < lengths.unsqueeze(-1)
