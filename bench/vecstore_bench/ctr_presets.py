"""Experiments with a name: the settings, and the schemes and budgets that belong to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vecstore.choosing import AUTO
from vecstore.errors import NotFoundError
from vecstore.schemes import get, names
from vecstore.schemes.base import TableShape
from vecstore.schemes.checks import allowed_bytes
from vecstore_bench.ctr_cell import Experiment
from vecstore_bench.models import check_host
from vecstore_bench.training_loop import Settings

__all__ = ["PRESETS", "Preset", "check_grid", "compresses", "trained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """An experiment with the schemes and budgets that belong to it.

    Attributes
    ----------
    experiment : Experiment
    models, schemes : tuple of str
    budgets : tuple of float
    published : mapping of (str, float) to str
        Scheme and budget -> figures of others for the same set-up, printed beside those of this run.
    """

    experiment: Experiment
    models: tuple[str, ...] = ("dcn",)
    schemes: tuple[str, ...]
    budgets: tuple[float, ...]
    published: Mapping[tuple[str, float], str] = field(default_factory=dict)


def trained() -> tuple[str, ...]:
    """Give the names of all schemes that can be trained, and ``auto``, with which fields choose among them."""
    return (*(name for name in names() if get(name).capabilities.trained), AUTO)


def compresses(name: str) -> bool:
    """Tell whether a scheme has a budget; what has none is what others are compared with."""
    return name == AUTO or not get(name).capabilities.exact


def check_grid(
    models: Sequence[str], schemes: Sequence[str], budgets: Sequence[float | int], *, size: str, dim: int
) -> None:
    """Check what is crossed to cells, before anything is written.

    Raises
    ------
    NotFoundError, InvalidArgumentError
        There is no such model, size of it, or scheme that can be trained, or a budget is none; the message lists what
        there is.
    """
    for model in models:
        check_host(model, size)
    if unknown := [name for name in schemes if name not in trained()]:
        raise NotFoundError(
            f"schemes: {', '.join(unknown)} cannot be trained; these can: {', '.join(trained())}", field="schemes"
        )
    for budget in budgets:
        allowed_bytes(TableShape(1, dim), budget, name="budgets")


PRESETS: Mapping[str, Preset] = {
    "default": Preset(experiment=Experiment(data="nycflights13"), schemes=("full", "hash"), budgets=(0.5, 0.1, 0.01)),
    # Coleman et al., NeurIPS 2023, table 1 on MovieLens-1M, hashing trick: d = 30, one cross layer and 192 hidden
    # units, Adam with 1e-3 on batches of 128, initial vectors from U(-0.05, 0.05), one look-up an id. Separate tables
    # have the same share of each field's rows; no field is exempt, neither there nor in the shared table. Published
    # figures are AUCs of the paper, and of a reproduction in PyTorch (lilyungg/unified-embeddings, five runs).
    "unified-ml1m": Preset(
        experiment=Experiment(
            data="ml-1m",
            size="unified-ml1m",
            dim=30,
            scale=0.05,
            settings=Settings(epochs=20, batch=128, rate=1e-3, evaluations=80, patience=10),
            parameters={"unified": {"width": 30}},
        ),
        models=("dcnv2",),
        schemes=("full", "hash", "unified"),
        budgets=(1.0, 0.5, 0.1),
        published={
            ("full", 1.0): ".8872 / .8985",
            ("hash", 1.0): ".8537 / .8684",
            ("hash", 0.5): ".8300 / .8407",
            ("hash", 0.1): ".7707 / .7712",
            ("unified", 1.0): ".8774 / .8872",
            ("unified", 0.5): ".8693 / .8759",
            ("unified", 0.1): ".8200 / .8263",
        },
    ),
    # Two networks would grow with the budget until a step takes minutes; their sizes are given, far below the budget.
    "scale-10m": Preset(
        experiment=Experiment(
            data="synthetic-10m:2000000",
            size="small",
            dim=16,
            settings=Settings(epochs=1, batch=4096, rate=5e-3, evaluations=4, patience=4, checkpoint_seconds=600),
            parameters={"dhe": {"width": 64, "hashes": 256}, "ttrec": {"rank": 16}},
        ),
        schemes=trained(),
        budgets=(0.5, 0.1, 0.01),
    ),
}
