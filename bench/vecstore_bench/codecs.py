"""Codecs for collections on real vectors: bytes, recall, speed, and what a finer second copy adds.

``python -m vecstore_bench.codecs --set mlanthology``: each codec is fitted to all rows and scanned with one thread,
beside the scan of float32 rows, in turns. The first recall@10 is that of the codes alone, ``refined`` that of a search
as a collection does it with a finer copy (``--refine``), over the first ``--queries`` queries; for scifact both are
nDCG@10. Bytes are those of all arrays over the rows, so codebooks and matrices count; the finer copy does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from vecstore import schemes
from vecstore.errors import BudgetInfeasible
from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.schemes.requested import requested
from vecstore.search import scan_in_stages
from vecstore.types import F32, I64, Metric
from vecstore.widths import scan_depth
from vecstore_bench.data_sets import DataSet, data_folder, load, prepared
from vecstore_bench.measure import interleaved, machine, ratio
from vecstore_bench.ranking import ndcg, recall

_K = 10
#: (scheme, budget, transform): a budget where parameters are to be chosen.
_CODECS: tuple[tuple[str | dict[str, Any], float | None, str | None], ...] = (
    ("full", None, None),
    ("float16", None, None),
    ("int8", None, None),
    ("int4", None, None),
    ("transformed", 1 / 16, None),
    ("binary", None, None),
    ("binary", None, "centre|rotate"),
    ({"scheme": "rabitq", "bits": 1}, None, None),
    ({"scheme": "rabitq", "bits": 2}, None, None),
    ({"scheme": "rabitq", "bits": 4}, None, None),
    ({"scheme": "pq", "bits": 4}, 1 / 16, None),
    ({"scheme": "pq", "bits": 4}, 1 / 16, "rotate"),
    ({"scheme": "pq", "bits": 8}, 1 / 16, None),
    ({"scheme": "opq", "bits": 4}, 1 / 16, None),
)


def score(data: DataSet, found: I64) -> float:
    """Give nDCG@10 of rows int64[q, 10] where there are judgements, else recall@10."""
    return recall(found, data.neighbours, _K) if data.relevant is None else ndcg(found, data.relevant, _K)


def two_stage(codes: CompressedTable, finest: CompressedTable, queries: F32, metric: Metric, k: int = _K) -> I64:
    """Give int64[q, k] as a collection without a graph finds them: candidates on the codes, scored again."""
    scorer = codes.scorer(queries, metric)
    finer = scorer if finest is codes else finest.scorer(queries, metric)
    depth = scan_depth(codes, k, refined=finest is not codes)
    return scan_in_stages(scorer, finer, len(queries), codes.shape.rows, k, depth)[0]


def _label(table: CompressedTable) -> str:
    config = table.scheme.to_dict()
    inner = config.get("inner", config)
    chosen = [f"{inner[key]} {key}" for key in ("bits", "parts") if key in inner]
    chain = f"{config['transform']}, " if "transform" in config else ""
    return chain + " ".join([str(inner["scheme"]), *chosen])


@click.command(help=__doc__)
@click.option("--data", help="Folder of the data sets.")
@click.option(
    "--set", "name", default="mlanthology", show_default=True, help="mlanthology, glove100, mnist784, scifact."
)
@click.option("--refine", default="int8", show_default=True, help="Scheme of the finer copy.")
@click.option("--queries", "n_queries", default=500, show_default=True, help="Queries whose answers are judged.")
@click.option("--timed", default=32, show_default=True, help="Queries a timed scan.")
@click.option("--rounds", default=3, show_default=True, help="Timed rounds, after one that is not counted.")
@click.option("--only", multiple=True, help="Schemes to measure; may be repeated.  [default: all]")
def main(
    data: str | None, name: str, refine: str, n_queries: int, timed: int, rounds: int, only: tuple[str, ...]
) -> None:
    """Run the measurement and print its table."""
    answers = prepared(load(name, data_folder(data)), queries=n_queries)
    base, queries, metric = answers.base, answers.queries, answers.metric
    shape = TableShape(*base.shape)
    print(f"machine: {machine()}")
    print(f"{name}: {shape.rows:,} x {shape.dim}, {metric}, {len(queries):,} queries, refine {refine}")
    finest = schemes.from_config(refine).fit(base)
    plain = schemes.from_config("full").fit(base)
    measure = "nDCG@10" if answers.relevant is not None else "recall@10"
    print(f"| codec | bytes a vector | {measure} | refined | encode, s | queries/s to full |")
    print("| --- | --- | --- | --- | --- | --- |")
    asked = queries[:timed]
    for scheme, budget, transform in _CODECS:
        if only and (scheme if isinstance(scheme, str) else scheme["scheme"]) not in only:
            continue
        try:
            chosen = requested(scheme, transform=transform, budget=budget, shape=shape)
        except BudgetInfeasible as error:
            print(f"| {scheme} needs {error.floor / shape.rows:.1f} | | | | | |")
            continue
        started = time.perf_counter()
        table = chosen.fit(base)
        seconds = time.perf_counter() - started
        alone = score(answers, two_stage(table, table, queries, metric))
        refined = score(answers, two_stage(table, finest, queries, metric))
        runs: dict[str, Callable[[], object]] = {
            "full": lambda: two_stage(plain, plain, asked, metric),
            "codec": lambda table=table: two_stage(table, table, asked, metric),  # type: ignore[misc]
        }
        times = interleaved(runs, rounds=rounds)
        speed = ratio(times["full"], times["codec"]).median
        nbytes = table.nbytes / shape.rows
        print(f"| {_label(table)} | {nbytes:.1f} | {alone:.4f} | {refined:.4f} | {seconds:.1f} | {speed:.2f} |")


if __name__ == "__main__":
    main()
