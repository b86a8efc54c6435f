"""One cell of the training benchmark: one scheme at one budget with one seed, in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vecstore import training
from vecstore.errors import BudgetInfeasible
from vecstore.planning import scheme_bytes
from vecstore.schemes.base import TableShape
from vecstore.schemes.checks import allowed_bytes
from vecstore.schemes.fields import FieldsTable
from vecstore_bench.click_columns import Columns
from vecstore_bench.click_rows import ClickData, open_clicks
from vecstore_bench.ctr_data import load_clicks
from vecstore_bench.ctr_store import stored
from vecstore_bench.models import HostInputs, make_host
from vecstore_bench.runs import isolated as _isolated
from vecstore_bench.training_loop import Evaluation, Settings, Training

__all__ = ["Cell", "Experiment", "isolated", "run_cell"]

#: Ids from which gradients are sparse unless an experiment says otherwise. With a million ids of 16 dimensions a dense
#: step of Adam takes some 0.3 seconds, however small the batch.
SPARSE_FROM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What all cells of a benchmark have in common.

    Attributes
    ----------
    data : str
        See :func:`vecstore_bench.ctr_data.load_clicks`.
    folder : str or None
        Of the data sets.
    columns : Columns
        What the columns of files are.
    size : str
        Of the model; see :func:`vecstore_bench.models.make_host`.
    dim : int
        Dimensions of the vectors.
    scale : float or None
        Bound of the initial vectors; None for the library's.
    settings : Settings
        Of the training; each cell has its own seed.
    threads : int
        Of torch.
    parameters : mapping of str to mapping
        Scheme -> settings of it that are given.
    sparse : bool or None
        Whether gradients of rows are sparse, and Adam lazy; None where there are a million ids or more.
    variant : str or None
        Of the ids; see :mod:`vecstore_bench.click_variants`.
    """

    data: str
    folder: str | None = None
    columns: Columns = field(default_factory=Columns)
    size: str = "standard"
    dim: int = 16
    scale: float | None = None
    settings: Settings = field(default_factory=Settings)
    threads: int = 1
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sparse: bool | None = None
    variant: str | None = None

    def labels(self, cell: Cell) -> dict[str, Any]:
        """Give the columns of results that say what a cell is."""
        dataset = Path(self.data).name + (f", {self.variant}" if self.variant else "")
        return {"dataset": dataset, "dim": self.dim, **asdict(cell)}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is trained once.

    Attributes
    ----------
    model : str
        See :func:`vecstore_bench.models.make_host`.
    scheme : str
    budget : float or int
        A fraction of float32, or bytes.
    seed : int
        Of the data's order, the layer and the host.
    """

    model: str
    scheme: str
    budget: float | int
    seed: int

    def __str__(self) -> str:
        """Give the cell as a name for people and folders."""
        return f"{self.model}-{self.scheme}-{self.budget}-{self.seed}"


def run_cell(
    experiment: Experiment,
    cell: Cell,
    checkpoints: Path | None = None,
    on_evaluation: Callable[[Evaluation], None] | None = None,
    data: ClickData | None = None,
) -> dict[str, Any]:
    """Train a cell, store its table and open it again, and give what came out as JSON types.

    ``status`` is ``done`` or ``infeasible``, in which case ``floor_bytes`` is the least that the scheme needs.
    ``bytes`` are those of all files of the stored table, ``reached_bytes`` those of its arrays. ``fields`` says which
    scheme each field has, and ``parts`` what bytes it adds to the files. ``cpu_seconds`` are
    those of the process from its start. How long look-ups of the stored table take: :mod:`vecstore_bench.latency`.
    """
    torch.set_num_threads(experiment.threads)
    data = data or load_clicks(experiment.data, experiment.folder, experiment.columns, experiment.variant)
    whole = TableShape(sum(data.sizes.values()), experiment.dim)
    result = experiment.labels(cell)
    result["full_bytes"] = whole.float32_bytes
    result["asked_bytes"] = allowed_bytes(whole, cell.budget)
    sparse = whole.rows >= SPARSE_FROM if experiment.sparse is None else experiment.sparse
    try:
        layer = training.embedding(
            cell.scheme,
            fields=data.sizes,
            dim=experiment.dim,
            budget=cell.budget,
            frequency=data.frequency(),
            seed=cell.seed,
            scale=experiment.scale,
            sparse=sparse,
            **experiment.parameters.get(cell.scheme, {}),
        )
    except BudgetInfeasible as error:
        return {**result, "status": "infeasible", "error": error.message, "floor_bytes": error.floor}
    inputs = HostInputs(fields=len(data.sizes), dim=experiment.dim, dense=data.n_dense)
    host = make_host(cell.model, inputs, size=experiment.size, seed=cell.seed)
    settings = replace(experiment.settings, seed=cell.seed)
    outcome = Training(layer, host, data, settings, folder=checkpoints, on_evaluation=on_evaluation).run()
    kept = stored(outcome.table)
    return {
        **result,
        "status": "done",
        "reached_bytes": outcome.table.nbytes,
        "bytes": kept.nbytes,
        "fields": _schemes_of(outcome.table),
        "parts": _parts_of(outcome.table),
        "sparse": sparse,
        "test_auc": outcome.auc,
        "test_logloss": outcome.loss,
        "valid_auc": outcome.best.auc,
        "valid_logloss": outcome.best.loss,
        "best_step": outcome.best.step,
        "steps": outcome.steps,
        "train_seconds": outcome.train_seconds,
        "evaluation_seconds": outcome.evaluation_seconds,
        "freeze_seconds": outcome.freeze_seconds,
        "store_seconds": kept.seconds,
        "cpu_seconds": time.process_time(),
        "steps_per_second": outcome.steps / outcome.train_seconds,
        "samples_per_second": outcome.steps * min(settings.batch, len(data.splits["train"])) / outcome.train_seconds,
        "peak_bytes": outcome.peak_bytes,
        "before_bytes": outcome.before_bytes,
        **asdict(kept.latency),
    }


def _schemes_of(table: FieldsTable) -> str:
    """Give which scheme each field has: ``user: adapt; item: int8``, or once where all have the same."""
    owners = np.repeat([part.scheme.name for part in table.parts], [part.fields for part in table.scheme.parts])
    pairs = zip(table.field_names, owners.tolist(), strict=True)
    return "; ".join(f"{field}: {name}" for field, name in pairs) if len(set(owners)) > 1 else str(owners[0])


def _parts_of(table: FieldsTable) -> list[dict[str, Any]]:
    """Give the fields of each part, its scheme, and the bytes that it adds to a stored version."""
    names = iter(table.field_names)
    return [
        {
            "fields": list(islice(names, part.fields)),
            "scheme": own.scheme.name,
            "bytes": scheme_bytes(own.shape, part.fields, own.scheme),
        }
        for part, own in zip(table.scheme.parts, table.parts, strict=True)
    ]


def isolated(
    experiment: Experiment, cell: Cell, checkpoints: Path | None = None, prepared: Path | None = None
) -> dict[str, Any]:
    """Run a cell in a fresh process, so that its peak memory is its own and a crash is not the end of all.

    ``status`` may also be ``failed``, with the reason in ``error``. ``prepared`` is the folder of
    :func:`vecstore_bench.click_rows.save_clicks` with the data of the experiment; without it they are loaded anew.
    """
    return _isolated(_run_prepared, experiment.labels(cell), experiment, cell, checkpoints, prepared)


def _run_prepared(
    experiment: Experiment, cell: Cell, checkpoints: Path | None, prepared: Path | None
) -> dict[str, Any]:
    """Run a cell in the process that is there for it."""
    return run_cell(experiment, cell, checkpoints, data=None if prepared is None else open_clicks(prepared))
