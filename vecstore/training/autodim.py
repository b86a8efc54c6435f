"""The layer that searches the width of each field (AutoDim, Zhao et al., WWW 2021)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.planning import scheme_bytes
from vecstore.schemes.autodim import Autodim, candidates, worthwhile
from vecstore.schemes.base import TableShape
from vecstore.schemes.projected import ProjectedTable, check_width
from vecstore.training.base import Stage, TrainablePart, Update, generator, stretch
from vecstore.training.full import to_numpy
from vecstore.training.projected import ProjectedRows

__all__ = ["AutodimPart", "Supernet", "choose_widths"]

_LOG = logging.getLogger(__name__)
#: Temperature at the end of the search; it falls from 1 in equal steps.
_COLDEST = 0.01
#: Learning rate of the architecture weights, and the steps that the paper's search has, which it is meant for.
_RATE = 1e-3
_STEPS = 20_000
#: Doublings, and then halvings, of the price of a byte.
_PRICES = 200
#: Log probabilities nearer than this are alike: noise moves those of a search by about as much.
_ALIKE = 0.25


class AutodimPart(TrainablePart):
    """Rows of a width that a search chooses.

    Before the search the part has the width of its plan. The search trains all candidates at once (:class:`Supernet`),
    with architecture weights learned on the validation split. Then all fields choose together, within the bytes of all
    their plans (:func:`choose_widths`), and train anew from fresh weights: rows, projection and bias.

    The paper's rate suits the 20,000 steps of its search; in a hundred, all weights would stay where they began. So
    :meth:`after_step` stretches each of their moves by 20,000 / steps. Then a log probability is moved by 20 times the
    mean slope of the loss, whatever the length of the search, and those of different fields can be compared. (Adam
    would move all fields alike, those that hardly matter too.)

    Frozen before its end, a search gives whole rows of the mixture that its eval forward computes. Otherwise the frozen
    table's projection is orthonormal, and look-ups differ from :meth:`forward` by rounding: about 1e-6 of a row's
    length.

    Parameters
    ----------
    scheme : Autodim
        As planned.
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.
    """

    def __init__(self, scheme: Autodim, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        check_width(scheme, scheme.width, shape)
        self.scheme = scheme
        self.reserved = scheme_bytes(shape, 1, scheme)
        self._bound = scale
        self._final_seed, self._search_seed = (int(own) for own in derived_salts(seed, 2) >> np.uint64(1))
        self.weights: ProjectedRows | Supernet
        self._settle(scheme.width)

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        vectors: Tensor = self.weights(rows, sparse=self.sparse)
        return vectors

    def stages(self) -> tuple[Stage, ...]:
        """Give the search, whose tables cannot be selected, and the training of the chosen widths."""
        updates = (Update("weights"), Update("search", split="valid", optimiser="sgd", rate=_RATE))
        return (
            Stage("search", share=0.5, updates=updates, selects=False),
            Stage("retrain", share=0.5, restarts_host=True),
        )

    @classmethod
    def begin_all(cls, parts: Sequence[Self], stage: str) -> None:
        """Start the search, or choose the widths of all fields from what it found."""
        super().begin_all(parts, stage)
        if stage != "retrain":
            return
        found = {
            part: {width: own for width, own in part.weights.preferences().items() if width in worthwhile(part.shape)}
            for part in parts
            if isinstance(part.weights, Supernet)
        }
        sizes = [
            {width: scheme_bytes(part.shape, 1, Autodim(width=width)) for width in own} for part, own in found.items()
        ]
        allowed = sum(part.reserved for part in found)
        chosen = choose_widths(list(found.values()), sizes, allowed)
        for part, width in zip(found, chosen, strict=True):
            part._settle(width)
        reached = sum(own[width] for own, width in zip(sizes, chosen, strict=True))
        _LOG.info("autodim: widths %s, %d of %d bytes", chosen, reached, allowed)

    def begin(self, stage: str) -> None:
        """Get ready for a stage; what follows the search is decided for all fields together."""
        if stage == "search":
            self._replace(Supernet(self.shape, seed=self._search_seed, bound=self._bound))

    def after_step(self, step: int, steps: int) -> None:
        """Cool the search down, and stretch the move of its architecture weights."""
        if isinstance(self.weights, Supernet):
            self.weights.temperature.fill_(max(_COLDEST, 1 - (1 - _COLDEST) * step / steps))
            stretch(self.weights.logits, self.weights.before, _STEPS / steps)

    def search_parameters(self) -> list[nn.Parameter]:
        """Give the architecture weights, while there is a search."""
        return [self.weights.logits] if isinstance(self.weights, Supernet) else []

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the rows of every width that there is."""
        tables = self.weights.tables if isinstance(self.weights, Supernet) else [self.weights]
        return [table.rows for table in tables if isinstance(table, ProjectedRows)]

    def freeze(self) -> ProjectedTable:
        """Give the table of the current weights."""
        if isinstance(self.weights, ProjectedRows):
            return self.weights.table(self.scheme, self.shape)
        rows = frozen(to_numpy(self.weights(torch.arange(self.shape.rows, device=self.weights.logits.device))))
        return ProjectedTable(Autodim(width=self.shape.dim), self.shape, rows)

    def _settle(self, width: int) -> None:
        """Begin with fresh rows of a width."""
        self.scheme = Autodim(width=width)
        self._replace(ProjectedRows(self.shape, width, seed=self._final_seed, bound=self._bound, biased=True))

    def _replace(self, weights: ProjectedRows | Supernet) -> None:
        """Take new weights, where and of what type the old ones are."""
        old = next(self.parameters(), None)
        self.weights = weights if old is None else weights.to(old.device, old.dtype).train(self.training)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Take the form of the state first: a search, or rows of the width that one found."""
        if f"{prefix}weights.logits" in state_dict and not isinstance(self.weights, Supernet):
            self.begin("search")
        rows = state_dict.get(f"{prefix}weights.rows")
        if rows is not None and (isinstance(self.weights, Supernet) or self.weights.width != rows.shape[1]):
            self._settle(rows.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Supernet(nn.Module):
    """A table of every candidate width, projected to all dimensions, normalised and mixed.

    A projection has no bias here, which the normalisation would take off again. Mixing weights are, in training,
    ``softmax((log softmax(logits) + g) / temperature)`` with Gumbel noise g drawn for each batch, else
    ``softmax(logits)``.

    Parameters
    ----------
    shape : TableShape
    seed : int
    bound : float
        Bound of the initial rows.
    """

    temperature: Tensor
    before: Tensor

    def __init__(self, shape: TableShape, *, seed: int, bound: float) -> None:
        super().__init__()
        self.widths = candidates(shape.dim)
        draws_seed, *seeds = (int(own) for own in derived_salts(seed, 1 + len(self.widths)) >> np.uint64(1))
        self._draws = generator(draws_seed)
        # A buffer, so that a search that is taken up again is as cold as it was.
        self.register_buffer("temperature", torch.ones(()))
        self.tables = nn.ModuleList(
            ProjectedRows(shape, width, seed=own, bound=bound) for width, own in zip(self.widths, seeds, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(shape.dim, affine=False) for _ in self.widths)
        self.logits = nn.Parameter(torch.zeros(len(self.widths)))
        self.register_buffer("before", self.logits.detach().clone())

    def forward(self, rows: Tensor, *, sparse: bool = False) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]; ``sparse`` is whether gradients of tables are sparse."""
        shares = self._shares()
        flat = rows.reshape(-1)
        mixed = torch.stack(
            [
                share * self._normalised(norm, table(flat, sparse=sparse))
                for share, norm, table in zip(shares, self.norms, self.tables, strict=True)
            ]
        ).sum(0)
        return mixed.reshape(*rows.shape, mixed.shape[1])

    def preferences(self) -> dict[int, float]:
        """Give the log probability of each candidate width."""
        found = self.logits.detach().double().log_softmax(0).tolist()
        return dict(zip(self.widths, found, strict=True))

    def _shares(self) -> Tensor:
        if not self.training:
            return self.logits.softmax(0)
        # Draws are kept from 0, whose logarithm is infinite.
        uniform = torch.rand(len(self.widths), generator=self._draws).clamp_min(1e-20).to(self.logits.device)
        noise = -(-uniform.log()).log()
        return ((self.logits.log_softmax(0) + noise) / self.temperature).softmax(0)

    @staticmethod
    def _normalised(norm: nn.Module, vectors: Tensor) -> Tensor:
        """Normalise; a batch of one vector has no variance and is left to the running figures."""
        if len(vectors) == 1 and isinstance(norm, nn.BatchNorm1d):
            return nn.functional.batch_norm(vectors, norm.running_mean, norm.running_var, eps=norm.eps)
        normal: Tensor = norm(vectors)
        return normal


