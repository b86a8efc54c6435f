"""One gRPC server over one database: services, limits, health, reflection, and an orderly end."""

from __future__ import annotations

import ipaddress
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from vecstore.errors import InvalidArgumentError, UnavailableError
from vecstore.v1 import admin_pb2, collections_pb2, points_pb2, tables_pb2
from vecstore.v1.admin_pb2_grpc import add_AdminServicer_to_server
from vecstore.v1.collections_pb2_grpc import add_CollectionsServicer_to_server
from vecstore.v1.points_pb2_grpc import add_PointsServicer_to_server
from vecstore.v1.tables_pb2_grpc import add_TablesServicer_to_server
from vecstore_server.auth import Tokens
from vecstore_server.guard import CallGuard, RunningCalls
from vecstore_server.limits import CallLimits
from vecstore_server.services.admin import AdminService
from vecstore_server.services.collections import CollectionsService
from vecstore_server.services.points import PointsService
from vecstore_server.services.tables import TablesService

if TYPE_CHECKING:
    from vecstore.api import Database
    from vecstore_server.settings import ServerSettings

logger = logging.getLogger("vecstore.server")

#: Calls held for a worker, as a multiple of the workers; more are refused, so that memory stays bounded.
QUEUE_FACTOR = 8
#: What a message may have beside its vectors: names, filter, framing.
ENVELOPE_BYTES = 64 * 1024
SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (collections_pb2, "Collections"),
        (points_pb2, "Points"),
        (tables_pb2, "Tables"),
        (admin_pb2, "Admin"),
    )
)


class VecstoreServer:
    """Serves a database until it is stopped. The database stays the caller's: stop first, then close it.

    Parameters
    ----------
    database : Database
        What is served.
    settings : ServerSettings
        Address, limits, tokens, TLS.

    Raises
    ------
    InvalidArgumentError
        A token, certificate or key file cannot be used.
    """

    def __init__(self, database: Database, settings: ServerSettings) -> None:
        self._settings = settings
        self._tokens = Tokens.from_file(settings.token_file) if settings.token_file else Tokens()
        self._credentials = _credentials(settings)
        self._stopping = threading.Event()
        self._calls = RunningCalls(settings.long_calls)
        self._health = health.HealthServicer()
        self._executor = ThreadPoolExecutor(settings.workers, "vecstore-server")
        self._server = grpc.server(
            self._executor,
            interceptors=[CallGuard(self._tokens, self._calls)],
            options=_options(settings),
            maximum_concurrent_rpcs=settings.workers * QUEUE_FACTOR,
        )
        limits = CallLimits(settings)
        add_CollectionsServicer_to_server(CollectionsService(database), self._server)
        add_PointsServicer_to_server(PointsService(database, limits, self._stopping), self._server)
        add_TablesServicer_to_server(TablesService(database, limits, self._stopping), self._server)
        add_AdminServicer_to_server(AdminService(database, limits), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    def start(self) -> int:
        """Listen; give the port, which is another than the setting where that is 0.

        Raises
        ------
        UnavailableError
            The address is taken or not this machine's.
        """
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        address = f"{host}:{self._settings.port}"
        try:
            if self._credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise UnavailableError(
                f"cannot listen at {address} ({error}); is another server running there? choose another port",
                field="port",
            ) from None
        self._warn_when_open()
        self._server.start()
        for name in ("", *SERVICES):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        logger.info("listening at %s:%d", host, port)
        return port

    def stop(self, grace: float | None = None) -> None:
        """End in order: report NOT_SERVING, refuse new calls, let running ones finish, cancel what is left.

        Parameters
        ----------
        grace : float, optional
            Seconds for running calls; None for the setting.
        """
        seconds = self._settings.grace_seconds if grace is None else grace
        self._health.enter_graceful_shutdown()
        self._stopping.set()
        self._server.stop(seconds).wait()
        # A cancelled call has left the wire, but its handler may still be inside the database.
        if not self._calls.wait_idle(seconds):
            logger.warning("calls are still running %.0f s after they were cancelled", seconds)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _warn_when_open(self) -> None:
        if _is_loopback(self._settings.host):
            return
        if not len(self._tokens):
            logger.warning("listening at %s without tokens: everyone who reaches it may write", self._settings.host)
        elif self._credentials is None:
            logger.warning("listening at %s without TLS: tokens travel as plain text", self._settings.host)


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_message_bytes + ENVELOPE_BYTES),
        ("grpc.max_send_message_length", settings.max_message_bytes + ENVELOPE_BYTES),
        # A second server on the same port must fail, not take half of the calls.
        ("grpc.so_reuseport", 0),
        # Clients look every minute whether a silent server still lives.
        ("grpc.http2.min_ping_interval_without_data_ms", 30_000),
    ]


def _credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    if not settings.tls_cert:
        return None
    pair = []
    for name in ("tls_key", "tls_cert"):
        path = Path(getattr(settings, name))
        try:
            pair.append(path.read_bytes())
        except OSError as error:
            raise InvalidArgumentError(f"{name}: cannot read {path} ({error.strerror})", field=name) from None
    return grpc.ssl_server_credentials([(pair[0], pair[1])])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
