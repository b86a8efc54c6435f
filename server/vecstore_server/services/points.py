"""The service ``Points``."""

# ruff: noqa: ARG002, N802 - names and parameters are those of the generated base class
from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from vecstore.api import SCAN_BATCH
from vecstore.errors import InvalidArgumentError, UnavailableError
from vecstore.v1 import common_pb2, points_pb2
from vecstore.v1.points_pb2_grpc import PointsServicer
from vecstore.wire.arrays import batch_to_bytes, ids_from_message, vectors_from_message
from vecstore.wire.records import funnel_from_message, hits_to_message, points_to_message, rows_from_message
from vecstore_server.guard import refuse_ended

if TYPE_CHECKING:
    from vecstore.api import Collection, Database
    from vecstore_server.limits import CallLimits

#: Bytes of one message of a scan; larger batches are sent in parts.
SCAN_MESSAGE_BYTES = 4 * 1024 * 1024

Write = Callable[[Any, Any, Any], int]


class PointsService(PointsServicer):
    """Rows of the collections of one database.

    Parameters
    ----------
    database : Database
        What is served.
    limits : CallLimits
        What one call may ask for.
    stopping : threading.Event
        Set when the server wants streams to end.
    """

    def __init__(self, database: Database, limits: CallLimits, stopping: threading.Event) -> None:
        self._database = database
        self._limits = limits
        self._stopping = stopping

    def Insert(self, request: points_pb2.InsertRequest, context: Any) -> points_pb2.InsertResponse:
        """Write one batch."""
        write = self._writer(request.collection, request.mode)
        return points_pb2.InsertResponse(count=self._write(write, request.rows))

    def InsertStream(
        self, request_iterator: Iterator[points_pb2.InsertStreamRequest], context: Any
    ) -> Iterator[points_pb2.InsertStreamResponse]:
        """Write chunk after chunk, acknowledging each when it is durable."""
        first = next(request_iterator, None)
        if first is None or not first.HasField("start"):
            raise InvalidArgumentError("the first message of the stream must be start", field="start")
        write = self._writer(first.start.collection, first.start.mode)
        total = 0
        for number, request in enumerate(request_iterator, 1):
            if not request.HasField("chunk"):
                raise InvalidArgumentError(f"message {number} after start is not a chunk", field="chunk")
            if self._stopping.is_set():
                raise UnavailableError(f"the server stops; {total} rows of this stream are stored, send the rest later")
            refuse_ended(context)
            count = self._write(write, request.chunk)
            total += count
            yield points_pb2.InsertStreamResponse(chunk=number, count=count, total=total)

    def Get(self, request: points_pb2.GetPointsRequest, context: Any) -> points_pb2.GetPointsResponse:
        """Read points by id."""
        self._limits.check_ids(request.ids)
        points = self._database.collection(request.collection).get(
            ids_from_message(request.ids), columns=_columns(request), vectors=not request.no_vectors
        )
        return self._limits.check_reply(points_to_message(points))

    def Delete(self, request: points_pb2.DeleteRequest, context: Any) -> points_pb2.DeleteResponse:
        """Delete by ids or by filter."""
        selection = request.WhichOneof("selection")
        if selection is None:
            raise InvalidArgumentError("delete: set exactly one of ids and where", field="ids")
        collection = self._database.collection(request.collection)
        if selection == "where":
            return points_pb2.DeleteResponse(count=collection.delete(where=request.where))
        self._limits.check_ids(request.ids)
        return points_pb2.DeleteResponse(count=collection.delete(ids=ids_from_message(request.ids)))

    def Count(self, request: points_pb2.CountRequest, context: Any) -> points_pb2.CountResponse:
        """Count rows."""
        return points_pb2.CountResponse(count=self._database.collection(request.collection).count(_where(request)))

    def Search(self, request: points_pb2.SearchRequest, context: Any) -> points_pb2.SearchResponse:
        """Find the nearest rows."""
        self._limits.check_search(request)
        hits = self._database.collection(request.collection).search(
            vectors_from_message(request.queries, field="queries"),
            request.k,
            where=_where(request),
            ef=request.ef if request.HasField("ef") else None,
            recall=request.recall if request.HasField("recall") else None,
            exact=request.exact,
            funnel=funnel_from_message(request),
            columns=_columns(request),
        )
        return self._limits.check_reply(hits_to_message(hits))

    def Scan(self, request: points_pb2.ScanRequest, context: Any) -> Iterator[points_pb2.ScanResponse]:
        """Read all rows."""
        batches = self._database.collection(request.collection).scan(
            where=_where(request),
            batch_size=request.batch_size if request.HasField("batch_size") else SCAN_BATCH,
            columns=_columns(request),
            vectors=not request.no_vectors,
        )
        yield points_pb2.ScanResponse()  # the snapshot is taken
        with closing(_in_parts(batches)) as parts:
            for part in parts:
                if self._stopping.is_set():
                    raise UnavailableError("the server stops; scan again later")
                refuse_ended(context)
                yield self._limits.check_reply(points_pb2.ScanResponse(batch_arrow=batch_to_bytes(part)))

    def _writer(self, name: str, mode: points_pb2.WriteMode) -> Write:
        collection: Collection = self._database.collection(name)
        if mode == points_pb2.WRITE_MODE_INSERT:
            return collection.insert
        if mode == points_pb2.WRITE_MODE_UPSERT:
            return collection.upsert
        raise InvalidArgumentError("mode: set WRITE_MODE_INSERT or WRITE_MODE_UPSERT", field="mode")

    def _write(self, write: Write, rows: points_pb2.Rows) -> int:
        self._limits.check_rows(rows)
        return write(*rows_from_message(rows))


def _where(request: points_pb2.CountRequest | points_pb2.SearchRequest | points_pb2.ScanRequest) -> str | None:
    return request.where if request.HasField("where") else None


def _columns(
    request: points_pb2.GetPointsRequest | points_pb2.SearchRequest | points_pb2.ScanRequest,
) -> list[str] | None:
    columns: common_pb2.Columns = request.columns
    return list(columns.names) if request.HasField("columns") else None


def _in_parts(batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
    """Cut batches whose rows are so wide that they would make too large a message."""
    for batch in batches:
        step = max(1, batch.num_rows * SCAN_MESSAGE_BYTES // max(1, batch.nbytes))
        for start in range(0, batch.num_rows, step):
            yield batch.slice(start, step)
