"""What every trainable layer is made of: parts, and the stages they are trained in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor, nn

from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.types import I64

__all__ = ["Stage", "TrainablePart", "Update", "generator", "stretch"]


@dataclass(frozen=True, slots=True)
class Update:
    """One optimiser of a stage.

    Attributes
    ----------
    parameters : {"weights", "table", "search", "all"}
        ``weights``: everything that is frozen into the table, and the host model. ``table``: the former without the
        host, which stays as it is. ``search``: what decides the table's form (architecture weights, thresholds), which
        the frozen table does not hold. ``all``: ``weights`` and ``search``.
    split : {"train", "valid"}
        Batches of which split it sees.
    optimiser : {"default", "sgd", "adam"}
        ``default``: the host's choice.
    rate : float or None
        Learning rate; None for the host's.
    """

    parameters: Literal["weights", "table", "search", "all"] = "all"
    split: Literal["train", "valid"] = "train"
    optimiser: Literal["default", "sgd", "adam"] = "default"
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """One phase of training.

    Attributes
    ----------
    name : str
        ``train``, ``warm-up``, ``search``, ``prune``, ``retrain``, ...
    share : float
        Fraction of the steps of the whole run that it gets.
    updates : tuple of Update
        What is updated, on which split. Each step of the stage does all of them in turn; those of one split see the
        same batch.
    selects : bool
        Whether checkpoints of this stage may be chosen on validation (a table whose form is still searched may not).
    restarts_host : bool
        Whether the host model begins anew from its initial weights.
    """

    name: str
    share: float = 1.0
    updates: tuple[Update, ...] = (Update(),)
    selects: bool = True
    restarts_host: bool = False


class TrainablePart(nn.Module, ABC):
    """The trainable twin of a :class:`~vecstore.schemes.base.CompressedTable`: rows in, vectors out.

    Parameters
    ----------
    shape : TableShape
        Rows and dimensions.

    Attributes
    ----------
    sparse : bool
        Whether :meth:`row_parameters` get sparse gradients, as of ``nn.Embedding(sparse=True)``. False at first.
    rounding : callable or None
        What becomes of rows float[n, width] when they are gathered in training, as a hybrid's codec says.
    """

    def __init__(self, shape: TableShape) -> None:
        super().__init__()
        self.shape = shape
        self.sparse = False
        self.rounding: Callable[[Tensor], Tensor] | None = None

    @abstractmethod
    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""

    @abstractmethod
    def freeze(self) -> CompressedTable:
        """Give the table of the current weights; its look-ups equal ``forward`` in eval mode."""

    def gathered(self, weights: Tensor, places: Tensor) -> Tensor:
        """Give the rows ``places`` int64[...] of one of :meth:`row_parameters`, with gradients as ``sparse`` says."""
        if self.rounding is None:
            return nn.functional.embedding(places, weights, sparse=self.sparse)
        # Each row is rounded once, however often it is read.
        own, order = torch.unique(places, return_inverse=True)
        return self.rounding(nn.functional.embedding(own, weights, sparse=self.sparse))[order]

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the matrices of which a step uses no more than the rows that its batch names."""
        return []

    def extra_loss(self) -> Tensor:
        """Give what the part adds to the loss of the last ``forward``, a scalar on the device of the weights."""
        return next(self.parameters()).new_zeros(())

    def after_step(self, step: int, steps: int) -> None:
        """Do what the method does after each optimiser step (prune, round, anneal); ``step`` goes from 1 to ``steps``.

        Both count within the current stage, so that schedules fit runs of any length.
        """

    @property
    def needs_after_step(self) -> bool:
        """Whether the method does anything in :meth:`after_step`, so that a loop without it trains another method."""
        return type(self).after_step is not TrainablePart.after_step

    def stages(self) -> tuple[Stage, ...]:
        """Give the stages of the method, in order."""
        return (Stage("train"),)

    def begin(self, stage: str) -> None:
        """Get ready for a stage: freeze the outcome of a search, take masks, restore initial weights.

        Parameters that are replaced have the device and type of the old ones; optimisers are made after this.
        """

    @classmethod
    def begin_all(cls, parts: Sequence[Self], stage: str) -> None:
        """Get all parts of this class in a layer ready for a stage, for methods whose fields decide together."""
        for part in parts:
            part.begin(stage)

    def search_parameters(self) -> list[nn.Parameter]:
        """Give the parameters that decide the table's form and are not frozen into it."""
        return []

    def observe(self, frequency: I64) -> None:
        """Take the counts int64[rows] of the training split, for methods that need them; called before training."""


def generator(seed: int) -> torch.Generator:
    """Give a random generator of its own, so that no global state matters."""
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def stretch(values: Tensor, before: Tensor, factor: float) -> None:
    """Move ``values`` by ``factor`` times what an optimiser moved them since the last call.

    A fixed learning rate moves a search in proportion to its steps. With ``factor`` = the steps that the rate is meant
    for / those of the stage, it goes as far in a run of any length.

    Parameters
    ----------
    values : float[...]
        Changed in place.
    before : float[...]
        What they were at the last call, in a buffer; changed to what they are now.
    factor : float
    """
    values.copy_(before + factor * (values - before))
    before.copy_(values)
