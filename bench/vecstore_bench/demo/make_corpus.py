"""Make the demo's files again: ``python -m vecstore_bench.demo.make_corpus``.

Reads the standard library of the running Python, embeds ``"qualified name: summary"`` of everything that is
documented, and the hand-written questions, and writes both as Parquet. The texts themselves are not stored.
"""

from __future__ import annotations

import platform
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from vecstore.errors import InvalidArgumentError, VecstoreError
from vecstore.types import F32
from vecstore_bench.demo import dataset, metrics
from vecstore_bench.demo.embedding import MODEL, embed
from vecstore_bench.demo.stdlib import Entry, find_entries

#: Rows that keep both files below 5 MB.
MAX_ROWS = 5_500
#: How entries are chosen and written down, as stored in the file.
RULE = (
    "every public documented module, class, function and own method of the standard library, but for the modules "
    "skipped in vecstore_bench.demo.stdlib; text embedded: 'qualified name: summary'"
)


@click.command()
def main() -> None:
    """Make corpus.parquet and questions.parquet from the standard library of this Python."""
    console = Console()
    try:
        entries = find_entries()
        questions = dataset.read_question_source()
        _check(entries, questions)
        with Progress(console=console) as progress:
            task = progress.add_task("embedding", total=None)
            texts = [f"{entry.name}: {entry.summary}" for entry in entries] + [question.text for question in questions]
            vectors = embed(texts, on_progress=lambda done, total: progress.update(task, completed=done, total=total))
        _write(entries, questions, vectors)
    except VecstoreError as error:
        raise click.ClickException(str(error)) from None
    _report(console)


def _check(entries: list[Entry], questions: list[dataset.Question]) -> None:
    names = {entry.name for entry in entries}
    if len(names) != len(entries) or len(entries) > MAX_ROWS:
        raise InvalidArgumentError(
            f"{len(entries)} entries, {len(names)} names; expected unique names, {MAX_ROWS} at most"
        )
    absent = sorted({name for question in questions for name in question.expected} - names)
    if absent:
        raise InvalidArgumentError(f"questions.jsonl expects names that the corpus lacks: {', '.join(absent)}")


def _write(entries: list[Entry], questions: list[dataset.Question], vectors: F32) -> None:
    about = {"model": MODEL, "python": platform.python_version(), "rule": RULE}
    columns = {
        "name": [entry.name for entry in entries],
        "module": [entry.module for entry in entries],
        "kind": [entry.kind for entry in entries],
    }
    dataset.write_parquet(dataset.CORPUS_FILE, columns, vectors[: len(entries)], about)
    asked: dict[str, list[Any]] = {
        "text": [q.text for q in questions],
        "expected": [list(q.expected) for q in questions],
    }
    dataset.write_parquet(dataset.QUESTIONS_FILE, asked, vectors[len(entries) :], {"model": MODEL})


def _report(console: Console) -> None:
    """Show what was written and how well exact search answers the questions."""
    corpus, questions = dataset.load_corpus(), dataset.load_questions()
    rows = metrics.nearest(corpus.vectors, questions.vectors, 10)
    found = [[corpus.names[row] for row in ranked] for ranked in rows]
    expected = [question.expected for question in questions.items]
    size = dataset.CORPUS_FILE.stat().st_size + dataset.QUESTIONS_FILE.stat().st_size
    console.print(f"{len(corpus.names)} names, {len(questions.items)} questions, {size:,} bytes")
    for k in (1, 10):
        console.print(f"expected name in the top {k}: {metrics.hit_share(found, expected, k):.1%}")


if __name__ == "__main__":
    main()
