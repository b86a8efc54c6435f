"""How long single look-ups of a table take, one row or a thousand at a time; it needs numpy alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vecstore.types import I64

__all__ = ["LARGE", "Latency", "lookup_latency"]

#: Rows of the large batches.
LARGE = 1024
#: Look-ups of each kind at most, those that come before and do not count, and seconds after which no other is begun.
_LOOKUPS, _UNCOUNTED, _SECONDS = 1_000, 5, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Wall time of look-ups of rows that have one id a field.

    Attributes
    ----------
    p50_ms, p99_ms : float
        Of one row, in milliseconds.
    batch_p50_ms, batch_p99_ms : float
        Of 1,024 rows at once.
    lookup_ns : float
        Nanoseconds an id: the median of 1,024 rows, divided by their ids.
    """

    p50_ms: float
    p99_ms: float
    batch_p50_ms: float
    batch_p99_ms: float
    lookup_ns: float


def lookup_latency(lookup: Callable[[I64], object], ids: I64) -> Latency:
    """Time look-ups of random rows one by one and in batches, every one of other ids as far as there are some.

    Parameters
    ----------
    lookup : callable
        Takes int64[n, fields].
    ids : int64[rows, fields]
        At least one row; what is looked up, in order, and from the start again at the end.
    """
    one = _milliseconds(lookup, ids, 1)
    many = _milliseconds(lookup, ids, LARGE)
    middle = float(np.median(many))
    return Latency(
        p50_ms=float(np.median(one)),
        p99_ms=float(np.percentile(one, 99)),
        batch_p50_ms=middle,
        batch_p99_ms=float(np.percentile(many, 99)),
        lookup_ns=1e6 * middle / (LARGE * ids.shape[1]),
    )


def _milliseconds(lookup: Callable[[I64], object], ids: I64, batch: int) -> list[float]:
    found: list[float] = []
    until = time.perf_counter() + _SECONDS
    for number in range(_UNCOUNTED + _LOOKUPS):
        own = np.take(ids, np.arange(number * batch, (number + 1) * batch), axis=0, mode="wrap")
        started = time.perf_counter()
        lookup(own)
        ended = time.perf_counter()
        if number >= _UNCOUNTED:
            found.append(1e3 * (ended - started))
            if ended > until:
                break
    return found
