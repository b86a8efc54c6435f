"""Settings of the server: defaults, then a TOML file, then the environment, then arguments."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from vecstore.config import Config
from vecstore.errors import InvalidArgumentError

#: ``workers`` is read from VECSTORE_WORKERS, and so on for each setting.
ENVIRONMENT_PREFIX = "VECSTORE_"


class ServerSettings(Config, frozen=True, kw_only=True):
    """How a server listens and what it takes.

    Attributes
    ----------
    host : str
        Address to listen at. Anything but the loopback address should have tokens and TLS.
    port : int
        Port to listen at; 0 takes a free one.
    workers : int
        Threads that answer calls, at least 2. At most half of them do long calls (streams, flush, optimize,
        compress, verify), so that searches always find one.
    max_message_bytes : int
        Bytes of one message, in either direction.
    max_rows : int
        Rows of one insert, chunk, get or delete by ids; ids of one look-up in tables.
    max_queries : int
        Queries of one search.
    max_k : int
        k of one search.
    max_hits : int
        Queries times k of one search.
    max_table_bytes : int
        Bytes of the arrays of one table that is stored; they are held in memory while they come.
    grace_seconds : float
        How long running calls may go on when the server stops.
    token_file : str
        File of bearer tokens (see :mod:`vecstore_server.auth`); empty lets everyone do everything.
    tls_cert, tls_key : str
        PEM files of the server's certificate chain and private key; both or neither.
    """

    host: str = "127.0.0.1"
    port: int = 7700
    workers: int = 16
    max_message_bytes: int = 64 * 1024 * 1024
    max_rows: int = 100_000
    max_queries: int = 10_000
    max_k: int = 10_000
    max_hits: int = 1_000_000
    max_table_bytes: int = 4 * 1024**3
    grace_seconds: float = 10.0
    token_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def __post_init__(self) -> None:
        """Check types, ranges and what belongs together."""
        super().__post_init__()
        bounds = {
            "port": (0, 65_535),
            "workers": (2, 1_024),
            "max_message_bytes": (65_536, 2**31 - 1),
            "max_rows": (1, 2**31),
            "max_queries": (1, 2**31),
            "max_k": (1, 2**31),
            "max_hits": (1, 2**31),
            "max_table_bytes": (1, 2**40),
            "grace_seconds": (0, 3_600),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidArgumentError(f"ServerSettings.{name}: expected {low} to {high}, got {value}", field=name)
        if not self.host:
            raise InvalidArgumentError("ServerSettings.host: empty; pass an address such as 127.0.0.1", field="host")
        if bool(self.tls_cert) != bool(self.tls_key):
            missing = "tls_key" if self.tls_cert else "tls_cert"
            raise InvalidArgumentError(f"ServerSettings.{missing}: TLS needs both tls_cert and tls_key", field=missing)

    @property
    def long_calls(self) -> int:
        """Long calls that may run at once."""
        return self.workers // 2


def load_settings(
    file: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> ServerSettings:
    """Collect the settings; later sources win.

    Parameters
    ----------
    file : path, optional
        TOML file with the settings at its top level.
    environment : mapping, optional
        Where ``VECSTORE_PORT`` and the like are looked up; the process's own when None.
    arguments : mapping, optional
        Settings by name; those that are None do not count.

    Raises
    ------
    InvalidArgumentError
        The file cannot be read, or a setting is unknown or wrong; says where it came from.
    """
    values = _read_toml(Path(file)) if file is not None else {}
    variables = os.environ if environment is None else environment
    for name in ServerSettings.__struct_fields__:
        variable = ENVIRONMENT_PREFIX + name.upper()
        if variable in variables:
            values[name] = _parse(variables[variable], name, variable)
    values.update({name: value for name, value in (arguments or {}).items() if value is not None})
    return ServerSettings.from_dict(values)


def _parse(text: str, name: str, variable: str) -> Any:
    """Turn the text of a variable into the type of its setting."""
    kind = {field.name: field.type for field in msgspec.structs.fields(ServerSettings)}[name]
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(f"{variable}: {error} (got {text!r})", field=name) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidArgumentError(f"{path}: cannot be read ({error.strerror})", field="file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"{path}: not TOML ({error})", field="file") from None
