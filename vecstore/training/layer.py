"""The embedding layer: parts side by side, in place of ``nn.Embedding`` in any torch model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.errors import InvalidArgumentError, NotFoundError
from vecstore.schemes.fields import Fields, FieldsTable
from vecstore.training.base import Stage, TrainablePart
from vecstore.training.calls import Calls, StageWarning
from vecstore.training.checks import check_frequency
from vecstore.types import I64

__all__ = ["EmbeddingLayer"]


class EmbeddingLayer(nn.Module):
    """Embeddings of several fields, trained in compressed form.

    For each of ``stages()`` call ``begin``, then make the stage's optimisers (``begin`` may replace parameters), and
    call ``after_step`` after every step. Without these calls methods that round, prune or search do less than they
    should; a :class:`~vecstore.training.calls.StageWarning` says so, once, when such a layer is frozen.

    Parameters
    ----------
    plan : Fields
        Fields, and the scheme of each part.
    parts : list of TrainablePart
        One a part of the plan.
    sparse : bool
        Whether :meth:`sparse_parameters` get sparse gradients.
    """

    starts: Tensor
    sizes: Tensor

    def __init__(self, plan: Fields, parts: list[TrainablePart], *, sparse: bool = False) -> None:
        super().__init__()
        for part in parts:
            part.sparse = sparse
        self.plan = plan
        self.dim = parts[0].shape.dim
        self.parts = nn.ModuleList(parts)
        self._counts = [part.fields for part in plan.parts]
        # The first row of each field within its part.
        firsts = np.concatenate([[0], np.cumsum(self._counts)])[:-1]
        offsets = plan.starts[:-1] - np.repeat(plan.starts[firsts], self._counts)
        self.register_buffer("starts", torch.from_numpy(offsets.astype(np.int64)), persistent=False)
        sizes = torch.tensor([field.size for field in plan.fields], dtype=torch.int64)
        self.register_buffer("sizes", sizes, persistent=False)
        self._calls = Calls()

    def forward(self, ids: Tensor) -> Tensor:
        """Give float32[B, F, dim] of ``ids`` int64[B, F], one column a field.

        Raises
        ------
        InvalidArgumentError
            Another number of columns.
        NotFoundError
            An id outside its field, which would read the rows of another.
        """
        if ids.ndim != 2 or ids.shape[1] != len(self.plan.fields):
            raise InvalidArgumentError(
                f"ids: expected int64[batch, {len(self.plan.fields)}], got {list(ids.shape)}", field="ids"
            )
        outside = (ids < 0) | (ids >= self.sizes)
        if bool(outside.any()):
            row, column = outside.nonzero()[0].tolist()
            field = self.plan.fields[column]
            raise NotFoundError(
                f"ids: {int(ids[row, column])} in row {row} is outside field {field.name!r}, which has ids 0 to "
                f"{field.size - 1}",
                field="ids",
            )
        rows = torch.split(ids + self.starts, self._counts, dim=1)
        vectors = torch.cat([part(own) for part, own in zip(self.parts, rows, strict=True)], dim=1)
        if self.training and vectors.requires_grad:
            vectors.register_hook(self._calls.backward)  # type: ignore[no-untyped-call]
        return vectors

    def extra_loss(self) -> Tensor:
        """Give what the method adds to the loss of the last ``forward``, a scalar on the layer's device."""
        return torch.stack([part.extra_loss().to(self.sizes.device) for part in self._typed_parts()]).sum()

    def after_step(self, step: int, steps: int) -> None:
        """Do what the method does after each optimiser step; ``step`` counts from 1 to ``steps`` within the stage.

        Warns
        -----
        StageWarning
            The stage replaced parameters, and its first steps changed none of the new ones.
        """
        # Before the parts change anything themselves.
        _warn(self._calls.step(step, steps))
        for part in self._typed_parts():
            part.after_step(step, steps)

    def stages(self) -> tuple[Stage, ...]:
        """Give the stages of the method; parts that stayed full take part in each."""
        return max((part.stages() for part in self._typed_parts()), key=len)

    def begin(self, stage: str) -> None:
        """Get ready for a stage; the optimisers of before may hold parameters that are no more."""
        parts, before = self._typed_parts(), list(self.parameters())
        for cls in dict.fromkeys(type(part) for part in parts):
            cls.begin_all([part for part in parts if type(part) is cls], stage)
        self._calls.begin(stage, before, self._table_parameters())

    def search_parameters(self) -> list[nn.Parameter]:
        """Give the parameters that decide the form of tables and are not frozen into them."""
        return [parameter for part in self._typed_parts() for parameter in part.search_parameters()]

    def sparse_parameters(self) -> list[nn.Parameter]:
        """Give the parameters whose gradients are sparse: torch.optim.SparseAdam or SGD can update them."""
        return [parameter for part in self._typed_parts() if part.sparse for parameter in part.row_parameters()]

    def observe(self, frequency: Mapping[str, I64]) -> None:
        """Take the counts of the training split: field -> int64[size].

        Raises
        ------
        InvalidArgumentError
            There is not one count of at least 0 for each id of each field.
        """
        check_frequency(frequency, {field.name: field.size for field in self.plan.fields})
        counts = [np.asarray(frequency[field.name], np.int64) for field in self.plan.fields]
        first = 0
        for part, fields in zip(self._typed_parts(), self._counts, strict=True):
            part.observe(np.concatenate(counts[first : first + fields]))
            first += fields

    def freeze(self) -> FieldsTable:
        """Give the compressed table of the current weights; its look-ups equal this layer's in eval mode.

        Warns
        -----
        StageWarning
            The layer was trained without calls that its method needs.
        """
        parts = self._typed_parts()
        names = [stage.name for stage in self.stages()]
        _warn(self._calls.complaint(names, steps_matter=any(part.needs_after_step for part in parts)))
        was_training = self.training
        self.eval()
        with torch.no_grad():
            tables = tuple(part.freeze() for part in parts)
        self.train(was_training)
        return self.plan.holding(tables)

    def _typed_parts(self) -> list[TrainablePart]:
        return [part for part in self.parts if isinstance(part, TrainablePart)]

    def _table_parameters(self) -> list[nn.Parameter]:
        """Give the parameters that are frozen into tables."""
        search = {id(parameter) for parameter in self.search_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in search]


def _warn(complaint: str | None) -> None:
    """Warn the caller of the layer's method."""
    if complaint is not None:
        warnings.warn(complaint, StageWarning, stacklevel=3)
