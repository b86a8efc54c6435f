"""What the layers share whose tables keep the numbers of largest magnitude: the cut, and the table of what is left."""

from __future__ import annotations

from abc import abstractmethod
from typing import Self

import torch
from torch import Tensor

from vecstore.schemes.base import TableShape
from vecstore.schemes.places import keep_largest
from vecstore.schemes.sparse import SparseScheme, SparseTable, pruned_table
from vecstore.training.base import TrainablePart
from vecstore.training.full import to_numpy

__all__ = ["CachedForm", "PrunedPart", "largest"]


def largest(weights: Tensor, count: int) -> Tensor:
    """Give the mask bool[n, dim] of the ``count`` weights of largest magnitude, on the weights' device."""
    return torch.from_numpy(keep_largest(weights.detach().float().cpu().numpy(), count)).to(weights.device)


class CachedForm(TrainablePart):
    """A part whose evaluated form takes a pass over all weights, and is kept until they change or evaluation begins."""

    def __init__(self, shape: TableShape) -> None:
        super().__init__(shape)
        self._form: tuple[Tensor, ...] | None = None
        self._form_key: tuple[object, ...] = ()

    @abstractmethod
    def evaluated_form(self) -> tuple[Tensor, ...]:
        """Compute the tensors that ``forward`` in eval mode and ``freeze`` share."""

    def form(self) -> tuple[Tensor, ...]:
        """Give the tensors of :meth:`evaluated_form` for the current weights."""
        # Each change of a tensor in place raises its version; one that is moved or converted keeps it.
        tensors = (*self.parameters(), *self.buffers())
        key = tuple((id(tensor), tensor._version, tensor.device, tensor.dtype) for tensor in tensors)
        if self._form is None or key != self._form_key:
            with torch.no_grad():
                self._form = self.evaluated_form()
            self._form_key = key
        return self._form

    def train(self, mode: bool = True) -> Self:
        """Switch to training or, with ``mode`` False, to evaluation."""
        self._form = None
        return super().train(mode)


class PrunedPart(CachedForm):
    """A dense part that is evaluated and stored as the ``values`` numbers of largest magnitude.

    In training ``forward`` is dense, so that pruned numbers may regrow; in eval mode it shows what would be stored.

    Parameters
    ----------
    scheme : SparseScheme
    shape : TableShape
    """

    def __init__(self, scheme: SparseScheme, shape: TableShape) -> None:
        super().__init__(shape)
        self.scheme = scheme

    @abstractmethod
    def dense(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...] before anything is pruned."""

    @abstractmethod
    def whole(self) -> Tensor:
        """Give :meth:`dense` of all rows in order, float32[n, dim]."""

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        vectors = self.dense(rows)
        if self.training:
            return vectors
        (mask,) = self.form()
        return vectors.masked_fill(~mask[rows], 0)

    def evaluated_form(self) -> tuple[Tensor, ...]:
        """Give the mask bool[n, dim] of the numbers that are stored."""
        return (largest(self.whole(), self.scheme.stored(self.shape)),)

    def freeze(self) -> SparseTable:
        """Give the table of the numbers of largest magnitude."""
        (mask,) = self.form()
        with torch.no_grad():
            return pruned_table(self.scheme, to_numpy(self.whole()), mask.cpu().numpy())
