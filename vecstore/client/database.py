"""The remote database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from vecstore.client.collection import RemoteCollection
from vecstore.client.table import RemoteTable, lookup_many, put_table
from vecstore.config import HnswConfig, as_index, with_transform
from vecstore.errors import InvalidArgumentError
from vecstore.table_api import KEEP_VERSIONS, MAX_KEEP, OnUnknown
from vecstore.types import MAX_DIM, Metric, as_count, as_recall
from vecstore.v1 import admin_pb2, collections_pb2, tables_pb2
from vecstore.wire.records import config_from_message, hnsw_to_message, metric_to_message, scheme_to_message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from vecstore.client.transport import Transport
    from vecstore.types import F32


class RemoteDatabase:
    """A store served by another process; see :class:`vecstore.api.Database` for what its methods promise.

    Parameters
    ----------
    transport : Transport
        The connection; closed together with the database.

    Raises
    ------
    UnavailableError
        Nobody answers there.
    AuthenticationError
        The server does not know the token, or asks for one.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        info = transport.call(transport.admin.Info, admin_pb2.InfoRequest())
        self._limits = info.limits
        self._version = info.version

    def __repr__(self) -> str:
        """Give the address, without a call."""
        return f"<RemoteDatabase {self._transport.target!r}>"

    @property
    def target(self) -> str:
        """Address of the server."""
        return self._transport.target

    @property
    def version(self) -> str:
        """Release of the server."""
        return self._version

    def create_collection(
        self,
        name: str,
        *,
        dim: int,
        metric: Metric | str = Metric.COSINE,
        scheme: str | dict[str, Any] = "full",
        refine: str | dict[str, Any] | None = None,
        transform: str | None = None,
        index: HnswConfig | None = HnswConfig(),  # noqa: B008 - frozen
        recall: float | None = None,
        exist_ok: bool = False,
    ) -> RemoteCollection:
        """Create a collection."""
        index = as_index(index)
        request = collections_pb2.CreateRequest(
            name=_as_name(name),
            dim=as_count(dim, name="dim", limit=MAX_DIM),
            metric=metric_to_message(metric),
            scheme=scheme_to_message(with_transform(scheme, transform)),
            refine=None if refine is None else scheme_to_message(refine),
            hnsw=None if index is None else hnsw_to_message(index),
            no_index=collections_pb2.NoIndex() if index is None else None,
            exist_ok=exist_ok,
            recall=None if recall is None else as_recall(recall, name="recall"),
        )
        answer = self._transport.call(self._transport.collections.Create, request)
        return self._handle(name, answer.config)

    def collection(self, name: str) -> RemoteCollection:
        """Give an existing collection."""
        request = collections_pb2.GetRequest(name=_as_name(name))
        return self._handle(name, self._transport.call(self._transport.collections.Get, request).config)

    def _handle(self, name: str, config: collections_pb2.CollectionConfig) -> RemoteCollection:
        return RemoteCollection(name, config_from_message(config), transport=self._transport, limits=self._limits)

    def list_collections(self) -> list[str]:
        """Give the names, sorted."""
        answer = self._transport.call(self._transport.collections.List, collections_pb2.ListRequest())
        return list(answer.names)

    def drop_collection(self, name: str) -> None:
        """Delete a collection with all its rows."""
        self._transport.call(self._transport.collections.Drop, collections_pb2.DropRequest(name=_as_name(name)))

    def put_table(self, name: str, frozen: Any, *, keep: int = KEEP_VERSIONS) -> RemoteTable:
        """Store a compressed table, as a new version where the name is taken, and serve it from now on."""
        from vecstore.schemes.single_field import as_fields_table

        checked = _as_name(name)
        table = as_fields_table(frozen)
        put_table(self._transport, self._limits, checked, table, as_count(keep, name="keep", limit=MAX_KEEP))
        return self._table(checked)

    def table(self, name: str) -> RemoteTable:
        """Give an existing table."""
        checked = _as_name(name)
        self._transport.call(self._transport.tables.Get, tables_pb2.GetTableRequest(name=checked))
        return self._table(checked)

    def _table(self, name: str) -> RemoteTable:
        return RemoteTable(name, transport=self._transport, limits=self._limits)

    def list_tables(self) -> list[str]:
        """Give the names, sorted."""
        return list(self._transport.call(self._transport.tables.List, tables_pb2.ListTablesRequest()).names)

    def drop_table(self, name: str) -> None:
        """Delete a table with all its versions."""
        self._transport.call(self._transport.tables.Drop, tables_pb2.DropTableRequest(name=_as_name(name)))

    def lookup_many(
        self, requests: Sequence[tuple[str, str | None, Any]], *, on_unknown: OnUnknown = "error"
    ) -> list[F32]:
        """Look up in several tables and fields in one call."""
        return lookup_many(self._transport, self._limits, requests, on_unknown)

    def verify(self) -> list[str]:
        """Check every checksum; give one line per problem, an empty list when all is well."""
        return list(self._transport.call_long(self._transport.admin.Verify, admin_pb2.VerifyRequest()).problems)

    def close(self) -> None:
        """Close the connection; closing twice is fine. The server goes on."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_name(name: str) -> str:
    if not isinstance(name, str):
        raise InvalidArgumentError(f"name: expected str, got {type(name).__name__}", field="name")
    return name
