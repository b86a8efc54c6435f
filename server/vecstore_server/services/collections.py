"""The service ``Collections``."""

# ruff: noqa: ARG002, N802 - names and parameters are those of the generated base class
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vecstore.config import HnswConfig
from vecstore.v1 import collections_pb2
from vecstore.v1.collections_pb2_grpc import CollectionsServicer
from vecstore.wire.records import (
    budget_from_message,
    config_to_message,
    hnsw_from_message,
    metric_from_message,
    report_to_message,
    scheme_from_message,
    stats_to_message,
)

if TYPE_CHECKING:
    from vecstore.api import Database


class CollectionsService(CollectionsServicer):
    """Collections of one database.

    Parameters
    ----------
    database : Database
        What is served.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def Create(self, request: collections_pb2.CreateRequest, context: Any) -> collections_pb2.CreateResponse:
        """Create a collection."""
        collection = self._database.create_collection(
            request.name,
            dim=request.dim,
            metric=metric_from_message(request.metric),
            scheme=scheme_from_message(request.scheme, field="scheme") if request.HasField("scheme") else "full",
            refine=scheme_from_message(request.refine, field="refine") if request.HasField("refine") else None,
            index=_index(request),
            recall=request.recall if request.HasField("recall") else None,
            exist_ok=request.exist_ok,
        )
        return collections_pb2.CreateResponse(config=config_to_message(collection.config))

    def Get(self, request: collections_pb2.GetRequest, context: Any) -> collections_pb2.GetResponse:
        """Describe one collection."""
        return collections_pb2.GetResponse(config=config_to_message(self._database.collection(request.name).config))

    def List(self, request: collections_pb2.ListRequest, context: Any) -> collections_pb2.ListResponse:
        """Give the names, sorted."""
        return collections_pb2.ListResponse(names=self._database.list_collections())

    def Drop(self, request: collections_pb2.DropRequest, context: Any) -> collections_pb2.DropResponse:
        """Delete a collection."""
        self._database.drop_collection(request.name)
        return collections_pb2.DropResponse()

    def Stats(self, request: collections_pb2.StatsRequest, context: Any) -> collections_pb2.StatsResponse:
        """Give figures."""
        return stats_to_message(self._database.collection(request.name).stats())

    def Flush(self, request: collections_pb2.FlushRequest, context: Any) -> collections_pb2.FlushResponse:
        """Seal the delta."""
        self._database.collection(request.name).flush()
        return collections_pb2.FlushResponse()

    def Optimize(self, request: collections_pb2.OptimizeRequest, context: Any) -> collections_pb2.OptimizeResponse:
        """Merge all segments."""
        self._database.collection(request.name).optimize()
        return collections_pb2.OptimizeResponse()

    def Compress(self, request: collections_pb2.CompressRequest, context: Any) -> collections_pb2.CompressResponse:
        """Encode all rows again."""
        scheme = scheme_from_message(request.scheme, field="scheme")
        refine = scheme_from_message(request.refine, field="refine") if request.HasField("refine") else None
        budget = budget_from_message(request)
        return report_to_message(self._database.collection(request.name).compress(scheme, refine=refine, budget=budget))


def _index(request: collections_pb2.CreateRequest) -> HnswConfig | None:
    if request.HasField("no_index"):
        return None
    return hnsw_from_message(request.hnsw) if request.HasField("hnsw") else HnswConfig()
