"""The LMDB environment: every transaction of the store goes through here, and only this module imports lmdb.

Rules that experiments gave (see ``docs/durability.md``): never WRITEMAP (a full disk kills the process),
the file format is pinned (``lib_version=0``: LMDB 0.9), the map grows only while no transaction is open, a
transaction never crosses a fork, and a panic closes and re-opens the environment, unless it follows another.
"""

from __future__ import annotations

import logging
import os
import resource
import threading
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from vecstore.errors import (
    CorruptionError,
    ForkError,
    FormatError,
    InternalError,
    StorageFull,
    StoreClosed,
    StoreLocked,
    VecstoreError,
)
from vecstore.storage.atomic import full_disk
from vecstore.storage.checksum import frame, frame_many, unframe

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_DATA_FILE = "data.mdb"
#: What LMDB says of pages that make no sense; keys and table names are checked before they get here.
_DAMAGE = (
    lmdb.BadDbiError,
    lmdb.BadValsizeError,
    lmdb.CorruptedError,
    lmdb.CursorFullError,
    lmdb.IncompatibleError,
    lmdb.NotFoundError,
    lmdb.PageFullError,
    lmdb.PageNotFoundError,
    lmdb.ProblemError,
)
_MAX_READERS = 1_024
_GIB = 1 << 30
_LARGEST_MAP = 1 << 46


