"""Errors of vecstore as ``google.rpc.Status`` and back, with nothing lost: class, field, figures, message."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]

from vecstore.errors import (
    AuthenticationError,
    BudgetInfeasible,
    DeadlineError,
    InternalError,
    InvalidArgumentError,
    LimitError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
    VecstoreError,
    error_classes,
)

__all__ = ["DOMAIN", "DecodeError", "error_from_code", "error_from_status", "error_to_status"]

#: The domain of every ErrorInfo of vecstore.
DOMAIN = "vecstore"
#: Longest message and field in UTF-8 bytes. A status travels in HTTP/2 trailers, 8 KiB by default, where the
#: message stands three times, once with three bytes for every byte that is not ASCII.
_MAX_MESSAGE_BYTES = 1_000
_MAX_FIELD_BYTES = 200

#: What a bare gRPC status becomes: one from the transport, or from a proxy, or from another server.
_BARE: dict[str, type[VecstoreError]] = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "NOT_FOUND": NotFoundError,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "RESOURCE_EXHAUSTED": LimitError,
    "UNAVAILABLE": UnavailableError,
    "CANCELLED": UnavailableError,
    "DEADLINE_EXCEEDED": DeadlineError,
}


def error_to_status(error: VecstoreError, *, request_id: str = "") -> status_pb2.Status:
    """Pack an error.

    Parameters
    ----------
    error : VecstoreError
        Any error of the tree.
    request_id : str
        Repeated to the caller, so that the log line of the call can be found.
    """
    message = _cut(error.message, _MAX_MESSAGE_BYTES)
    field = _cut(error.field, _MAX_FIELD_BYTES)
    info = error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN)
    if field:
        info.metadata["field"] = field
    if request_id:
        info.metadata["request_id"] = _cut(request_id, _MAX_FIELD_BYTES)
    if isinstance(error, BudgetInfeasible):
        info.metadata["floor"] = str(error.floor)
        info.metadata["reachable"] = ",".join(map(str, error.reachable))
    status = status_pb2.Status(code=code_pb2.Code.Value(error.status), message=message)
    status.details.add().Pack(info)
    if isinstance(error, InvalidArgumentError):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=field, description=message, reason=error.code)
        status.details.add().Pack(bad)
    return status


def error_from_status(status: status_pb2.Status) -> VecstoreError | None:
    """Unpack an error; None when the status does not come from vecstore.

    A code that this release does not know becomes the class of its gRPC status.
    """
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if not detail.Is(info.DESCRIPTOR) or not detail.Unpack(info) or info.domain != DOMAIN:
            continue
        field = info.metadata.get("field", "")
        cls = error_classes().get(info.reason)
        if cls is None:
            return error_from_code(_code_name(status.code), status.message)
        if issubclass(cls, BudgetInfeasible):
            floor = _integer(info.metadata.get("floor", ""))
            reachable = tuple(_integer(text) for text in info.metadata.get("reachable", "").split(",") if text)
            return cls(status.message, floor=floor, reachable=reachable, field=field)
        return cls(status.message, field=field)
    return None


def error_from_code(name: str, message: str) -> VecstoreError:
    """Give the error of a gRPC status without details, by the name of its code."""
    return _BARE.get(name, InternalError)(message)


def _code_name(code: int) -> str:
    return code_pb2.Code.Name(code) if code in code_pb2.Code.values() else "UNKNOWN"


def _integer(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def _cut(text: str, limit: int) -> str:
    """Shorten to ``limit`` UTF-8 bytes, keeping characters whole."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - 3].decode(errors="ignore") + "…"
