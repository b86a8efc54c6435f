"""Look-ups of frozen tables against torch: the same method's layer, the dense embedding, and memory itself.

``python -m vecstore_bench.lookup``. One thread; all candidates of a scheme take turns. ``layer`` is the same weights in
the torch layer in eval mode, ``Embedding`` and ``EmbeddingBag`` (bags of one id) torch's dense float32 table of as many
rows, ``copy`` a contiguous copy of as many float32 rows, which is what the bandwidth of memory alone costs. A figure
above 1 says how many times as fast the frozen table is; against the copy, which share of the bandwidth it reaches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import click
import numpy as np
import torch

from vecstore import training
from vecstore.errors import BudgetInfeasible
from vecstore.schemes import get, names
from vecstore.schemes.fields import FieldsTable
from vecstore.training.layer import EmbeddingLayer
from vecstore.types import I64
from vecstore_bench.measure import Ratio, interleaved, machine, ratio

__all__ = ["Measured", "frozen_layer", "main", "measure"]

#: Ids that one turn looks up at least, so that a turn is longer than the clock is coarse.
_IDS_A_TURN = 2_000


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one table and batch size: nanoseconds an id, and how many times as long others take."""

    nanoseconds: float
    layer: Ratio
    embedding: Ratio
    bag: Ratio
    copy: Ratio


def frozen_layer(name: str, rows: int, dim: int, budget: float) -> tuple[EmbeddingLayer, FieldsTable]:
    """Make an untrained layer of one field at a budget, or at the scheme's floor if that is larger; and freeze it."""
    sizes = {"id": rows}
    frequency = {"id": (rows / np.arange(1, rows + 1)).astype(np.int64)}
    try:
        layer = training.embedding(name, fields=sizes, dim=dim, budget=budget, frequency=frequency)
    except BudgetInfeasible as error:
        layer = training.embedding(name, fields=sizes, dim=dim, budget=error.floor, frequency=frequency)
    return layer.eval(), layer.freeze()


def measure(layer: EmbeddingLayer, table: FieldsTable, ids: I64, rounds: int) -> Measured:
    """Look ``ids`` int64[n] of a layer's only field up, again and again in one turn where they are few."""
    rows, dim = table.shape.rows, table.shape.dim
    part = table.parts[0]
    dense = torch.nn.Embedding(rows, dim)
    bag = torch.nn.EmbeddingBag(rows, dim, mode="sum")
    source, out = np.ones((len(ids), dim), np.float32), np.empty((len(ids), dim), np.float32)
    column, single = torch.from_numpy(ids)[:, None], torch.from_numpy(ids)
    candidates: dict[str, Callable[[], object]] = {
        "frozen": lambda: part.lookup(ids),
        "layer": lambda: layer(column),
        "embedding": lambda: dense(single),
        "bag": lambda: bag(column),
        "copy": lambda: np.copyto(out, source),
    }
    repeats = max(1, _IDS_A_TURN // len(ids))
    with torch.no_grad():
        seconds = interleaved({name: _repeated(run, repeats) for name, run in candidates.items()}, rounds=rounds)
    frozen = seconds.pop("frozen")
    ratios = {name: ratio(theirs, frozen) for name, theirs in seconds.items()}
    return Measured(float(np.median(frozen)) / (repeats * len(ids)) * 1e9, **ratios)


def _repeated(run: Callable[[], object], times: int) -> Callable[[], object]:
    def repeated() -> None:
        for _ in range(times):
            run()

    return repeated


@click.command(help=__doc__)
@click.option("--schemes", help="Names, separated by commas; all that can be trained otherwise.")
@click.option("--rows", default=1_000_000, show_default=True, help="Ids of the table.")
@click.option("--dim", "dims", multiple=True, type=int, default=(16, 64), show_default=True)
@click.option("--batch", "batches", multiple=True, type=int, default=(1, 1_000, 100_000), show_default=True)
@click.option("--budget", default=0.1, show_default=True, help="Fraction of float32; the scheme's floor if larger.")
@click.option("--rounds", default=7, show_default=True)
def main(
    schemes: str | None, rows: int, dims: tuple[int, ...], batches: tuple[int, ...], budget: float, rounds: int
) -> None:
    """Measure all combinations, and print a line for each."""
    torch.set_num_threads(1)
    chosen = schemes.split(",") if schemes else [name for name in names() if get(name).capabilities.trained]
    print(f"machine: {machine()}; {rows:,} ids; times the frozen table is as fast: median (lowest to highest)")
    heads = ("layer", "Embedding", "EmbeddingBag", "copy")
    print(
        f"{'scheme':<10} {'dim':>4} {'batch':>7} {'bytes':>13} {'ns an id':>9} "
        + " ".join(f"{head:>24}" for head in heads)
    )
    for dim in dims:
        for name in chosen:
            layer, table = frozen_layer(name, rows, dim, budget)
            for batch in batches:
                ids = np.random.default_rng(0).integers(0, rows, batch)
                found = measure(layer, table, ids, rounds)
                ratios = (found.layer, found.embedding, found.bag, found.copy)
                print(
                    f"{name:<10} {dim:>4} {batch:>7} {table.nbytes:>13,} {found.nanoseconds:>9,.1f} "
                    + " ".join(f"{own!s:>24}" for own in ratios),
                    flush=True,
                )


if __name__ == "__main__":
    main()
