"""The measurements by name: what ``vecstore bench`` offers, without importing any of them.

A new command is one line in :data:`COMMANDS`; its module has the click command ``main``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

import click

__all__ = ["COMMANDS", "Entry", "load"]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command is, and what a list of commands says of it.

    Attributes
    ----------
    module : str
        Its ``main`` is the click command.
    help : str
        One line.
    """

    module: str
    help: str


COMMANDS: Mapping[str, Entry] = MappingProxyType(
    {
        "build": Entry(
            "vecstore_bench.build", "Building graphs against hnswlib; CPU time and recall; merges, deletes."
        ),
        "codecs": Entry("vecstore_bench.codecs", "Codecs for collections on real vectors; bytes, recall, speed."),
        "ctr": Entry("vecstore_bench.ctr", "Train schemes at budgets on click data; quality, bytes, time, memory."),
        "describe": Entry("vecstore_bench.describe", "What data say about compressing them: skew, rare ids, spectrum."),
        "fit": Entry("vecstore_bench.fit", "Fit schemes to real vectors; bytes, relative error, cosine, seconds."),
        "ingest": Entry("vecstore_bench.ingest", "Durable inserts, reopening, resident memory."),
        "lookup": Entry("vecstore_bench.lookup", "Look-ups of frozen tables against torch and a plain copy."),
        "recall": Entry("vecstore_bench.recall", "Searches for a recall, and the advisor's pick, on real queries."),
        "retrieval": Entry("vecstore_bench.retrieval", "Encode a corpus any way; recall, nDCG, bytes, speed."),
        "report": Entry("vecstore_bench.report.command", "One HTML file of a run: plots, advice, table, methods."),
        "scans": Entry("vecstore_bench.scans", "Exact search and scans of codes against faiss and torch."),
        "scores": Entry("vecstore_bench.scores", "Scoring of compressed tables against decoding them first."),
        "search": Entry("vecstore_bench.search", "Search against other libraries and databases at equal recall."),
    }
)


def load(name: str) -> click.Command:
    """Import a command of :data:`COMMANDS`.

    Raises
    ------
    ModuleNotFoundError
        A package that the measurement needs is not installed.
    TypeError
        The module's ``main`` is not a click command.
    """
    command = import_module(COMMANDS[name].module).main
    if not isinstance(command, click.Command):
        raise TypeError(f"{COMMANDS[name].module}.main: expected a click command, got {type(command).__name__}")
    return command
