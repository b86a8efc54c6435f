"""Group commit: writers that arrive while a commit is under way share the next one.

A commit costs a flush of the disk however much it holds, so under g concurrent writers the rate of durable
writes is g per flush instead of one.
"""

from __future__ import annotations

import threading
from typing import Any

from vecstore.storage.catalog import Operation
from vecstore.storage.environment import Environment


class _Ticket:
    """One operation waiting for its commit."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.is_done = False
        self.result: Any = None


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
        """
        ticket = _Ticket(operation)
        with self._queue_lock:
            self._queue.append(ticket)
        with self._turn:
            if not ticket.is_done:
                self._commit_waiting()
        if isinstance(ticket.result, BaseException):
            raise ticket.result
        return ticket.result

    def sync(self) -> None:
        """Make everything committed so far survive a power loss; needed before removing what it replaced."""
        self._environment.sync()

    def _commit_waiting(self) -> None:
        """Commit everything that waits; whoever holds the turn does it for all."""
        with self._queue_lock:
            tickets, self._queue = self._queue, []
        try:
            results = self._environment.write_each([ticket.operation for ticket in tickets])
        except BaseException as error:
            results = [error] * len(tickets)
        for ticket, result in zip(tickets, results, strict=True):
            ticket.result = result
            ticket.is_done = True
