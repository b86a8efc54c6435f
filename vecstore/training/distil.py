"""Distillation: a layer is trained to reproduce a matrix that there is."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vecstore.errors import InvalidArgumentError
from vecstore.schemes.base import CompressedTable, Progress, Scheme, TableShape
from vecstore.schemes.checks import table_matrix
from vecstore.training import make_part
from vecstore.training.base import Stage, TrainablePart, Update
from vecstore.types import F32, I64

__all__ = ["EPOCHS", "distil"]

#: Passes over the matrix at most, all stages together.
EPOCHS = 300
#: Rows of a batch at most, and batches of an epoch at least.
_BATCH, _BATCHES = 512, 8
#: Adam's learning rate at the start, as a share of a parameter's root mean square, and the least size that counts.
_RATE, _SMALLEST = 0.05, 1e-3
#: An epoch that lowers the error by less than this share of the lowest so far is a miss; so many misses halve the rate.
_GAIN, _MISSES = 0.01, 5
#: Halvings of the rate after which the last stage ends.
_HALVINGS = 6
#: One row in so many is held out of training in a stage that validates.
_HELD_OUT = 10


def distil(
    scheme: Scheme,
    vectors: F32,
    *,
    frequency: NDArray[np.int64] | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> CompressedTable:
    """Train the layer of ``scheme`` to reproduce ``vectors`` float32[n, dim], and freeze it.

    Minimised are the mean squared error of rows that are drawn by ``frequency`` (a row that never occurs counts as if
    it occurred once; without, every row has its turn in each epoch) and the layer's own loss. The stages of the method
    are followed. Where one learns on a validation split, that is a tenth of the rows, which the other updates of the
    stage do not see.

    Adam's steps are relative to the size of each parameter: the numbers of a table have the size of the matrix's, those
    of a network have not. The rate is halved when epochs bring too little, and after the last halving the last stage
    ends. That is a rule on the loss alone, so equal arguments give equal arrays on one machine.

    Parameters
    ----------
    scheme : Scheme
        One that is trained.
    vectors, frequency, seed, on_progress
        As for :meth:`Scheme.fit`; progress is in rows seen, of those to be seen at most.

    Raises
    ------
    InvalidArgumentError
        The scheme has no layer, or there are no rows.

    References
    ----------
    Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018, section 8 (relative
    step size).
    """
    matrix = table_matrix(vectors)
    if not len(matrix):
        raise InvalidArgumentError("vectors: there are no rows to learn from", field="vectors")
    # U(-b, b) has the mean square b^2 / 3.
    bound = math.sqrt(3 * _mean_square(matrix))
    part = make_part(scheme, TableShape(*matrix.shape), seed=seed, scale=bound)
    if frequency is not None:
        part.observe(frequency)
    _Distillation(part, matrix, frequency, seed, on_progress).run()
    part.eval()
    with torch.no_grad():
        return part.freeze()


class _Distillation:
    """One run; arguments as for :func:`distil`."""

    def __init__(
        self,
        part: TrainablePart,
        matrix: F32,
        frequency: NDArray[np.int64] | None,
        seed: int,
        on_progress: Progress | None,
    ) -> None:
        self._part = part
        self._target = torch.tensor(matrix)
        self._unit = _mean_square(matrix)
        self._weights = None if frequency is None else np.maximum(frequency, 1).astype(np.float64)
        self._draws = np.random.default_rng(seed)
        self._batch = min(_BATCH, -(-len(matrix) // _BATCHES))
        self._seen, self._most = 0, len(matrix) * EPOCHS
        self._on_progress = on_progress

    def run(self) -> None:
        """Go through the stages."""
        stages = self._part.stages()
        ends = np.rint(np.cumsum([stage.share for stage in stages]) / sum(stage.share for stage in stages) * EPOCHS)
        for stage, epochs in zip(stages, np.diff(ends.astype(int), prepend=0).tolist(), strict=True):
            type(self._part).begin_all([self._part], stage.name)
            self._run_stage(stage, max(epochs, 1), may_end=stage is stages[-1])
        self._report(self._most - self._seen)

    def _run_stage(self, stage: Stage, epochs: int, *, may_end: bool) -> None:
        """Train at most so many epochs; fewer only where the stage may end early: others lead up to the next."""
        train, valid = self._splits(stage)
        optimisers = {update: self._optimiser(update) for update in stage.updates}
        steps = epochs * -(-len(train) // self._batch)
        done, lowest, misses, factor = 0, math.inf, 0, 1.0
        for _ in range(epochs):
            self._part.train()
            errors = []
            for rows in self._epoch(train):
                for update, optimiser in optimisers.items():
                    on_train = update.split == "train"
                    error = self._step(rows if on_train else self._some(valid), update, optimiser, factor)
                    if on_train:
                        errors.append(error * len(rows))
                done += 1
                self._part.after_step(done, steps)
                self._report(len(rows))
            error = sum(errors) / len(train)
            lowest, misses = (error, 0) if error < lowest * (1 - _GAIN) else (lowest, misses + 1)
            if misses == _MISSES:
                misses, factor = 0, factor / 2
                if may_end and factor < 2.0**-_HALVINGS:
                    return

    def _step(self, rows: I64, update: Update, optimiser: torch.optim.Optimizer, factor: float) -> float:
        """Do one update on ``rows`` int64[n]; give their squared error before it, relative to the matrix's squares."""
        own = torch.from_numpy(rows)
        self._part.zero_grad(set_to_none=True)
        error = (self._part(own) - self._target[own]).square().mean() / self._unit
        (error + self._part.extra_loss()).backward()
        if update.rate is None:
            for group in optimiser.param_groups:
                size = float(group["params"][0].detach().square().mean().sqrt())
                group["lr"] = _RATE * factor * max(size, _SMALLEST)
        optimiser.step()
        return float(error.detach())

    def _splits(self, stage: Stage) -> tuple[I64, I64]:
        """Give the rows that a stage trains on, and those that it validates on: none where it does not."""
        if all(update.split == "train" for update in stage.updates):
            return np.arange(len(self._target)), np.empty(0, np.int64)
        order = self._draws.permutation(len(self._target))
        held_out = max(1, len(order) // _HELD_OUT)
        # A single row is both.
        return order[held_out:] if len(order) > 1 else order, order[:held_out]

    def _epoch(self, rows: I64) -> Iterator[I64]:
        """Go through as many rows as there are ``rows`` int64[n], in batches."""
        if self._weights is None:
            order = self._draws.permutation(rows)
        else:
            weights = self._weights[rows]
            order = self._draws.choice(rows, len(rows), p=weights / weights.sum())
        for start in range(0, len(order), self._batch):
            yield order[start : start + self._batch]

    def _some(self, rows: I64) -> I64:
        return self._draws.choice(rows, min(self._batch, len(rows)), replace=False)

    def _optimiser(self, update: Update) -> torch.optim.Optimizer:
        """Make the optimiser of an update, with a group a parameter: each has a rate of its own."""
        search = self._part.search_parameters()
        known = {id(parameter) for parameter in search}
        table = [parameter for parameter in self._part.parameters() if id(parameter) not in known]
        groups: dict[str, list[nn.Parameter]] = {"search": search, "all": [*table, *search]}
        kind = torch.optim.SGD if update.optimiser == "sgd" else torch.optim.Adam
        chosen = groups.get(update.parameters, table)
        return kind([{"params": [parameter]} for parameter in chosen], lr=_RATE if update.rate is None else update.rate)

    def _report(self, rows: int) -> None:
        self._seen += rows
        if self._on_progress is not None and rows:
            self._on_progress(min(self._seen, self._most), self._most)


def _mean_square(matrix: F32) -> float:
    """Give the mean square of float32[n, dim]; 1 where there is nothing but zeros, which has no scale."""
    return float(np.square(matrix, dtype=np.float64).mean()) or 1.0