def choose_widths(
    preferences: Sequence[Mapping[int, float]], sizes: Sequence[Mapping[int, int]], allowed: int
) -> list[int]:
    """Choose a width for every field so that all together fit.

    Every field takes the width of the largest ``preference - price * bytes``, with the lowest price at which all fit:
    at a price of 0, its most preferred one. What is left over goes to the widths that gain most, and then to wider ones
    that are liked as much, within the noise of a search.

    Parameters
    ----------
    preferences : sequence of (width -> log probability)
        One a field.
    sizes : sequence of (width -> bytes)
        Likewise.
    allowed : int
        Bytes; the smallest widths must fit.
    """

    def at(price: float) -> list[int]:
        return [
            max(own, key=lambda width: (own[width] - price * size[width], -size[width]))
            for own, size in zip(preferences, sizes, strict=True)
        ]

    def nbytes(widths: list[int]) -> int:
        return sum(size[width] for size, width in zip(sizes, widths, strict=True))

    price = 0.0
    if nbytes(at(price)) > allowed:
        low, price = 0.0, 1e-12
        for _ in range(_PRICES):
            if nbytes(at(price)) <= allowed:
                break
            low, price = price, price * 2
        for _ in range(_PRICES):
            middle = (low + price) / 2
            low, price = (low, middle) if nbytes(at(middle)) <= allowed else (middle, price)
    gained = _spent(at(price), preferences, sizes, allowed, lambda own, _, now, width: own[width] > own[now])
    return _spent(
        gained,
        preferences,
        sizes,
        allowed,
        lambda own, first, now, width: width > now and own[width] > own[first] - _ALIKE,
    )


def _spent(
    widths: list[int],
    preferences: Sequence[Mapping[int, float]],
    sizes: Sequence[Mapping[int, int]],
    allowed: int,
    may: Callable[[Mapping[int, float], int, int, int], bool],
) -> list[int]:
    """Spend bytes that are left over on those changes of one field's width that gain most.

    ``may`` is asked about a field's preferences, its width at first, the one now, and the next; by its answers a field
    may have no width twice.
    """
    first, widths = widths, list(widths)
    while True:
        left = allowed - sum(size[width] for size, width in zip(sizes, widths, strict=True))
        gains = [
            (own[width] - own[now], -field, width)
            for field, (own, size, start, now) in enumerate(zip(preferences, sizes, first, widths, strict=True))
            for width in own
            if may(own, start, now, width) and size[width] - size[now] <= left
        ]
        if not gains:
            return widths
        _, field, width = max(gains)
        widths[-field] = width
