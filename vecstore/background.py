"""Background work: one thread seals, one merges, so that a long merge never holds up sealing."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Final

from vecstore.errors import NotFoundError, StoreClosed, VecstoreError
from vecstore.maintenance import Maintenance

_log = logging.getLogger(__name__)
_STOP: Final = None


class Background:
    """Seals and merges the collections that it is told about, until closed."""

    def __init__(self) -> None:
        self._seals: queue.SimpleQueue[Maintenance | None] = queue.SimpleQueue()
        self._merges: queue.SimpleQueue[Maintenance | None] = queue.SimpleQueue()
        self._known: set[Maintenance] = set()
        self._closed = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(self._seals, self._seal), name="vecstore-seal", daemon=True),
            threading.Thread(target=self._run, args=(self._merges, self._merge), name="vecstore-merge", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def seal(self, maintenance: Maintenance) -> None:
        """Ask for a seal of one collection, and for a merge behind it where one pays."""
        self._known.add(maintenance)
        self._seals.put(maintenance)

    def merge(self, maintenance: Maintenance) -> None:
        """Ask for a merge of one collection, where one pays."""
        self._known.add(maintenance)
        self._merges.put(maintenance)

    def close(self) -> None:
        """Stop: running work gives up at its next safe point; return when both threads have ended."""
        self._closed.set()
        for maintenance in self._known:
            maintenance.stop()
        self._seals.put(_STOP)
        self._merges.put(_STOP)
        for thread in self._threads:
            thread.join()

    def _run(self, jobs: queue.SimpleQueue[Maintenance | None], work: object) -> None:
        while (maintenance := jobs.get()) is not _STOP:
            if self._closed.is_set():
                continue
            try:
                work(maintenance)  # type: ignore[operator]
            except (StoreClosed, NotFoundError):
                _log.debug("background work gave up: the store is closing, or the collection was dropped")
            except VecstoreError:
                # The collection stays as it was and usable; the next write or open asks again.
                _log.exception("background work failed", extra={"collection": maintenance.name})
            except Exception:
                _log.exception("background work failed unexpectedly", extra={"collection": maintenance.name})

    def _seal(self, maintenance: Maintenance) -> None:
        maintenance.seal()
        self._merges.put(maintenance)

    def _merge(self, maintenance: Maintenance) -> None:
        while not self._closed.is_set() and maintenance.merge():
            pass
