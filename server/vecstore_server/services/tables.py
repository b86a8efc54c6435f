"""The service ``Tables``."""

# ruff: noqa: ARG002, N802 - names and parameters are those of the generated base class
from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vecstore.api import KEEP_VERSIONS
from vecstore.errors import InvalidArgumentError, UnavailableError
from vecstore.types import Metric
from vecstore.v1 import collections_pb2, points_pb2, tables_pb2
from vecstore.v1.tables_pb2_grpc import TablesServicer
from vecstore.wire.arrays import vectors_from_message
from vecstore.wire.records import hits_to_message, metric_from_message
from vecstore.wire.tables import (
    lookup_from_message,
    on_unknown_from_message,
    table_to_message,
    vectors_of_ids_to_message,
    version_to_message,
)
from vecstore.wire.uploads import TableUpload
from vecstore_server.guard import refuse_ended

if TYPE_CHECKING:
    from vecstore.api import Database
    from vecstore_server.limits import CallLimits


class TablesService(TablesServicer):
    """Tables of one database.

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

    def List(self, request: tables_pb2.ListTablesRequest, context: Any) -> tables_pb2.ListTablesResponse:
        """Give the names, sorted."""
        return tables_pb2.ListTablesResponse(names=self._database.list_tables())

    def Get(self, request: tables_pb2.GetTableRequest, context: Any) -> tables_pb2.GetTableResponse:
        """Describe one table."""
        table = self._database.table(request.name)
        return table_to_message(table.fields, table.stats())

    def Lookup(self, request: tables_pb2.LookupRequest, context: Any) -> tables_pb2.LookupResponse:
        """Give the vectors of ids."""
        self._limits.check_lookups(request.lookups)
        found = self._database.lookup_many(
            [lookup_from_message(lookup) for lookup in request.lookups],
            on_unknown=on_unknown_from_message(request.on_unknown),
        )
        return self._limits.check_reply(
            tables_pb2.LookupResponse(vectors=[vectors_of_ids_to_message(vectors) for vectors in found])
        )

    def Search(self, request: tables_pb2.SearchTableRequest, context: Any) -> points_pb2.SearchResponse:
        """Find the nearest ids of a field."""
        self._limits.check_search(request)
        is_given = request.metric != collections_pb2.METRIC_UNSPECIFIED
        hits = self._database.table(request.table).search(
            vectors_from_message(request.queries, field="queries"),
            request.k,
            field=request.field if request.HasField("field") else None,
            metric=metric_from_message(request.metric) if is_given else Metric.IP,
        )
        return self._limits.check_reply(hits_to_message(hits))

    def Versions(self, request: tables_pb2.TableVersionsRequest, context: Any) -> tables_pb2.TableVersionsResponse:
        """Give the versions that are kept."""
        versions = self._database.table(request.name).versions()
        return tables_pb2.TableVersionsResponse(versions=[version_to_message(version) for version in versions])

    def Put(self, request_iterator: Iterator[tables_pb2.PutTableRequest], context: Any) -> tables_pb2.PutTableResponse:
        """Store a table whose arrays come in chunks."""
        first = next(request_iterator, None)
        if first is None or not first.HasField("start"):
            raise InvalidArgumentError("the first message of the stream must be start", field="start")
        upload = TableUpload(first.start, self._limits.max_table_bytes)
        for number, request in enumerate(request_iterator, 1):
            if not request.HasField("chunk"):
                raise InvalidArgumentError(f"message {number} after start is not a chunk", field="chunk")
            if self._stopping.is_set():
                raise UnavailableError("the server stops; nothing of this table is stored, send it again later")
            refuse_ended(context)
            upload.add(request.chunk)
        table = upload.finish()
        # A caller that left half-way ends the stream as one that has sent everything does.
        refuse_ended(context)
        keep = first.start.keep if first.start.HasField("keep") else KEEP_VERSIONS
        self._database.put_table(first.start.name, table, keep=keep)
        return tables_pb2.PutTableResponse()

    def RollBack(self, request: tables_pb2.RollBackRequest, context: Any) -> tables_pb2.RollBackResponse:
        """Serve another version."""
        self._database.table(request.name).roll_back(request.version)
        return tables_pb2.RollBackResponse()

    def Drop(self, request: tables_pb2.DropTableRequest, context: Any) -> tables_pb2.DropTableResponse:
        """Delete a table."""
        self._database.drop_table(request.name)
        return tables_pb2.DropTableResponse()
