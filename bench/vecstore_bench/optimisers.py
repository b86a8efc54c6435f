"""The optimisers of an update: one for parameters with dense gradients, and one for those with sparse ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from vecstore.training.base import Update

__all__ = ["alike", "optimisers_of", "warm_up"]


def optimisers_of(
    update: Update, parameters: Iterable[nn.Parameter], sparse: Iterable[nn.Parameter], rate: float
) -> list[torch.optim.Optimizer]:
    """Make the optimisers that one update steps, each for some of ``parameters``.

    Adam is lazy where gradients are sparse (torch.optim.SparseAdam): moments and weights of rows that a batch does not
    name stay as they are. SGD is the same for both.

    Parameters
    ----------
    update : Update
    parameters : iterable of Parameter
        What the update changes.
    sparse : iterable of Parameter
        Those that get sparse gradients, and perhaps others.
    rate : float
        Where the update has none.
    """
    known = {id(parameter) for parameter in sparse}
    own = list(parameters)
    rate = rate if update.rate is None else update.rate
    if update.optimiser == "sgd":
        return [torch.optim.SGD(own, lr=rate)]
    dense = [parameter for parameter in own if id(parameter) not in known]
    lazy = [parameter for parameter in own if id(parameter) in known]
    made: list[torch.optim.Optimizer] = []
    if dense:
        made.append(torch.optim.Adam(dense, lr=rate))
    if lazy:
        made.append(torch.optim.SparseAdam(lazy, lr=rate))
    return made


def alike(some: Sequence[torch.optim.Optimizer], others: Sequence[torch.optim.Optimizer]) -> bool:
    """Say whether both are for the same parameters: a part may get new ones when a stage begins."""

    def parameters(optimisers: Sequence[torch.optim.Optimizer]) -> list[list[int]]:
        return [[id(p) for p in optimiser.param_groups[0]["params"]] for optimiser in optimisers]

    return parameters(some) == parameters(others)


def warm_up() -> None:
    """Make torch load what it loads with the first step of an optimiser, which would count as memory of the run."""
    weight = nn.Parameter(torch.zeros(()))
    weight.square().backward()  # type: ignore[no-untyped-call]
    torch.optim.Adam([weight]).step()
