"""``kill -9`` at random times and at every step of the storage layer: what returned is there, whole."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vecstore
from tests.reliability import children, scripts
from vecstore.storage import atomic
from vecstore.storage.catalog import CollectionStore, Operation, Publication
from vecstore.storage.environment import Environment

# -- at random times ------------------------------------------------------------------------------------------


def write_until_killed(path: Path, log: Path, seed: int, first_version: int) -> None:
    random = np.random.default_rng(seed)
    with vecstore.open(path, settings=scripts.BUSY) as database:
        for version in itertools.count(first_version):
            first = int(random.integers(0, 300))
            step = [
                ["upsert", first, first + int(random.integers(1, 40)), version],
                ["upsert", first, first + int(random.integers(1, 40)), version],
                ["delete", random.integers(0, 330, 10).tolist()],
                ["delete_version", version - 3],
                ["flush"],
                ["optimize"],
                ["compress", str(random.choice(["full", "float16"]))],
            ][random.choice(7, p=[0.3, 0.3, 0.12, 0.08, 0.1, 0.05, 0.05])]
            scripts.note(log, "begin", step)
            scripts.perform(database, step)
            scripts.note(log, "done", step)


def test_nothing_acknowledged_is_lost_when_killed_at_random(tmp_path):
    path = tmp_path / "store"
    scripts.run(path, [["create"], ["insert", 0, 10, 0]])
    random = np.random.default_rng(7)
    state, steps = dict.fromkeys(range(10), 0), 0
    for cycle in range(12):
        log = tmp_path / f"log-{cycle}"
        process, receiver = children.start(write_until_killed, path, log, cycle, 1 + 1000 * cycle)
        _wait_for(log)
        time.sleep(float(random.uniform(0.02, 0.6)))
        process.kill()
        with pytest.raises(children.Ended, match=f"signal {signal.SIGKILL:d}"):
            children.answer(process, receiver)
        possible = scripts.states_after(log, state)
        state = scripts.answers(path)
        assert state in possible, f"cycle {cycle}: {_difference(state, possible[0])}"
        steps += len(log.read_text().splitlines())
    assert steps > 50, "the children did too little for the test to mean anything"


def _wait_for(log: Path) -> None:
    deadline = time.monotonic() + children.PATIENCE
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def _difference(state, expected):
    ids = sorted(i for i in {*state, *expected} if state.get(i) != expected.get(i))
    return {i: (expected.get(i), state.get(i)) for i in ids[:10]}


# -- at every step --------------------------------------------------------------------------------------------

SCRIPTS = {
    "create the store": ([], [["create"], ["insert", 0, 5, 1], ["insert", 5, 9, 2]]),
    "flush": ([["create"], ["insert", 0, 20, 1], ["delete", [3]]], [["upsert", 10, 30, 2], ["flush"]]),
    "optimize": (scripts.EVERYTHING[:5], [["delete", [0, 39]], ["optimize"]]),
    "compress": (scripts.EVERYTHING[:6], [["compress", "float16"], ["insert", 70, 72, 4]]),
    "drop": (scripts.EVERYTHING[:6], [["drop"], ["create"], ["insert", 0, 3, 9]]),
}


def run_and_die(path: Path, log: Path, before: list, steps: list, fatal: int) -> int:
    """Do ``before``, then ``steps`` with death at the storage step numbered ``fatal``; give the number of steps."""
    if before:
        scripts.run(path, before)
    counter = children.Steps(fatal, children.die)
    arm(counter)
    scripts.run(path, steps, log)
    return counter.count


def remove_too_early_and_die(path: Path, log: Path, before: list, steps: list, fatal: int) -> int:
    """As ``run_and_die``, with a storage layer that removes replaced segments before the manifest is swapped."""
    publish = CollectionStore.publish

    def early(store: CollectionStore, publication: Publication) -> Operation:
        for segment in publication.removed:
            atomic.remove_folder(path / "segments" / segment)
        return publish(store, publication)

    CollectionStore.publish = early
    return run_and_die(path, log, before, steps, fatal)


def arm(counter: children.Steps) -> None:
    """Count the calls that change the disk, wherever the library refers to them."""
    for function in (atomic.fsync_path, atomic.write_file):
        for name, module in list(sys.modules.items()):
            if name.startswith("vecstore") and getattr(module, function.__name__, None) is function:
                counter.around(module, function.__name__)
    counter.around(Path, "rename")
    counter.around(shutil, "rmtree", after=False)
    counter.around(os, "unlink", before=False)
    counter.around(Environment, "_write_once")


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_step_of_the_storage_layer_may_be_the_last(name, scratch):
    before, steps = SCRIPTS[name]
    assert sweep(run_and_die, before, steps, scratch) == []


def test_the_sweep_notices_a_storage_layer_that_removes_too_early(scratch):
    problems = sweep(remove_too_early_and_die, *SCRIPTS["optimize"], scratch)
    assert any("segment is missing" in problem for problem in problems)


def sweep(program: Callable[..., int], before: list, steps: list, scratch: Path) -> list[str]:
    """Run a program once for every step that may be its last; give what was wrong afterwards."""
    state, problems = None, []
    for step in before:
        state = scripts.apply(state, step)
    for fatal in itertools.count(1):
        folder = scratch / str(fatal)
        folder.mkdir()
        total = children.outcome(program, folder / "store", folder / "log", before, steps, fatal)
        possible = scripts.states_after(folder / "log", state)
        try:
            actual = children.call(scripts.answers, folder / "store")
            if actual not in possible:
                problems.append(f"step {fatal}: {actual} instead of {possible}")
        except AssertionError as error:
            problems.append(f"step {fatal}: {error}")
        shutil.rmtree(folder)
        if not isinstance(total, children.Ended):
            assert fatal > total >= 10
            return problems
        assert total.signal == signal.SIGKILL
    raise RuntimeError("unreachable")
