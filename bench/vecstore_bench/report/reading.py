"""The cells of one or more runs, whatever columns they have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vecstore.errors import FormatError, InvalidArgumentError, NotFoundError
from vecstore_bench.describing import DESCRIPTION
from vecstore_bench.report.field_choices import Chosen, chosen_of
from vecstore_bench.report.measures import MEASURES, first

__all__ = ["Cell", "Key", "Run", "Source", "read_run"]

_TABLE, _LINES, _EXPERIMENT = "results.parquet", "cells.jsonl", "experiment.json"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What cells must have in common to be compared with each other."""

    data: str
    model: str
    dim: int

    def __str__(self) -> str:
        """Give the names, as a heading; of data in a file only the file's name."""
        parts = (Path(self.data).name or "unnamed data", self.model, f"{self.dim} dimensions" if self.dim else "")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One scheme at one budget with one seed.

    Attributes
    ----------
    key : Key
    scheme : str
    budget : float
        A share of the float32 table up to 1, bytes above.
    seed : int
    status : str
        ``done``, ``infeasible`` or ``failed``.
    error : str
        Why it is not done.
    bytes : int or None
        Of the stored table.
    full_bytes, floor_bytes : int or None
        Of the float32 table; the least that the scheme needs, which infeasible cells know.
    values : mapping of str to float
        By the keys of :data:`~vecstore_bench.report.measures.MEASURES`; what the cell has of them.
    chosen : tuple of Chosen
        What each field got, where fields choose.
    """

    key: Key
    scheme: str
    budget: float
    seed: int
    status: str
    error: str
    bytes: int | None
    full_bytes: int | None
    floor_bytes: int | None
    values: Mapping[str, float]
    chosen: tuple[Chosen, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Where cells came from: a folder or file, and what its JSON files say of the machine and the settings."""

    path: Path
    documents: Mapping[str, Any]

    @property
    def machine(self) -> str:
        """The machine in words, if a document says."""
        found = [document["machine"] for document in self.documents.values() if "machine" in document]
        return str(found[0]) if found else ""

    @property
    def description(self) -> Mapping[str, Any] | None:
        """What the data say about compressing them (:mod:`vecstore_bench.describing`), where a document has it."""
        found: Mapping[str, Any] | None = self.documents.get(DESCRIPTION)
        return found if found and {"fields", "says"} <= found.keys() else None


@dataclass(frozen=True, slots=True)
class Run:
    """All cells that a report is about, and their sources."""

    cells: tuple[Cell, ...]
    sources: tuple[Source, ...]


def read_run(paths: Sequence[Path]) -> Run:
    """Read run folders (``cells.jsonl``, or else ``results.parquet``) and parquet files.

    Of a cell that was tried again the last result counts.

    Raises
    ------
    NotFoundError
        There is nothing of the kind at a path.
    FormatError
        A file cannot be read, or its rows name no scheme.
    InvalidArgumentError
        Two runs have the same data and model, but other settings.
    """
    cells: dict[tuple[Key, str, float, int], Cell] = {}
    settings: dict[Key, tuple[Path, dict[str, Any]]] = {}
    sources = []
    for path in paths:
        source = Source(path, _documents(path) if path.is_dir() else {})
        sources.append(source)
        experiment = source.documents.get(_EXPERIMENT, {})
        # The same data may lie elsewhere.
        own = {name: value for name, value in experiment.items() if name != "folder"}
        for row in _rows(path):
            cell = _cell(row, experiment, path)
            other, theirs = settings.setdefault(cell.key, (path, own))
            if theirs != own:
                raise InvalidArgumentError(
                    f"{path} and {other}: experiments of other settings on {cell.key}, which cannot be compared; "
                    "report them apart",
                    field="run",
                )
            cells[cell.key, cell.scheme, cell.budget, cell.seed] = cell
    if not cells:
        raise NotFoundError(f"{', '.join(map(str, paths))}: no cell has been run yet", field="run")
    return Run(tuple(cells.values()), tuple(sources))


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    # The lines come first: they are complete at any time, also where a run was stopped.
    if (path / _LINES).is_file():
        # A last line without its end was cut off by a crash.
        lines = (path / _LINES).read_bytes().split(b"\n")[:-1]
        return [_decoded(line, path / _LINES) for line in lines if line]
    file = path / _TABLE if path.is_dir() else path
    if not file.is_file():
        raise NotFoundError(
            f"{path}: expected the folder of a run ({_LINES} or {_TABLE}) or a parquet file; "
            "`vecstore bench ctr --out FOLDER` makes one",
            field="run",
        )
    try:
        return pq.read_table(file).to_pylist()  # type: ignore[no-any-return]
    except pa.ArrowInvalid as error:
        raise FormatError(f"{file}: not a parquet file: {error}", field=file.name) from None


def _documents(folder: Path) -> dict[str, Any]:
    found = {file.name: _decoded(file.read_bytes(), file) for file in sorted(folder.glob("*.json"))}
    return {name: document for name, document in found.items() if isinstance(document, dict)}


def _decoded(text: bytes, file: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise FormatError(f"{file}: not JSON: {error}", field=file.name) from None


def _cell(row: Any, experiment: Mapping[str, Any], path: Path) -> Cell:
    if not isinstance(row, dict) or not isinstance(row.get("scheme"), str):
        raise FormatError(f"{path}: expected rows with the column 'scheme', got {str(row)[:80]}", field="scheme")
    measured = {measure.key: measure.read(row) for measure in MEASURES}
    budget, seed = first("budget")(row), first("seed")(row)
    return Cell(
        key=Key(
            _word(row, experiment, "dataset", "data"),
            _word(row, experiment, "model"),
            _whole(row, "dim") or _whole(experiment, "dim") or 0,
        ),
        scheme=row["scheme"],
        budget=1.0 if budget is None else budget,
        seed=0 if seed is None else int(seed),
        status=str(row.get("status") or "done"),
        error=str(row.get("error") or ""),
        bytes=_whole(row, "bytes", "stored_bytes", "reached_bytes"),
        full_bytes=_whole(row, "full_bytes"),
        floor_bytes=_whole(row, "floor_bytes"),
        values={key: value for key, value in measured.items() if value is not None},
        chosen=chosen_of(row),
    )


def _word(row: Mapping[str, Any], experiment: Mapping[str, Any], *names: str) -> str:
    found = [place[name] for place in (row, experiment) for name in names if isinstance(place.get(name), str)]
    return found[0] if found else ""


def _whole(row: Mapping[str, Any], *names: str) -> int | None:
    value = first(*names)(row)
    return None if value is None else int(value)
