"""The HNSW graph: built by our kernels or by hnswlib, kept as plain arrays, searched on any stored form.

References
----------
Yu. A. Malkov, D. A. Yashunin: Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs, IEEE TPAMI 2018; algorithms 1 to 5.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.config import HnswConfig
from vecstore.errors import CorruptionError, InvalidArgumentError, StoreClosed
from vecstore.index.growing import grown
from vecstore.index.hnswlib_export import Levels, export_levels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.filtered_walk import beam_search_kept
from vecstore.kernels.graph import MAX_ROWS, Links, Reach, beam_search
from vecstore.kernels.links import LISTS_PER_START, MAX_NUMBERS, PADDING, Lists, pack, unpack
from vecstore.kernels.scoring import Scorer
from vecstore.types import F32, I64, U64, Mask, Metric

__all__ = ["Graph", "GraphHits", "Kept", "Previous", "build", "grow"]

#: Rows handed to hnswlib at a time.
_BLOCK_ROWS = 512
#: The reach of walks that expand all the rows that they keep.
_WHOLE_POOL = Reach(ef=1, k=1, slack=np.float32(np.inf))
_SPACES = {Metric.L2: "l2", Metric.IP: "ip", Metric.COSINE: "ip"}


class GraphHits(NamedTuple):
    """What a graph search found.

    Attributes
    ----------
    rows : int64[q, count]
        Nearest first; -1 past the last.
    distances : float32[q, count]
        As the scorer's ``traversal`` computes them; ``inf`` past the last.
    complete : bool[q]
        False where a filtered search gave up: rows may be missing, so scan instead.
    """

    rows: I64
    distances: F32
    complete: Mask


class Kept(NamedTuple):
    """Some rows of a graph, as filtered walks want them; made once for many searches.

    Attributes
    ----------
    rows : int
        Of the graph.
    share : float
        Of them, how many are kept; above 0.
    dropped : uint64[rows // 64 + 1]
        A bit for each row that is not.
    """

    rows: int
    share: float
    dropped: U64

    @classmethod
    def of(cls, mask: Mask) -> Kept:
        """Keep the rows where ``mask`` bool[rows] is True.

        Raises
        ------
        InvalidArgumentError
            It has another form, or no row is in it.
        """
        if mask.ndim != 1 or mask.dtype != np.bool_:
            raise InvalidArgumentError(f"mask: expected bool[n], got {mask.dtype}{list(mask.shape)}", field="mask")
        kept = int(np.count_nonzero(mask))
        if kept == 0:
            raise InvalidArgumentError("mask: no row is in it", field="mask")
        packed = np.zeros(8 * (len(mask) // 64 + 1), np.uint8)
        packed[: -(-len(mask) // 8)] = np.packbits(~mask, bitorder="little")
        return cls(len(mask), kept / len(mask), frozen(packed.view("<u8").astype(np.uint64, copy=False)))


@dataclass(frozen=True, slots=True)
class Graph:
    """Links between the rows of one table; immutable, safe to use from threads, arrays may be memory maps.

    Attributes
    ----------
    links : Links
        The links, where each upper level's places ascend by row, and level 1 comes first.
    level_starts : int64[levels + 1]
        First place of each upper level, and the number of places.
    """

    links: Links
    level_starts: I64

    @classmethod
    def open(cls, arrays: Mapping[str, NDArray[Any]], rows: int) -> Graph:
        """Make a graph over ``rows`` rows of stored arrays, without copying or reading them.

        Links are checked when they are followed: wrong ones are skipped. Arrays in the form that was stored before
        links were packed are packed here.

        Raises
        ------
        CorruptionError
            An array is missing or does not fit the others.
        """
        if "links" in arrays:
            arrays = _packed(arrays, rows)
        nodes = _stored(arrays, "nodes", np.int32, (None,))
        n_lists = rows + len(nodes)
        data = _stored(arrays, "lists", np.uint8, (None,))
        list_starts = _stored(arrays, "list_starts", np.int64, (n_lists // LISTS_PER_START + 1,))
        list_offsets = _stored(arrays, "list_offsets", np.uint16, (n_lists + 1,))
        if len(data) < PADDING:
            raise CorruptionError(f"graph: array 'lists' has {len(data)} bytes, too few", field="lists")
        down = _stored(arrays, "down", np.int32, (len(nodes),))
        starts = _stored(arrays, "level_starts", np.int64, (None,))
        entry, most = (int(_stored(arrays, name, np.int64, (1,))[0]) for name in ("entry", "most_links"))
        if not (starts.size and starts[0] == 0 and starts[-1] == len(nodes) and (np.diff(starts) > 0).all()):
            raise CorruptionError("graph: array 'level_starts' does not fit 'nodes'", field="level_starts")
        first, last = (starts[-2], starts[-1]) if len(starts) > 1 else (0, rows)
        if not first <= entry < last or (len(nodes) and not 0 <= nodes[entry] < rows):
            raise CorruptionError(f"graph: entry {entry} is not on the top level", field="entry")
        if not 1 <= most <= MAX_NUMBERS:
            raise CorruptionError(f"graph: rows have up to {most} links, not 1 to {MAX_NUMBERS}", field="most_links")
        lists = Lists(frozen(data), frozen(list_starts), frozen(list_offsets))
        return cls(Links(lists, rows, most, frozen(nodes), frozen(down), entry, len(starts) - 1), frozen(starts))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give every array that :meth:`open` needs."""
        links = self.links
        return {
            "lists": links.lists.data,
            "list_starts": links.lists.starts,
            "list_offsets": links.lists.offsets,
            "nodes": links.nodes,
            "down": links.down,
            "level_starts": self.level_starts,
            "entry": np.array([links.entry], np.int64),
            "most_links": np.array([links.most], np.int64),
        }

    def levels(self) -> Levels:
        """Give the links by level, as rows; the links of a row ascend.

        Raises
        ------
        CorruptionError
            A link points outside the graph.
        """
        links = self.links
        starts = self.level_starts
        level0 = np.empty((links.rows, links.most), np.int32)
        unpack(links.lists, 0, level0)
        places = np.empty((len(links.nodes), links.most // 2), np.int32)
        unpack(links.lists, links.rows, places)
        outside = len(level0) <= max(level0.max(initial=-1), links.nodes.max(initial=-1))
        if outside or links.nodes.min(initial=0) < 0 or len(places) <= places.max(initial=-1):
            raise CorruptionError("graph: a link points outside the graph", field="lists")
        upper = np.append(links.nodes, np.int32(-1))[places]
        pieces = list(itertools.pairwise(starts.tolist()))
        entry = int(links.nodes[links.entry]) if pieces else links.entry
        return Levels(
            level0,
            [links.nodes[start:stop] for start, stop in pieces],
            [upper[start:stop] for start, stop in pieces],
            entry,
        )

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    @property
    def lower_rows(self) -> I64:
        """Rows that are on level 0 only and are not where searches start, ascending."""
        is_lower = np.ones(self.links.rows, np.bool_)
        is_lower[self.links.nodes] = False
        if not len(self.links.nodes):
            is_lower[self.links.entry] = False
        return np.flatnonzero(is_lower)

    def bypassing(self, rows: I64) -> Graph:
        """Give a graph in which walks go past ``rows``, some of :attr:`lower_rows`: they can be found and lead nowhere.

        For such a row as a query the walk is that of a query which is not stored.
        """
        levels = self.levels()
        levels.level0[rows] = -1
        return _assembled(levels)

    def search(
        self,
        scorer: Scorer,
        n_queries: int,
        count: int,
        ef: int,
        *,
        kept: Kept | None = None,
        reach: Reach | None = None,
    ) -> GraphHits:
        """Find the nearest rows of each query by walking the graph.

        Parameters
        ----------
        scorer : Scorer
            Prepared for the queries, with a ``traversal``.
        n_queries : int
        count : int
            Rows wanted for each query, at most ``ef``.
        ef : int
            Rows kept while walking: more find more, and cost more. Where ``reach`` says how far, no more than a bound.
        kept : Kept, optional
            Only these rows; the walk still goes through the others.
        reach : Reach, optional
            How far walks go that leave no rows out, instead of until all ``ef`` rows kept are expanded. Distances must
            be those of a geometry: inner products are not.

        Raises
        ------
        InvalidArgumentError
            ``ef`` is below ``count``, a number is not positive, the kept rows are of another graph, the reach is less
            than ``count`` or has no k inside, or the scorer has no ``traversal``.
        """
        operands = scorer.traversal
        if operands is None:
            raise InvalidArgumentError("this scheme cannot be searched by graph; use exact search", field="scheme")
        if not 1 <= count <= ef:
            raise InvalidArgumentError(f"ef: expected at least the {count} rows wanted (and 1), got {ef}", field="ef")
        far = _WHOLE_POOL._replace(ef=ef) if reach is None else reach
        if not (1 <= far.k <= far.ef and count <= far.ef and far.slack >= 0):
            raise InvalidArgumentError(
                f"reach: expected an ef of at least {count} and k, a k and a slack of at least 0, got {far}",
                field="reach",
            )
        n_rows = self.links.rows
        hits = GraphHits(
            np.empty((n_queries, count), np.int64),
            np.empty((n_queries, count), np.float32),
            np.ones(n_queries, np.bool_),
        )
        if kept is None:
            beam_search(operands, self.links, far.among(n_rows), hits.rows, hits.distances)
            return hits
        if kept.rows != n_rows:
            raise InvalidArgumentError(f"kept: expected some of {n_rows} rows, got some of {kept.rows}", field="kept")
        beam_search_kept(operands, self.links, min(ef, n_rows), kept.share, kept.dropped, *hits)
        return hits


class Previous(NamedTuple):
    """A graph over some of the rows that a new one is for, and maybe others.

    Attributes
    ----------
    graph : Graph
    renumbered : int64[m]
        For each of its rows the row of the new graph; -1 for rows that the new one has not.
    """

    graph: Graph
    renumbered: I64

    def is_over(self, n_rows: int) -> bool:
        """Tell whether the graph is over exactly the ``n_rows`` rows, in their order."""
        return np.array_equal(self.renumbered, np.arange(n_rows))


def build(
    vectors: F32,
    metric: Metric,
    config: HnswConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Graph:
    """Build the graph over ``vectors`` float32[n, dim] (unit rows for cosine) by hnswlib, on one thread.

    The same vectors, config and hnswlib give the same graph, on processors of one kind.

    Parameters
    ----------
    vectors : float32[n, dim]
        At least one row.
    metric : Metric
    config : HnswConfig
        M, ef_construction and seed matter.
    on_progress : callable, optional
        Called with (rows done, rows in all).
    should_stop : callable
        Asked every few hundred rows.

    Raises
    ------
    InvalidArgumentError
        There are no rows, or too many to number.
    StoreClosed
        ``should_stop`` said so.
    """
    report = _reporter(len(vectors), on_progress, should_stop)
    import hnswlib

    index = hnswlib.Index(_SPACES[metric], vectors.shape[1])
    index.init_index(len(vectors), M=config.M, ef_construction=config.ef_construction, random_seed=config.seed)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        report(start)
        stop = min(start + _BLOCK_ROWS, len(vectors))
        index.add_items(vectors[start:stop], np.arange(start, stop), num_threads=1)
    report(len(vectors))
    return _assembled(export_levels(index.__getstate__()[0]))


def grow(
    rows: Operands,
    n_rows: int,
    config: HnswConfig,
    *,
    previous: Previous | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Graph:
    """Build the graph over rows in their stored form by our kernels, on one thread; otherwise as :func:`build`.

    The same rows, config and previous graph give the same graph everywhere.

    Parameters
    ----------
    rows : Operands
        Such that query number i is row i; see :class:`~vecstore.kernels.scoring.PairwiseTable`.
    n_rows : int
        At least 1.
    config : HnswConfig
        M, ef_construction and seed matter.
    previous : Previous, optional
        What to begin with, if its M is that of ``config``.
    on_progress, should_stop
        As for :func:`build`.
    """
    report = _reporter(n_rows, on_progress, should_stop)
    known = None if previous is None else (previous.graph.levels(), previous.renumbered)
    return _assembled(grown(rows, n_rows, config, known, report))


def _reporter(
    n_rows: int, on_progress: Callable[[int, int], None] | None, should_stop: Callable[[], bool]
) -> Callable[[int], None]:
    """Give what a build calls with the number of rows done, before each block and at the end."""
    if not 1 <= n_rows <= MAX_ROWS:
        raise InvalidArgumentError(f"vectors: a graph needs 1 to {MAX_ROWS} rows, got {n_rows}", field="vectors")

    def report(done: int) -> None:
        if done < n_rows and should_stop():
            raise StoreClosed("the graph build was stopped because the database is closing")
        if done and on_progress is not None:
            on_progress(done, n_rows)

    return report


def _assembled(levels: Levels) -> Graph:
    """Turn links between rows into packed links between places."""
    starts = np.concatenate([[0], np.cumsum([len(nodes) for nodes in levels.nodes])]).astype(np.int64)
    places, down = [], []
    for number, (nodes, links) in enumerate(zip(levels.nodes, levels.links, strict=True)):
        found = np.searchsorted(nodes, links) + starts[number]
        places.append(np.where(links < 0, -1, found).astype(np.int32))
        below = nodes if number == 0 else np.searchsorted(levels.nodes[number - 1], nodes) + starts[number - 1]
        down.append(below.astype(np.int32))
    top = levels.nodes[-1] if levels.nodes else None
    entry = levels.entry if top is None else int(starts[-2] + np.searchsorted(top, levels.entry))
    arrays = {
        "links": levels.level0,
        "nodes": np.concatenate([np.empty(0, np.int32), *levels.nodes]),
        "upper_links": np.concatenate([np.empty((0, levels.level0.shape[1] // 2), np.int32), *places]),
        "down": np.concatenate([np.empty(0, np.int32), *down]),
        "level_starts": starts,
        "entry": np.array([entry], np.int64),
    }
    return Graph.open(arrays, len(levels.level0))


def _packed(arrays: Mapping[str, NDArray[Any]], rows: int) -> dict[str, NDArray[Any]]:
    """Pack the links of arrays that have them as ``links`` int32[rows, 2 M] and ``upper_links`` int32[t, M]."""
    level0 = _stored(arrays, "links", np.int32, (rows, None))
    nodes = _stored(arrays, "nodes", np.int32, (None,))
    upper = _stored(arrays, "upper_links", np.int32, (len(nodes), None))
    most = max(level0.shape[1], upper.shape[1])
    if most > MAX_NUMBERS:
        raise CorruptionError(f"graph: array 'links' is int32{list(level0.shape)}", field="links")
    lists = pack([level0, upper])
    others = {name: array for name, array in arrays.items() if name not in ("links", "upper_links")}
    return others | {
        "lists": lists.data,
        "list_starts": lists.starts,
        "list_offsets": lists.offsets,
        "most_links": np.array([most], np.int64),
    }


def _stored(
    arrays: Mapping[str, NDArray[Any]], name: str, dtype: type[np.generic], shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """Give a stored array of that dtype and shape, where None allows any length."""
    if name not in arrays:
        raise CorruptionError(f"graph: array {name!r} is missing", field=name)
    array = arrays[name]
    fits = array.ndim == len(shape) and all(b in (None, a) for a, b in zip(array.shape, shape, strict=True))
    if array.dtype != dtype or not fits:
        raise CorruptionError(f"graph: array {name!r} is {array.dtype}{list(array.shape)}", field=name)
    return array
