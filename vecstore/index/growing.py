"""Building graphs with our kernels: row after row, from nothing or from the graph of some of the rows.

References
----------
Yu. A. Malkov, D. A. Yashunin: Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs, IEEE TPAMI 2018; algorithms 1, 2 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from vecstore.config import HnswConfig
from vecstore.index.hnswlib_export import Levels
from vecstore.kernels import graph_build as kernels
from vecstore.kernels import graph_mend
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.graph import EXPANDED_TOGETHER
from vecstore.kernels.graph_build import Growth, Scratch
from vecstore.kernels.graph_mend import Kept
from vecstore.kernels.hashing import derived_salts
from vecstore.types import I8, I32, I64

__all__ = ["grown"]

#: Rows inserted between two reports.
_BLOCK_ROWS = 512


def grown(
    operands: Operands,
    n_rows: int,
    config: HnswConfig,
    previous: tuple[Levels, I64] | None,
    report: Callable[[int], None],
) -> Levels:
    """Build a graph over all rows of a table; the same input gives the same links on every machine.

    Parameters
    ----------
    operands : Operands
        Such that query number i is row i.
    n_rows : int
        At least 1.
    config : HnswConfig
        M, ef_construction and seed matter.
    previous : (Levels, int64[m]), optional
        A graph of equal M over m rows to begin with, and the number here of each of its rows; -1 for rows that are not
        here, around which the others are linked.
    report : callable
        Called with the number of rows done, every few hundred rows; may raise.
    """
    growth = _empty(n_rows, config, previous)
    scratch = _scratch(n_rows, config)
    if previous is not None:
        levels, renumbered = previous
        for level, kept in enumerate(_kept_levels(levels, renumbered)):
            graph_mend.carry_over(growth, level, kept)
            if (renumbered < 0).any():
                graph_mend.mend(operands, growth, level, kept, scratch)
    is_linked = growth.level0[:, 0] >= 0
    entry = int(np.argmax(np.where(is_linked, growth.tops, -1))) if is_linked.any() else -1
    rows = np.flatnonzero(~is_linked)
    done = n_rows - len(rows)
    twins = np.full(n_rows, -1, np.int32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        report(done + start)
        block = rows[start : start + _BLOCK_ROWS]
        entry = int(kernels.insert_rows(operands, growth, block, twins, entry, scratch))
    report(n_rows)
    left_out = np.flatnonzero(twins >= 0)
    left_out = left_out[np.argsort(twins[left_out], kind="stable")]
    kernels.hang_twins(growth.level0, left_out, twins[left_out].astype(np.int64))
    return _finished(growth, entry)


def drawn_tops(n_rows: int, config: HnswConfig) -> I8:
    """Draw the top level of each row: at least l with a probability of 1 / M^l, by comparing hashes of row numbers."""
    hashes = derived_salts(config.seed, n_rows)
    tops = np.zeros(n_rows, np.int8)
    limit = 2**64 // config.M
    while limit:
        tops += hashes < np.uint64(limit)
        limit //= config.M
    return tops


def _empty(n_rows: int, config: HnswConfig, previous: tuple[Levels, I64] | None) -> Growth:
    """Give a graph without links, with room for those of every row's levels."""
    tops = drawn_tops(n_rows, config)
    if previous is not None:
        levels, renumbered = previous
        tops[renumbered[renumbered >= 0]] = 0
        for nodes in levels.nodes:
            here = renumbered[nodes]
            tops[here[here >= 0]] += 1
    ends = np.cumsum(tops, dtype=np.int64)
    return Growth(
        np.full((n_rows, 2 * config.M), -1, np.int32),
        np.full((int(ends[-1]), config.M), -1, np.int32),
        ends - tops,
        tops,
    )


def _scratch(n_rows: int, config: HnswConfig) -> Scratch:
    width = 2 * config.M
    candidates = max(EXPANDED_TOGETHER * width + 1, width * (width + 1))
    return Scratch(
        visited=np.zeros((n_rows + 63) // 64, np.uint64),
        pool=np.empty(config.ef_construction, np.uint64),
        keys=np.empty(candidates, np.uint64),
        fresh=np.empty(candidates, np.int32),
        found=np.empty(candidates, np.float32),
        chosen=np.empty((65, config.M), np.int32),
        counts=np.empty(65, np.int64),
    )


def _kept_levels(levels: Levels, renumbered: I64) -> Iterator[Kept]:
    """Give the levels of a graph as the kernel takes them, from 0 up."""
    every = np.arange(len(levels.level0), dtype=np.int32)
    for nodes, links in zip([every, *levels.nodes], [levels.level0, *levels.links], strict=True):
        places = np.full(len(every), -1, np.int32)
        places[nodes] = np.arange(len(nodes), dtype=np.int32)
        yield Kept(frozen(nodes), frozen(links), frozen(places), frozen(renumbered))


def _finished(growth: Growth, entry: int) -> Levels:
    """Give the links by level, up to the top level of the row where searches start."""
    nodes: list[I32] = []
    links: list[I32] = []
    for level in range(1, int(growth.tops[entry]) + 1):
        rows = np.flatnonzero(growth.tops >= level)
        nodes.append(rows.astype(np.int32))
        links.append(growth.upper[growth.first[rows] + level - 1])
    return Levels(growth.level0, nodes, links, entry)
