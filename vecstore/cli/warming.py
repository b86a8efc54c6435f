"""``vecstore warmup``: compile kernels ahead of the first search."""

from __future__ import annotations

import click

from vecstore.cli import console
from vecstore.cli.options import examples


@click.command(
    "warmup",
    short_help="Compile kernels ahead of time, for images.",
    epilog=examples(
        "vecstore warmup --metric cosine",
        "VECSTORE_CACHE=/var/cache/vecstore vecstore warmup --scheme int8 --scheme float16 --metric cosine",
    ),
)
@click.option("--scheme", "schemes", metavar="NAME", multiple=True, help="A scheme of collections; all by default.")
@click.option(
    "--metric",
    "metrics",
    type=click.Choice(["l2", "ip", "cosine"]),
    multiple=True,
    help="A metric of collections; all by default.",
)
def warmup_command(schemes: tuple[str, ...], metrics: tuple[str, ...]) -> None:
    """Compile the kernels that collections need, and keep them on disk.

    Later processes find them there and search at once. They are kept in VECSTORE_CACHE where that is set, else in the
    user's folder for caches, apart for each kind of processor and version of the library. Name the scheme of a finer
    copy (refine) too.
    """
    from vecstore.warming import cases, warmup

    with console.progress("collections", len(cases(schemes, metrics)), quiet=False, unit="collections") as advance:
        report = warmup(schemes, metric=metrics, on_progress=advance)
    facts = {"compiled": report.compiled, "kept": report.kept, "seconds": round(report.seconds, 1)}
    console.show_facts(f"kernels in {report.folder}", facts.items())
