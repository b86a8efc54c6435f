"""The least thorough setting of a system that reaches a recall."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from vecstore.types import F32, I64
from vecstore_bench.peers.base import Index, Setting
from vecstore_bench.ranking import recall

__all__ = ["K", "Tuned", "fastest", "smallest"]

#: Neighbours that are asked for.
K = 10
#: Turns of which the fastest counts, where settings are compared.
_TURNS = 3


@dataclass(frozen=True, slots=True)
class Tuned:
    """A setting, and the recall that it reaches on the queries that it was chosen with."""

    setting: Setting
    recall: float


def smallest(
    index: Index, ladders: Sequence[Sequence[Setting]], queries: F32, neighbours: I64, mark: float
) -> list[Tuned]:
    """Give, of each ladder on which it is reached, the first setting with recall@10 of ``mark`` or more.

    Recall is taken to rise along a ladder, so few of its settings are tried.
    """
    found = []
    for steps in ladders:
        reached: dict[int, float] = {}

        def measured(number: int, steps: Sequence[Setting] = steps, reached: dict[int, float] = reached) -> float:
            if number not in reached:
                reached[number] = recall(index.search(queries, K, steps[number]), neighbours, K)
            return reached[number]

        number = bisect_left(range(len(steps)), mark, key=measured)
        if number < len(steps):
            found.append(Tuned(steps[number], measured(number)))
    return found


def fastest(index: Index, tuned: Sequence[Tuned], queries: F32) -> Tuned:
    """Give the setting that takes the least time for all queries in one call."""
    if len(tuned) == 1:
        return tuned[0]

    def seconds(one: Tuned) -> float:
        turns = []
        for _ in range(_TURNS):
            started = time.perf_counter()
            index.search(queries, K, one.setting)
            turns.append(time.perf_counter() - started)
        return min(turns)

    return min(tuned, key=seconds)
