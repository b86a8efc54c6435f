"""Run folders with made-up cells, as ``vecstore bench ctr`` writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

FULL_BYTES = 64_000_000

#: Scheme -> AUC it loses at budgets of 0.5, 0.1 and 0.01, in hundredths; None where the budget is infeasible.
LOSSES: dict[str, tuple[float | None, float | None, float | None]] = {
    "hash": (0.9, 1.9, 4.2),
    "compo": (0.25, 0.8, 2.1),
    "robe": (0.5, 1.1, 1.7),
    "ttrec": (0.4, 0.7, 1.5),
    "unified": (0.1, 0.42, 1.3),
    "dhe": (1.6, 1.9, 2.4),
    "adapt": (0.05, 0.6, 1.9),
    "mgqe": (0.02, 0.29, None),
    "int8": (-0.02, None, None),
    "alpt": (-0.05, None, None),
    "mde": (0.03, 0.34, 2.9),
    "autodim": (0.06, 0.5, 2.2),
    "optembed": (0.2, 0.9, 3.0),
    "deeplight": (0.04, 0.36, 2.4),
    "autosrh": (0.05, 0.45, 2.7),
}
BUDGETS = (0.5, 0.1, 0.01)


def made_up(seeds: int = 3, data: str = "clicks", shift: float = 0.0) -> list[dict[str, Any]]:
    """Give the cells of many schemes; what varies over seeds is drawn from a fixed generator.

    The baseline has AUC 0.78 - ``shift`` and 100 MB of training memory; ``dhe`` needs the least memory, ``int8`` is
    looked up fastest, and the last seed of ``robe`` failed.
    """
    rng = np.random.default_rng(7)
    cells = []
    for seed in range(seeds):
        level = 0.78 - shift + rng.normal(scale=0.0006)
        cells.append(cell(data, "full", 1.0, seed, FULL_BYTES, level, 100e6, 45.0))
        for number, (scheme, losses) in enumerate(LOSSES.items()):
            for budget, loss in zip(BUDGETS, losses, strict=True):
                asked = int(FULL_BYTES * budget)
                if loss is None:
                    cells.append(infeasible(data, scheme, budget, seed, asked))
                    continue
                auc = level - loss / 100 + rng.normal(scale=0.0003)
                memory = (60e6 if scheme == "dhe" else 80e6 + 6e6 * number) * (0.7 + 0.3 * budget)
                lookup = (30.0 if scheme == "int8" else 50.0 + 9 * number) * (1 + rng.normal(scale=0.01))
                stored = int(asked * (0.52 if scheme in ("int8", "alpt") else 0.999))
                cells.append(cell(data, scheme, budget, seed, stored, auc, memory, lookup))
    (broken,) = [one for one in cells if one["scheme"] == "robe" and one["budget"] == 0.01 and one["seed"] == seeds - 1]
    cells[cells.index(broken)] = {
        "dataset": data, "model": "dcn", "scheme": "robe", "budget": 0.01, "seed": seeds - 1, "status": "failed",
        "error": "RuntimeError: <b>loss</b> is not finite",
    }  # fmt: skip
    return cells


def cell(
    data: str, scheme: str, budget: float, seed: int, stored: int, auc: float, memory: float, lookup: float
) -> dict[str, Any]:
    """Give a cell that is done."""
    return {
        "dataset": data, "model": "dcn", "scheme": scheme, "budget": budget, "seed": seed, "status": "done",
        "full_bytes": FULL_BYTES, "asked_bytes": int(FULL_BYTES * budget), "stored_bytes": stored,
        "test_auc": auc, "test_loss": 1.2 - auc, "steps_per_second": 80.0, "train_seconds": 300.0 + seed,
        "peak_bytes": int(500e6 + memory), "before_bytes": int(500e6), "lookup_ns": lookup,
    }  # fmt: skip


def auto_cells() -> list[dict[str, Any]]:
    """Give cells of ``auto`` at two budgets, with fields of awkward names; one seed chose otherwise."""

    def parts(*got: tuple[str, str, int]) -> dict[str, Any]:
        found = [{"fields": [field], "scheme": scheme, "bytes": size} for field, scheme, size in got]
        return {"fields": "; ".join(f"{field}: {scheme}" for field, scheme, _ in got), "parts": found}

    awkward = "<b>page</b>: a; [red]b"
    cells = []
    for seed in range(3):
        cells.append({
            **cell("clicks", "auto", 0.1, seed, 6_000_000, 0.779, 90e6, 50.0),
            **parts(("user", "mde+alpt", 5_000_000 + seed), (awkward, "int8", 900_000)),
        })  # fmt: skip
        rare = ("robe", 400_000) if seed == 2 else ("hash", 500_000)
        cells.append({
            **cell("clicks", "auto", 0.01, seed, 600_000, 0.77, 90e6, 50.0),
            **parts(("user", *rare), (awkward, "int8", 90_000)),
        })  # fmt: skip
    return cells


def infeasible(data: str, scheme: str, budget: float, seed: int, asked: int) -> dict[str, Any]:
    """Give a cell whose budget is below the floor of the scheme, a quarter of float32 or a fiftieth."""
    floor = FULL_BYTES // (50 if scheme == "mgqe" else 4)
    return {
        "dataset": data, "model": "dcn", "scheme": scheme, "budget": budget, "seed": seed, "status": "infeasible",
        "full_bytes": FULL_BYTES, "asked_bytes": asked, "floor_bytes": floor, "error": "too small",
    }  # fmt: skip


def write(folder: Path, cells: Iterable[dict[str, Any]], /, **experiment: Any) -> Path:
    """Write a run folder."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"settings": {"epochs": 4}, "dim": 16, "machine": "a made-up machine, 2 CPUs", **experiment}
    (folder / "experiment.json").write_text(json.dumps(about))
    (folder / "cells.jsonl").write_text("".join(json.dumps(one) + "\n" for one in cells))
    return folder
