"""The STORE argument: a folder, or the address of a server, opened as one kind of database."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vecstore.errors import InvalidArgumentError, NotFoundError

if TYPE_CHECKING:
    from vecstore.api import Database

_PLAIN = "grpc://"
_TLS = "grpcs://"
#: What looks like HOST:PORT. A folder may have such a name, but no new one gets it from a command.
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9_.-]+):\d{1,5}")
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(slots=True)
class Target:
    """Where the store of a command is; filled in while click reads the command line.

    Attributes
    ----------
    store : str
        Path of a folder, ``grpc://host:port`` or ``grpcs://host:port``.
    token : str or None
        Bearer token for a server.
    ca : Path or None
        PEM file of the authority that signed the server's certificate.
    """

    store: str = ""
    token: str | None = None
    ca: Path | None = None

    def reading(self) -> Database:
        """Open for reading.

        Raises
        ------
        NotFoundError
            There is no store.
        UnavailableError
            No server answers.
        """
        return self._open("r", must_exist=True)

    def writing(self) -> Database:
        """Open an existing store for writing.

        Raises
        ------
        NotFoundError
            There is no store: a typing error must not create one.
        StoreLocked
            Another process writes to it.
        UnavailableError
            No server answers.
        """
        return self._open("w", must_exist=True)

    def creating(self) -> Database:
        """Open for writing, creating the store where there is none.

        Raises
        ------
        NotFoundError
            There is none, and the name is that of a server rather than that of a folder.
        StoreLocked
            Another process writes to it.
        UnavailableError
            No server answers.
        """
        return self._open("w", must_exist=False)

    def _open(self, mode: Any, *, must_exist: bool) -> Database:
        if "://" in self.store:
            return self._connect()
        from vecstore.database import EmbeddedDatabase

        path = Path(self.store)
        if _ADDRESS.fullmatch(self.store) and not path.exists():
            raise NotFoundError(f"{path}: there is no such folder; if this is a server, write {_PLAIN}{path}")
        if must_exist and not path.exists():
            raise NotFoundError(f"{path}: there is no store; check the path, or make one with 'vecstore import'")
        if must_exist and path.is_dir() and not any(path.iterdir()):
            raise NotFoundError(f"{path}: the folder is empty, there is no store in it; check the path")
        return EmbeddedDatabase(path, mode)

    def _connect(self) -> Database:
        if not self.store.startswith((_PLAIN, _TLS)):
            raise InvalidArgumentError(f"{self.store}: expected a folder, {_PLAIN}HOST:PORT or {_TLS}HOST:PORT")
        from vecstore.client import connect

        secure = self.store.startswith(_TLS)
        if self.ca is not None and not secure:
            raise InvalidArgumentError(f"--ca is for encrypted connections; write {_TLS}… instead of {_PLAIN}…")
        address = self.store.removeprefix(_TLS).removeprefix(_PLAIN).rstrip("/")
        return connect(address, token=self.token, tls=secure, ca=self.ca)


pass_target = click.make_pass_decorator(Target, ensure=True)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    setattr(context.ensure_object(Target), str(parameter.name), value)


def takes_store(command: _Command) -> _Command:
    """Give a command the STORE argument with the options of a connection, and a :class:`Target` to use them."""
    settings = (
        click.argument("store", callback=_keep, expose_value=False),
        click.option(
            "--token",
            envvar="VECSTORE_TOKEN",
            callback=_keep,
            expose_value=False,
            help="Bearer token for a server; better set VECSTORE_TOKEN, which other users cannot see.",
        ),
        click.option(
            "--ca",
            envvar="VECSTORE_CA",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            callback=_keep,
            expose_value=False,
            help="PEM file of the authority that signed the certificate of a grpcs:// server.",
        ),
    )
    wrapped: Any = pass_target(command)
    for setting in reversed(settings):
        wrapped = setting(wrapped)
    return wrapped  # type: ignore[no-any-return]
