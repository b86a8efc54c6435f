"""Ids and metadata of the rows that a search found."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from vecstore.metadata import conform
from vecstore.search import Found
from vecstore.types import F32, I64, Hits, IdArray
from vecstore.view import View

__all__ = ["hits", "hits_alone"]


def hits_alone(view: View, rows: I64, distances: F32) -> Hits:
    """Turn the rows int64[1, k] of the only query and the only source, one for each place, into hits of ids."""
    return Hits(view.sources[0].source.ids(rows), distances, np.array([rows.shape[1]]))


def hits(view: View, found: Found, columns: dict[str, str]) -> Hits:
    """Turn found rows into hits with ``columns`` (names and types) of metadata, fetched for the winners only."""
    if not columns and len(view.sources) == 1 and found.is_full:
        return Hits(view.sources[0].source.ids(found.rows), found.distances, found.counts)
    shape = found.rows.shape
    ids: IdArray = np.full(shape, "", object) if view.record.id_type == "string" else np.full(shape, -1, np.int64)
    tables, places = [], []
    for number, source in enumerate(view.sources):
        inside = found.sources == number
        if not inside.any():
            continue
        rows = found.rows[inside]
        ids[inside] = source.source.ids(rows)
        if columns:
            tables.append(source.source.metadata(rows, columns))
            places.append(np.flatnonzero(inside.ravel()))
    metadata = None
    if columns:
        order = np.argsort(np.concatenate(places)) if places else np.empty(0, np.int64)
        metadata = pa.concat_tables(tables).take(pa.array(order)) if tables else conform(pa.table({}), columns, 0)
    return Hits(ids, found.distances, found.counts, metadata)
