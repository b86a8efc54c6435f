"""Small programs on a store whose state after every step is known, and the checks of what is found later.

A vector encodes its id and version, so a lost, stale or torn row is visible by itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

import vecstore
from vecstore import HnswConfig, NotFoundError, StoreConfig
from vecstore.storage.atomic import TEMPORARY
from vecstore.testing import ModelCollection

DIM = 4
NAME = "c"
INDEX = HnswConfig(M=4, ef_construction=16, min_rows=16)
QUIET = StoreConfig(background=False, threads=1)
BUSY = StoreConfig(background=True, seal_rows=64, threads=1)

#: One step of a program: a verb and its arguments, as JSON has them.
Step = list[Any]
#: id -> version of every row; None where the collection does not exist.
State = dict[int, int] | None

#: A program with every verb.
EVERYTHING: list[Step] = [
    ["create"],
    ["insert", 0, 40, 1],
    ["flush"],
    ["upsert", 30, 50, 2],
    ["flush"],
    ["delete", [1, 2, 31]],
    ["optimize"],
    ["compress", "float16"],
    ["upsert", 60, 64, 3],
    ["delete_version", 2],
]


def vectors(ids: Iterable[int], version: int) -> np.ndarray:
    """Give float32[n, DIM] of small integers, which float16 keeps exactly."""
    ids = np.asarray(list(ids))
    columns = [ids % 64, ids // 64, np.full(len(ids), version % 128), np.full(len(ids), version // 128)]
    return np.stack(columns, axis=1).astype(np.float32)


def metadata(ids: Iterable[int], version: int) -> dict[str, list[Any]]:
    """Give the columns of rows: the version again, and whether the id is even."""
    ids = list(ids)
    return {"version": [version] * len(ids), "even": [i % 2 == 0 for i in ids]}


def apply(state: State, step: Step) -> State:
    """Give the state after a step."""
    match step:
        case ["create"]:
            return {}
        case ["drop"]:
            return None
        case ["insert" | "upsert", first, stop, version]:
            return {**(state or {}), **dict.fromkeys(range(first, stop), version)}
        case ["delete", ids]:
            return {i: version for i, version in (state or {}).items() if i not in ids}
        case ["delete_version", old]:
            return {i: version for i, version in (state or {}).items() if version != old}
        case ["flush" | "optimize" | "compress", *_]:
            return state
    raise ValueError(step)


def perform(database: Any, step: Step) -> None:
    """Do a step."""
    if step == ["create"]:
        database.create_collection(NAME, dim=DIM, metric="l2", index=INDEX)
        return
    if step == ["drop"]:
        database.drop_collection(NAME)
        return
    collection = database.collection(NAME)
    match step:
        case ["insert" | "upsert" as verb, first, stop, version]:
            ids = range(first, stop)
            getattr(collection, verb)(list(ids), vectors(ids, version), metadata(ids, version))
        case ["delete", ids]:
            collection.delete(ids=ids)
        case ["delete_version", old]:
            collection.delete(where=f"version = {old}")
        case ["compress", scheme]:
            collection.compress(scheme)
        case [verb]:
            getattr(collection, verb)()


def run(path: Path, steps: list[Step], log: Path | None = None, settings: StoreConfig = QUIET) -> None:
    """Open the store and do the steps, noting in ``log`` what is begun and what has returned."""
    with vecstore.open(path, settings=settings) as database:
        for step in steps:
            note(log, "begin", step)
            perform(database, step)
            note(log, "done", step)


def note(log: Path | None, what: str, step: Step) -> None:
    """Append a line in one system call: it outlives the process, whole or not at all."""
    if log is None:
        return
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (json.dumps([what, step]) + "\n").encode())
    os.close(descriptor)


def states_after(log: Path, state: State) -> list[State]:
    """Give the states that may be found: after all that returned, and with the step that was under way."""
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for what, step in lines:
        if what == "done":
            state = apply(state, step)
    if lines and lines[-1][0] == "begin":
        return [state, apply(state, lines[-1][1])]
    return [state]


def found(collection: Any) -> dict[int, int]:
    """Give id -> version from a scan, refusing rows whose vector or columns are not theirs."""
    rows: dict[int, int] = {}
    for batch in collection.scan():
        for row in batch.to_pylist():
            version = row["version"]
            if row["id"] in rows:
                raise ValueError(f"id {row['id']} comes twice")
            if row["vector"] != vectors([row["id"]], version)[0].tolist() or row["even"] != (row["id"] % 2 == 0):
                raise ValueError(f"row {row} is not what was written")
            rows[row["id"]] = version
    return rows


def answers(path: Path, settings: StoreConfig = QUIET) -> State:
    """Open a store, hold everything it answers against everything else, and give its state.

    Raises
    ------
    ValueError
        Says what does not agree.
    """
    with vecstore.open(path, settings=settings) as database:
        problems = database.verify()
        if problems:
            raise ValueError(f"verify: {problems}")
        segments = {folder.name for folder in (path / "segments").iterdir()}
        try:
            collection = database.collection(NAME)
        except NotFoundError:
            if segments:
                raise ValueError(f"orphans: {segments}") from None
            return None
        if settings.background is False and segments != {s["segment"] for s in collection.stats().segments}:
            raise ValueError(f"orphans or missing segments among {segments}")
        state = found(collection)
        check_reads(collection, state)
        around = (*path.parent.iterdir(), *path.iterdir())
        leftovers = [entry.name for entry in around if entry.name.endswith(TEMPORARY)]
        if leftovers:
            raise ValueError(f"leftovers: {leftovers}")
        return state


def check_reads(collection: Any, state: dict[int, int]) -> None:
    """Compare count, get and search with the state of a scan."""
    if collection.count() != len(state):
        raise ValueError(f"count: {collection.count()} of {len(state)}")
    model = ModelCollection(NAME, dim=DIM, metric="l2")
    # In the order of the scan, which is the order of writing.
    for i, version in state.items():
        model.insert([i], vectors([i], version), metadata([i], version))
    for point, i in zip(collection.get(list(state)), state, strict=True):
        if point is None or point.vector.tolist() != vectors([i], state[i])[0].tolist():
            raise ValueError(f"get: {i} gave {point}")
    queries = vectors(list(state)[:5] or [3], 1)
    for where in (None, "even") if state else (None,):
        expected = model.search(queries, 10, where=where)
        for exact in (True, False):
            hits = collection.search(queries, 10, where=where, exact=exact)
            if not np.array_equal(hits.ids, expected.ids) or not np.array_equal(hits.distances, expected.distances):
                raise ValueError(f"search (where {where}, exact {exact}): {hits} instead of {expected}")
