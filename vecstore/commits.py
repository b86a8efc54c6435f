"""Group commit: writers that arrive while a commit is under way share the next one.

A commit costs a flush of the disk however much it holds, so under g concurrent writers the rate of durable
writes is g per flush instead of one.
"""

from __future__ import annotations

import threading
from typing import Any

from vecstore.errors import InternalError
from vecstore.storage.catalog import Operation
from vecstore.storage.environment import Environment


class _Ticket:
    """One operation waiting for its commit."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.is_done = False
        self.result: Any = None

    def settle(self, result: Any) -> None:
        """Take the result, or the exception to raise in the thread that waits."""
        self.result = result
        self.is_done = True


class Commits:
    """Runs write operations, several to a commit where several wait.

    Parameters
    ----------
    environment : Environment
        The catalog.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._turn = threading.Lock()
        self._queue_lock = threading.Lock()
        self._queue: list[_Ticket] = []

    def run(self, operation: Operation) -> Any:
        """Commit ``operation`` and give its result; durable on return.

        Raises
        ------
        VecstoreError
            What the operation raised (the others in its commit are not affected), or the failure of the
            commit itself.
        InternalError
            The thread that committed for several was interrupted: nobody knows whether this one was written.
        """
        ticket = _Ticket(operation)
        with self._queue_lock:
            self._queue.append(ticket)
        try:
            with self._turn:
                if not ticket.is_done:
                    self._commit_waiting()
        except BaseException:
            # Interrupted while it waited: what nobody has begun must not be written later on.
            with self._queue_lock:
                self._queue = [waiting for waiting in self._queue if waiting is not ticket]
            raise
        if isinstance(ticket.result, Exception):
            raise ticket.result
        return ticket.result

    def sync(self) -> None:
        """Make everything committed so far survive a power loss; needed before removing what it replaced."""
        self._environment.sync()

    def _commit_waiting(self) -> None:
        """Commit everything that waits; whoever holds the turn does it for all."""
        tickets: list[_Ticket] = []
        try:
            with self._queue_lock:
                tickets, self._queue = self._queue, []
            results = self._environment.write_each([ticket.operation for ticket in tickets])
            for ticket, result in zip(tickets, results, strict=True):
                ticket.settle(result)
        except Exception as error:
            for ticket in tickets:
                ticket.settle(error)
        except BaseException:
            # An interrupt is meant for this thread alone; it may have come before the commit or after.
            for ticket in tickets:
                if not ticket.is_done:
                    ticket.settle(_unknown_outcome())
            raise


def _unknown_outcome() -> InternalError:
    return InternalError(
        "the thread that wrote this change, together with its own, was interrupted: it is written whole or not at all, "
        "but which is not known; read it back, then write it again if it is missing"
    )
