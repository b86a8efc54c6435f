"""The HNSW graph: built by hnswlib, kept as plain arrays, searched by our kernels on any stored form.

References
----------
Yu. A. Malkov, D. A. Yashunin: Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs, IEEE TPAMI 2018; algorithms 1 to 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecstore.config import HnswConfig
from vecstore.errors import CorruptionError, InvalidArgumentError, StoreClosed
from vecstore.index.hnswlib_export import Levels, export_levels
from vecstore.kernels import graph as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.graph import Links
from vecstore.kernels.scoring import Scorer
from vecstore.types import F32, I64, Mask, Metric

__all__ = ["Graph", "GraphHits", "build"]

#: Rows handed to hnswlib at a time; between them a build can be stopped.
_BLOCK_ROWS = 512
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
        False where a filtered search ran out of ``max_evals``: rows may be missing, so scan instead.
    """

    rows: I64
    distances: F32
    complete: Mask


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

        Links are checked when they are followed: wrong ones are skipped.

        Raises
        ------
        CorruptionError
            An array is missing or does not fit the others.
        """
        links = _stored(arrays, "links", np.int32, (rows, None))
        nodes = _stored(arrays, "nodes", np.int32, (None,))
        upper_links = _stored(arrays, "upper_links", np.int32, (len(nodes), None))
        down = _stored(arrays, "down", np.int32, (len(nodes),))
        starts = _stored(arrays, "level_starts", np.int64, (None,))
        entry = int(_stored(arrays, "entry", np.int64, (1,))[0])
        if not (starts.size and starts[0] == 0 and starts[-1] == len(nodes) and (np.diff(starts) > 0).all()):
            raise CorruptionError("graph: array 'level_starts' does not fit 'nodes'", field="level_starts")
        first, last = (starts[-2], starts[-1]) if len(starts) > 1 else (0, rows)
        if not first <= entry < last or (len(nodes) and not 0 <= nodes[entry] < rows):
            raise CorruptionError(f"graph: entry {entry} is not on the top level", field="entry")
        levels = Links(frozen(links), frozen(nodes), frozen(upper_links), frozen(down), entry, len(starts) - 1)
        return cls(levels, frozen(starts))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Give every array that :meth:`open` needs."""
        return {
            "links": self.links.level0,
            "nodes": self.links.nodes,
            "upper_links": self.links.upper,
            "down": self.links.down,
            "level_starts": self.level_starts,
            "entry": np.array([self.links.entry], np.int64),
        }

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    @property
    def lower_rows(self) -> I64:
        """Rows that are on level 0 only and are not where searches start, ascending."""
        is_lower = np.ones(len(self.links.level0), np.bool_)
        is_lower[self.links.nodes] = False
        if not len(self.links.nodes):
            is_lower[self.links.entry] = False
        return np.flatnonzero(is_lower)

    def bypassing(self, rows: I64) -> Graph:
        """Give a graph in which walks go past ``rows``, some of :attr:`lower_rows`: they can be found and lead nowhere.

        For such a row as a query the walk is that of a query which is not stored.
        """
        level0 = self.links.level0.copy()
        level0[rows] = -1
        return Graph(self.links._replace(level0=frozen(level0)), self.level_starts)

    def search(
        self,
        scorer: Scorer,
        n_queries: int,
        count: int,
        ef: int,
        *,
        mask: Mask | None = None,
        max_evals: int | None = None,
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
            Rows kept while walking: more find more, and cost more.
        mask : bool[n], optional
            Only rows where it is True; the walk still goes through the others.
        max_evals : int, optional
            With a mask: distances to compute for a query before giving up. All rows by default.

        Raises
        ------
        InvalidArgumentError
            ``ef`` is below ``count``, a number is not positive, the mask has another shape, or the scorer has no
            ``traversal``.
        """
        operands = scorer.traversal
        if operands is None:
            raise InvalidArgumentError("this scheme cannot be searched by graph; use exact search", field="scheme")
        if not 1 <= count <= ef:
            raise InvalidArgumentError(f"ef: expected at least the {count} rows wanted (and 1), got {ef}", field="ef")
        n_rows = len(self.links.level0)
        width = min(ef, n_rows)
        visited = np.empty((n_rows + 63) // 64, np.uint64)
        hits = GraphHits(
            np.empty((n_queries, count), np.int64),
            np.empty((n_queries, count), np.float32),
            np.ones(n_queries, np.bool_),
        )
        if mask is None:
            kernels.beam_search(operands, self.links, width, visited, hits.rows, hits.distances)
            return hits
        if mask.shape != (n_rows,) or mask.dtype != np.bool_:
            raise InvalidArgumentError(
                f"mask: expected bool[{n_rows}], got {mask.dtype}{list(mask.shape)}", field="mask"
            )
        limit = n_rows if max_evals is None else min(max_evals, n_rows)
        if limit < 1:
            raise InvalidArgumentError(f"max_evals: expected at least 1, got {max_evals}", field="max_evals")
        kernels.beam_search_filtered(operands, self.links, width, visited, frozen(mask), limit, *hits)
        return hits


def build(
    vectors: F32,
    metric: Metric,
    config: HnswConfig,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Graph:
    """Build the graph over ``vectors`` float32[n, dim] (unit rows for cosine), on one thread.

    The same vectors, config and hnswlib give the same graph.

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
    if not 1 <= len(vectors) <= kernels.MAX_ROWS:
        raise InvalidArgumentError(
            f"vectors: a graph needs 1 to {kernels.MAX_ROWS} rows, got {len(vectors)}", field="vectors"
        )
    import hnswlib

    index = hnswlib.Index(_SPACES[metric], vectors.shape[1])
    index.init_index(len(vectors), M=config.M, ef_construction=config.ef_construction, random_seed=config.seed)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        if should_stop():
            raise StoreClosed("the graph build was stopped because the database is closing")
        stop = min(start + _BLOCK_ROWS, len(vectors))
        index.add_items(vectors[start:stop], np.arange(start, stop), num_threads=1)
        if on_progress is not None:
            on_progress(stop, len(vectors))
    return _assembled(export_levels(index.__getstate__()[0]))


def _assembled(levels: Levels) -> Graph:
    """Turn links between rows into links between places."""
    starts = np.concatenate([[0], np.cumsum([len(nodes) for nodes in levels.nodes])]).astype(np.int64)
    places, down = [], []
    for number, (nodes, links) in enumerate(zip(levels.nodes, levels.links, strict=True)):
        found = np.searchsorted(nodes, links) + starts[number]
        places.append(np.where(links < 0, -1, found).astype(np.int32))
        below = nodes if number == 0 else np.searchsorted(levels.nodes[number - 1], nodes) + starts[number - 1]
        down.append(below.astype(np.int32))
    top = levels.nodes[-1] if levels.nodes else None
    entry = levels.entry if top is None else int(starts[-2] + np.searchsorted(top, levels.entry))
    width = levels.level0.shape[1] // 2
    arrays = {
        "links": levels.level0,
        "nodes": np.concatenate([np.empty(0, np.int32), *levels.nodes]),
        "upper_links": np.concatenate([np.empty((0, width), np.int32), *places]),
        "down": np.concatenate([np.empty(0, np.int32), *down]),
        "level_starts": starts,
        "entry": np.array([entry], np.int64),
    }
    return Graph.open(arrays, len(levels.level0))


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
