"""Interleaved measurement: candidates take turns in one run, and what counts is the ratio within a turn."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median and spread of per-round ratios."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Give ``median (lowest to highest)``."""
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def interleaved(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Run each candidate once a round, in turn; give the seconds of every round by ``clock``.

    One round that is not counted comes first. ``time.process_time`` does not count what other processes take.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(rounds + 1):
        for name, run in candidates.items():
            started = clock()
            run()
            if number:
                seconds[name].append(clock() - started)
    return seconds


def ratio(slower: list[float], faster: list[float]) -> Ratio:
    """Give how many times ``slower`` takes as long as ``faster``, round by round."""
    ratios = np.array(slower) / np.array(faster)
    return Ratio(float(np.median(ratios)), float(ratios.min()), float(ratios.max()))


def machine() -> str:
    """Describe the machine in one line."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            model = next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
