"""A database served by another process, with the same methods as an embedded one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vecstore.errors import MissingDependencyError

if TYPE_CHECKING:
    import os

    from vecstore.client.database import RemoteDatabase

__all__ = ["connect"]


def connect(
    target: str,
    *,
    token: str | None = None,
    tls: bool = False,
    ca: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> RemoteDatabase:
    """Connect to a vecstore server.

    Parameters
    ----------
    target : str
        ``"host:port"``; the port is 7700 where none is given. ``"grpc://host:port"`` is the same, and
        ``"grpcs://host:port"`` implies ``tls``.
    token : str, optional
        Bearer token. Without TLS it travels as plain text: use TLS outside one machine or a trusted network.
    tls : bool
        Encrypt, and check the server's certificate against the usual authorities.
    ca : path, optional
        PEM file of the authority to check against instead; implies ``tls``.
    timeout : float, optional
        Seconds that a call may take; None for no limit. Streams and the long calls (flush, optimize,
        compress, verify) are never limited.

    Returns
    -------
    RemoteDatabase
        Thread-safe; close it when done, or use it as a context manager.

    Raises
    ------
    UnavailableError
        Nobody answers there.
    AuthenticationError
        The server does not know the token, or asks for one.
    InvalidArgumentError
        An argument cannot be used.
    MissingDependencyError
        grpc is not installed.
    """
    try:
        from vecstore.client.database import RemoteDatabase
        from vecstore.client.transport import Transport
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("grpc", "grpc_status", "google"):
            raise
        raise MissingDependencyError(
            f"connect needs {error.name}: pip install 'vecstore[server]'", field=error.name or ""
        ) from None
    transport = Transport(target, token=token, tls=tls, ca=ca, timeout=timeout)
    try:
        return RemoteDatabase(transport)
    except BaseException:
        transport.close()
        raise
