"""One consistent state of a collection: its segments and delta as of one commit, deleted rows masked out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np

from vecstore.delta import Delta
from vecstore.effort import Effort
from vecstore.errors import CorruptionError
from vecstore.filters import Filter
from vecstore.index.prepared import PreparedSearch, Spares
from vecstore.index.row_set import RowSet
from vecstore.segment import CACHED_FILTERS, RowSource, Segment
from vecstore.storage.catalog import TOMBSTONES, CollectionStore
from vecstore.storage.environment import Environment, Transaction
from vecstore.storage.records import CollectionRecord, Head, Manifest
from vecstore.storage.tombstones import Tombstones
from vecstore.types import U64

#: Kinds of searches that are kept prepared, and how many of each: threads that search at once without preparing one.
PREPARED_KINDS = 8
PREPARED_EACH = 16


class SourceView:
    """A source with the deleted rows and columns of one commit.

    Attributes
    ----------
    source : RowSource
    dead : uint64[m]
        Sequence numbers of the deleted rows.
    columns : dict of str to str
        Metadata columns and their types.
    is_preparable : bool
        False once it was found that the schemes have to prepare anew for each query.
    searches : Spares
        Searches for one query a call that others left prepared, by k, effort, and whether all rows are searched.
    """

    def __init__(self, source: RowSource, dead: U64, columns: dict[str, str]) -> None:
        self.source = source
        self.dead = dead
        self.columns = columns
        self.is_preparable = True
        self.searches: Spares[tuple[int, Effort, bool], PreparedSearch] = Spares(PREPARED_KINDS, PREPARED_EACH)
        self._sets: OrderedDict[Filter, RowSet] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def live(self) -> RowSet:
        """The rows that are not deleted."""
        if len(self.dead) == 0:
            return RowSet(len(self.source), None)
        mask = np.ones(len(self.source), np.bool_)
        mask[self.source.positions(self.dead)] = False
        return RowSet(len(self.source), mask)

    def rows(self, where: Filter | None) -> RowSet:
        """Give the live rows that pass ``where``; the latest answers are kept."""
        if where is None:
            return self.live
        with self._lock:
            if where in self._sets:
                self._sets.move_to_end(where)
                return self._sets[where]
        mask = self.source.matches(where, self.columns)
        if self.live.mask is not None:
            mask = mask & self.live.mask
        rows = RowSet(len(self.source), mask)
        with self._lock:
            self._sets[where] = rows
            if len(self._sets) > CACHED_FILTERS:
                self._sets.popitem(last=False)
        return rows


class View:
    """A collection as of one commit; immutable.

    Attributes
    ----------
    head, record, manifest
        The catalog's records.
    segments : tuple of SourceView
        Sealed segments, ascending by sequence number.
    delta : SourceView
        The rows not yet sealed.
    """

    def __init__(
        self,
        head: Head,
        record: CollectionRecord,
        manifest: Manifest,
        tombstones: Tombstones,
        segments: tuple[SourceView, ...],
        delta: SourceView,
    ) -> None:
        self.head = head
        self.record = record
        self.manifest = manifest
        self.tombstones = tombstones
        self.segments = segments
        self.delta = delta
        self.settings = record.settings

    @cached_property
    def sources(self) -> tuple[SourceView, ...]:
        """All sources that have rows, in order of sequence numbers."""
        return tuple(s for s in (*self.segments, self.delta) if len(s.source))


class Views:
    """Gives the current view of one collection, reading only what changed since the last.

    Readers in other processes, readers here and the writer itself all see a commit through this one path.

    Parameters
    ----------
    environment : Environment
        The catalog.
    store : CollectionStore
        The collection's part of it.
    folder : Path
        ``segments/`` of the store.
    """

    def __init__(self, environment: Environment, store: CollectionStore, folder: Path) -> None:
        self._environment = environment
        self._store = store
        self._folder = folder
        self._latest: View | None = None
        #: A state of the catalog that :meth:`current` met, and the view as of it or of what was committed right after.
        self._seen: tuple[object, View] | None = None
        self._lock = threading.Lock()

    def current(self) -> View:
        """Give the view of the latest commit."""
        seen = self._seen
        state = self._environment.state()
        # What another call has seen, as between a commit and its notice, no later one may miss.
        if seen is not None and state == seen[0] and self._latest is seen[1]:
            return seen[1]
        with self.snapshot() as (_, view):
            self._seen = state, view
            return view

    @contextmanager
    def snapshot(self) -> Iterator[tuple[Transaction, View]]:
        """Give a read transaction and the view of exactly its commit."""
        missing_in = -1
        while True:
            with self._environment.read() as transaction:
                head = self._store.head(transaction)
                try:
                    view = self._at(transaction, head)
                except FileNotFoundError as error:
                    # A merge replaced the segment between reading the manifest and opening the folder. The
                    # next snapshot has the new manifest, unless the folder is truly gone.
                    if missing_in == head.generation:
                        raise CorruptionError(
                            f"{error.filename}: a segment is missing; restore the store from a copy",
                            field=str(error.filename),
                        ) from None
                    missing_in = head.generation
                    continue
                if view is not None:
                    yield transaction, view
                    return

    def _at(self, transaction: Transaction, head: Head) -> View | None:
        """Give the view of ``head``, or None when a later one is known already."""
        latest = self._latest
        if latest is not None and latest.head.commit == head.commit:
            return latest
        with self._lock:
            latest = self._latest
            if latest is not None and latest.head.commit > head.commit:
                return None
            if latest is None or latest.head.commit < head.commit:
                self._latest = self._refreshed(transaction, head, latest)
            return self._latest

    def _refreshed(self, transaction: Transaction, head: Head, last: View | None) -> View:
        record = (
            last.record if last and last.head.record_commit == head.record_commit else self._store.record(transaction)
        )
        manifest = (
            last.manifest if last and last.head.generation == head.generation else self._store.manifest(transaction)
        )
        tombstones = last.tombstones if last else Tombstones()
        if last is None or last.head.tombstone_commit != head.tombstone_commit:
            tombstones = tombstones.refreshed(transaction, TOMBSTONES, self._store.prefix)
        known = {view.source.name: view for view in last.segments} if last else {}  # type: ignore[attr-defined]
        segments = []
        for entry in manifest.segments:
            old = known.get(entry.segment)
            source = old.source if old else Segment(self._folder / entry.segment, entry)
            dead = _dead(source, old, tombstones, last)
            segments.append(_source_view(source, old, dead, record.columns))
        delta = self._delta(transaction, manifest, record, last)
        old = last.delta if last else None
        changed = _source_view(delta, old, _dead(delta, old, tombstones, last), record.columns)
        return View(head, record, manifest, tombstones, tuple(segments), changed)

    def _delta(
        self, transaction: Transaction, manifest: Manifest, record: CollectionRecord, last: View | None
    ) -> RowSource:
        dim = record.settings.dim
        delta = last.delta.source if last else Delta.empty(manifest.sealed, dim)
        if not isinstance(delta, Delta):
            raise TypeError("the delta's source is always a Delta")
        if delta.first < manifest.sealed:
            delta = delta.since(manifest.sealed, record.columns)
        batches = self._store.delta_batches(transaction, delta.last + 1, dim)
        return delta.extended(batches, record.columns) if batches else delta


def _dead(source: RowSource, old: SourceView | None, tombstones: Tombstones, last: View | None) -> U64:
    """Give the deleted rows of a source: the very array of the last view while no tombstone changed.

    Rows that a delta gained since then have none yet.
    """
    if old is not None and last is not None and last.tombstones is tombstones and old.source.first == source.first:
        return old.dead
    return tombstones.between(source.first, source.last)


def _source_view(source: RowSource, last: SourceView | None, dead: U64, columns: dict[str, str]) -> SourceView:
    """Give the view of a source, the last one if nothing about it changed (it holds cached masks)."""
    if last is None or last.source is not source or last.columns != columns:
        return SourceView(source, dead, columns)
    is_same = last.dead is dead or np.array_equal(last.dead, dead)
    return last if is_same else SourceView(source, dead, columns)
