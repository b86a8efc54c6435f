"""The store's folder: its marker, its writer lock, its creation, and the sweep of what crashes leave."""

from __future__ import annotations

import datetime as dt
import logging
import shutil
from pathlib import Path
from typing import Any, Final

import filelock

from vecstore.config import StoreConfig, decode_json, encode_json
from vecstore.errors import FormatError, InvalidArgumentError, NotFoundError, StoreLocked
from vecstore.storage.atomic import TEMPORARY, fsync_path, remove_folder, write_file
from vecstore.storage.catalog import create_environment, open_environment, referenced_segments
from vecstore.storage.environment import Environment
from vecstore.storage.table_catalog import referenced_folders

_log = logging.getLogger(__name__)

MARKER: Final = "vecstore.json"
CATALOG: Final = "catalog.lmdb"
SEGMENTS: Final = "segments"
TABLES: Final = "tables"
LOCK: Final = "writer.lock"
FORMAT: Final = 1


class Store:
    """An open store folder.

    Parameters
    ----------
    path : Path
        The folder; a writer creates it where it is missing or empty.
    readonly : bool
        Open for reading: any number of processes may, beside the one that writes.
    settings : StoreConfig
        Durability and map size.

    Raises
    ------
    NotFoundError
        Nothing to read there.
    FormatError
        Something else is there, or a store of a newer format.
    StoreLocked
        Another process writes, or this one has the store open already.
    """

    def __init__(self, path: Path, *, readonly: bool, settings: StoreConfig) -> None:
        self.path = path
        self.segments = path / SEGMENTS
        self.tables = path / TABLES
        if not (path / MARKER).exists():
            if readonly:
                raise NotFoundError(f"{path}: there is no store; open it with mode='w' to create one", field="path")
            _create(path)
        _check_marker(path)
        self._lock = None if readonly else _writer_lock(path)
        try:
            self.environment: Environment = open_environment(
                path / CATALOG,
                readonly=readonly,
                relaxed=settings.durability == "relaxed",
                map_gib=settings.map_gib,
            )
            if not readonly:
                self._add_tables()
                self._sweep()
        except BaseException:
            self._release()
            raise

    def close(self) -> None:
        """Close the catalog and let another process write."""
        self.environment.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _add_tables(self) -> None:
        """Make the folder of tables in a store from before there were any."""
        if not self.tables.is_dir():
            self.tables.mkdir()
            fsync_path(self.path)

    def _sweep(self) -> None:
        """Remove folders that the catalog does not name: work of a process that died before its swap."""
        with self.environment.read() as transaction:
            wanted = {self.segments: referenced_segments(transaction), self.tables: referenced_folders(transaction)}
        for parent, names in wanted.items():
            for folder in parent.iterdir():
                if folder.name not in names:
                    _log.info("removing an orphaned folder", extra={"folder": str(folder)})
                    remove_folder(folder)


def _create(path: Path) -> None:
    """Make a new store beside ``path`` and give it its name when it is complete."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FormatError(f"{path}: exists and is not a vecstore store; choose another path", field="path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + TEMPORARY)
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"{path}: cannot create a store there ({error})", field="path") from None
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / SEGMENTS).mkdir(parents=True)
    (temporary / TABLES).mkdir()
    environment = create_environment(temporary / CATALOG)
    marker: dict[str, Any] = {
        "format": FORMAT,
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "lmdb": environment.lib_version,
    }
    environment.sync()
    environment.close()
    write_file(temporary / MARKER, encode_json(marker))
    for folder in (temporary / CATALOG, temporary / SEGMENTS, temporary / TABLES, temporary):
        fsync_path(folder)
    temporary.rename(path)
    fsync_path(path.parent)


def _check_marker(path: Path) -> None:
    try:
        marker = decode_json((path / MARKER).read_bytes())
    except InvalidArgumentError as error:
        raise FormatError(f"{path / MARKER}: {error}; this is not a readable store", field=MARKER) from None
    found = marker.get("format") if isinstance(marker, dict) else None
    if found != FORMAT:
        raise FormatError(f"{path}: store format {found}; this release reads format {FORMAT}", field=MARKER)


def _writer_lock(path: Path) -> filelock.BaseFileLock:
    lock = filelock.FileLock(path / LOCK, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise StoreLocked(
            f"{path}: another process (or another Database in this one) has the store open for writing. Share that "
            "one, use the server, or open with mode='r'",
            field="path",
        ) from None
    return lock
