"""Layers whose fields get a scheme each (``auto``): whole tables are trained first, and tell which."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from vecstore import schemes
from vecstore.choosing import Choice, candidates, choose_fields, smallest_fields
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import CompressedTable, Scheme, TableShape
from vecstore.schemes.fields import Field, Fields, Part
from vecstore.schemes.full import Full
from vecstore.training.base import Stage, TrainablePart
from vecstore.training.full import to_numpy
from vecstore.types import I64

__all__ = ["AutoPart", "auto_parts", "trained_candidates"]

_LOG = logging.getLogger(__name__)


@cache
def trained_candidates() -> tuple[type[Scheme], ...]:
    """Give the schemes that a field may get: all that can be measured, and train in one stage with one update.

    A method with stages of its own would need the stages of the whole layer to be its own.
    """
    from vecstore.training import make_part  # which imports this module

    shape, found = TableShape(64, 8), []
    for scheme in _measurable():
        if not scheme.capabilities.trained:
            continue
        try:
            planned = scheme.plan(shape, 0.5, None, scheme.field_parameters)
        except BudgetInfeasible as error:
            planned = scheme.plan(shape, error.floor, None, scheme.field_parameters)
        if make_part(planned, shape, seed=0, scale=0.1).stages() == (Stage("train"),):
            found.append(scheme)
    return tuple(found)


def _measurable() -> list[type[Scheme]]:
    found = []
    for name in schemes.names():
        try:
            found += candidates([name])
        except InvalidArgumentError:
            continue
    return found


def auto_parts(
    sizes: Mapping[str, int],
    dim: int,
    budget: float | int,
    *,
    seeds: Sequence[int],
    scale: float,
    names: Sequence[str] | None = None,
) -> tuple[Fields, list[TrainablePart]]:
    """Make one part a field that is whole until the fields choose, and the plan of the whole tables.

    Parameters
    ----------
    sizes : mapping of str to int
    dim : int
    budget : float or int
        Of the chosen tables; see :func:`vecstore.planning.plan_fields`.
    seeds : sequence of int
        One a field.
    scale : float
        Bound of the initial weights.
    names : sequence of str, optional
        Schemes that fields may get; :func:`trained_candidates` by default.

    Raises
    ------
    BudgetInfeasible
        Carries the floor in bytes.
    InvalidArgumentError
        A scheme cannot be measured, or does not train in one stage.
    """
    among = trained_candidates() if names is None else tuple(candidates(names))
    if refused := [own.name for own in among if own not in trained_candidates()]:
        raise InvalidArgumentError(
            f"schemes: {', '.join(refused)} have stages of their own, or no layer; there are: "
            f"{', '.join(own.name for own in trained_candidates())}",
            field="schemes",
        )
    allowed = smallest_fields(sizes, dim, budget, among=among)
    fields = tuple(Field(name=name, size=size) for name, size in sizes.items())
    plan = Fields(fields=fields, parts=tuple(Part(scheme=Full().to_dict()) for _ in fields))
    parts: list[TrainablePart] = [
        AutoPart(name, TableShape(size, dim), allowed, among, seed=own, scale=scale)
        for (name, size), own in zip(sizes.items(), seeds, strict=True)
    ]
    return plan, parts


class AutoPart(TrainablePart):
    """A whole table, until the stage ``retrain`` begins; then the form that was chosen, with fresh weights.

    While whole tables are trained, the part adds up the squared gradients of its vectors: by the Fisher information, a
    small difference in a vector costs half of its square times their mean. So fields, whose vectors matter differently,
    choose by what their differences cost, and within a field counts say whose do.

    Parameters
    ----------
    name : str
        Of the field.
    shape : TableShape
    allowed : int
        Bytes of a stored version of all fields.
    among : sequence of type of Scheme
        What fields may get.
    seed : int
    scale : float
        Bound of the initial weights, of both tables.

    Attributes
    ----------
    choice : Choice or None
        Of all fields, once there is one; None also where the state of another layer was loaded.
    """

    gradients: Tensor
    chosen: Tensor
    counts: Tensor

    def __init__(
        self, name: str, shape: TableShape, allowed: int, among: Sequence[type[Scheme]], *, seed: int, scale: float
    ) -> None:
        super().__init__(shape)
        self.choice: Choice | None = None
        self._name, self._allowed, self._among = name, allowed, tuple(among)
        self._search_seed, self._final_seed = (int(own) for own in derived_salts(seed, 2) >> np.uint64(1))
        self._bound = scale
        # The sum of squares, and how many vectors it is of.
        self.register_buffer("gradients", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(shape.rows, dtype=torch.int64))
        self._settle(Full(), self._search_seed)

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        self.inner.sparse = self.sparse
        vectors: Tensor = self.inner(rows)
        if self.training and vectors.requires_grad and not self.settled:
            vectors.register_hook(self._note)  # type: ignore[no-untyped-call]
        return vectors

    @property
    def settled(self) -> bool:
        """Whether the form is the chosen one."""
        return len(self.chosen) > 0

    def stages(self) -> tuple[Stage, ...]:
        """Give the training of whole tables, which cannot be selected, and that of the chosen ones."""
        return (Stage("search", share=0.5, selects=False), Stage("retrain", share=0.5, restarts_host=True))

    @classmethod
    def begin_all(cls, parts: Sequence[Self], stage: str) -> None:
        """Let all fields choose when ``retrain`` begins, unless a state was loaded whose fields have."""
        if stage != "retrain" or all(part.settled for part in parts):
            return
        choice = choose_fields(
            {part._name: to_numpy(part.inner(torch.arange(part.shape.rows))) for part in parts},
            parts[0]._allowed,
            frequency={part._name: np.maximum(part.counts.cpu().numpy(), 1) for part in parts},
            importance={part._name: part.importance for part in parts},
            among=parts[0]._among,
        )
        _LOG.info("auto:\n%s", choice)
        for part, own in zip(parts, choice.fields, strict=True):
            part.choice = choice
            part._take(own.scheme.to_dict())

    @property
    def importance(self) -> float:
        """Mean squared gradient of a vector; 1 before there is any."""
        total, count = self.gradients.tolist()
        return total / count if count and total else 1.0

    def after_step(self, step: int, steps: int) -> None:
        """Do what the chosen scheme does."""
        self.inner.after_step(step, steps)

    @property
    def needs_after_step(self) -> bool:
        """Whether the scheme of now does anything there."""
        return self.inner.needs_after_step

    def extra_loss(self) -> Tensor:
        """Give that of the scheme of now."""
        return self.inner.extra_loss()

    def row_parameters(self) -> list[nn.Parameter]:
        """Give those of the scheme of now."""
        return self.inner.row_parameters()

    def observe(self, frequency: I64) -> None:
        """Take the counts of the training split."""
        self.counts.copy_(torch.from_numpy(np.asarray(frequency, np.int64)))
        self.inner.observe(frequency)

    def freeze(self) -> CompressedTable:
        """Give the table of the current weights."""
        return self.inner.freeze()

    def _note(self, gradient: Tensor) -> None:
        squares = gradient.detach().double().square().sum()
        self.gradients += torch.stack([squares, squares.new_tensor(gradient.numel() / self.shape.dim)]).to(
            self.gradients
        )

    def _take(self, config: Mapping[str, Any]) -> None:
        """Begin with fresh weights of a chosen form, and remember its config."""
        self._settle(schemes.from_config(dict(config)), self._final_seed)
        text = torch.frombuffer(bytearray(json.dumps(config).encode()), dtype=torch.uint8)
        self.register_buffer("chosen", text.to(self.gradients.device))

    def _settle(self, scheme: Scheme, seed: int) -> None:
        from vecstore.training import make_part  # which imports this module

        old = next(self.parameters(), None)
        inner = make_part(scheme, self.shape, seed=seed, scale=self._bound)
        self.inner = inner if old is None else inner.to(old.device, old.dtype).train(self.training)
        if old is None:
            self.register_buffer("chosen", torch.empty(0, dtype=torch.uint8))
        elif self.counts.device.type != "meta":
            self.inner.observe(self.counts.cpu().numpy())

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Take the form of the state first: whole, or the one that was chosen."""
        text = state_dict.get(f"{prefix}chosen")
        if text is not None and len(text) and bytes(text.tolist()) != bytes(self.chosen.tolist()):
            self._take(json.loads(bytes(text.tolist())))
        super()._load_from_state_dict(state_dict, prefix, *rest)