class Transaction:
    """Framed reads and writes inside one LMDB transaction; tables are given by number.

    A transaction belongs to one thread and must not outlive the block that opened it.
    """

    def __init__(self, raw: Any, tables: dict[int, Any]) -> None:
        self._raw = raw
        self._tables = tables

    def has_table(self, table: int) -> bool:
        """Tell whether there is a table; only optional ones may be missing, and only for readers."""
        return table in self._tables

    def get(self, table: int, key: bytes) -> bytes | None:
        """Give the payload stored under ``key``, or None.

        Raises
        ------
        CorruptionError
            The stored value does not match its checksum.
        """
        value = self._raw.get(key, db=self._tables[table])
        return None if value is None else unframe(table, key, value)

    def get_many(self, table: int, keys: list[bytes]) -> dict[bytes, bytes]:
        """Give the payloads of those ``keys`` that exist."""
        with self._raw.cursor(db=self._tables[table]) as cursor:
            return {key: unframe(table, key, value) for key, value in cursor.getmulti(keys)}

    def put(self, table: int, key: bytes, payload: bytes) -> None:
        """Store ``payload`` under ``key``, replacing what was there."""
        self._raw.put(key, frame(table, key, payload), db=self._tables[table])

    def put_many(self, table: int, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Store many small payloads; faster when the keys are sorted."""
        with self._raw.cursor(db=self._tables[table]) as cursor:
            cursor.putmulti(frame_many(table, items))

    def delete(self, table: int, key: bytes) -> bool:
        """Remove ``key``; tell whether it was there."""
        return bool(self._raw.delete(key, db=self._tables[table]))

    def scan(self, table: int, prefix: bytes, start: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Go through (key, payload) of the keys with ``prefix``, in order, from ``start`` on."""
        with self._raw.cursor(db=self._tables[table]) as cursor:
            found = cursor.set_range(start if start is not None else prefix)
            while found and (key := cursor.key()).startswith(prefix):
                yield key, unframe(table, key, cursor.value())
                found = cursor.next()

    def damaged(self, table: int) -> list[str]:
        """Check every value of a table; give one line per value that does not match its checksum."""
        problems = []
        with self._raw.cursor(db=self._tables[table]) as cursor:
            for key, value in cursor:
                try:
                    unframe(table, key, value)
                except CorruptionError as error:
                    problems.append(str(error))
        return problems

    def delete_prefix(self, table: int, prefix: bytes, stop: bytes | None = None) -> int:
        """Remove the keys with ``prefix`` (those below ``stop`` where given); give their number."""
        removed = 0
        with self._raw.cursor(db=self._tables[table]) as cursor:
            found = cursor.set_range(prefix)
            while found and (key := cursor.key()).startswith(prefix) and (stop is None or key < stop):
                found = cursor.delete()
                removed += 1
        return removed

    def nested(self, operation: Callable[[Transaction], _T], begin: Callable[..., Any]) -> _T:
        """Run ``operation`` in a child transaction that is kept only if it returns."""
        with begin(write=True, parent=self._raw) as raw:
            return operation(Transaction(raw, self._tables))


class Environment:
    """An open LMDB environment with named tables.

    Parameters
    ----------
    path : Path
        Folder of the environment.
    tables : dict of int to str
        Table numbers (they seed the checksums) and names.
    optional : set of int
        Tables that an older store may lack: a writer makes them, a reader does without until a writer has.
    readonly : bool
        Open for reading only.
    create : bool
        Make the environment and its tables where they are missing.
    relaxed : bool
        Leave out the second flush of a commit: the last commits may be lost, whole, at power loss.
    map_bytes : int
        Address space to reserve at first.
    """

    def __init__(
        self,
        path: Path,
        tables: dict[int, str],
        *,
        optional: Set[int] = frozenset(),
        readonly: bool,
        create: bool = False,
        relaxed: bool = False,
        map_bytes: int = 64 * _GIB,
    ) -> None:
        self.path = path
        self._names = tables
        self._optional = optional
        self._readonly = readonly
        self._relaxed = relaxed
        self._map_bytes = min(map_bytes, _address_space_limit())
        self._gate = _Gate()
        self._pid = os.getpid()
        self._reopened = False
        #: What :meth:`state` gives in the only process that writes; None in others.
        self._last_write = None if readonly else object()
        self._env: Any = None
        self._tables: dict[int, Any] = {}
        self._open(create=create)

    def _open(self, *, create: bool) -> None:
        if not create and not (self.path / _DATA_FILE).is_file():
            # LMDB would make an empty one, and everything in the segments would pass for orphaned.
            raise CorruptionError(
                f"{self.path / _DATA_FILE}: the catalog is missing; restore the store from a copy", field="catalog.lmdb"
            )
        try:
            self._env = lmdb.open(
                str(self.path),
                map_size=self._map_bytes,
                max_dbs=len(self._names),
                max_readers=_MAX_READERS,
                readonly=self._readonly,
                create=create,
                metasync=not self._relaxed,
                writemap=False,
                lib_version=0,
            )
            self._env.reader_check()
            self._tables = {}
            for number in self._names:
                self._open_table(number, create=create or (number in self._optional and not self._readonly))
        except lmdb.Error as error:
            if self._env is not None:
                self._env.close()
                self._env = None
            if "already open in this process" in str(error):
                raise StoreLocked(
                    f"{self.path}: this process has the store open already; share that Database, which can be used "
                    "from any thread",
                    field="path",
                ) from None
            translated = self._translate(error)
            if isinstance(translated, InternalError):
                translated = FormatError(f"{self.path}: cannot be opened as a catalog ({error})", field="catalog.lmdb")
            raise translated from error

    def _open_table(self, number: int, *, create: bool = False) -> None:
        try:
            self._tables[number] = self._env.open_db(self._names[number].encode(), create=create)
        except lmdb.NotFoundError:
            if number not in self._optional:
                raise

    def look_for_missing_tables(self) -> None:
        """Open optional tables that were not there before: a writer may have made them meanwhile."""
        if len(self._tables) == len(self._names):
            return
        self._check_process()
        with self._gate.exclusive(), self._translated():
            self._check_usable()
            for number in self._names.keys() - self._tables.keys():
                self._open_table(number)

    @property
    def lib_version(self) -> str:
        """Version of the LMDB library that reads the file."""
        return str(self._env.lib_version())

    def used_bytes(self) -> int:
        """Bytes of the map in use (pages up to the last one written)."""
        with self._gate.shared():
            self._check_usable()
            return int((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a read transaction: one consistent snapshot for the length of the block.

        Raises
        ------
        StoreClosed, ForkError, CorruptionError
        """
        self._check_process()
        with self._gate.shared(), self._translated():
            self._check_usable()
            try:
                raw = self._env.begin()
            except lmdb.MapResizedError:
                raw = None
            if raw is not None:
                with raw:
                    yield Transaction(raw, self._tables)
                return
        # The writing process has grown the map: take over its size while no transaction is open here.
        with self._gate.exclusive():
            self._check_usable()
            self._resize(0)
        with self.read() as transaction:
            yield transaction

    def state(self) -> object:
        """Give what equals what it gave before if nothing was committed since: all that can be read is the same then.

        Every search asks, so this does without the blocks that :meth:`read` goes through, and where this process is the
        only one that writes, without LMDB.

        Raises
        ------
        StoreClosed, ForkError, CorruptionError
        """
        self._check_process()
        if self._last_write is not None and self._env is not None:
            return self._last_write
        # Without an environment the store is closed, or is being opened again, which this waits for.
        self._gate.enter()
        try:
            self._check_usable()
            with self._env.begin() as raw:
                return int(raw.id())
        except lmdb.MapResizedError:
            # Unlike all before, so that a read follows, which takes over the size.
            return object()
        except lmdb.Error as error:
            raise self._translate(error) from error
        finally:
            self._gate.leave()

    def write(self, operation: Callable[[Transaction], _T]) -> _T:
        """Run ``operation`` in a write transaction and commit it; give its result.

        The operation may run again (when the map has to grow), so it must not change anything else.

        Raises
        ------
        StorageFull
            The disk or the address space is full; nothing was written.
        StoreClosed, ForkError, CorruptionError
        """
        while True:
            try:
                result = self._write_once(operation)
            except lmdb.MapFullError:
                self._grow()
            except lmdb.PanicError as error:
                self._reopen(error)
            except lmdb.Error as error:
                raise self._translate(error) from error
            else:
                self._reopened = False
                return result

    def write_each(self, operations: list[Callable[[Transaction], Any]]) -> list[Any]:
        """Run several operations in one commit; give each one's result or the exception it raised.

        A failing operation leaves no trace, the others are committed.
        """
        if len(operations) == 1:
            try:
                return [self.write(operations[0])]
            except Exception as error:
                return [error]

        def run_all(transaction: Transaction) -> list[Any]:
            results: list[Any] = []
            for operation in operations:
                try:
                    results.append(transaction.nested(operation, self._env.begin))
                except lmdb.Error:
                    # Of the whole transaction: a full map or a panic is for ``write`` to deal with.
                    raise
                except Exception as error:
                    results.append(error)
            return results

        return self.write(run_all)

    def _write_once(self, operation: Callable[[Transaction], _T]) -> _T:
        self._check_process()
        with self._gate.shared():
            self._check_usable()
            try:
                with self._env.begin(write=True) as raw:
                    return operation(Transaction(raw, self._tables))
            finally:
                # After the commit, and another object each time, so that threads need not agree on a number.
                self._last_write = object()

    def _grow(self) -> None:
        with self._gate.exclusive():
            self._check_usable()
            size = int(self._env.info()["map_size"]) * 2
            if size > _LARGEST_MAP:
                raise StorageFull(
                    f"{self.path}: the catalog has reached {size // 2} bytes, its limit", field="catalog.lmdb"
                )
            _log.info("catalog map grows", extra={"path": str(self.path), "bytes": size})
            self._resize(size)

    def _resize(self, size: int) -> None:
        """Map ``size`` bytes (0: as many as the writing process); the caller holds the gate alone."""
        try:
            self._env.set_mapsize(size)
        except lmdb.Error as error:
            # The old map is gone by now, and the environment unusable; what is in the file fits the first size.
            self._env.close()
            self._env = None
            self._open(create=False)
            raise StorageFull(
                f"{self.path}: the catalog cannot map {size or 'the'} bytes that it needs ({error}); nothing of this "
                "was written. Give the process more address space (ulimit -v)",
                field="catalog.lmdb",
            ) from error

    def _reopen(self, error: Exception) -> None:
        """Open the environment again after a panic, unless nothing was written since the last one."""
        with self._gate.exclusive():
            self._check_usable()
            if self._reopened:
                self._env = None
                raise StoreClosed(
                    f"{self.path}: writing failed twice in a row ({error}); the store closed itself. "
                    "Check the disk, then open it again",
                    field=str(self.path),
                ) from error
            self._reopened = True
            self._env.close()
            self._env = None
            self._open(create=False)

    def sync(self) -> None:
        """Flush everything committed so far to the disk; every commit has done so unless durability is relaxed."""
        self._check_process()
        with self._gate.shared(), self._translated():
            self._check_usable()
            if self._relaxed:
                self._env.sync(True)

    def close(self) -> None:
        """Close after running transactions have ended; a forked child lets the parent's alone."""
        if os.getpid() != self._pid:
            return
        with self._gate.exclusive():
            if self._env is not None:
                self._env.close()
            self._env = None

    def _check_process(self) -> None:
        """Refuse to work in a forked child; asked before the gate, which another thread may have held at the fork."""
        if os.getpid() != self._pid:
            raise ForkError(
                f"{self.path}: this process was forked while the store was open; open the store after the fork, "
                "or start processes with the 'spawn' method"
            )

    def _check_usable(self) -> None:
        if self._env is None:
            raise StoreClosed(f"{self.path}: the store is closed; open it again")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise self._translate(error) from error

    def _translate(self, error: Any) -> VecstoreError:
        if isinstance(error, _DAMAGE):
            return CorruptionError(f"{self.path}: {error}; restore the store from a copy", field="catalog.lmdb")
        if isinstance(error, lmdb.InvalidError | lmdb.VersionMismatchError):
            return FormatError(f"{self.path}: not an LMDB file of this format ({error})", field="catalog.lmdb")
        return full_disk(error, self.path) or InternalError(f"{self.path}: {error}", field="catalog.lmdb")


class _Gate:
    """Readers-writer lock: transactions share it, growing and closing take it alone."""

    def __init__(self) -> None:
        # The lock itself is quicker to take than the condition around it, and every search does so twice.
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._inside = 0
        self._waiting = 0

    def enter(self) -> None:
        """Begin to share; whoever does calls :meth:`leave`."""
        with self._lock:
            while self._waiting:
                self._condition.wait()
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._waiting:
                self._condition.notify_all()

    @contextmanager
    def shared(self) -> Iterator[None]:
        self.enter()
        try:
            yield
        finally:
            self.leave()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        with self._condition:
            self._waiting += 1
            try:
                self._condition.wait_for(lambda: self._inside == 0)
                yield
            finally:
                self._waiting -= 1
                self._condition.notify_all()


def _address_space_limit() -> int:
    """Give the largest sensible first map: 1 GiB where the process has an address space limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return 1 << 50 if soft == resource.RLIM_INFINITY else _GIB
