"""Look-ups of frozen tables against torch: the same method's layer, the dense embedding, and memory itself.

``python -m vecstore_bench.lookup``. One thread; all candidates of a scheme take turns. ``layer`` is the same weights in
the torch layer in eval mode (its bare part: the layer's own check of ids is left out, although the frozen table checks
ids and so does torch's embedding), ``Embedding`` and ``EmbeddingBag`` (bags of one id) torch's dense float32 table of
as many rows, ``copy`` a contiguous copy of as many float32 rows, which is what the bandwidth of memory alone costs, and
``out=`` the frozen table writing into a buffer that is kept, where all others allocate their result. A figure above 1
says how many times as fast the frozen table is; against the copy, which share of the bandwidth it reaches.

Every turn looks other ids up, because ids that are repeated find their rows in the processor's cache, which no service
can count on. In each turn all candidates have the same ids, but for ``out=``, which reads the same table as the first.

``--fields`` measures a batch of that many fields instead, against a list of torch's dense embeddings and ``stack``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

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

__all__ = ["Measured", "frozen_layer", "main", "measure", "measure_fields"]

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
    reused: Ratio


def frozen_layer(
    name: str, rows: int, dim: int, budget: float, n_fields: int = 1
) -> tuple[EmbeddingLayer, FieldsTable]:
    """Make an untrained layer of equal fields at a budget, or the scheme's floor if that is larger; and freeze it."""
    sizes = {f"id{number}": rows for number in range(n_fields)}
    counts = (rows / np.arange(1, rows + 1)).astype(np.int64)
    frequency = dict.fromkeys(sizes, counts)
    try:
        layer = training.embedding(name, fields=sizes, dim=dim, budget=budget, frequency=frequency)
    except BudgetInfeasible as error:
        layer = training.embedding(name, fields=sizes, dim=dim, budget=error.floor, frequency=frequency)
    return layer.eval(), layer.freeze()


def measure(layer: EmbeddingLayer, table: FieldsTable, batch: int, rounds: int, seed: int = 0) -> Measured:
    """Look batches of uniformly random ids of a layer's only field up, several in one turn where they are small."""
    rows, dim = table.shape.rows, table.shape.dim
    part, trained = table.parts[0], layer.parts[0]
    dense = torch.nn.Embedding(rows, dim)
    bag = torch.nn.EmbeddingBag(rows, dim, mode="sum")
    source, out = np.ones((batch, dim), np.float32), np.empty((batch, dim), np.float32)
    repeats = max(1, _IDS_A_TURN // batch)
    batches = np.random.default_rng(seed).integers(0, rows, ((rounds + 1) * repeats, batch))
    candidates: dict[str, Callable[[I64], object]] = {
        "frozen": part.lookup,
        "layer": lambda ids: trained(torch.from_numpy(ids)),
        "embedding": lambda ids: dense(torch.from_numpy(ids)),
        "bag": lambda ids: bag(torch.from_numpy(ids)[:, None]),
        "copy": lambda ids: np.copyto(out, source),  # noqa: ARG005
        "reused": lambda ids: part.lookup(ids, out),
    }
    with torch.no_grad():
        turns = {
            name: _turns(run, batches[::-1] if name == "reused" else batches, repeats)
            for name, run in candidates.items()
        }
        seconds = interleaved(turns, rounds=rounds)
    frozen = seconds.pop("frozen")
    ratios = {name: ratio(theirs, frozen) for name, theirs in seconds.items()}
    return Measured(float(np.median(frozen)) / (repeats * batch) * 1e9, **ratios)


def measure_fields(table: FieldsTable, batch: int, rounds: int, seed: int = 0) -> tuple[float, Ratio]:
    """Look batches of ids of all fields up; give the microseconds of one, and how many times as long torch takes."""
    sizes = [field.size for field in table.scheme.fields]
    dense = [torch.nn.Embedding(size, table.shape.dim) for size in sizes]
    batches = np.random.default_rng(seed).integers(0, sizes, (rounds + 1, batch, len(sizes)))

    def stacked(ids: I64) -> torch.Tensor:
        columns = torch.from_numpy(ids).unbind(1)
        return torch.stack([own(column) for own, column in zip(dense, columns, strict=True)], 1)

    with torch.no_grad():
        turns = {"frozen": _turns(table.lookup_fields, batches, 1), "torch": _turns(stacked, batches, 1)}
        seconds = interleaved(turns, rounds=rounds)
    return float(np.median(seconds["frozen"])) * 1e6, ratio(seconds["torch"], seconds["frozen"])


def _turns(run: Callable[[I64], object], batches: I64, repeats: int) -> Callable[[], object]:
    """Give what runs the next ``repeats`` batches each time it is called."""
    remaining = cycle(batches)

    def turn() -> None:
        for _ in range(repeats):
            run(next(remaining))

    return turn


@click.command(help=__doc__)
@click.option("--schemes", help="Names, separated by commas; all that can be trained otherwise.")
@click.option("--rows", default=1_000_000, show_default=True, help="Ids of the table; of all fields together.")
@click.option("--dim", "dims", multiple=True, type=int, default=(16, 64), show_default=True)
@click.option("--batch", "batches", multiple=True, type=int, default=(1, 1_000, 10_000, 100_000), show_default=True)
@click.option("--budget", default=0.1, show_default=True, help="Fraction of float32; the scheme's floor if larger.")
@click.option("--rounds", default=7, show_default=True)
@click.option(
    "--fields", "n_fields", default=0, help="Measure this many fields together, such as 26 in batches of 1024."
)
def main(
    schemes: str | None,
    rows: int,
    dims: tuple[int, ...],
    batches: tuple[int, ...],
    budget: float,
    rounds: int,
    n_fields: int,
) -> None:
    """Measure all combinations, and print a line for each."""
    torch.set_num_threads(1)
    chosen = schemes.split(",") if schemes else [name for name in names() if get(name).capabilities.trained]
    print(f"machine: {machine()}; {rows:,} ids; times the frozen table is as fast: median (lowest to highest)")
    if n_fields:
        _report_fields(chosen, rows // n_fields, dims, batches, budget, rounds, n_fields)
        return
    heads = ("layer", "Embedding", "EmbeddingBag", "copy", "out=")
    print(
        f"{'scheme':<10} {'dim':>4} {'batch':>7} {'bytes':>13} {'ns an id':>9} "
        + " ".join(f"{head:>24}" for head in heads)
    )
    for dim in dims:
        for name in chosen:
            layer, table = frozen_layer(name, rows, dim, budget)
            for batch in batches:
                found = measure(layer, table, batch, rounds)
                ratios = (found.layer, found.embedding, found.bag, found.copy, found.reused)
                print(
                    f"{name:<10} {dim:>4} {batch:>7} {table.nbytes:>13,} {found.nanoseconds:>9,.1f} "
                    + " ".join(f"{own!s:>24}" for own in ratios),
                    flush=True,
                )


def _report_fields(
    chosen: list[str],
    size: int,
    dims: tuple[int, ...],
    batches: tuple[int, ...],
    budget: float,
    rounds: int,
    count: int,
) -> None:
    print(
        f"{count} fields of {size:,} ids\n{'scheme':<10} {'dim':>4} {'batch':>7} {'us a batch':>11} {'Embeddings':>24}"
    )
    for dim in dims:
        for name in chosen:
            _, table = frozen_layer(name, size, dim, budget, count)
            for batch in batches:
                micros, ratios = measure_fields(table, batch, rounds)
                print(f"{name:<10} {dim:>4} {batch:>7} {micros:>11,.0f} {ratios!s:>24}", flush=True)


if __name__ == "__main__":
    main()
