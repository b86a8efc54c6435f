"""What surrounds every call: token, deadline, room for long calls, errors, the access log."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from grpc_status import rpc_status

from vecstore.errors import DeadlineError, InternalError, InvalidArgumentError, UnavailableError, VecstoreError
from vecstore.wire.errors import DecodeError, error_to_status

if TYPE_CHECKING:
    from vecstore_server.auth import Tokens

logger = logging.getLogger("vecstore.server")

#: Calls that may hold a worker for long.
LONG_METHODS = frozenset(
    f"/vecstore.v1.{name}"
    for name in (
        "Collections/Flush",
        "Collections/Optimize",
        "Collections/Compress",
        "Points/InsertStream",
        "Points/Scan",
        "Tables/Put",
        "Admin/Verify",
    )
)
_MAX_REQUEST_ID = 128


class RunningCalls:
    """Counts calls, holds back too many long ones, and tells when all have ended.

    Parameters
    ----------
    long_limit : int
        Long calls that may run at once.
    """

    def __init__(self, long_limit: int) -> None:
        self._long_limit = long_limit
        self._running = 0
        self._long = 0
        self._changed = threading.Condition()

    @contextmanager
    def enter(self, method: str) -> Iterator[None]:
        """Count a call while it runs.

        Raises
        ------
        UnavailableError
            Too many long calls run. Waiting here would take the workers that searches need.
        """
        is_long = method in LONG_METHODS
        with self._changed:
            if is_long and self._long >= self._long_limit:
                raise UnavailableError(
                    f"{method}: {self._long} long calls run already, which is this server's limit; try again later"
                )
            self._running += 1
            self._long += is_long
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._long -= is_long
                self._changed.notify_all()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no call runs; give False when ``timeout`` seconds passed before."""
        with self._changed:
            return self._changed.wait_for(lambda: self._running == 0, timeout)


class CallGuard(grpc.ServerInterceptor):
    """Wraps the handlers of vecstore's services; health and reflection pass untouched.

    Parameters
    ----------
    tokens : Tokens
        Who may call what.
    calls : RunningCalls
        Counts what runs.
    """

    def __init__(self, tokens: Tokens, calls: RunningCalls) -> None:
        self._tokens = tokens
        self._calls = calls

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """Give the handler of a call, wrapped."""
        handler = continuation(handler_call_details)
        method: str = handler_call_details.method
        if handler is None or not method.startswith("/vecstore."):
            return handler
        parse = _deserializer(handler.request_deserializer)
        write = handler.response_serializer
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._wrap(handler.unary_unary, _checked, method), parse, write)
        if handler.unary_stream:
            behaviour = self._wrap_stream(handler.unary_stream, _checked, method)
            return grpc.unary_stream_rpc_method_handler(behaviour, parse, write)
        if handler.stream_unary:
            behaviour = self._wrap(handler.stream_unary, partial(map, _checked), method)
            return grpc.stream_unary_rpc_method_handler(behaviour, parse, write)
        behaviour = self._wrap_stream(handler.stream_stream, partial(map, _checked), method)
        return grpc.stream_stream_rpc_method_handler(behaviour, parse, write)

    def _wrap(
        self, behaviour: Callable[[Any, Any], Any], check: Callable[[Any], Any], method: str
    ) -> Callable[[Any, Any], Any]:
        def call(request: Any, context: grpc.ServicerContext) -> Any:
            with self._surround(method, context):
                return behaviour(check(request), context)

        return call

    def _wrap_stream(
        self, behaviour: Callable[[Any, Any], Iterator[Any]], check: Callable[[Any], Any], method: str
    ) -> Callable[[Any, Any], Iterator[Any]]:
        def call(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._surround(method, context):
                yield from behaviour(check(request), context)

        return call

    @contextmanager
    def _surround(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Admit a call, then turn whatever it raises into a status."""
        metadata = {str(key): value for key, value in context.invocation_metadata()}
        request_id = str(metadata.get("x-request-id", ""))[:_MAX_REQUEST_ID] or uuid.uuid4().hex
        started = time.perf_counter()
        code = "OK"
        try:
            self._tokens.check(str(metadata.get("authorization", "")), method)
            with self._calls.enter(method):
                refuse_ended(context)
                yield
        except VecstoreError as error:
            code = error.code
            _abort(context, error, request_id)
        except Exception as error:
            if not context.is_active():  # the caller left; nobody is there to be told
                code = "CANCELLED"
                raise
            code = InternalError.code
            reference = uuid.uuid4().hex[:12]
            logger.exception("%s failed, reference %s, request %s", method, reference, request_id, exc_info=error)
            _abort(context, InternalError(f"internal error, reference {reference}: see the server's log"), request_id)
        finally:
            milliseconds = (time.perf_counter() - started) * 1_000
            logger.debug("%s %s %s %s %.1f ms", context.peer(), method, request_id, code, milliseconds)


def refuse_ended(context: grpc.ServicerContext) -> None:
    """Stop work for which nobody waits any more.

    Raises
    ------
    DeadlineError
        The deadline has passed, or the caller left.
    """
    remaining = context.time_remaining()
    if not context.is_active() or (remaining is not None and remaining <= 0):
        raise DeadlineError("the deadline passed, or the caller left, before the call was done")


def _abort(context: grpc.ServicerContext, error: VecstoreError, request_id: str) -> NoReturn:
    context.abort_with_status(rpc_status.to_status(error_to_status(error, request_id=request_id)))


def _deserializer(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Hand a message that cannot be parsed on as the error it is; grpc would call it an internal one."""

    def deserialize(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as error:
            return InvalidArgumentError(f"the message is not a valid protobuf ({error})")

    return deserialize


def _checked(request: Any) -> Any:
    if isinstance(request, VecstoreError):
        raise request
    return request
