"""A search of one graph for one query a call, with everything made once that does not depend on the query.

A walk takes some dozen microseconds; making arrays, tuples and views for it would take longer than the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from vecstore.index.hnsw import Graph
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands, rerank
from vecstore.kernels.graph import beam_search
from vecstore.kernels.topk import rank_own_rows
from vecstore.types import F32, I64

__all__ = ["PreparedWalk", "Spares"]

_Key = TypeVar("_Key")
_Thing = TypeVar("_Thing")


class PreparedWalk:
    """A walk of a graph and the scoring of what it found, by scorers whose queries change in place.

    One thread at a time may use it.

    Parameters
    ----------
    graph : Graph
    n_rows : int
        Rows of the tables.
    queries : float32[1, dim]
        The writable array that the operands were prepared for.
    renew : sequence of callables
        They compute again what follows from ``queries``.
    traversal : Operands
        Of the walk.
    exact : Operands or None
        Of the scores of what it found; None where the walk's distances are those.
    ef : int
        Rows kept while walking.
    depth : int
        Rows that are scored again, at most ``ef``.
    k : int
        Rows wanted, at most ``depth``.
    """

    def __init__(
        self,
        graph: Graph,
        n_rows: int,
        queries: F32,
        renew: Sequence[Callable[[], None]],
        *,
        traversal: Operands,
        exact: Operands | None,
        ef: int,
        depth: int,
        k: int,
    ) -> None:
        self._links = graph.links
        self._n_rows = n_rows
        self._queries = queries
        self._renew = renew
        self._traversal = traversal
        self._exact = exact
        self._ef = min(ef, n_rows)
        self._k = k
        self._met = np.empty((1, depth), np.int64), np.empty((1, depth), np.float32)
        self._scores = self._met[1] if exact is None else np.empty((1, depth), np.float32)
        self._frozen = frozen(self._met[0]), frozen(self._scores)
        self._keys = np.empty((1, k), np.uint64)

    def search(self, query: F32) -> tuple[I64, F32] | None:
        """Find the nearest rows of one query.

        Parameters
        ----------
        query : float32[1, dim]
            A unit row for cosine.

        Returns
        -------
        rows : int64[1, k]
            Nearest first.
        distances : float32[1, k]
            None instead of both where the walk found fewer rows than it was asked for.
        """
        self._queries[...] = query
        for renew in self._renew:
            renew()
        rows, distances = self._met
        beam_search(self._traversal, self._links, self._ef, rows, distances)
        if rows[0, -1] < 0:
            return None
        met, scores = self._frozen
        if self._exact is not None:
            rerank(self._exact, met, self._n_rows, self._scores)
        found = np.empty((1, self._k), np.int64), np.empty((1, self._k), np.float32)
        rank_own_rows(scores, met, self._keys, *found)
        return found


class Spares(Generic[_Key, _Thing]):
    """Things of several kinds, each of which one thread takes, uses and gives back.

    Parameters
    ----------
    kinds : int
        Kinds that are kept: those met last.
    each : int
        Things that are kept of a kind.
    """

    def __init__(self, kinds: int, each: int) -> None:
        self._kinds = kinds
        self._each = each
        self._things: dict[_Key, list[_Thing]] = {}

    def take(self, kind: _Key) -> _Thing | None:
        """Give a thing of that kind, which nobody else gets until it is given back; None where there is none."""
        things = self._things.get(kind)
        try:
            return things.pop() if things else None
        except IndexError:  # Another thread took the last one in between.
            return None

    def give(self, kind: _Key, thing: _Thing) -> None:
        """Keep a thing, taken or new, for others."""
        things = self._things.get(kind)
        if things is None:
            # Replaced as a whole, so that no thread meets a dictionary that changes; a lost thing is made again.
            kept = list(self._things.items())[1 - self._kinds :] if self._kinds > 1 else []
            self._things = {**dict(kept), kind: [thing]}
        elif len(things) < self._each:
            things.append(thing)
