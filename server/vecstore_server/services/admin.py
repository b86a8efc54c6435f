"""The service ``Admin``."""

# ruff: noqa: ARG002, N802 - names and parameters are those of the generated base class
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import vecstore
from vecstore.v1 import admin_pb2
from vecstore.v1.admin_pb2_grpc import AdminServicer

if TYPE_CHECKING:
    from vecstore.api import Database
    from vecstore_server.limits import CallLimits


class AdminService(AdminServicer):
    """What this server is, and whether its store is sound.

    Parameters
    ----------
    database : Database
        What is served.
    limits : CallLimits
        What one call may ask for.
    """

    def __init__(self, database: Database, limits: CallLimits) -> None:
        self._database = database
        self._limits = limits

    def Info(self, request: admin_pb2.InfoRequest, context: Any) -> admin_pb2.InfoResponse:
        """Give release and limits."""
        return admin_pb2.InfoResponse(version=vecstore.__version__, limits=self._limits.to_message())

    def Verify(self, request: admin_pb2.VerifyRequest, context: Any) -> admin_pb2.VerifyResponse:
        """Check every checksum."""
        return admin_pb2.VerifyResponse(problems=self._database.verify())
