"""``python -m tests.tables.killed STORE OPERATION``: dies, as by ``kill -9``, at each step of storing or dropping.

Child after child opens the store, begins the operation on the table ``t``, and ends itself before the n-th step that
reaches the disk; the first that gets through all steps ends the series. After each one the store is opened again and
what it holds is printed as a line of JSON: the step, the value of the table (null where there is none), the numbers of
its versions, the number of folders, and the problems that ``verify`` finds.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np

import vecstore
from tests.tables.helpers import constant
from vecstore.config import StoreConfig
from vecstore.storage.environment import Environment

#: Without threads, which a fork would not take along.
SETTINGS = StoreConfig(background=False, threads=1)


class Countdown:
    """Ends the process at a step."""

    def __init__(self, step):
        self.left = step

    def before(self, owner, name):
        """Count a step before each call of a function."""
        original = getattr(owner, name)

        def counted(*arguments, **options):
            self.tick()
            return original(*arguments, **options)

        setattr(owner, name, counted)

    def tick(self):
        """Count one step."""
        self.left -= 1
        if self.left < 0:
            os._exit(9)


def attempt(path, operation, step):
    """Do the operation, and die at a step of it."""
    database = vecstore.open(path, settings=SETTINGS)
    made = constant(float(step + 1))
    if operation == "drop" and not database.list_tables():
        database.put_table("t", made)
    countdown = Countdown(step)
    for name in ("fsync", "rename", "mkdir", "rmdir", "unlink"):
        countdown.before(os, name)
    countdown.before(shutil, "rmtree")
    commit = Environment._write_once

    def counted_commit(*arguments):
        countdown.tick()
        result = commit(*arguments)
        countdown.tick()
        return result

    Environment._write_once = counted_commit
    if operation == "put":
        database.put_table("t", made, keep=2)
    else:
        database.drop_table("t")
    os._exit(0)


def state(path):
    """Give what a store holds after a crash."""
    with vecstore.open(path, settings=SETTINGS) as database:
        found = {"value": None, "versions": [], "problems": database.verify()}
        if database.list_tables():
            table = database.table("t")
            (found["value"],) = np.unique(table.lookup(np.arange(50), field="item")).tolist()
            found["versions"] = [version.number for version in table.versions()]
        found["folders"] = len(list((path / "tables").iterdir()))
    return found


def main():
    """Run the series."""
    path, operation = Path(sys.argv[1]), sys.argv[2]
    for step in range(1_000):
        child = os.fork()
        if child == 0:
            attempt(path, operation, step)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"step": step, "died": status == 9, **state(path)}), flush=True)
        if status == 0:
            return
        if status != 9:
            raise RuntimeError(f"step {step} ended with {status}")


if __name__ == "__main__":
    main()
