"""Scoring of compressed tables against decoding them first, for every scheme that can be trained.

``python -m vecstore_bench.scores``. One thread; both candidates take turns. ``scan`` scores all rows of a table,
``gather`` 1,000 random ones. The scheme's own scorer, queries prepared, stands against look-ups of the same rows in
blocks whose float32 rows the scorer of ``full`` scores. A figure above 1 says how many times as fast the scheme's
scorer is; about 1 is what a scheme reaches that decodes by itself, because its algebra allows nothing better.
"""

from __future__ import annotations

from collections.abc import Callable

import click
import numpy as np
import torch

from vecstore.kernels.compiling import frozen
from vecstore.schemes import get, names
from vecstore.schemes.base import CompressedTable
from vecstore.schemes.full import plain_scorer
from vecstore.types import F32, I64, Metric
from vecstore_bench.lookup import frozen_layer
from vecstore_bench.measure import Ratio, interleaved, machine, ratio

__all__ = ["decode_and_score", "main", "measure"]

#: Rows that are decoded at a time, so that they are still in the cache when they are scored.
_BLOCK_ROWS = 2_048
#: Rows that a gather asks for.
_GATHERED = 1_000
#: Distances that one turn computes at least, so that a turn is longer than the clock is coarse.
_DISTANCES_A_TURN = 100_000


def decode_and_score(table: CompressedTable, queries: F32, metric: Metric, rows: I64, out: F32) -> None:
    """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n] by way of decoded float32 rows."""
    for start in range(0, len(rows), _BLOCK_ROWS):
        decoded = table.lookup(rows[start : start + _BLOCK_ROWS])
        distances = np.empty((len(queries), len(decoded)), np.float32)
        plain_scorer(frozen(decoded), queries, metric).scan(0, len(decoded), distances)
        out[:, start : start + len(decoded)] = distances


def measure(table: CompressedTable, queries: F32, metric: Metric, rows: I64 | None, rounds: int) -> tuple[float, Ratio]:
    """Score ``rows`` int64[n], all by a scan where None, both ways.

    Returns
    -------
    float
        Nanoseconds a distance of the scheme's own scorer.
    Ratio
        How many times as long decoding first takes.
    """
    scorer = table.scorer(queries, metric)
    asked = frozen(np.arange(table.shape.rows)) if rows is None else frozen(rows)
    out = np.empty((len(queries), len(asked)), np.float32)
    own: Callable[[], None] = (
        (lambda: scorer.scan(0, len(asked), out)) if rows is None else (lambda: scorer.gather(asked, out))
    )
    repeats = max(1, _DISTANCES_A_TURN // out.size)

    candidates: dict[str, Callable[[], None]] = {
        "own": own,
        "decoding": lambda: decode_and_score(table, queries, metric, asked, out),
    }
    seconds = interleaved({name: _repeated(run, repeats) for name, run in candidates.items()}, rounds=rounds)
    return float(np.median(seconds["own"])) / (repeats * out.size) * 1e9, ratio(seconds["decoding"], seconds["own"])


def _repeated(run: Callable[[], None], times: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(times):
            run()

    return repeated


@click.command(help=__doc__)
@click.option("--schemes", help="Names, separated by commas; all that can be trained otherwise.")
@click.option("--rows", default=100_000, show_default=True, help="Ids of the table.")
@click.option("--dim", "dims", multiple=True, type=int, default=(64,), show_default=True)
@click.option("--queries", "counts", multiple=True, type=int, default=(1, 64), show_default=True)
@click.option("--budget", default=0.1, show_default=True, help="Fraction of float32; the scheme's floor if larger.")
@click.option("--rounds", default=5, show_default=True)
def main(
    schemes: str | None, rows: int, dims: tuple[int, ...], counts: tuple[int, ...], budget: float, rounds: int
) -> None:
    """Measure all combinations, and print a line for each."""
    torch.set_num_threads(1)
    chosen = schemes.split(",") if schemes else [name for name in names() if get(name).capabilities.trained]
    print(f"machine: {machine()}; {rows:,} ids; times the scheme's scorer is as fast: median (lowest to highest)")
    print(f"{'scheme':<10} {'dim':>4} {'metric':<6} {'queries':>7} {'rows':<7} {'ns a distance':>13} {'decoding':>24}")
    for dim in dims:
        for name in chosen:
            table = frozen_layer(name, rows, dim, budget)[1].parts[0]
            for metric in (Metric.IP, Metric.L2):
                for count in counts:
                    rng = np.random.default_rng(0)
                    queries = rng.standard_normal((count, dim)).astype(np.float32)
                    gathered = rng.integers(0, rows, _GATHERED)
                    for way, asked in (("scan", None), ("gather", gathered)):
                        nanoseconds, found = measure(table, queries, metric, asked, rounds)
                        print(
                            f"{name:<10} {dim:>4} {metric.value:<6} {count:>7} {way:<7} {nanoseconds:>13,.2f} "
                            f"{found!s:>24}",
                            flush=True,
                        )


if __name__ == "__main__":
    main()
