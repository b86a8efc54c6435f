"""The channel to a server: options, retries, deadlines, tokens, and grpc errors turned into ours.

The only module of the client that imports grpc.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_status import rpc_status

from vecstore.config import encode_json
from vecstore.errors import (
    DeadlineError,
    InvalidArgumentError,
    LimitError,
    StoreClosed,
    UnavailableError,
    VecstoreError,
)
from vecstore.v1.admin_pb2_grpc import AdminStub
from vecstore.v1.collections_pb2_grpc import CollectionsStub
from vecstore.v1.points_pb2_grpc import PointsStub
from vecstore.v1.tables_pb2_grpc import TablesStub
from vecstore.wire.errors import error_from_code, error_from_status

if TYPE_CHECKING:
    import os

Request = TypeVar("Request")
Response = TypeVar("Response")

DEFAULT_PORT = 7700
#: Calls that may be sent again when the server could not be reached: doing them twice is doing them once.
#: Insert and Delete are not among them, because their answer (what existed) would differ.
_RETRIED = {
    "Collections": ("Get", "List", "Stats", "Flush", "Optimize"),
    "Points": ("Get", "Count", "Search"),
    "Tables": ("List", "Get", "Lookup", "Search", "Versions"),
    "Admin": ("Info", "Verify"),
}
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": f"vecstore.v1.{service}", "method": method}
                for service, methods in _RETRIED.items()
                for method in methods
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS = [
    ("grpc.service_config", encode_json(_SERVICE_CONFIG).decode()),
    ("grpc.enable_retries", 1),
    # The server refuses what is too large, in both directions, and says so better than grpc does.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Notice a dead peer during a long call, where nothing else travels.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
]


class Transport:
    """One channel and the stubs of its services.

    Parameters
    ----------
    target : str
        ``"host:port"`` or ``"host"``, perhaps after ``grpc://``, or after ``grpcs://``, which implies ``tls``.
    token : str, optional
        Bearer token sent with each call.
    tls : bool
        Whether to encrypt.
    ca : path, optional
        PEM file of the authority; implies ``tls``.
    timeout : float, optional
        Seconds for each short call.

    Raises
    ------
    InvalidArgumentError
        An argument cannot be used.
    """

    def __init__(
        self, target: str, *, token: str | None, tls: bool, ca: str | os.PathLike[str] | None, timeout: float | None
    ) -> None:
        self.target, encrypted = _address(target)
        self._timeout = _positive_seconds(timeout)
        self._authorization = (("authorization", f"Bearer {_printable(token)}"),) if token is not None else ()
        if tls or encrypted or ca is not None:
            credentials = grpc.ssl_channel_credentials(None if ca is None else _read_pem(ca))
            self._channel = grpc.secure_channel(self.target, credentials, options=_OPTIONS)
        else:
            self._channel = grpc.insecure_channel(self.target, options=_OPTIONS)
        self._closed = False
        self.admin = AdminStub(self._channel)
        self.collections = CollectionsStub(self._channel)
        self.points = PointsStub(self._channel)
        self.tables = TablesStub(self._channel)

    def call(self, method: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Make a short call, within the timeout.

        Raises
        ------
        VecstoreError
            What the server said, or why it could not be reached.
        """
        return self._call(method, request, self._timeout)

    def call_long(self, method: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Response:
        """Make a call that may take as long as it needs.

        Raises
        ------
        VecstoreError
            What the server said, or why it could not be reached.
        """
        return self._call(method, request, None)

    def _call(
        self, method: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request, timeout: float | None
    ) -> Response:
        metadata = self._metadata()
        try:
            return method(request, timeout=timeout, metadata=metadata)
        except grpc.RpcError as error:
            raise self._translated(error) from None

    def receive(
        self, method: grpc.UnaryStreamMultiCallable[Request, Response], request: Request
    ) -> Responses[Response]:
        """Start a call that answers with a stream."""
        return Responses(method(request, metadata=self._metadata()), self._translated)

    def exchange(
        self, method: grpc.StreamStreamMultiCallable[Request, Response], requests: Iterator[Request]
    ) -> Responses[Response]:
        """Start a call with a stream in each direction; ``requests`` is read in another thread."""
        return Responses(method(requests, metadata=self._metadata()), self._translated)

    def upload(self, method: grpc.StreamUnaryMultiCallable[Request, Response], requests: Iterator[Request]) -> Response:
        """Make a call that sends a stream, read in another thread, and may take as long as it needs.

        Raises
        ------
        VecstoreError
            What the server said, or why it could not be reached.
        """
        metadata = self._metadata()
        try:
            return method(requests, metadata=metadata)
        except grpc.RpcError as error:
            raise self._translated(error) from None

    def close(self) -> None:
        """Close the channel; running calls end with an error."""
        self._closed = True
        self._channel.close()

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._closed:
            raise StoreClosed(f"the connection to {self.target} was closed; connect again")
        return (*self._authorization, ("x-request-id", uuid.uuid4().hex))

    def _translated(self, error: Any) -> VecstoreError:
        """Give our exception for a grpc one: what the server packed into it, or the meaning of its code."""
        try:
            status = rpc_status.from_call(error)
        except ValueError:  # a proxy changed code or message, so that they do not fit the details
            status = None
        ours = error_from_status(status) if status is not None else None
        if ours is not None:
            return ours
        code, details = error.code(), error.details() or "no details"
        if self._closed:
            return StoreClosed(f"the connection to {self.target} was closed; connect again")
        if code is grpc.StatusCode.UNAVAILABLE:
            return UnavailableError(f"no vecstore server answers at {self.target} ({details}); is it running there?")
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineError(
                f"{self.target} did not answer within {self._timeout} s; ask for less or connect with a longer timeout"
            )
        if code is grpc.StatusCode.UNIMPLEMENTED:
            details += "; the server is of another release, or no vecstore server"
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return LimitError(f"{self.target}: {details}; send smaller batches, or fewer calls at once")
        return error_from_code(code.name, f"{self.target}: {details}")


class Responses(Iterator[Response]):
    """The answers of a stream, with errors translated; cancels the call when closed or forgotten."""

    def __init__(self, call: Any, translated: Any) -> None:
        self._call = call
        self._translated = translated

    def __next__(self) -> Response:
        try:
            response: Response = next(self._call)
        except grpc.RpcError as error:
            raise self._translated(error) from None
        return response

    def close(self) -> None:
        """End the call; nothing happens when it has ended."""
        self._call.cancel()


def _address(target: str) -> tuple[str, bool]:
    """Give ``host:port``, and whether the scheme before it asks for TLS."""
    if not isinstance(target, str) or not target.strip():
        raise InvalidArgumentError(f"target: expected 'host:port', got {target!r}", field="target")
    scheme, separator, rest = target.rpartition("://")
    if separator:
        rest = rest.rstrip("/")
    if scheme not in ("", "grpc", "grpcs") or not rest:
        raise InvalidArgumentError(
            f"target: expected 'host:port', got {target!r}; vecstore speaks gRPC, write 'host:port', or "
            "'grpcs://host:port' for TLS",
            field="target",
        )
    has_port = ":" in rest.rpartition("]")[2]  # colons inside [..] belong to an IPv6 address
    return rest if has_port else f"{rest}:{DEFAULT_PORT}", scheme == "grpcs"


def _positive_seconds(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout < math.inf:
        raise InvalidArgumentError(f"timeout: expected seconds above 0, got {timeout!r}", field="timeout")
    return float(timeout)


def _printable(token: str) -> str:
    """Refuse what cannot stand in a header, without repeating the secret."""
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidArgumentError("token: expected printable ASCII without spaces", field="token")
    return token


def _read_pem(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"ca: cannot read {path} ({error.strerror})", field="ca") from None
