"""What the demo does with a collection, step by step; everything is written against ``vecstore.Collection``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vecstore_bench.demo import metrics
from vecstore_bench.demo.dataset import Corpus, Questions

if TYPE_CHECKING:
    from vecstore.api import Collection
    from vecstore.types import Hit, Mask

__all__ = [
    "FILTERS",
    "Answers",
    "K",
    "Measurement",
    "RowFilter",
    "add_late_row",
    "ask",
    "insert_corpus",
    "measure",
    "record_answers",
]

#: Hits a question.
K = 10
#: Rows in one insert call, each one durable transaction.
BATCH = 256
#: Calls before the clock starts.
WARM_UP = 10
#: Modules of the narrow filter.
FILE_MODULES = ("glob", "os", "os.path", "pathlib", "shutil", "tempfile")


@dataclass(frozen=True, slots=True)
class RowFilter:
    """A filter as the server gets it (None for none), and the same as a numpy mask to check the server with."""

    where: str | None
    mask: Callable[[Corpus], Mask]


FILTERS = (
    RowFilter(None, lambda corpus: np.ones(len(corpus.names), np.bool_)),
    RowFilter("kind = 'function'", lambda corpus: np.array(corpus.kinds) == "function"),
    RowFilter(f"module IN {FILE_MODULES}", lambda corpus: np.isin(corpus.modules, FILE_MODULES)),
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """Quality and latency of the questions under one filter.

    Attributes
    ----------
    where : str or None
        The filter.
    rows : int
        Rows that match it.
    recall_server, recall_numpy : float
        Share of the 10 nearest that were found: against ``exact=True`` on the server, and against a numpy
        scan of the shipped vectors.
    questions : int
        Questions that expect a name among the matching rows.
    top1, top10 : float
        Share of those whose expected name came first, or among the first ten.
    p50, p99 : float
        Seconds of one call with one question, over the network.
    """

    where: str | None
    rows: int
    recall_server: float
    recall_numpy: float
    questions: int
    top1: float
    top10: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Answers:
    """What a collection answers at one moment: row count, and ids and distances of all questions."""

    count: int
    ids: list[list[str]]
    distances: list[list[float]]


def insert_corpus(collection: Collection, corpus: Corpus, on_progress: Callable[[int], None]) -> None:
    """Insert the corpus in batches; ``on_progress`` gets the rows written so far."""
    for start in range(0, len(corpus.names), BATCH):
        rows = slice(start, start + BATCH)
        columns = {"module": corpus.modules[rows], "kind": corpus.kinds[rows]}
        collection.insert(corpus.names[rows], corpus.vectors[rows], columns)
        on_progress(min(start + BATCH, len(corpus.names)))


def add_late_row(collection: Collection, questions: Questions) -> str:
    """Insert one more row, which nothing seals afterwards, and give its id: the last write before the crash."""
    name = "written.just.before.the.crash"
    collection.insert([name], questions.vectors[:1], {"module": ["demo"], "kind": ["module"]})
    return name


def ask(collection: Collection, questions: Questions, index: int, where: str | None) -> list[Hit]:
    """Give the hits of one question with their ``module`` and ``kind``."""
    return collection.search(questions.vectors[index], K, where=where, columns=["module", "kind"])[0]


def measure(collection: Collection, corpus: Corpus, questions: Questions, row_filter: RowFilter) -> Measurement:
    """Ask every question in a call of its own, and compare with exact search."""
    where, mask = row_filter.where, row_filter.mask(corpus)
    for query in questions.vectors[:WARM_UP]:
        collection.search(query, K, where=where, columns=[])
    found, seconds = [], []
    for query in questions.vectors:
        started = time.perf_counter()
        hits = collection.search(query, K, where=where, columns=[])
        seconds.append(time.perf_counter() - started)
        found.append([str(hit.id) for hit in hits[0]])
    exact = collection.search(questions.vectors, K, where=where, exact=True, columns=[])
    matching = [name for name, matches in zip(corpus.names, mask, strict=True) if matches]
    ranked = metrics.nearest(corpus.vectors[mask], questions.vectors, K)
    answerable = [
        (ids, names)
        for ids, question in zip(found, questions.items, strict=True)
        if (names := set(question.expected).intersection(matching))
    ]
    answered, expected = [ids for ids, _ in answerable], [names for _, names in answerable]
    p50, p99 = metrics.percentiles(seconds)
    return Measurement(
        where=where,
        rows=len(matching),
        recall_server=metrics.recall(found, [[str(hit.id) for hit in hits] for hits in exact]),
        recall_numpy=metrics.recall(found, [[matching[row] for row in rows] for rows in ranked]),
        questions=len(answerable),
        top1=metrics.hit_share(answered, expected, 1),
        top10=metrics.hit_share(answered, expected, K),
        p50=p50,
        p99=p99,
    )


def record_answers(collection: Collection, questions: Questions) -> Answers:
    """Record the row count and the answers to all questions, to compare with those of another moment."""
    hits = collection.search(questions.vectors, K, columns=[])
    return Answers(collection.count(), hits.ids.tolist(), hits.distances.tolist())
