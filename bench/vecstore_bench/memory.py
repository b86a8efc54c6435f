"""Peak memory of a piece of work."""

from __future__ import annotations

import threading
from typing import Self

import psutil

__all__ = ["PeakMemory"]

_INTERVAL = 0.02


class PeakMemory:
    """Watch the resident memory of this process from a thread, as a context.

    The operating system's own peak is of the whole life of a process, with all that was loaded before.

    Attributes
    ----------
    before : int
        Resident bytes at the start.
    peak : int
        The most that was seen, looking fifty times a second.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = self._process.memory_info().rss

    def __enter__(self) -> Self:
        """Start to watch."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop to watch."""
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        self.peak = max(self.peak, self._process.memory_info().rss)
