"""Checks of a request's size, made before any storage is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from vecstore.errors import LimitError
from vecstore.v1 import admin_pb2
from vecstore.wire.arrays import id_count
from vecstore.wire.tables import id_count as lookup_ids

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.message import Message

    from vecstore.v1 import common_pb2, points_pb2, tables_pb2
    from vecstore_server.settings import ServerSettings

    Reply = TypeVar("Reply", bound=Message)


class CallLimits:
    """The limits of one server.

    Parameters
    ----------
    settings : ServerSettings
        Where they come from.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings

    def to_message(self) -> admin_pb2.Limits:
        """Give the limits as callers see them."""
        return admin_pb2.Limits(
            max_message_bytes=self._settings.max_message_bytes,
            max_rows=self._settings.max_rows,
            max_queries=self._settings.max_queries,
            max_k=self._settings.max_k,
            max_hits=self._settings.max_hits,
            max_table_bytes=self._settings.max_table_bytes,
        )

    def check_rows(self, rows: points_pb2.Rows) -> None:
        """Refuse too many rows to write, by ids or by vectors.

        Raises
        ------
        LimitError
            Names the limit.
        """
        _refuse_over(max(id_count(rows.ids), rows.vectors.count), self._settings.max_rows, "rows", "vectors")

    def check_ids(self, ids: common_pb2.Ids) -> None:
        """Refuse too many ids.

        Raises
        ------
        LimitError
            Names the limit.
        """
        _refuse_over(id_count(ids), self._settings.max_rows, "ids", "ids")

    @property
    def max_table_bytes(self) -> int:
        """Bytes of the arrays of one table."""
        return self._settings.max_table_bytes

    def check_lookups(self, lookups: Iterable[tables_pb2.TableLookup]) -> None:
        """Refuse too many ids in all look-ups of a call.

        Raises
        ------
        LimitError
            Names the limit.
        """
        _refuse_over(sum(map(lookup_ids, lookups)), self._settings.max_rows, "ids", "ids")

    def check_search(self, request: points_pb2.SearchRequest | tables_pb2.SearchTableRequest) -> None:
        """Refuse too many queries, too large a k, or too many hits in all.

        Raises
        ------
        LimitError
            Names the limit.
        """
        queries = request.queries.count
        _refuse_over(queries, self._settings.max_queries, "queries", "queries")
        _refuse_over(request.k, self._settings.max_k, "hits a query", "k")
        _refuse_over(queries * request.k, self._settings.max_hits, "hits (queries x k)", "k")

    def check_reply(self, reply: Reply) -> Reply:
        """Give ``reply`` back, or refuse one that is too large to send.

        Raises
        ------
        LimitError
            Names the limit.
        """
        size, limit = reply.ByteSize(), self._settings.max_message_bytes
        if size > limit:
            raise LimitError(
                f"the answer has {size} bytes, the limit is {limit}; ask for fewer rows or columns", field="columns"
            )
        return reply


def _refuse_over(amount: int, limit: int, unit: str, field: str) -> None:
    if amount > limit:
        raise LimitError(f"{field}: {amount} {unit} in one call, the limit is {limit}; split the call", field=field)
