"""Click data that is too large for memory: read block by block, twice, and written as ids that processes map.

The first pass counts the values of every field in the training rows, the second writes ids. Memory is bounded by the
distinct values, at 16 bytes each, and by one block of rows; nothing else of the data is held.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.lib.format import open_memmap

from vecstore.errors import FormatError
from vecstore.types import F32, I64
from vecstore_bench.click_rows import finish_saved, saved_path
from vecstore_bench.synthetic import Split

__all__ = ["Block", "ClickStream", "Spans", "ValueCounts", "write_stream"]

#: Split -> its first row and one past its last, among all rows of a stream.
Spans: TypeAlias = Mapping[Split, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring rows as a file has them.

    Attributes
    ----------
    labels : float32[n]
        0 or 1.
    keys : int64[n, fields]
        Numbers above 0 that tell the values of a field apart; 0 where a value is missing.
    dense : float32[n, dense]
    """

    labels: F32
    keys: I64
    dense: F32


class ClickStream(ABC):
    """Rows that are read from their start as often as they are needed.

    Attributes
    ----------
    name : str
    fields : tuple of str
        In the order of the keys.
    n_dense : int
    """

    name: str
    fields: tuple[str, ...]
    n_dense: int

    @abstractmethod
    def spans(self) -> Spans:
        """Give which rows are for what; rows of no split are left out."""

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Give all rows in order."""


class ValueCounts:
    """How often each key of a field occurs, as sorted runs that are merged when they are of like size."""

    def __init__(self) -> None:
        self._runs: list[tuple[I64, I64]] = []

    def add(self, keys: I64) -> None:
        """Count ``keys`` int64[n]; 0 is no key."""
        self._runs.append(np.unique(keys[keys > 0], return_counts=True))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            self._merge_last()

    def frequent(self, least: int) -> I64:
        """Give the keys int64[m] that occur at least ``least`` times, sorted."""
        if not self._runs:
            return np.empty(0, np.int64)
        while len(self._runs) > 1:
            self._merge_last()
        keys, counts = self._runs[0]
        return keys[counts >= least]

    def _merge_last(self) -> None:
        keys, counts = (np.concatenate(both) for both in zip(self._runs.pop(), self._runs.pop(), strict=True))
        order = np.argsort(keys, kind="stable")
        keys, counts = keys[order], counts[order]
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        merged = np.add.reduceat(counts, firsts) if len(firsts) else counts
        self._runs.append((keys[firsts], merged))


def write_stream(stream: ClickStream, folder: Path, *, min_count: int = 1) -> None:
    """Write the splits of a stream in the form of :func:`vecstore_bench.click_rows.save_clicks`.

    Ids count from 1 in the order of the keys; id 0 has what is missing, what does not occur in the training rows, and
    what occurs there fewer than ``min_count`` times.

    Raises
    ------
    FormatError
        A split lacks rows of a label.
    """
    spans = stream.spans()
    known = _vocabularies(stream, spans["train"], min_count)
    folder.mkdir(parents=True, exist_ok=True)
    written = {split: _Rows(folder, split, stop - start, stream) for split, (start, stop) in spans.items()}
    for first, block in _numbered(stream):
        for split, (start, stop) in spans.items():
            own = slice(max(start - first, 0), max(stop - first, 0))
            if len(block.labels[own]):
                written[split].write(max(first - start, 0), block, own, known)
    for split, rows in written.items():
        if not 0 < rows.clicks < rows.n_rows:
            raise FormatError(f"{stream.name}: the split {split!r} needs rows of both labels, it has {rows.n_rows}")
    finish_saved(folder, stream.name, {name: len(keys) + 1 for name, keys in zip(stream.fields, known, strict=True)})


def _vocabularies(stream: ClickStream, span: tuple[int, int], least: int) -> list[I64]:
    """Give the keys of every field that occur often enough in the rows of a span, sorted."""
    counts = [ValueCounts() for _ in stream.fields]
    for first, block in _numbered(stream):
        own = block.keys[max(span[0] - first, 0) : max(span[1] - first, 0)]
        for column, count in enumerate(counts):
            count.add(own[:, column])
    return [count.frequent(least) for count in counts]


class _Rows:
    """The files of a split, and how many of its rows are clicks."""

    def __init__(self, folder: Path, split: Split, n_rows: int, stream: ClickStream) -> None:
        self.n_rows, self.clicks = n_rows, 0.0
        self._ids, self._dense, self._labels = (
            open_memmap(saved_path(folder, split, name), "w+", kind, (n_rows, *width))
            for name, kind, width in (
                ("ids", np.int32, (len(stream.fields),)),
                ("dense", np.float32, (stream.n_dense,)),
                ("labels", np.float32, ()),
            )
        )

    def write(self, place: int, block: Block, own: slice, known: list[I64]) -> None:
        """Write rows of a block from row ``place`` on."""
        labels = block.labels[own]
        rows = slice(place, place + len(labels))
        for column, keys in enumerate(known):
            self._ids[rows, column] = _ids_of(block.keys[own, column], keys)
        self._dense[rows] = block.dense[own]
        self._labels[rows] = labels
        self.clicks += float(labels.sum())


def _numbered(stream: ClickStream) -> Iterator[tuple[int, Block]]:
    """Give the blocks, each with the number of its first row."""
    first = 0
    for block in stream.blocks():
        yield first, block
        first += len(block.labels)


def _ids_of(keys: I64, known: I64) -> I64:
    """Give the place of each key among the sorted known ones, counting from 1; 0 where it is none of them."""
    if not len(known):
        return np.zeros(len(keys), np.int64)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.where(known[places] == keys, places + 1, 0)
