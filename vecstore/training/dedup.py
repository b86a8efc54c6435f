"""The layer that is trained dense, deduplicated, and trained on (Zhou et al., VLDB 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vecstore.schemes.base import TableShape
from vecstore.schemes.dedup import Dedup, DedupTable, blocks_of, deduplicated
from vecstore.schemes.merging import merged_blocks
from vecstore.training.base import Stage
from vecstore.training.full import to_numpy, uniform_rows
from vecstore.training.pruning import CachedForm

__all__ = ["DedupPart"]


class DedupPart(CachedForm):
    """A dense table, whose blocks are mapped onto kept ones when the stage ``retrain`` begins.

    Until then training is dense, and eval mode and :meth:`freeze` show what merging the weights of now would give.

    Parameters
    ----------
    scheme : Dedup
    shape : TableShape
    seed : int
        Also of the hash functions that find blocks alike.
    scale : float
        Bound of the initial weights. Rare ids stay near them, so a small one leaves more blocks alike.

    Notes
    -----
    Memory while training is that of the dense table throughout.
    """

    target: Tensor

    def __init__(self, scheme: Dedup, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        self._seed = seed
        n_blocks = blocks_of(shape.rows, scheme.block_rows)
        rows = torch.zeros(n_blocks * scheme.block_rows, shape.dim)
        rows[: shape.rows] = uniform_rows(shape.rows, shape.dim, scale, seed)
        self.rows = nn.Parameter(rows)
        # The block that each block reads, int64[blocks]; merged ones get no more gradient.
        self.register_buffer("target", torch.arange(n_blocks))

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        size = self.scheme.block_rows
        target = self.target if self.training else self.form()[0]
        return self.gathered(self.rows, target[rows // size] * size + rows % size)

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows."""
        return [self.rows]

    def evaluated_form(self) -> tuple[Tensor, ...]:
        """Give the block that each block reads, int64[blocks], no more than may be stored."""
        if len(torch.unique(self.target)) <= self.scheme.blocks:
            return (self.target,)
        flat = to_numpy(self.rows).reshape(len(self.target), -1)
        merged = torch.from_numpy(merged_blocks(flat, self.scheme.blocks, self._seed))
        return (merged.to(self.target.device),)

    def stages(self) -> tuple[Stage, ...]:
        """Give dense training, then training of the blocks that were kept."""
        return (Stage("train", share=0.5, selects=False), Stage("retrain", share=0.5))

    def begin(self, stage: str) -> None:
        """Merge blocks when ``retrain`` begins."""
        if stage == "retrain":
            self.target.copy_(self.form()[0])

    def freeze(self) -> DedupTable:
        """Give the table of the current weights."""
        (target,) = self.form()
        return deduplicated(self.scheme, self.shape, to_numpy(self.rows), target.cpu().numpy())
