"""A search of one table for one query a call, with everything made once that does not depend on the query.

A walk of a graph takes some dozen microseconds; making arrays, tuples and views for it would take longer than the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from vecstore.index.hnsw import Graph
from vecstore.index.row_set import RowSet
from vecstore.kernels.compiling import bound, frozen
from vecstore.kernels.distance import Operands, gather, nearest_within, rerank
from vecstore.kernels.filtered_walk import beam_search_kept
from vecstore.kernels.graph import Reach, beam_search
from vecstore.kernels.topk import rank_own_rows
from vecstore.types import F32, I64

__all__ = ["SCANNED_AT_ONCE", "Finish", "PreparedScan", "PreparedSearch", "PreparedWalk", "Spares"]

#: Rows that are scanned at once: their distances take 64 KiB. Of more rows, preparing is no part of the time.
SCANNED_AT_ONCE = 16_384

_Key = TypeVar("_Key")
_Thing = TypeVar("_Thing")


class Finish(NamedTuple):
    """How the nearest of the rows that a search found are chosen.

    Attributes
    ----------
    exact : Operands or None
        Of finer distances; None where those of the search are kept.
    bounds : Operands or None
        Of what finer distances are hardly ever below, which decides how many rows get one; None where all do.
    """

    exact: Operands | None
    bounds: Operands | None = None


class _Found:
    """Places for the rows that were found, nearest first, and for those of them that are nearest in the end.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    finish : Finish
    depth : int
        Rows that are found.
    k : int
        Rows wanted, at most ``depth``.
    by_bounds : bool
        Whether rows are found by bounds already.

    Attributes
    ----------
    rows : int64[1, depth]
        To be written by a search; -1 past the last.
    distances : float32[1, depth]
        Likewise.
    """

    def __init__(self, n_rows: int, finish: Finish, depth: int, k: int, *, by_bounds: bool = False) -> None:
        self.rows, self.distances = np.empty((1, depth), np.int64), np.empty((1, depth), np.float32)
        self._nearest = np.empty((1, k), np.int64), np.empty((1, k), np.float32)
        rows, scores, steps = frozen(self.rows), self.distances, []
        keys = np.empty((1, k), np.uint64)
        again = finish.bounds if finish.bounds is not None else finish.exact
        if again is not None and not by_bounds:
            scores = np.empty((1, depth), np.float32)
            steps.append(bound(rerank, again, rows, n_rows, scores))
        if finish.exact is None or finish.bounds is None:
            steps.append(bound(rank_own_rows, frozen(scores), rows, keys, *self._nearest))
        else:
            if not by_bounds:
                ranked = np.empty((1, depth), np.int64), np.empty((1, depth), np.float32)
                steps.append(bound(rank_own_rows, frozen(scores), rows, np.empty((1, depth), np.uint64), *ranked))
                rows, scores = frozen(ranked[0]), ranked[1]
            steps.append(bound(nearest_within, finish.exact, rows, frozen(scores), keys, *self._nearest))
        self._steps = tuple(steps)

    def nearest(self) -> tuple[I64, F32]:
        """Give the k nearest rows and their distances, in arrays of the caller's own."""
        for step in self._steps:
            step()
        rows, distances = self._nearest
        return rows.copy(), distances.copy()


class PreparedScan:
    """A scan of some rows of a table for a query that changes in place.

    Parameters
    ----------
    n_rows : int
        Rows of the table.
    operands : Operands
        Of the scan.
    finish : Finish
        For what the scan found.
    depth : int
        Rows that are looked at again.
    k : int
        Rows wanted, at most ``depth``.
    """

    def __init__(self, n_rows: int, operands: Operands, finish: Finish, depth: int, k: int) -> None:
        self._operands = operands
        self._found = _Found(n_rows, finish, depth, k, by_bounds=operands is finish.bounds)
        self._keys = np.empty((1, depth), np.uint64)

    def search(self, rows: I64) -> tuple[I64, F32]:
        """Find the nearest of some rows, at least k and read-only; see :meth:`PreparedSearch.search`."""
        distances = np.empty((1, len(rows)), np.float32)
        gather(self._operands, rows, distances)
        found = self._found
        rank_own_rows(frozen(distances), rows[np.newaxis], self._keys, found.rows, found.distances)
        return found.nearest()


