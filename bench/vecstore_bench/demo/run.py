"""The demo program: ``python -m vecstore_bench.demo``."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import vecstore
from vecstore_bench.demo import report, steps
from vecstore_bench.demo.dataset import Corpus, Questions, load_corpus, load_questions
from vecstore_bench.demo.embedding import DIM
from vecstore_bench.demo.server_process import ServerProcess

__all__ = ["main"]

COLLECTION = "python"
#: Small enough that the corpus gets a graph; the default would scan it.
GRAPH_MIN_ROWS = 256
#: Questions shown without a filter, spread evenly, and questions shown with the narrow filter.
SHOWN = 12
SHOWN_FILTERED = 4


@click.command()
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for the store, absent or empty; a temporary one if not given.",
)
@click.option("--keep", is_flag=True, help="Keep the store afterwards.")
def main(store: Path | None, keep: bool) -> None:
    """Search Python's standard library by meaning, through a real server that is killed on the way.

    Starts `vecstore serve`, loads a corpus of documented names, compresses it, asks questions with and
    without filters, measures, kills the server and checks that nothing was lost.
    """
    console = Console()
    started = time.perf_counter()
    try:
        with _workplace(store, keep=keep, console=console) as folder:
            is_intact = Demo(folder, console).run()
    except vecstore.VecstoreError as error:
        raise click.ClickException(str(error)) from None
    console.print(f"\ndone in {time.perf_counter() - started:.0f} s")
    if not is_intact:
        raise click.ClickException("the store answered differently after the crash")


@contextmanager
def _workplace(store: Path | None, *, keep: bool, console: Console) -> Iterator[Path]:
    """Give an empty directory, removed at the end unless it is to be kept."""
    if store is not None and store.exists() and any(store.iterdir()):
        raise vecstore.AlreadyExistsError(f"{store}: not empty; give a new directory to --store")
    folder = store if store is not None else Path(tempfile.mkdtemp(prefix="vecstore-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if keep:
            console.print(f"kept {folder}: try `vecstore serve {folder / 'store'}`")
        else:
            shutil.rmtree(folder, ignore_errors=True)


class Demo:
    """One run of the demo in an empty directory.

    Parameters
    ----------
    folder : Path
        Gets the store and the server's log.
    console : rich.console.Console
        Where to write.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self._store, self._log = folder / "store", folder / "server.log"
        self._console = console
        self._corpus: Corpus = load_corpus()
        self._questions: Questions = load_questions()

    def run(self) -> bool:
        """Go through all steps; tell whether the answers after the crash are those before it."""
        server = self._start()
        try:
            with vecstore.connect(server.address) as database:
                collection = self._load(database)
                self._compress_and_measure(collection)
                late = steps.add_late_row(collection, self._questions)
                before = steps.record_answers(collection, self._questions)
        finally:
            server.kill()
        self._console.print(f"\nkilled process {server.pid} (SIGKILL) right after it acknowledged the row {late!r}")
        return self._check_restart(before)

    def _start(self) -> ServerProcess:
        started = time.perf_counter()
        server = ServerProcess(self._store, self._log)
        seconds = time.perf_counter() - started
        self._console.print(f"server process {server.pid} listens on {server.address} after {seconds:.1f} s")
        return server

    def _load(self, database: vecstore.Database) -> vecstore.Collection:
        collection = database.create_collection(
            COLLECTION, dim=DIM, metric="cosine", scheme="full", index=vecstore.HnswConfig(min_rows=GRAPH_MIN_ROWS)
        )
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task("inserting, every batch durable", total=len(self._corpus.names))
            steps.insert_corpus(collection, self._corpus, lambda done: progress.update(task, completed=done))
        with self._console.status("sealing the rows into a segment, and building its graph"):
            collection.flush()
            collection.optimize()
        return collection

    def _compress_and_measure(self, collection: vecstore.Collection) -> None:
        full = steps.measure(collection, self._corpus, self._questions, steps.FILTERS[0])
        bytes_before = collection.stats().bytes_per_vector
        with self._console.status("compressing to int8 with a float16 copy for re-ranking"):
            compressed = collection.compress("int8", refine="float16")
        self._console.print(
            f"compressed {compressed.rows:,} rows in {compressed.seconds:.1f} s: "
            f"{compressed.bytes_before:,} -> {compressed.bytes_after:,} bytes, "
            f"relative error {compressed.relative_error:.1e}"
        )
        self._show_answers(collection)
        self._console.print(report.bytes_table(bytes_before, collection.stats().bytes_per_vector))
        rows = [("full", full)]
        rows += [("int8", steps.measure(collection, self._corpus, self._questions, one)) for one in steps.FILTERS]
        self._console.print(report.quality_table(rows))

    def _show_answers(self, collection: vecstore.Collection) -> None:
        narrow = steps.FILTERS[-1].where
        in_files = [i for i, one in enumerate(self._questions.items) if one.expected[0].startswith(("os.", "shutil."))]
        spread = range(0, len(self._questions.items), len(self._questions.items) // SHOWN)
        for title, chosen, where in (
            ("Questions without a filter (✓ expected answer; cosine distance)", spread[:SHOWN], None),
            (f"Questions with the filter {narrow}", in_files[:SHOWN_FILTERED], narrow),
        ):
            answers = report.AnswerList(title)
            for index in chosen:
                answers.add(self._questions.items[index], steps.ask(collection, self._questions, index, where))
            self._console.print(answers.render())
            if answers.absent:
                self._console.print(f"passed over {len(answers.absent)} names that this Python lacks")

    def _check_restart(self, before: steps.Answers) -> bool:
        """Start again on the same directory and compare."""
        server = self._start()
        try:
            with vecstore.connect(server.address) as database:
                after = steps.record_answers(database.collection(COLLECTION), self._questions)
                problems = database.verify()
        finally:
            server.stop()
        same = sum(old == new for old, new in zip(before.ids, after.ids, strict=True))
        self._console.print(f"rows before {before.count:,}, after {after.count:,}")
        self._console.print(f"questions with the same ten answers: {same} of {len(before.ids)}")
        self._console.print(f"distances identical: {'yes' if before.distances == after.distances else 'no'}")
        self._console.print(f"checksum problems: {len(problems)}")
        return before == after and not problems
