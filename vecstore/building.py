"""Making segments: rows gathered from sources, encoded, given a graph, and written as a folder."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pyarrow as pa

from vecstore import schemes
from vecstore.auto import as_auto
from vecstore.calibrating import calibrate
from vecstore.config import CollectionConfig, HnswConfig
from vecstore.index import hnsw
from vecstore.kernels.scoring import PairwiseTable
from vecstore.metadata import conform
from vecstore.schemes.base import CompressedTable
from vecstore.schemes.full import Full
from vecstore.schemes.int8 import Int8
from vecstore.segment import Segment, stored_table
from vecstore.storage.records import SegmentEntry
from vecstore.storage.segment_files import SegmentContent, write_segment
from vecstore.types import F32, U64, IdArray
from vecstore.view import SourceView

#: A graph is mended, not built anew, up to this share of deleted rows.
MENDED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows on their way into a segment, ascending by sequence number."""

    sequences: U64
    ids: IdArray
    vectors: F32
    metadata: pa.Table

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self.ids)


def gather(views: Sequence[SourceView], columns: dict[str, str], dim: int) -> Rows:
    """Collect the live rows of ``views``, from the finest copy of each."""
    parts = [(view.source, view.live.rows) for view in views if view.live.count]
    if not parts:
        return Rows(
            np.empty(0, np.uint64),
            np.empty(0, np.int64),
            np.empty((0, dim), np.float32),
            conform(pa.table({}), columns, 0),
        )
    tables = [source.metadata(rows, columns) for source, rows in parts]
    return Rows(
        np.concatenate([source.sequences(rows) for source, rows in parts]),
        np.concatenate([source.ids(rows) for source, rows in parts]),
        np.concatenate([source.lookup(rows) for source, rows in parts]),
        pa.concat_tables(tables) if columns else pa.table({}),
    )


def sampled(views: Sequence[SourceView], dim: int, most: int) -> F32:
    """Give about ``most`` live rows of ``views``, or all if there are no more, evenly taken, float32[n, dim]."""
    step = -(-max(sum(view.live.count for view in views), 1) // most)
    parts = [view.source.lookup(view.live.rows[::step]) for view in views]
    return np.concatenate([np.empty((0, dim), np.float32), *parts])


def purged(views: Sequence[SourceView]) -> U64:
    """Give the sequence numbers of the deleted rows that :func:`gather` leaves out."""
    parts = [view.dead for view in views]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def build_segment(
    folder: Path,
    settings: CollectionConfig,
    rows: Rows,
    *,
    with_graph: bool,
    previous: hnsw.Previous | None = None,
    calibrated: bool = True,
    should_stop: Callable[[], bool] = lambda: False,
) -> SegmentEntry:
    """Encode ``rows`` and write them as a new segment under ``folder``; it is not in any manifest yet.

    Parameters
    ----------
    folder : Path
        ``segments/`` of the store.
    settings : CollectionConfig
        Scheme, refine and index of the segment.
    rows : Rows
        At least one.
    with_graph : bool
        Whether to build a graph (if the settings have one and there are enough rows).
    previous : Previous, optional
        A graph over some of the rows to begin with; kept as it is where it is over exactly these rows.
    calibrated : bool
        Whether to measure what recall its searches have; see :mod:`vecstore.calibrating`.
    should_stop : callable
        Asked now and then while the graph is built.

    Raises
    ------
    StoreClosed
        ``should_stop`` said so; nothing is left of the segment.
    StorageFull
        The disk is full; nothing is left of the segment.
    """
    index = settings.index
    is_kept = previous is not None and previous.is_over(len(rows))
    is_built = with_graph and index is not None and len(rows) >= index.min_rows
    scheme = schemes.from_config(settings.scheme)
    codes = (scheme.for_walks() if is_kept or is_built else scheme).fit(rows.vectors)
    refine = schemes.from_config(settings.refine).fit(rows.vectors) if settings.refine else None
    graph = None
    if previous is not None and is_kept:
        graph = previous.graph
    elif index is not None and is_built:
        if index.builder == "hnswlib":
            graph = hnsw.build(rows.vectors, settings.metric, index, should_stop=should_stop)
        else:
            pairs = _pairwise(codes, rows.vectors).pairs(settings.metric)
            graph = hnsw.grow(pairs, len(rows), index, previous=previous, should_stop=should_stop)
    measured = calibrate(codes, refine or codes, graph, rows.vectors, settings.metric) if calibrated else None
    name = str(uuid.uuid4())
    digest = write_segment(
        folder / name,
        SegmentContent(
            name=name,
            dim=settings.dim,
            metric=settings.metric,
            sequences=rows.sequences,
            ids=rows.ids,
            metadata=rows.metadata,
            codes=stored_table(codes),
            refine=stored_table(refine) if refine else None,
            graph=graph.arrays() if graph else None,
            graph_config=index.to_dict() if graph and index else None,
            calibration=None if measured is None else measured.to_dict(),
        ),
    )
    return SegmentEntry(
        segment=name, rows=len(rows), first=int(rows.sequences[0]), last=int(rows.sequences[-1]), digest=digest
    )


def check_storable(settings: CollectionConfig, vectors: F32) -> None:
    """Refuse vectors float32[n, dim] that the schemes of ``settings`` cannot hold.

    Raises
    ------
    InvalidArgumentError
        A value is out of the range of the scheme or of the refine.
    """
    for part in (settings.scheme, settings.refine):
        if part is not None and not as_auto(part):
            schemes.from_config(part).check(vectors)


def graph_is_current(description_graph: dict[str, object] | None, index: HnswConfig | None) -> bool:
    """Tell whether a stored graph was built with these settings (search-time ones, and the builder, aside)."""
    if description_graph is None or index is None:
        return False
    stored = HnswConfig.from_dict(description_graph)
    return msgspec.structs.replace(stored, ef=index.ef, min_rows=index.min_rows, builder=index.builder) == index


def largest_graph(views: Sequence[SourceView], index: HnswConfig | None) -> hnsw.Previous | None:
    """Give the largest graph of ``views`` to begin with, and the places that :func:`gather` gives its rows.

    None where no graph is current, or the largest has so many deleted rows that mending it is no better than a new one.
    """
    live = np.array([view.live.count for view in views])
    current = [
        isinstance(view.source, Segment) and graph_is_current(view.source.description.graph, index) for view in views
    ]
    chosen = int(np.argmax(np.where(current, live, -1)))
    view, graph = views[chosen], views[chosen].source.graph
    if not current[chosen] or graph is None or live[chosen] < (1 - MENDED_SHARE) * len(view.source):
        return None
    renumbered = np.full(len(view.source), -1, np.int64)
    renumbered[view.live.rows] = np.arange(live[chosen]) + live[:chosen].sum()
    return hnsw.Previous(graph, renumbered)


def _pairwise(codes: CompressedTable, vectors: F32) -> PairwiseTable:
    """Give what a graph over ``vectors`` float32[n, dim] is built on: the codes where they can be compared as they are.

    Else the vectors themselves; or, where the codes have less than a byte a number, int8 codes of them, which are gone
    afterwards and make no worse a graph for walks over coarser codes.
    """
    if isinstance(codes, PairwiseTable):
        return codes
    table = Int8().fit(vectors) if codes.nbytes < vectors.size else Full().fit(vectors)
    return cast("PairwiseTable", table)  # so are int8 tables with a scale a row, which is the default
