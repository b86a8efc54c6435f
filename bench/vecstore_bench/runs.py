"""Runs of many cells: resumable, one cell a process, one JSON line a result, one parquet file of all.

A *cell* is a frozen dataclass of JSON types with a ``budget``; its fields are columns of its result, by which it is
known again. ``status`` of a result is ``done``, ``infeasible`` or ``failed``; cells that failed are tried again by the
next run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from vecstore.errors import InvalidArgumentError, VecstoreError

__all__ = ["Result", "Results", "complete", "isolated", "run_all"]

#: What is kept of a cell, as JSON types.
Result = dict[str, Any]

CellT = TypeVar("CellT")

#: What a cell may raise; anything else is a mistake in the benchmark, and ends it.
_FAILURES = (VecstoreError, ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, ValueError)


class Results:
    """The cells that are done, one JSON line each, in a folder of one experiment.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    experiment : dataclass
        What all cells have in common.
    cell : type
        Class of the cells.

    Raises
    ------
    InvalidArgumentError
        The folder has results of another experiment, or cannot be written.
    """

    def __init__(self, folder: Path, experiment: Any, cell: type[Any]) -> None:
        self.folder = folder
        self._names = [own.name for own in fields(cell)]
        self._lines = folder / "cells.jsonl"
        about = folder / "experiment.json"
        text = json.dumps(asdict(experiment), indent=1, sort_keys=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Where nothing came of another experiment, as after a mistyped option, there is nothing to lose.
            begun = any(path != about for path in folder.iterdir())
            if begun and about.exists() and about.read_text(encoding="utf-8") != text:
                raise InvalidArgumentError(
                    f"{folder}: has results of another experiment ({about.name}); choose another folder", field="out"
                )
            about.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InvalidArgumentError(
                f"{folder}: cannot hold results ({error.strerror}); choose another folder", field="out"
            ) from None

    def all(self) -> list[Result]:
        """Give the results, in the order in which they came; a last line that a crash cut off is left out."""
        if not self._lines.exists():
            return []
        lines = self._lines.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines if line]

    def has(self, cell: Any) -> bool:
        """Say whether a cell need not be run: it is done or infeasible."""
        own = asdict(cell)
        return any(
            line["status"] != "failed" and all(line.get(name) == value for name, value in own.items())
            for line in self.all()
        )

    def add(self, cell: Any, result: Result) -> None:
        """Keep the result of a cell."""
        with self._lines.open("a+b") as file:
            file.seek(0)
            # What a crash left of a line is cut off.
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps({**asdict(cell), **result}).encode() + b"\n")

    def write(self) -> Path:
        """Write ``results.parquet``, one row a cell; of a cell that was tried again only the last result."""
        last = {tuple(line[name] for name in self._names): line for line in self.all()}
        columns = sorted({key for line in last.values() for key in line})
        rows = [{key: line.get(key) for key in columns} | {"budget": float(line["budget"])} for line in last.values()]
        path = self.folder / "results.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
        return path


def isolated(work: Callable[..., Result], labels: Mapping[str, Any], *arguments: Any) -> Result:
    """Call ``work(*arguments)`` in a fresh process: its peak memory is its own, and a crash is not the end of all.

    ``labels`` are what a result has whose ``status`` is ``failed``, beside the reason in ``error``.
    """
    started = time.perf_counter()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            result = pool.submit(work, *arguments).result()
        except BrokenProcessPool:
            result = {**labels, "status": "failed", "error": "the process was killed; perhaps memory ran out"}
        except _FAILURES as error:
            result = {**labels, "status": "failed", "error": f"{type(error).__name__}: {error}"}
    return {**result, "wall_seconds": time.perf_counter() - started}


def run_all(
    cells: Iterable[CellT], run: Callable[[CellT], Result], *, jobs: int, until: float
) -> Iterator[tuple[CellT, Result]]:
    """Run cells, ``jobs`` at once, and give each with its result when it is done.

    No cell is begun after ``until``, in seconds of time.monotonic; those that run are finished.
    """
    waiting = iter(cells)
    running: dict[Future[Result], CellT] = {}
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            while len(running) < jobs and time.monotonic() < until and (cell := next(waiting, None)) is not None:
                running[pool.submit(run, cell)] = cell
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()


def complete(
    results: Results,
    cells: Sequence[CellT],
    run: Callable[[CellT], Result],
    *,
    jobs: int = 1,
    minutes: float | None,
    quality: Callable[[Result], str],
    console: Console,
) -> None:
    """Run the cells that are missing, and say after each how far the run is.

    Parameters
    ----------
    results : Results
    cells : sequence
    run : callable
        Cell -> result.
    jobs : int
        Cells that run at once.
    minutes : float or None
        After which no cell is begun.
    quality : callable
        Result of a cell that is done -> what is shown of it.
    console : Console
    """
    missing = [cell for cell in cells if not results.has(cell)]
    started = time.monotonic()
    until = float("inf") if minutes is None else started + 60 * minutes
    try:
        for number, (cell, result) in enumerate(run_all(missing, run, jobs=jobs, until=until), 1):
            results.add(cell, result)
            outcome = quality(result) if result["status"] == "done" else result["error"]
            spent = (time.monotonic() - started) / 60
            left = spent / number * (len(missing) - number)
            console.print(
                f"{len(cells) - len(missing) + number}/{len(cells)} {cell}: {result['status']}, {outcome} "
                f"({spent:.1f} min, about {left:.1f} more)",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on with the cells that are not done")
        raise
    if skipped := sum(not results.has(cell) for cell in cells):
        console.print(f"{skipped} of {len(cells)} cells are not done; the same command goes on with them")
