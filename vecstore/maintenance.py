"""Sealing, merging and re-encoding: everything that changes which segments a collection has.

Each job works on a view, writes new segment folders that nobody refers to yet, and then swaps the manifest
in one transaction. Writes and searches go on meanwhile; a crash leaves the old manifest and some orphaned
folders, which the next writer sweeps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.api import CompressReport
from vecstore.auto import as_auto
from vecstore.building import build_segment, check_storable, gather, graph_is_current, largest_graph, purged
from vecstore.commits import Commits
from vecstore.config import CollectionConfig
from vecstore.errors import BudgetInfeasible, InternalError, NotFoundError
from vecstore.fidelity import Fidelity
from vecstore.index.hnsw import Previous
from vecstore.segment import RowSource, Segment
from vecstore.storage.atomic import remove_folder
from vecstore.storage.catalog import CollectionStore, Publication
from vecstore.storage.environment import Transaction
from vecstore.storage.records import Manifest, SegmentEntry
from vecstore.types import F32, U64
from vecstore.view import SourceView, View, Views

_log = logging.getLogger(__name__)

#: A segment is merged with newer ones once these hold together at least this share of its rows.
MERGE_SHARE = 0.5
#: A segment is written again once this share of its rows is deleted.
DEAD_SHARE = 0.3
#: Largest segment that a merge makes, in bytes of float32 vectors (they are in memory while it runs).
MAX_MERGE_BYTES = 4 << 30
#: The same for metadata: a column of text must not pass 2 GiB, the reach of Arrow's 32-bit offsets.
MAX_MERGE_METADATA_BYTES = 1 << 30
#: Rows sampled for the error in a compression report.
_ERROR_SAMPLE = 1_000


class Maintenance:
    """Changes the segments of one collection.

    Parameters
    ----------
    store : CollectionStore
        The collection's part of the catalog.
    views : Views
        Where its views come from.
    commits : Commits
        Runs the swaps.
    folder : Path
        ``segments/`` of the store.
    """

    def __init__(self, store: CollectionStore, views: Views, commits: Commits, folder: Path) -> None:
        self._store = store
        self._views = views
        self._commits = commits
        self._folder = folder
        # Seals append a segment, merges replace some: one of each may run at a time.
        self._sealing = threading.Lock()
        self._merging = threading.Lock()
        self._stop = threading.Event()
        # So many rows were measured, and no form did what the scheme ``auto`` asks for.
        self._undecided_rows = 0

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self._store.name

    def stop(self) -> None:
        """Ask running merges to give up soon; what they have written so far is thrown away."""
        self._stop.set()

    def seal(self) -> bool:
        """Move the delta into a new segment; tell whether there was anything to move."""
        with self._sealing:
            view = self._views.current()
            decided, stored = self._settled(view.settings, [view.delta])
            entries, sealed, dropped = self._seal_delta(view, stored)
            if sealed == view.manifest.sealed:
                return False
            self._publish(set(), entries, dropped, sealed=sealed, config=decided)
            return True

    def _settled(
        self, settings: CollectionConfig, views: list[SourceView]
    ) -> tuple[CollectionConfig | None, CollectionConfig]:
        """Give the settings that were decided now, if any were, and those by which the rows of ``views`` are stored.

        The scheme ``auto`` is decided by the first rows that are enough for that. Where nothing does what is asked,
        nothing is decided, because rows must be stored all the same; and as measuring takes long, it is not repeated
        before there are twice as many rows.
        """
        auto = as_auto(settings.scheme)
        if auto is None:
            return None, settings
        rows = sum(view.live.count for view in views)
        if auto.has_enough(rows) and rows >= 2 * self._undecided_rows:
            try:
                decided = auto.decided(settings, gather(views, {}, settings.dim).vectors, rows)
            except BudgetInfeasible as error:
                self._undecided_rows = rows
                _log.warning("the scheme stays 'auto': %s", error, extra={"collection": self._store.name})
            else:
                return decided, decided
        return None, auto.undecided(settings)

    def _seal_delta(self, view: View, settings: CollectionConfig) -> tuple[list[SegmentEntry], int, U64]:
        """Write the live rows of the delta as a segment; give it, the new seal mark and what was left out.

        No graph is built here and no recall measured, so that the delta stays small under load; a merge adds both.
        """
        rows = gather([view.delta], view.record.columns, settings.dim)
        sealed = view.delta.source.last + 1
        entries = [build_segment(self._folder, settings, rows, with_graph=False, calibrated=False)] if len(rows) else []
        return entries, sealed, purged([view.delta])

    def merge_due(self) -> bool:
        """Tell whether a merge would pay."""
        return bool(_due(self._views.current()))

    def merge(self) -> bool:
        """Do the most useful merge, if one pays; tell whether there was one."""
        with self._merging:
            view = self._views.current()
            due = _due(view)
            if due:
                self._rewrite(view, due, largest_graph(due, view.settings.index))
            return bool(due)

    def optimize(self) -> None:
        """Seal, then merge everything into as few segments as their size allows, each with a fresh graph."""
        self.seal()
        with self._merging:
            view = self._views.current()
            for group in _groups(view):
                is_whole = len(group) == 1 and group[0].live.count == len(group[0].source)
                is_measured = _segment(group[0]).calibration is not None
                if not (is_whole and is_measured) or _lacks_graph(group[0], view.settings) or _walks_slowly(group[0]):
                    # Where only the calibration or the form of the codes is missing, the graph stays.
                    self._rewrite(view, group, largest_graph(group, view.settings.index) if is_whole else None)

    def _rewrite(self, view: View, group: list[SourceView], previous: Previous | None) -> None:
        """Write the live rows of ``group`` as one segment, whose graph begins with ``previous``."""
        decided, settings = self._settled(view.settings, group)
        rows = gather(group, view.record.columns, settings.dim)
        entries = []
        if len(rows):
            entries.append(
                build_segment(
                    self._folder, settings, rows, with_graph=True, previous=previous, should_stop=self._stop.is_set
                )
            )
        self._publish(_names(group), entries, purged(group), config=decided)

    def compress(self, settings: CollectionConfig) -> CompressReport:
        """Encode every segment with the scheme and refine of ``settings`` and switch to them at once.

        The long part runs beside seals; only what was sealed meanwhile is encoded with sealing held off.
        """
        started = time.monotonic()
        with self._merging:
            before, after = self._encode_all(settings)
        fidelity = _fidelity(before, after)
        return CompressReport(
            rows=sum(len(source.source) for source in after.segments),
            bytes_before=_vector_bytes(before),
            bytes_after=_vector_bytes(after),
            relative_error=fidelity.relative_error,
            seconds=time.monotonic() - started,
            cosine=fidelity.cosine,
        )

    def _encode_all(self, settings: CollectionConfig) -> tuple[View, View]:
        """Write every row again and publish; give the view that was encoded, and the one with just its new form."""
        entries: list[SegmentEntry] = []
        encoded: dict[RowSource, U64] = {}
        with self._discarding(entries):
            view = self._views.current()
            for source in view.segments:
                encoded[source.source] = source.dead
                entries += self._encoded(source, view, settings)
        with self._sealing:
            with self._discarding(entries):
                view = self._views.current()
                for late in view.segments:
                    if late.source not in encoded:
                        encoded[late.source] = late.dead
                        entries += self._encoded(late, view, settings)
                rest, sealed, dropped = self._seal_delta(view, settings)
                entries += rest
            gone = np.concatenate([*encoded.values(), dropped])
            self._publish(_names(view.segments), entries, gone, sealed=sealed, config=settings)
            # Taken before anybody can seal or merge again: its segments are those written here.
            return view, self._views.current()

    @contextmanager
    def _discarding(self, entries: list[SegmentEntry]) -> Iterator[None]:
        """Remove what ``entries`` has taken up if the block, which publishes nothing, raises."""
        try:
            yield
        except BaseException:
            self._discard(entries)
            raise

    def _encoded(self, source: SourceView, view: View, settings: CollectionConfig) -> list[SegmentEntry]:
        """Write one segment again with other schemes; its graph is kept, and mended where rows are left out."""
        segment = _segment(source)
        rows = gather([source], view.record.columns, settings.dim)
        if len(rows) == 0:
            return []
        entry = build_segment(
            self._folder,
            settings,
            rows,
            with_graph=segment.description.graph is not None,
            previous=largest_graph([source], settings.index),
            should_stop=self._stop.is_set,
        )
        return [entry]

    def _publish(
        self,
        removed: set[str],
        entries: list[SegmentEntry],
        gone: U64,
        *,
        sealed: int | None = None,
        config: CollectionConfig | None = None,
    ) -> None:
        """Swap the manifest and remove the folders that it no longer names.

        The new folders are removed again where the swap did not happen, and never once it may have.

        Raises
        ------
        InvalidArgumentError
            Rows written meanwhile do not fit the schemes of ``config``; nothing has changed.
        """

        def manifest_of(manifest: Manifest) -> Manifest:
            kept = [entry for entry in manifest.segments if entry.segment not in removed]
            ordered = sorted([*kept, *entries], key=lambda entry: entry.first)
            return Manifest(segments=tuple(ordered), sealed=manifest.sealed if sealed is None else sealed)

        publish = self._store.publish(Publication(removed, manifest_of, gone, config))

        def operation(transaction: Transaction) -> int | None:
            if config is not None:
                # These were checked against the schemes that the collection had when they were written.
                first = self._store.manifest(transaction).sealed if sealed is None else sealed
                for batch in self._store.delta_batches(transaction, first, config.dim):
                    check_storable(config, batch.vectors)
            generation: int | None = publish(transaction)
            return generation

        # After an interrupt the manifest may name the new folders, now or soon: the next writer's sweep decides.
        try:
            generation = self._commits.run(operation)
        except Exception:
            if not self._may_name(entries):
                self._discard(entries)
            raise
        if generation is None:
            self._discard(entries)
            raise InternalError(f"collection {self._store.name!r}: segments changed under a merge; nothing was lost")
        self._commits.sync()
        for name in removed:
            remove_folder(self._folder / name)
        _log.debug("published", extra={"collection": self._store.name, "generation": generation})

    def _may_name(self, entries: list[SegmentEntry]) -> bool:
        """Tell whether the manifest names any of ``entries``, or nobody knows what it names."""
        try:
            manifest = self._views.current().manifest
        except NotFoundError:
            return False
        except Exception:
            return True
        return not {entry.segment for entry in entries}.isdisjoint(entry.segment for entry in manifest.segments)

    def _discard(self, entries: list[SegmentEntry]) -> None:
        """Remove segments that were written and will not be published."""
        for entry in entries:
            remove_folder(self._folder / entry.segment)


def _due(view: View) -> list[SourceView]:
    """Give the newest segments whose merge pays, or one that should be written again or lacks its graph.

    Sizes are kept roughly geometric: a segment joins the merge when the newer ones together reach
    ``MERGE_SHARE`` of it, so every row is rewritten a logarithmic number of times.
    """
    settings = view.settings
    for source in view.segments:
        if len(source.source) - source.live.count >= DEAD_SHARE * len(source.source):
            return [source]
    group: list[SourceView] = []
    rows, load = 0, 0.0
    for source in reversed(view.segments):
        size = len(source.source)
        load += _load(source, size)
        if group and (rows < MERGE_SHARE * size or load > 1):
            break
        group.insert(0, source)
        rows += size
    # Small segments without a graph are merged too, but only when there are many of them.
    is_small = settings.index is None or rows < settings.index.min_rows
    if len(group) >= (8 if is_small else 2):
        return group
    # No merge pays. A graph may still be missing: the process that sealed the segment ended before it was built.
    return next(([source] for source in view.segments if _lacks_graph(source, settings)), [])


def _groups(view: View) -> list[list[SourceView]]:
    """Split all segments into runs of neighbours that fit one merge each."""
    groups: list[list[SourceView]] = []
    load = 0.0
    for source in view.segments:
        added = _load(source, source.live.count)
        if not groups or load + added > 1:
            groups.append([])
            load = 0.0
        groups[-1].append(source)
        load += added
    return groups


def _load(source: SourceView, rows: int) -> float:
    """Give what ``rows`` rows of a segment take up, as a share of what one merge may hold."""
    description = _segment(source).description
    metadata_bytes = description.bytes["metadata"] * rows / description.rows
    return max(rows * description.dim * 4 / MAX_MERGE_BYTES, metadata_bytes / MAX_MERGE_METADATA_BYTES)


def _lacks_graph(source: SourceView, settings: CollectionConfig) -> bool:
    index = settings.index
    enough = index is not None and source.live.count >= index.min_rows
    return enough and not graph_is_current(_segment(source).description.graph, index)


def _walks_slowly(source: SourceView) -> bool:
    """Tell whether a graph is over codes in a form that is not for walks, as older versions stored it."""
    segment = _segment(source)
    scheme = segment.codes.scheme
    return segment.description.graph is not None and scheme.for_walks() != scheme


def _segment(view: SourceView) -> Segment:
    if not isinstance(view.source, Segment):
        raise TypeError("only sealed segments are merged")
    return view.source


def _names(group: Any) -> set[str]:
    return {_segment(view).name for view in group}


def _vector_bytes(view: View) -> int:
    parts = [_segment(source).description.bytes for source in view.segments]
    return sum(part["codes"] + part["refine"] for part in parts)


def _fidelity(before: View, after: View) -> Fidelity:
    """Compare a fixed sample of rows before and after."""
    fidelity = Fidelity()
    for source in after.segments:
        step = max(1, len(source.source) // _ERROR_SAMPLE)
        rows = np.arange(0, len(source.source), step)
        fidelity.add(_vectors_of(before, source.source.sequences(rows)), source.source.lookup(rows))
    return fidelity


def _vectors_of(view: View, sequences: U64) -> F32:
    """Give the vectors of sequence numbers, ascending, that are all in ``view``."""
    return np.concatenate([v.source.lookup(v.source.positions(sequences)) for v in view.sources])
