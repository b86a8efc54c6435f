"""A tiny planted task, and the loop that trains layers on it through all of their stages."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vecstore import training
from vecstore.training.base import Update
from vecstore.training.layer import EmbeddingLayer

FIELDS = {"user": 500, "item": 300, "tag": 7}
DIM = 16


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Keep torch to one thread, so that sums have one order and workers share the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def frequency() -> dict[str, np.ndarray]:
    """Zipfian counts whose most frequent ids are not the first ones."""
    rng = np.random.default_rng(5)
    return {name: rng.permutation((3000 / np.arange(1, size + 1)).astype(np.int64)) for name, size in FIELDS.items()}


def make(name: str, budget: float | int, *, seed: int = 3, scale: float | None = 0.05, **parameters) -> EmbeddingLayer:
    """Make a layer over FIELDS."""
    return training.embedding(
        name, fields=FIELDS, dim=DIM, budget=budget, frequency=frequency(), seed=seed, scale=scale, **parameters
    )


def all_ids() -> np.ndarray:
    """Give ids int64[n, fields] in which every id of every field occurs."""
    rows = np.arange(max(FIELDS.values()))
    return np.stack([rows % size for size in FIELDS.values()], axis=1)


class PlantedTask:
    """Labels whose log-odds are a sum of one effect an id; frequent ids as in ``frequency``."""

    def __init__(self, rows: int = 3000) -> None:
        rng = np.random.default_rng(11)
        counts = frequency().values()
        self.ids = torch.from_numpy(np.stack([rng.choice(len(own), rows, p=own / own.sum()) for own in counts], axis=1))
        logits = sum(
            rng.normal(0, 1.5, size)[column] for size, column in zip(FIELDS.values(), self.ids.numpy().T, strict=True)
        )
        self.labels = torch.from_numpy((rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.float32))
        self.valid = rows * 3 // 4

    def batch(self, split: str, number: int, size: int = 250) -> tuple[Tensor, Tensor]:
        """Give the ids and labels of one batch; batches of a split begin anew after its last."""
        first, stop = (0, self.valid) if split == "train" else (self.valid, len(self.ids))
        rows = first + (number * size + torch.arange(size)) % (stop - first)
        return self.ids[rows], self.labels[rows]


class Host(nn.Module):
    """A logit that is linear in all numbers of all vectors, with given weights of either sign at first."""

    def __init__(self) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(2)
        self.weights = nn.Parameter(torch.randn(len(FIELDS), DIM, generator=draws))
        self.bias = nn.Parameter(torch.zeros(()))
        self.first = {name: values.clone() for name, values in self.state_dict().items()}

    def forward(self, vectors: Tensor) -> Tensor:
        return (vectors * self.weights).sum((1, 2)) + self.bias


def loss_of(host: Host, vectors: Tensor, labels: Tensor) -> Tensor:
    """Give the mean loss of vectors float32[n, fields, dim]."""
    return nn.functional.binary_cross_entropy_with_logits(host(vectors), labels)


def updated(layer: EmbeddingLayer, host: nn.Module, update: Update) -> list[nn.Parameter]:
    """Give the parameters of an update."""
    search = layer.search_parameters()
    own = {id(parameter) for parameter in search}
    table = [parameter for parameter in layer.parameters() if id(parameter) not in own]
    groups = {
        "weights": [*table, *host.parameters()],
        "table": table,
        "search": search,
        "all": [*table, *search, *host.parameters()],
    }
    return groups[update.parameters]


def train(layer: EmbeddingLayer, steps: int = 120, rate: float = 0.02) -> tuple[Host, PlantedTask]:
    """Train a layer through all of its stages; the shares are kept, whatever they add up to."""
    task, host = PlantedTask(), Host()
    stages = layer.stages()
    total = sum(stage.share for stage in stages)
    number = 0
    for stage in stages:
        layer.begin(stage.name)
        if stage.restarts_host:
            host.load_state_dict(host.first)
        optimisers = [
            (torch.optim.SGD if update.optimiser == "sgd" else torch.optim.Adam)(
                updated(layer, host, update), update.rate or rate
            )
            for update in stage.updates
        ]
        layer.train()
        own_steps = max(2, round(steps * stage.share / total))
        for step in range(1, own_steps + 1):
            for update, optimiser in zip(stage.updates, optimisers, strict=True):
                ids, labels = task.batch(update.split, number)
                layer.zero_grad()
                host.zero_grad()
                # Forward comes first: the extra loss is that of the last forward.
                loss = loss_of(host, layer(ids), labels)
                extra = layer.extra_loss()
                assert extra.shape == ()
                assert torch.isfinite(extra)
                (loss + extra).backward()
                optimiser.step()
            layer.after_step(step, own_steps)
            number += 1
    layer.eval()
    return host, task
