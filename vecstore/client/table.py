"""The remote table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vecstore.api import MAX_K
from vecstore.errors import LimitError
from vecstore.table_api import as_field, as_lookups
from vecstore.types import as_count, as_metric, as_queries
from vecstore.v1 import tables_pb2
from vecstore.wire.arrays import vectors_to_message
from vecstore.wire.records import hits_from_message, metric_to_message
from vecstore.wire.tables import (
    fields_from_message,
    id_count,
    lookup_to_message,
    on_unknown_to_message,
    table_stats_from_message,
    vectors_of_ids_from_message,
    version_from_message,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vecstore.client.transport import Transport
    from vecstore.schemes.fields import FieldsTable
    from vecstore.table_api import OnUnknown, TableStats, TableVersion
    from vecstore.types import F32, Hits, Metric
    from vecstore.v1.admin_pb2 import Limits

__all__ = ["RemoteTable", "lookup_many", "put_table"]

_INT64 = 2**63 - 1


class RemoteTable:
    """A table on a server; see :class:`vecstore.api.Table` for what its methods promise.

    Parameters
    ----------
    name : str
        Name of the table.
    transport : Transport
        The connection.
    limits : Limits
        What the server takes in one call.
    """

    def __init__(self, name: str, *, transport: Transport, limits: Limits) -> None:
        self._name = name
        self._transport = transport
        self._limits = limits

    def __repr__(self) -> str:
        """Give kind, name and server, without a call."""
        return f"<RemoteTable {self._name!r} at {self._transport.target!r}>"

    @property
    def name(self) -> str:
        """Name of the table."""
        return self._name

    @property
    def fields(self) -> dict[str, int]:
        """Number of ids of each field, in order (asked of the server each time)."""
        return fields_from_message(self._described())

    @property
    def dim(self) -> int:
        """Dimensions of every vector (asked of the server each time)."""
        return self._described().dim

    def lookup(self, ids: Any, *, field: str | None = None, on_unknown: OnUnknown = "error") -> F32:
        """Give the vectors of ids: int64[n, fields], or int64[n] of one field.

        Raises
        ------
        LimitError
            More ids than the server takes in one call.
        """
        (vectors,) = lookup_many(self._transport, self._limits, [(self._name, field, ids)], on_unknown)
        return vectors

    def search(self, queries: Any, k: int = 10, *, field: str | None = None, metric: Metric | str = "ip") -> Hits:
        """Give the k nearest ids of a field for each query."""
        k = as_count(k, name="k", limit=MAX_K)
        chosen = metric_to_message(as_metric(metric))
        request = tables_pb2.SearchTableRequest(
            table=self._name,
            field=as_field(field),
            queries=vectors_to_message(as_queries(queries, dim=self.dim)),
            k=k,
            metric=chosen,
        )
        return hits_from_message(self._transport.call(self._transport.tables.Search, request))

    def versions(self) -> list[TableVersion]:
        """Give the versions that are kept, oldest first."""
        request = tables_pb2.TableVersionsRequest(name=self._name)
        return [
            version_from_message(v) for v in self._transport.call(self._transport.tables.Versions, request).versions
        ]

    def roll_back(self, version: int) -> None:
        """Serve another version that is kept."""
        number = as_count(version, name="version", limit=_INT64)
        request = tables_pb2.RollBackRequest(name=self._name, version=number)
        self._transport.call(self._transport.tables.RollBack, request)

    def stats(self) -> TableStats:
        """Give bytes by part, ratio and schemes of the current version."""
        return table_stats_from_message(self._described())

    def _described(self) -> tables_pb2.GetTableResponse:
        return self._transport.call(self._transport.tables.Get, tables_pb2.GetTableRequest(name=self._name))


def lookup_many(
    transport: Transport, limits: Limits, requests: Sequence[tuple[str, str | None, Any]], on_unknown: OnUnknown
) -> list[F32]:
    """Look up in several tables and fields in one call.

    Raises
    ------
    LimitError
        More ids than the server takes in one call.
    """
    lookups = [lookup_to_message(table, field, ids) for table, field, ids in as_lookups(requests)]
    total = sum(map(id_count, lookups))
    if total > limits.max_rows:
        raise LimitError(
            f"ids: {total} in one call, {transport.target} takes {limits.max_rows}; split the call", field="ids"
        )
    request = tables_pb2.LookupRequest(lookups=lookups, on_unknown=on_unknown_to_message(on_unknown))
    answer = transport.call(transport.tables.Lookup, request)
    return [vectors_of_ids_from_message(v, lookup) for v, lookup in zip(answer.vectors, lookups, strict=True)]


def put_table(transport: Transport, limits: Limits, name: str, table: FieldsTable, keep: int) -> None:
    """Store a table.

    Raises
    ------
    LimitError
        It is larger than the server takes.
    """
    if limits.max_table_bytes and table.nbytes > limits.max_table_bytes:
        raise LimitError(
            f"frozen: {table.nbytes} bytes in one table, {transport.target} takes {limits.max_table_bytes}",
            field="frozen",
        )
    from vecstore.wire.uploads import upload_messages

    transport.upload(transport.tables.Put, upload_messages(name, table, keep))
