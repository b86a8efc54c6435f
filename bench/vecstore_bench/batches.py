"""Rows of click data as the tensors that layers and hosts take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vecstore_bench.click_rows import Rows
from vecstore_bench.models import Host

__all__ = ["Batches", "logits_of"]

_EVALUATED_ROWS = 8192


class Batches:
    """Batches of a split by number, so that a run can go on from any step.

    Parameters
    ----------
    rows : Rows
    size : int
        Rows a batch; a smaller split has batches of its size.
    seed : int
        Of the order, which is another one in each epoch.
    """

    def __init__(self, rows: Rows, size: int, seed: int) -> None:
        self._rows = rows
        self._size = min(size, len(rows))
        self._seed = seed
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    def __len__(self) -> int:
        """Give the batches of an epoch."""
        return len(self._rows) // self._size

    def at(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Give ids int64[B, fields], dense float32[B, dense] and labels float32[B] of batch ``number`` of the run."""
        epoch, place = divmod(number, len(self))
        if epoch != self._epoch:
            self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._rows))
            self._epoch = epoch
        own = self._order[place * self._size : (place + 1) * self._size]
        ids = torch.from_numpy(self._rows.ids[own].astype(np.int64))
        return ids, torch.from_numpy(self._rows.dense[own]), torch.from_numpy(self._rows.labels[own])


def logits_of(vectors_of: Callable[[Tensor], Tensor], host: Host, rows: Rows) -> NDArray[np.float64]:
    """Give the logits float64[n] of ``rows``; ``vectors_of`` gives float32[B, fields, dim] of int64[B, fields]."""
    host.eval()
    found = np.empty(len(rows))
    with torch.no_grad():
        for start in range(0, len(rows), _EVALUATED_ROWS):
            own = slice(start, start + _EVALUATED_ROWS)
            vectors = vectors_of(torch.from_numpy(rows.ids[own].astype(np.int64)))
            found[own] = host(vectors, torch.tensor(rows.dense[own])).numpy()
    return found
