"""The remote collection: edge checks here, the rest on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vecstore.api import (
    MAX_K,
    MAX_SCAN_BATCH,
    SCAN_BATCH,
    CollectionStats,
    CompressReport,
    Funnel,
    as_batches,
)
from vecstore.client.streams import receive_batches, send_chunks
from vecstore.config import with_transform
from vecstore.effort import as_effort
from vecstore.errors import InvalidArgumentError, LimitError
from vecstore.metadata import as_metadata
from vecstore.types import Hits, Metadata, Point, as_count, as_ids, as_matrix, as_queries, refuse_duplicates
from vecstore.v1 import collections_pb2, points_pb2
from vecstore.wire.arrays import columns_to_message, ids_to_message, vectors_to_message
from vecstore.wire.records import (
    config_from_message,
    funnel_to_message,
    hits_from_message,
    points_from_message,
    report_from_message,
    rows_to_message,
    scheme_to_message,
    set_budget,
    stats_from_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from vecstore.client.transport import Transport
    from vecstore.config import CollectionConfig
    from vecstore.filters import Filter
    from vecstore.v1.admin_pb2 import Limits


class RemoteCollection:
    """A collection on a server; see :class:`vecstore.api.Collection` for what its methods promise.

    Parameters
    ----------
    name : str
        Name of the collection.
    config : CollectionConfig
        As it was when the handle was made.
    transport : Transport
        The connection.
    limits : Limits
        What the server takes in one call.
    """

    def __init__(self, name: str, config: CollectionConfig, *, transport: Transport, limits: Limits) -> None:
        self._name = name
        self._dim = config.dim
        self._transport = transport
        self._points = transport.points
        self._collections = transport.collections
        self._limits = limits

    # -- about ------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """Give kind, name and server, without a call."""
        return f"<RemoteCollection {self._name!r} at {self._transport.target!r}>"

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self._name

    @property
    def config(self) -> CollectionConfig:
        """Dimensions, metric, scheme and index settings as they are now (asked of the server each time)."""
        answer = self._transport.call(self._collections.Get, collections_pb2.GetRequest(name=self._name))
        return config_from_message(answer.config)

    def stats(self) -> CollectionStats:
        """Give rows, bytes by part and segments."""
        request = collections_pb2.StatsRequest(name=self._name)
        return stats_from_message(self._transport.call(self._collections.Stats, request))

    # -- writing ----------------------------------------------------------------------------------------------

    def insert(self, ids: Any, vectors: Any, metadata: Metadata | None = None) -> int:
        """Add rows whose ids must be new; give their number. All or nothing, durable on return.

        Raises
        ------
        LimitError
            The batch is larger than the server takes in one call; :meth:`insert_many` splits.
        """
        return self._write(ids, vectors, metadata, points_pb2.WRITE_MODE_INSERT)

    def upsert(self, ids: Any, vectors: Any, metadata: Metadata | None = None) -> int:
        """Add rows, replacing those whose ids exist; give their number.

        Raises
        ------
        LimitError
            The batch is larger than the server takes in one call; :meth:`insert_many` splits.
        """
        return self._write(ids, vectors, metadata, points_pb2.WRITE_MODE_UPSERT)

    def insert_many(
        self,
        batches: Iterable[tuple[Any, Any, Metadata | None]],
        *,
        upsert: bool = True,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write many batches over one stream; give the rows written.

        Batches are cut into chunks of about 256 KiB. Each chunk is written whole or not at all; after an
        error, also one that ``batches`` itself raises, the chunks before it stay, and a note on the exception says
        how many rows they hold.

        Parameters
        ----------
        batches : iterable of (ids, vectors, metadata)
            As for :meth:`insert`; metadata may be None. Read as the server keeps up.
        upsert : bool
            Replace rows whose ids exist, instead of refusing them.
        on_progress : callable, optional
            Called with the rows that are durable so far.
        """
        mode = points_pb2.WRITE_MODE_UPSERT if upsert else points_pb2.WRITE_MODE_INSERT
        start = points_pb2.InsertStreamStart(collection=self._name, mode=mode)
        checked = (self._checked(ids, vectors, metadata) for ids, vectors, metadata in as_batches(batches))
        return send_chunks(self._transport, start, checked, max_rows=self._limits.max_rows, on_progress=on_progress)

    def _write(self, ids: Any, vectors: Any, metadata: Metadata | None, mode: points_pb2.WriteMode) -> int:
        keys, matrix, table = self._checked(ids, vectors, metadata)
        self._refuse_over(len(keys), self._limits.max_rows, "rows")
        rows = rows_to_message(keys, matrix, table)
        self._refuse_over(rows.ByteSize(), self._limits.max_message_bytes, "bytes")
        request = points_pb2.InsertRequest(collection=self._name, mode=mode, rows=rows)
        return self._transport.call(self._points.Insert, request).count

    def _checked(self, ids: Any, vectors: Any, metadata: Metadata | None) -> tuple[Any, Any, pa.Table]:
        """Give ids, vectors and metadata in their stored forms, or say what is wrong before anything is sent."""
        keys = as_ids(ids)
        refuse_duplicates(keys)
        matrix = as_matrix(vectors, dim=self._dim)
        if len(matrix) != len(keys):
            raise InvalidArgumentError(f"vectors: {len(matrix)} rows for {len(keys)} ids", field="vectors")
        return keys, matrix, as_metadata(metadata, len(keys))

    def _refuse_over(self, amount: int, limit: int, unit: str) -> None:
        if amount > limit:
            raise LimitError(
                f"vectors: {amount} {unit} in one call, {self._transport.target} takes {limit}; pass smaller batches, "
                "or use insert_many, which is whole by chunk and not by call",
                field="vectors",
            )

    def delete(self, *, ids: Any = None, where: str | Filter | None = None) -> int:
        """Delete by ids or by filter (exactly one of them); give the number of rows that existed."""
        if (ids is None) == (where is None):
            raise InvalidArgumentError("delete: pass exactly one of ids and where", field="ids")
        request = points_pb2.DeleteRequest(
            collection=self._name,
            ids=None if ids is None else ids_to_message(as_ids(ids)),
            where=_filter_text(where),
        )
        return self._transport.call(self._points.Delete, request).count

    def flush(self) -> None:
        """Make all writes durable and seal the delta into a segment; return when done."""
        self._transport.call_long(self._collections.Flush, collections_pb2.FlushRequest(name=self._name))

    def optimize(self) -> None:
        """Merge all segments into one with a fresh graph, dropping deleted rows; return when done."""
        self._transport.call_long(self._collections.Optimize, collections_pb2.OptimizeRequest(name=self._name))

    def compress(
        self,
        scheme: str | dict[str, Any],
        *,
        refine: str | dict[str, Any] | None = None,
        transform: str | None = None,
        queries: Any = None,
        budget: float | int | None = None,
    ) -> CompressReport:
        """Encode all rows again with another scheme, switching at once when all are ready."""
        request = collections_pb2.CompressRequest(
            name=self._name,
            scheme=scheme_to_message(with_transform(scheme, transform, queries)),
            refine=None if refine is None else scheme_to_message(refine),
        )
        set_budget(request, budget)
        return report_from_message(self._transport.call_long(self._collections.Compress, request))

    # -- reading ----------------------------------------------------------------------------------------------

    def get(self, ids: Any, *, columns: Sequence[str] | None = None, vectors: bool = True) -> list[Point | None]:
        """Give the points of ``ids`` in order, None for ids that do not exist."""
        keys = as_ids(ids)
        request = points_pb2.GetPointsRequest(
            collection=self._name,
            ids=ids_to_message(keys),
            columns=columns_to_message(columns),
            no_vectors=not vectors,
        )
        return points_from_message(self._transport.call(self._points.Get, request), keys)

    def count(self, where: str | Filter | None = None) -> int:
        """Give the number of rows, or of those that match."""
        request = points_pb2.CountRequest(collection=self._name, where=_filter_text(where))
        return self._transport.call(self._points.Count, request).count

    def scan(
        self,
        *,
        where: str | Filter | None = None,
        batch_size: int = SCAN_BATCH,
        columns: Sequence[str] | None = None,
        vectors: bool = True,
    ) -> Iterator[pa.RecordBatch]:
        """Go through all rows in order of writing, as of the moment of the call.

        Rows come as they are read; closing the iterator, or letting go of it, ends the call. Batches of wide
        rows may be smaller than ``batch_size``.
        """
        request = points_pb2.ScanRequest(
            collection=self._name,
            where=_filter_text(where),
            batch_size=as_count(batch_size, name="batch_size", limit=MAX_SCAN_BATCH),
            columns=columns_to_message(columns),
            no_vectors=not vectors,
        )
        return receive_batches(self._transport, request)

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        where: str | Filter | None = None,
        ef: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        funnel: Funnel | None = None,
        columns: Sequence[str] | None = None,
    ) -> Hits:
        """Give the k nearest rows of each query."""
        k = as_count(k, name="k", limit=MAX_K)
        effort = as_effort(ef, recall, exact, funnel)
        request = points_pb2.SearchRequest(
            collection=self._name,
            queries=vectors_to_message(as_queries(queries, dim=self._dim)),
            k=k,
            where=_filter_text(where),
            ef=effort.ef,
            recall=effort.recall,
            exact=effort.exact,
            funnel=funnel_to_message(effort.funnel),
            columns=columns_to_message(columns),
        )
        return hits_from_message(self._transport.call(self._points.Search, request))


def _filter_text(where: str | Filter | None) -> str | None:
    """Give the text of a filter, which is its form on the wire."""
    if where is None or isinstance(where, str):
        return where
    from vecstore.filters import as_filter, to_text

    condition = as_filter(where)
    return None if condition is None else to_text(condition)