class PreparedWalk:
    """A walk of a graph for a query that changes in place.

    Parameters
    ----------
    graph : Graph
    n_rows : int
        Rows of the table.
    operands : Operands
        Of the walk.
    finish : Finish
        For what the walk found.
    reach : Reach
        How far walks go; where rows are left out, its ef alone says so.
    depth : int
        Rows that are looked at again, at most the ef.
    k : int
        Rows wanted, at most ``depth``.
    least : int
        Of fewer rows than this, at least ``depth``, all would be scanned instead.
    """

    def __init__(
        self,
        graph: Graph,
        n_rows: int,
        operands: Operands,
        finish: Finish,
        *,
        reach: Reach,
        depth: int,
        k: int,
        least: int,
    ) -> None:
        self.least = least
        self._among = operands, graph.links, reach.ef
        self._found = found = _Found(n_rows, finish, depth, k)
        self._complete = np.ones(1, np.bool_)
        self._walk = bound(beam_search, operands, graph.links, reach, found.rows, found.distances)
        self._scan_of = n_rows, operands, finish, depth, k

    @cached_property
    def _scan(self) -> PreparedScan:
        """For queries around which hardly any row is allowed, or whose walks find too few."""
        return PreparedScan(*self._scan_of)

    def search(self, allowed: RowSet) -> tuple[I64, F32] | None:
        """Find the nearest of some rows, at least ``least``; see :meth:`PreparedSearch.search`.

        Gives None where a walk among all rows found too few, as where many are alike.
        """
        found = self._found
        if allowed.kept is None:
            self._walk()
        else:
            _, share, dropped = allowed.kept
            beam_search_kept(*self._among, share, dropped, found.rows, found.distances, self._complete)
        if self._complete[0] and found.rows[0, -1] >= 0:
            return found.nearest()
        self._complete[0] = True
        return None if allowed.is_all else self._scan.search(allowed.rows)


class PreparedSearch:
    """A search by scorers whose queries change in place; one thread at a time may use it.

    Parameters
    ----------
    queries : float32[1, dim]
        The writable array that the scorers were prepared for.
    renew : sequence of callables
        They compute again what follows from ``queries``.
    k : int
        Rows wanted.
    walk : PreparedWalk or None
        For rows that are many enough.
    scan : PreparedScan or None
        For the others.
    """

    def __init__(
        self,
        queries: F32,
        renew: Sequence[Callable[[], None]],
        k: int,
        walk: PreparedWalk | None,
        scan: PreparedScan | None,
    ) -> None:
        self._queries = queries
        self._renew = renew
        self._k = k
        self._walk = walk
        self._scan = scan

    def search(self, query: F32, allowed: RowSet) -> tuple[I64, F32] | None:
        """Find the nearest of some rows.

        Parameters
        ----------
        query : float32[1, dim]
            A unit row for cosine.
        allowed : RowSet
            Rows of the table.

        Returns
        -------
        rows : int64[1, k]
            Nearest first.
        distances : float32[1, k]
            None instead of both where nothing is prepared for so few or so many rows, or they were not found.
        """
        if self._walk is not None and allowed.count >= self._walk.least:
            self._ask(query)
            return self._walk.search(allowed)
        if self._scan is not None and self._k <= allowed.count <= SCANNED_AT_ONCE and not allowed.is_all:
            self._ask(query)
            return self._scan.search(allowed.rows)
        return None

    def _ask(self, query: F32) -> None:
        self._queries[...] = query
        for renew in self._renew:
            renew()


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
