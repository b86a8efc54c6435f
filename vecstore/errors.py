"""The one tree of errors, and what each becomes on the wire.

Every class has a stable ``code`` (part of the public contract: programs may compare it) and one gRPC
status name. It also inherits the builtin that a Python caller would expect, so ``except KeyError`` works.
A message says what went wrong, where, and what to do about it.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AlreadyExistsError",
    "AuthenticationError",
    "BudgetInfeasible",
    "CorruptionError",
    "DeadlineError",
    "FilterError",
    "ForkError",
    "FormatError",
    "InternalError",
    "InvalidArgumentError",
    "LimitError",
    "MissingDependencyError",
    "NotFoundError",
    "PermissionDeniedError",
    "QualityWarning",
    "ReadOnlyError",
    "StorageFull",
    "StoreClosed",
    "StoreLocked",
    "UnavailableError",
    "VecstoreError",
    "error_classes",
]


class QualityWarning(UserWarning):
    """A table was made that gives back its rows poorly; the message says how poorly, and what to do instead."""


class VecstoreError(Exception):
    """Root of every error that vecstore raises on purpose.

    Parameters
    ----------
    message : str
        What, where, and what to do.
    field : str, optional
        The argument, column or file at fault (``"vectors"``, ``"where"``, ``"segments/…/table.arrow"``).
    """

    code: ClassVar[str] = "VECSTORE"
    status: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        """Give the plain message (``KeyError`` would show its repr)."""
        return self.message


class InvalidArgumentError(VecstoreError, ValueError):
    """An argument has the wrong shape, dtype, value or name; nothing was written."""

    code = "INVALID_ARGUMENT"
    status = "INVALID_ARGUMENT"


class FilterError(InvalidArgumentError):
    """A filter cannot be parsed, uses something not allowed, or does not fit the columns."""

    code = "INVALID_FILTER"


class BudgetInfeasible(InvalidArgumentError):
    """A scheme cannot reach the asked number of bytes.

    Parameters
    ----------
    message : str
        What, where, and what to do.
    floor : int
        The smallest number of bytes that the scheme can reach for this shape.
    reachable : tuple of int
        Budgets in bytes that are worth asking for instead, ascending, the floor first: for schemes whose tables grow
        in steps the next few of them, else the floor alone (any budget above it is used).
    """

    code = "BUDGET_INFEASIBLE"

    def __init__(self, message: str, *, floor: int = 0, reachable: tuple[int, ...] = (), field: str = "budget") -> None:
        super().__init__(message, field=field)
        self.floor = floor
        self.reachable = reachable or (floor,)


class NotFoundError(VecstoreError, KeyError):
    """A collection, table, scheme or id that does not exist."""

    code = "NOT_FOUND"
    status = "NOT_FOUND"


class AlreadyExistsError(VecstoreError, ValueError):
    """A name or an id that exists already; nothing was written."""

    code = "ALREADY_EXISTS"
    status = "ALREADY_EXISTS"


class CorruptionError(VecstoreError, OSError):
    """Stored bytes do not match their checksum; names file, table and key."""

    code = "CORRUPTION"
    status = "DATA_LOSS"


class FormatError(VecstoreError, OSError):
    """A file or store of a format that this release cannot read, or no store at all."""

    code = "UNSUPPORTED_FORMAT"
    status = "FAILED_PRECONDITION"


class StoreLocked(VecstoreError, BlockingIOError):
    """Another process writes to the store (one writer, many readers)."""

    code = "STORE_LOCKED"
    status = "FAILED_PRECONDITION"


class StoreClosed(VecstoreError, RuntimeError):
    """The database was closed, or had to close itself; open it again."""

    code = "STORE_CLOSED"
    status = "UNAVAILABLE"


class StorageFull(VecstoreError, OSError):
    """No space left for the write; what was stored before is untouched."""

    code = "STORAGE_FULL"
    status = "RESOURCE_EXHAUSTED"


class ReadOnlyError(VecstoreError, PermissionError):
    """A write through a database opened with ``mode="r"``."""

    code = "READ_ONLY"
    status = "FAILED_PRECONDITION"


class ForkError(VecstoreError, RuntimeError):
    """The process was forked while the store was open; open it again in the child (use spawn)."""

    code = "FORKED"
    status = "INTERNAL"


class LimitError(VecstoreError, ValueError):
    """A request over one of the stated limits."""

    code = "LIMIT_EXCEEDED"
    status = "RESOURCE_EXHAUSTED"


class MissingDependencyError(VecstoreError, ImportError):
    """An optional package is needed; the message has the pip command."""

    code = "MISSING_DEPENDENCY"
    status = "UNIMPLEMENTED"


class AuthenticationError(VecstoreError, PermissionError):
    """No token, or one that the server does not know."""

    code = "UNAUTHENTICATED"
    status = "UNAUTHENTICATED"


class PermissionDeniedError(VecstoreError, PermissionError):
    """The token is known but its role does not allow the call."""

    code = "PERMISSION_DENIED"
    status = "PERMISSION_DENIED"


class UnavailableError(VecstoreError, ConnectionError):
    """The server cannot be reached or is shutting down; trying again later may work."""

    code = "UNAVAILABLE"
    status = "UNAVAILABLE"


class DeadlineError(VecstoreError, TimeoutError):
    """The call took longer than its deadline."""

    code = "DEADLINE_EXCEEDED"
    status = "DEADLINE_EXCEEDED"


class InternalError(VecstoreError, RuntimeError):
    """A defect of vecstore itself; please report it with the message."""

    code = "INTERNAL"
    status = "INTERNAL"


def error_classes() -> dict[str, type[VecstoreError]]:
    """Map each stable code to its class, for turning wire errors back into exceptions."""
    found: dict[str, type[VecstoreError]] = {}
    pending: list[type[VecstoreError]] = [VecstoreError]
    while pending:
        cls = pending.pop()
        found[cls.code] = cls
        pending.extend(cls.__subclasses__())
    return found
