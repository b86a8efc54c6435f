"""The store's folder: its marker, its writer lock, its creation, and the sweep of what crashes leave."""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
from collections.abc import Iterator, Set
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vecstore.config import StoreConfig, decode_json, encode_json
from vecstore.errors import (
    CorruptionError,
    FormatError,
    InvalidArgumentError,
    NotFoundError,
    StoreLocked,
    VecstoreError,
)
from vecstore.storage.atomic import TEMPORARY, fsync_path, full_disk, remove_folder, replace_file, write_file
from vecstore.storage.catalog import create_environment, open_environment, referenced_segments
from vecstore.storage.environment import Environment
from vecstore.storage.table_catalog import referenced_folders

if TYPE_CHECKING:
    import filelock

_log = logging.getLogger(__name__)

MARKER: Final = "vecstore.json"
CATALOG: Final = "catalog.lmdb"
SEGMENTS: Final = "segments"
TABLES: Final = "tables"
LOCK: Final = "writer.lock"
FORMAT: Final = 1
#: The marker of a store that is being built; :func:`replace_file` gives it its name.
_UNFINISHED: Final = MARKER + TEMPORARY
#: What a folder may hold and still count as empty: our lock, and what a fresh file system comes with.
_NOT_CONTENT: Final = frozenset({LOCK, "lost+found"})


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
    InvalidArgumentError
        The folder cannot be made or read.
    """

    def __init__(self, path: Path, *, readonly: bool, settings: StoreConfig) -> None:
        self.path = path
        self.segments = path / SEGMENTS
        self.tables = path / TABLES
        self._lock: filelock.BaseFileLock | None = None
        if readonly and not _is_store(path):
            raise NotFoundError(f"{path}: there is no store; open it with mode='w' to create one", field="path")
        with ExitStack() as undo:
            undo.callback(self._release)
            if not readonly:
                self._lock = _writer_lock(_store_folder(path))
                _hold(path)
                if not _is_store(path):
                    _build(path)
            _check_marker(path)
            self.environment: Environment = open_environment(
                path / CATALOG,
                readonly=readonly,
                relaxed=settings.durability == "relaxed",
                map_gib=settings.map_gib,
            )
            undo.callback(self.environment.close)
            if not readonly:
                self._sweep()
            undo.pop_all()

    def close(self) -> None:
        """Close the catalog and let another process write."""
        self.environment.close()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            _let_go(self.path)
            self._lock.release()

    def _sweep(self) -> None:
        """Remove folders that the catalog does not name: work of a process that died before its swap."""
        with self.environment.read() as transaction:
            wanted = {self.segments: referenced_segments(transaction), self.tables: referenced_folders(transaction)}
        for parent, names in wanted.items():
            self._add_parent(parent, names)
            for folder in parent.iterdir():
                if folder.name not in names:
                    _log.info("removing an orphaned folder", extra={"folder": str(folder)})
                    remove_folder(folder)

    def _add_parent(self, parent: Path, names: Set[str]) -> None:
        """Make an empty folder where it is missing: older stores had no tables, some copies leave out empty folders."""
        if parent.is_dir():
            return
        if names:
            raise CorruptionError(
                f"{parent}: the folder is missing, and {len(names)} in it with it; restore the store from a copy",
                field=parent.name,
            )
        parent.mkdir()
        fsync_path(self.path)


# -- creation -------------------------------------------------------------------------------------------------
#
# A store is built in its own folder, under the writer's lock, so that nothing beside it is touched and a mount point
# or a symbolic link will do. The marker is written last; its temporary name, written first, says that what is there
# is an unfinished store, which holds nothing, and not the remains of a store that has lost its marker.


def _is_store(path: Path) -> bool:
    try:
        return (path / MARKER).exists()
    except (OSError, ValueError) as error:
        raise InvalidArgumentError(f"{path}: cannot be read ({error}); choose another path", field="path") from None


def _store_folder(path: Path) -> Path:
    """Give the folder of a store or one in which a store can be built, which is made where it is missing."""
    if _is_store(path):
        return path
    with _creating(path):
        folder = Path(os.path.realpath(path))
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            fsync_path(made.parent)
        _refuse_others(path)
    return path


def _refuse_others(path: Path) -> None:
    """Refuse a folder in which there is anything but the beginnings of a store."""
    names = {entry.name for entry in path.iterdir()}
    # The second question is for another process, which may have finished a store just now.
    if not names <= _NOT_CONTENT and _UNFINISHED not in names and not _is_store(path):
        raise FormatError(f"{path}: exists and is not a vecstore store; choose another path", field="path")


def _build(path: Path) -> None:
    """Make a new store in ``path``; the caller holds its lock."""
    with _creating(path):
        _refuse_others(path)
        write_file(path / _UNFINISHED, b"")
        fsync_path(path)
        shutil.rmtree(path / CATALOG, ignore_errors=True)
        for folder in (SEGMENTS, TABLES):
            (path / folder).mkdir(exist_ok=True)
        with closing(create_environment(path / CATALOG)) as environment:
            environment.sync()
            marker: dict[str, Any] = {
                "format": FORMAT,
                "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                "lmdb": environment.lib_version,
            }
        for folder in (CATALOG, SEGMENTS, TABLES):
            fsync_path(path / folder)
        fsync_path(path)
        replace_file(path / MARKER, encode_json(marker))


@contextmanager
def _creating(path: Path) -> Iterator[None]:
    """Turn what the system says about a path into errors of ours."""
    try:
        yield
    except VecstoreError:
        raise
    except FileExistsError:
        raise FormatError(f"{path}: exists and is not a vecstore store; choose another path", field="path") from None
    except (OSError, ValueError) as error:
        raise full_disk(error, path) or InvalidArgumentError(
            f"{path}: cannot create a store there ({error}); choose another path", field="path"
        ) from None


def _check_marker(path: Path) -> None:
    try:
        marker = decode_json((path / MARKER).read_bytes())
    except (InvalidArgumentError, OSError) as error:
        raise FormatError(f"{path / MARKER}: {error}; this is not a readable store", field=MARKER) from None
    found = marker.get("format") if isinstance(marker, dict) else None
    if found != FORMAT:
        raise FormatError(f"{path}: store format {found}; this release reads format {FORMAT}", field=MARKER)


# -- the writer's lock ----------------------------------------------------------------------------------------

#: Process and folder of the stores that are open for writing here; a forked child has none of its parent's.
_held: set[tuple[int, str]] = set()


def _hold(path: Path) -> None:
    _held.add((os.getpid(), os.path.realpath(path)))


def _let_go(path: Path) -> None:
    _held.discard((os.getpid(), os.path.realpath(path)))


def _writer_lock(path: Path) -> filelock.BaseFileLock:
    import filelock  # readers do without it

    lock = filelock.FileLock(path / LOCK, blocking=False, thread_local=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        if (os.getpid(), os.path.realpath(path)) in _held:
            raise StoreLocked(
                f"{path}: this process has the store open for writing already; share that Database, which can be used "
                "from any thread, or close it first",
                field="path",
            ) from None
        raise StoreLocked(
            f"{path}: another process has the store open for writing. Use the server to write from several, or open "
            "with mode='r'",
            field="path",
        ) from None
    except OSError as error:
        raise InvalidArgumentError(
            f"{path / LOCK}: cannot be locked for writing ({error}); open with mode='r' or choose another path",
            field="path",
        ) from None
    return lock
