"""Parts that are evaluated through the table that they would freeze."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor

from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.training.base import TrainablePart

__all__ = ["FrozenEvaluation"]


class FrozenEvaluation(TrainablePart):
    """A part whose eval mode looks rows up in its frozen table, which is kept until weights change."""

    def __init__(self, shape: TableShape) -> None:
        super().__init__(shape)
        self._table: CompressedTable | None = None
        self._table_key: tuple[object, ...] = ()

    @abstractmethod
    def trained(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...] in training, with gradients."""

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        if self.training:
            return self.trained(rows)
        weights = next(self.parameters())
        found = self.table().lookup(rows.reshape(-1).cpu().numpy())
        return torch.from_numpy(found).to(weights).reshape(*rows.shape, self.shape.dim)

    def table(self) -> CompressedTable:
        """Give the frozen table of the current weights."""
        # Each change of a tensor in place raises its version; one that is moved or converted keeps it.
        tensors = (*self.parameters(), *self.buffers())
        key = tuple((id(tensor), tensor._version, tensor.device, tensor.dtype) for tensor in tensors)
        if self._table is None or key != self._table_key:
            with torch.no_grad():
                self._table = self.freeze()
            self._table_key = key
        return self._table

    def train(self, mode: bool = True) -> Self:
        """Switch to training or, with ``mode`` False, to evaluation."""
        self._table = None
        return super().train(mode)
