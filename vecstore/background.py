"""Background work: one thread seals, one merges, so that a long merge never holds up sealing."""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Final

from vecstore.errors import NotFoundError, StoreClosed, VecstoreError
from vecstore.maintenance import Maintenance

_log = logging.getLogger(__name__)
_STOP: Final = None
#: Names of the threads.
THREADS: Final = ("vecstore-seal", "vecstore-merge")


class Background:
    """Seals and merges the collections that it is told about, until closed."""

    def __init__(self) -> None:
        self._seals: queue.SimpleQueue[Maintenance | None] = queue.SimpleQueue()
        self._merges: queue.SimpleQueue[Maintenance | None] = queue.SimpleQueue()
        # Weak, so that a dropped collection, with its mapped files, is not kept until the store closes.
        self._known: weakref.WeakSet[Maintenance] = weakref.WeakSet()
        self._known_lock = threading.Lock()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=job, name=name, daemon=True)
            for name, job in zip(THREADS, ((self._seals, self._seal), (self._merges, self._merge)), strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def seal(self, maintenance: Maintenance) -> None:
        """Ask for a seal of one collection, and for a merge behind it where one pays."""
        self._remember(maintenance)
        self._seals.put(maintenance)

    def merge(self, maintenance: Maintenance) -> None:
        """Ask for a merge of one collection, where one pays."""
        self._remember(maintenance)
        self._merges.put(maintenance)

    def close(self) -> None:
        """Stop: running work gives up at its next safe point; return when both threads have ended."""
        self._closed.set()
        with self._known_lock:
            known = list(self._known)
        for maintenance in known:
            maintenance.stop()
        self._seals.put(_STOP)
        self._merges.put(_STOP)
        for thread in self._threads:
            thread.join()

    def _remember(self, maintenance: Maintenance) -> None:
        with self._known_lock:
            self._known.add(maintenance)

    def _run(self, jobs: queue.SimpleQueue[Maintenance | None], work: Callable[[Maintenance], None]) -> None:
        while (maintenance := jobs.get()) is not _STOP:
            if not self._closed.is_set():
                _attempt(work, maintenance)
            # While this thread waits for the next job, it must not keep a dropped collection alive.
            del maintenance

    def _seal(self, maintenance: Maintenance) -> None:
        maintenance.seal()
        self._merges.put(maintenance)

    def _merge(self, maintenance: Maintenance) -> None:
        while not self._closed.is_set() and maintenance.merge():
            pass


def _attempt(work: Callable[[Maintenance], None], maintenance: Maintenance) -> None:
    """Do a job; whatever it raises ends the job and not the thread."""
    try:
        work(maintenance)
    except (StoreClosed, NotFoundError):
        _log.debug("background work gave up: the store is closing, or the collection was dropped")
    except VecstoreError:
        # The collection stays as it was and usable; the next write or open asks again.
        _log.exception("background work failed", extra={"collection": maintenance.name})
    except BaseException:
        _log.exception("background work failed unexpectedly", extra={"collection": maintenance.name})
