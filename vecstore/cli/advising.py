"""``vecstore advise``: which stored form reaches a recall in the fewest bytes, as a table."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vecstore.cli import console
from vecstore.cli.fitting import advancing
from vecstore.cli.options import BUDGET, examples, json_option
from vecstore.cli.target import Target, takes_store
from vecstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from vecstore.types import F32, Metric


@click.command(
    "advise",
    short_help="Measure which stored form reaches a recall in the fewest bytes.",
    epilog=examples(
        "vecstore advise vectors.npy --target-recall 0.95",
        "vecstore advise ./store docs --max-bytes 1/16 --queries queries.npy",
    ),
)
@takes_store
@click.argument("collection", required=False)
@click.option("--queries", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Queries as for search.")
@click.option("--metric", type=click.Choice(["cosine", "l2", "ip"]), help="For a file.  [default: cosine]")
@click.option("--target-recall", type=float, default=0.95, show_default=True, help="Share of the true nearest to find.")
@click.option("-k", default=10, show_default=True, type=click.IntRange(1), help="Hits a query.")
@click.option("--max-bytes", type=BUDGET, help="In memory: bytes, or a fraction of float32 such as 1/16.")
@click.option("--field", metavar="NAME", help="Array of an .npz archive with several matrices.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the samples.")
@click.option("--all", "show_all", is_flag=True, help="Print everything that was tried.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@json_option
def advise_command(
    target: Target,
    collection: str | None,
    queries: Path | None,
    metric: str | None,
    target_recall: float,
    k: int,
    max_bytes: float | int | None,
    field: str | None,
    seed: int,
    show_all: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Try the stored forms that there are on the rows of COLLECTION, and say which one to take.

    Without COLLECTION, STORE is a file of vectors: .npy, .npz, .fvecs, Parquet or JSON lines. The work is done here,
    also where STORE is a server. Bytes are those a vector; speeds are multiples of a scan of float32 rows.
    """
    from vecstore.advisor import advise
    from vecstore.cli.readers import read_queries

    vectors, kind = _stored(target, collection, metric) if collection else (_read(Path(target.store), field), metric)
    with console.progress("measuring", len(vectors), quiet=quiet) as advance:
        advice = advise(
            vectors,
            None if queries is None else read_queries(queries),
            metric=kind or "cosine",
            target_recall=target_recall,
            k=k,
            max_bytes=max_bytes,
            seed=seed,
            on_progress=advancing(advance, len(vectors)),
        )
    shown = advice.candidates if show_all else advice.best
    if as_json:
        index = advice.arguments["index"]
        arguments: dict[str, Any] = advice.arguments | {"index": index and index.to_dict()}
        console.show_json(
            {"arguments": arguments, "reason": advice.reason, "candidates": [asdict(one) for one in shown]}
        )
        return
    console.show_table("", advice.headings, [advice.row(one) for one in shown])
    click.echo(advice.reason)


def _stored(target: Target, collection: str, metric: str | None) -> tuple[F32, Metric]:
    """Give all vectors of a collection, and its metric."""
    import numpy as np

    if metric is not None:
        raise InvalidArgumentError("--metric: a collection has its own; leave it out")
    with target.reading() as database:
        chosen = database.collection(collection)
        dim, batches = chosen.config.dim, chosen.scan(columns=[], batch_size=4096)
        parts = [batch.column("vector").flatten().to_numpy().reshape(-1, dim) for batch in batches]
        return np.concatenate([np.empty((0, dim), np.float32), *parts]), chosen.config.metric


def _read(path: Path, field: str | None) -> F32:
    from vecstore.cli.readers import read_fields

    if not path.is_file():
        raise InvalidArgumentError(f"{path}: there is no such file; name the COLLECTION too where it is a store")
    matrices = read_fields(path, (field,) if field else ())
    if len(matrices) > 1:
        raise InvalidArgumentError(f"{path}: has the matrices {', '.join(matrices)}; choose one with --field")
    return next(iter(matrices.values()))
