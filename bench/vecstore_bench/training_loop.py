"""One training loop for all methods: it follows the stages of the layer, and picks checkpoints on validation only.

>>> outcome = Training(layer, host, data, Settings(epochs=2)).run()
>>> outcome.auc, outcome.table.nbytes
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vecstore.errors import InvalidArgumentError
from vecstore.schemes.fields import FieldsTable
from vecstore.training.base import Stage, Update
from vecstore.training.layer import EmbeddingLayer
from vecstore_bench.batches import Batches, logits_of
from vecstore_bench.checkpoints import (
    head_digest,
    load_arrays,
    load_module,
    load_optimiser,
    module_arrays,
    optimiser_arrays,
    save_arrays,
)
from vecstore_bench.click_rows import ClickData
from vecstore_bench.memory import PeakMemory
from vecstore_bench.models import Host
from vecstore_bench.optimisers import alike, optimisers_of, warm_up
from vecstore_bench.quality import auc, log_loss

__all__ = ["Evaluation", "Outcome", "Settings", "Training"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a run is trained.

    Attributes
    ----------
    epochs : float
        Passes over the training split, all stages together.
    batch : int
        Rows a step; rows that are left over at the end of an epoch wait for the next, which has another order.
    rate : float
        Learning rate where a stage gives none.
    evaluations : int
        Looks at the validation split in the whole run, besides one at the end of each stage.
    patience : int
        A stage ends after so many looks in turn without a better AUC.
    seed : int
        Of the order of rows.
    checkpoint_seconds : float
        Time between checkpoints, where there is a folder for them.
    """

    epochs: float = 1.0
    batch: int = 512
    rate: float = 1e-3
    evaluations: int = 20
    patience: int = 10
    seed: int = 0
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Check that all are positive."""
        values = asdict(self)
        wrong = [name for name in values if name not in ("seed", "checkpoint_seconds") and values[name] <= 0]
        if wrong:
            raise InvalidArgumentError(f"{', '.join(wrong)}: expected more than 0", field=wrong[0])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A look at the validation split: the step of the run, the stage, and the quality."""

    step: int
    steps: int
    stage: str
    auc: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run reached.

    Attributes
    ----------
    table : FieldsTable
        The frozen table of the best checkpoint; the quality on test is of its look-ups.
    auc, loss : float
        On test.
    best : Evaluation
        The look at validation that chose the checkpoint.
    evaluations : tuple of Evaluation
        All looks, of all stages.
    steps : int
        Steps that were made.
    train_seconds, evaluation_seconds, freeze_seconds : float
    peak_bytes, before_bytes : int
        Resident memory: the most since the run was started (or went on) until the table was frozen, and at its start.
    """

    table: FieldsTable
    auc: float
    loss: float
    best: Evaluation
    evaluations: tuple[Evaluation, ...]
    steps: int
    train_seconds: float
    evaluation_seconds: float
    freeze_seconds: float
    peak_bytes: int
    before_bytes: int


@dataclass
class _State:
    """How far a run has come; plain numbers, so that a checkpoint can hold it."""

    stage: int = 0
    step: int = 0
    done: int = 0
    misses: int = 0
    best: int = -1
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    evaluations: list[tuple[int, int, str, float, float]] = field(default_factory=list)


class Training:
    """A run of one layer in one host.

    Parameters
    ----------
    layer : EmbeddingLayer
        Untrained.
    host : Host
        Untrained.
    data : ClickData
    settings : Settings
    folder : Path, optional
        For checkpoints. A run of the same arguments that was stopped goes on from the last one, and then gives the same
        table as one that was not.
    on_evaluation : callable, optional
        Called with each :class:`Evaluation`.
    """

    def __init__(
        self,
        layer: EmbeddingLayer,
        host: Host,
        data: ClickData,
        settings: Settings,
        *,
        folder: Path | None = None,
        on_evaluation: Callable[[Evaluation], None] | None = None,
    ) -> None:
        self.layer, self.host, self.data, self.settings = layer, host, data, settings
        self._folder = folder
        self._on_evaluation = on_evaluation
        self._model = nn.ModuleDict({"layer": layer, "host": host})
        self._initial_host = {name: array.copy() for name, array in module_arrays(host).items()}
        self._batches: Mapping[str, Batches] = {
            "train": Batches(data.splits["train"], settings.batch, settings.seed),
            "valid": Batches(data.splits["valid"], settings.batch, settings.seed + 1),
        }
        self._begin_digest = head_digest(module_arrays(self._model)) if folder is not None else ""
        self._state = _State()
        self._optimisers: dict[Update, list[torch.optim.Optimizer]] = {}
        self._saved = time.monotonic()
        # The look whose weights the last progress checkpoint goes back to.
        self._saved_best = -1

    @cached_property
    def plan(self) -> tuple[tuple[Stage, int], ...]:
        """The stages and the steps of each."""
        stages = self.layer.stages()
        total = max(len(stages), round(self.settings.epochs * len(self._batches["train"])))
        shares = np.array([stage.share for stage in stages])
        ends = np.rint(np.cumsum(shares) / shares.sum() * total).astype(int)
        return tuple(zip(stages, np.maximum(np.diff(ends, prepend=0), 1).tolist(), strict=True))

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(steps for _, steps in self.plan)

    def run(self) -> Outcome:
        """Train to the end, and measure the best checkpoint's frozen table on the test split."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._run(self._folder)
        with tempfile.TemporaryDirectory() as folder:
            return self._run(Path(folder))

    def _run(self, folder: Path) -> Outcome:
        warm_up()
        with PeakMemory() as memory:
            self._resume(folder)
            while self._state.stage < len(self.plan):
                self._run_stage(folder)
            load_module(self._model, load_arrays(self._best_path(folder))[0])
            started = time.perf_counter()
            table = self.layer.freeze()
            freeze_seconds = time.perf_counter() - started
        test = self.data.splits["test"]
        logits = logits_of(lambda ids: torch.from_numpy(table.lookup_fields(ids.numpy())), self.host, test)
        evaluations = tuple(Evaluation(*values) for values in self._state.evaluations)
        return Outcome(
            table=table,
            auc=auc(test.labels, logits),
            loss=log_loss(test.labels, logits),
            best=evaluations[self._state.best],
            evaluations=evaluations,
            steps=self._state.done,
            train_seconds=self._state.train_seconds,
            evaluation_seconds=self._state.evaluation_seconds,
            freeze_seconds=freeze_seconds,
            peak_bytes=memory.peak,
            before_bytes=memory.before,
        )

    # Stages and steps

    def _run_stage(self, folder: Path) -> None:
        state = self._state
        stage, steps = self.plan[state.stage]
        if state.step == 0:
            self._begin(stage)
        looks = self._looks(steps)
        while state.step < steps and state.misses < self.settings.patience:
            started = time.perf_counter()
            self._train_step(stage, steps)
            state.train_seconds += time.perf_counter() - started
            if state.step in looks:
                self._evaluate(stage, folder)
                if time.monotonic() - self._saved >= self.settings.checkpoint_seconds:
                    self._save(folder)
        state.stage, state.step, state.misses = state.stage + 1, 0, 0

    def _begin(self, stage: Stage) -> None:
        """Start a stage; an optimiser that it shares with the stage before goes on."""
        self.layer.begin(stage.name)
        before = {} if stage.restarts_host else self._optimisers
        if stage.restarts_host:
            load_module(self.host, self._initial_host)
        self._optimisers = {}
        for update in stage.updates:
            fresh, known = self._made(update), before.get(update)
            self._optimisers[update] = known if known is not None and alike(known, fresh) else fresh

    def _looks(self, steps: int) -> set[int]:
        """Give the steps of a stage of ``steps`` after which the validation split is looked at."""
        every = max(1, math.ceil(self.steps / self.settings.evaluations))
        return {*range(every, steps, every), steps}

    def _train_step(self, stage: Stage, steps: int) -> None:
        """Do the updates of one step, all on the same batch of their split."""
        self._model.train()
        state = self._state
        batches = {split: self._batches[split].at(state.done) for split in {update.split for update in stage.updates}}
        for update, optimisers in self._optimisers.items():
            ids, dense, labels = batches[update.split]
            self._model.zero_grad(set_to_none=True)
            logits = self.host(self.layer(ids), dense)
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels) + self.layer.extra_loss()
            loss.backward()  # type: ignore[no-untyped-call]
            for optimiser in optimisers:
                optimiser.step()
        state.step += 1
        state.done += 1
        self.layer.after_step(state.step, steps)

    def _evaluate(self, stage: Stage, folder: Path) -> None:
        """Look at validation, and keep the weights if the stage may be chosen from and they are the best so far."""
        state, rows = self._state, self.data.splits["valid"]
        started = time.perf_counter()
        self.layer.eval()
        logits = logits_of(self.layer, self.host, rows)
        found = Evaluation(state.done, self.steps, stage.name, auc(rows.labels, logits), log_loss(rows.labels, logits))
        state.evaluations.append((found.step, found.steps, found.stage, found.auc, found.loss))
        if stage.selects:
            if state.best < 0 or found.auc > state.evaluations[state.best][3]:
                state.best, state.misses = len(state.evaluations) - 1, 0
                save_arrays(self._best_path(folder), module_arrays(self._model), {})
                self._remove_superseded(folder)
            else:
                state.misses += 1
        state.evaluation_seconds += time.perf_counter() - started
        if self._on_evaluation is not None:
            self._on_evaluation(found)

    # Optimisers

    def _made(self, update: Update) -> list[torch.optim.Optimizer]:
        own = self._parameters(update.parameters)
        return optimisers_of(update, own, self.layer.sparse_parameters(), self.settings.rate)

    def _all_optimisers(self) -> list[torch.optim.Optimizer]:
        return [optimiser for optimisers in self._optimisers.values() for optimiser in optimisers]

    def _parameters(self, which: Literal["weights", "table", "search", "all"]) -> list[nn.Parameter]:
        search = self.layer.search_parameters()
        table = _without(self.layer.parameters(), search)
        host = list(self.host.parameters())
        groups = {"weights": [*table, *host], "table": table, "search": search, "all": [*table, *search, *host]}
        return groups[which]

    # Checkpoints

    def _best_path(self, folder: Path) -> Path:
        # Each has a name of its own: the last progress checkpoint may be older than the best weights of now.
        return folder / f"best-{self._state.best}.npz"

    def _remove_superseded(self, folder: Path) -> None:
        """Remove weights of earlier looks, but for those that the last progress checkpoint goes back to."""
        for path in folder.glob("best-*.npz"):
            if path.name not in (f"best-{self._state.best}.npz", f"best-{self._saved_best}.npz"):
                path.unlink()

    def _fingerprint(self) -> dict[str, Any]:
        """Give what tells this run from others: seeds show in the weights that it began with."""
        made: dict[str, Any] = json.loads(
            json.dumps(
                {
                    "data": [self.data.name, self.data.digest()],
                    "plan": self.layer.plan.to_dict(),
                    "settings": asdict(self.settings),
                    "host": type(self.host).__name__,
                    "begin": self._begin_digest,
                }
            )
        )
        return made

    def _save(self, folder: Path) -> None:
        arrays = {f"model:{name}": array for name, array in module_arrays(self._model).items()}
        for number, optimiser in enumerate(self._all_optimisers()):
            arrays |= {f"optimiser{number}:{name}": array for name, array in optimiser_arrays(optimiser).items()}
        save_arrays(folder / "progress.npz", arrays, {"run": self._fingerprint(), "state": asdict(self._state)})
        self._saved_best = self._state.best
        self._remove_superseded(folder)
        self._saved = time.monotonic()

    def _resume(self, folder: Path) -> None:
        path = folder / "progress.npz"
        if not path.exists():
            return
        arrays, meta = load_arrays(path)
        if meta["run"] != self._fingerprint():
            raise InvalidArgumentError(
                f"{folder}: holds checkpoints of another run; choose another folder", field="folder"
            )
        self._state = _State(**meta["state"])
        self._saved_best = self._state.best
        for stage, _ in self.plan[: self._state.stage + 1]:
            self.layer.begin(stage.name)
        load_module(self._model, _named(arrays, "model:"))
        # Only now: a part may have taken other parameters with its state.
        self._optimisers = {update: self._made(update) for update in stage.updates}
        for number, optimiser in enumerate(self._all_optimisers()):
            load_optimiser(optimiser, _named(arrays, f"optimiser{number}:"))


def _without(parameters: Iterable[nn.Parameter], left_out: list[nn.Parameter]) -> list[nn.Parameter]:
    known = {id(parameter) for parameter in left_out}
    return [parameter for parameter in parameters if id(parameter) not in known]


def _named(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
