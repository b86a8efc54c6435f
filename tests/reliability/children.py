"""Child processes: forked from a clean server, watched, and asked how they ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.reliability.preload"])

#: Seconds after which a child that says nothing is given up.
PATIENCE = 60.0


def start(target: Callable[..., Any], *args: Any) -> tuple[Any, Connection]:
    """Start ``target(*args)`` in a child; give the process and the end of a pipe that brings its answer."""
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_main, args=(sender, target, args), daemon=True)
    process.start()
    sender.close()
    return process, receiver


def call(target: Callable[..., Any], *args: Any) -> Any:
    """Run ``target(*args)`` in a child and give its answer; raise what it raised, or that a signal ended it."""
    process, receiver = start(target, *args)
    return answer(process, receiver)


def answer(process: Any, receiver: Connection) -> Any:
    """Wait for a child and give its answer."""
    try:
        with receiver:
            is_answer, value = receiver.recv() if receiver.poll(PATIENCE) else (False, "no answer in time")
    except EOFError:
        process.join()
        raise Ended(-process.exitcode) from None
    process.join(PATIENCE)
    process.close()
    if not is_answer:
        raise AssertionError(f"in the child: {value}")
    return value


def outcome(target: Callable[..., Any], *args: Any) -> Any:
    """Run ``target(*args)`` in a child and give its answer, or :class:`Ended` where a signal ended it."""
    try:
        return call(target, *args)
    except Ended as end:
        return end


class Ended(Exception):
    """The child ended by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.signal = number


class Steps:
    """Counts the steps of the storage layer, and does something at one of them.

    Parameters
    ----------
    fatal : int
        Number of the step, from 1.
    act : callable
        What to do there.
    """

    def __init__(self, fatal: int, act: Callable[[], None]) -> None:
        self.count = 0
        self._fatal = fatal
        self._act = act

    def step(self) -> None:
        """Count one step."""
        self.count += 1
        if self.count == self._fatal:
            self._act()

    def around(self, owner: Any, name: str, *, before: bool = True, after: bool = True) -> None:
        """Make a step before and after every call of ``owner.name``, in this process only."""
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if before:
                self.step()
            result = original(*args, **kwargs)
            if after:
                self.step()
            return result

        setattr(owner, name, wrapped)


def die() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def _main(sender: Connection, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        answer = (True, target(*args))
    except BaseException:
        answer = (False, traceback.format_exc())
    sender.send(answer)
    sender.close()
