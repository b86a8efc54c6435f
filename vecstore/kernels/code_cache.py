"""Machine code of kernels on disk, found again by everything that it depends on.

A folder holds the code that one version of the sources gives on one kind of processor with one version of the tools:
machines that share a disk do not run each other's code, and an edited kernel is compiled anew, whichever module of it
was edited. Each file has one kernel for one mix of argument types, behind a checksum.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import uuid
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import CodeType
from typing import Any

from vecstore.kernels.loading import processor

__all__ = ["folder", "read", "write"]

_log = logging.getLogger(__name__)

_DIGEST_BYTES = 16
_TOOLS = ("numba", "llvmlite", "numpy")


@cache
def folder() -> Path:
    """Give the folder of this process's code.

    It is below ``VECSTORE_CACHE`` where that is set, else below the user's folder for caches.

    Raises
    ------
    OSError
        The user has no home.
    """
    return _base() / "kernels" / f"{processor().name}-{_key()}"


def _base() -> Path:
    given = os.environ.get("VECSTORE_CACHE")
    if given:
        return Path(given)
    caches = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(caches) if caches else Path.home() / ".cache") / "vecstore"
    except RuntimeError as error:
        # As for users of containers that no list of users knows. A folder that others may write to would be no place.
        raise FileNotFoundError(f"{error} Set VECSTORE_CACHE") from None


def read(function: Callable[..., Any], form: str) -> bytes | None:
    """Give the code of ``function`` for arguments of ``form``; None where there is none, or it is damaged."""
    try:
        path = _path(function, form)
        data = path.read_bytes()
    except OSError:
        return None
    digest, code = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if _digest(code) == digest:
        return code
    _log.warning("kernel code on disk is damaged and compiled anew", extra={"path": str(path)})
    return None


def write(function: Callable[..., Any], form: str, code: bytes) -> None:
    """Keep code; without a folder that can be written, it is compiled anew in each process."""
    try:
        path = _path(function, form)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process finds all of the file or nothing.
        unfinished = path.with_suffix(f".{uuid.uuid4()}")
        try:
            unfinished.write_bytes(_digest(code) + code)
            unfinished.replace(path)
        except OSError:
            unfinished.unlink(missing_ok=True)
            raise
    except OSError as error:
        _log.info("kernel code cannot be kept", extra={"kernel": function.__qualname__, "error": str(error)})


def _path(function: Callable[..., Any], form: str) -> Path:
    name = f"{function.__module__.removeprefix('vecstore.kernels.')}.{function.__qualname__}"
    return folder() / f"{name}-{_digest(form.encode() + _source(function)).hex()}.o"


def _source(function: Callable[..., Any]) -> bytes:
    """Give what stands for the source of a kernel of another distribution; the folder's name does for our own."""
    file = Path(function.__code__.co_filename)
    if file.is_relative_to(_HOME):
        return b""
    return _digest(file.read_bytes() if file.is_file() else _typed_in(function.__code__).encode())


def _typed_in(code: CodeType) -> str:
    """Give what stands for the source of a function that has no file."""
    constants = [_typed_in(value) if isinstance(value, CodeType) else value for value in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


_HOME = Path(__file__).parent


def _key() -> str:
    """Give a digest of what code depends on: sources, tools, interpreter and processor."""
    parts = [f"{tool} {version(tool)}" for tool in _TOOLS]
    parts += [sys.version, sys.platform, *processor()]
    for path in sorted(_HOME.rglob("*.py")):
        parts += [path.name, path.read_text(encoding="utf-8")]
    return _digest("\0".join(parts).encode()).hex()
