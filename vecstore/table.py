"""Embedded tables: storing versions, and serving the current one."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.api import MAX_K
from vecstore.commits import Commits
from vecstore.errors import CorruptionError, InvalidArgumentError, ReadOnlyError, VecstoreError
from vecstore.schemes.single_field import as_fields_table, reopened
from vecstore.storage import table_catalog
from vecstore.storage.atomic import remove_folder
from vecstore.storage.environment import Environment
from vecstore.storage.records import TableEntry, TableRecord
from vecstore.storage.table_files import write_table
from vecstore.table_api import MAX_KEEP, OnUnknown, TableStats, TableVersion, as_field, as_lookups
from vecstore.table_version import OpenVersion, stored_version
from vecstore.types import F32, Hits, Metric, as_count, as_metric, as_queries

__all__ = ["EmbeddedTable", "Tables"]


class EmbeddedTable:
    """A table in this process; see :class:`vecstore.api.Table` for what its methods promise.

    Parameters
    ----------
    name : str
        Of the table.
    uid : int
        The catalog's number of it.
    tables : Tables
        Where its versions are.
    lease : object
        Keeps the store open while the table is in use.
    """

    def __init__(self, name: str, uid: int, tables: Tables, lease: object) -> None:
        self._name = name
        self._tables = tables
        self._lease = lease
        self.uid = uid
        self._latest: OpenVersion | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        """Give kind and name, without touching the store."""
        return f"<EmbeddedTable {self._name!r}>"

    @property
    def name(self) -> str:
        """Name of the table."""
        return self._name

    @property
    def fields(self) -> dict[str, int]:
        """Number of ids of each field, in order."""
        return {field.name: field.size for field in self.current().scheme.fields}

    @property
    def dim(self) -> int:
        """Dimensions of every vector."""
        return self.current().description.dim

    def lookup(self, ids: Any, *, field: str | None = None, on_unknown: OnUnknown = "error") -> F32:
        """Give the vectors of ids: int64[n, fields], or int64[n] of one field."""
        return lookup(self.current(), ids, as_field(field), on_unknown)

    def search(self, queries: Any, k: int = 10, *, field: str | None = None, metric: Metric | str = "ip") -> Hits:
        """Give the k nearest ids of a field for each query."""
        k = as_count(k, name="k", limit=MAX_K)
        chosen, field = as_metric(metric), as_field(field)
        version = self.current()
        matrix = as_queries(queries, dim=version.description.dim)
        return version.search(matrix, k, self._field(version, field), chosen)

    def versions(self) -> list[TableVersion]:
        """Give the versions that are kept, oldest first."""
        record = self._tables.record(self._name, self.uid)
        return [
            TableVersion(entry.number, entry.created, entry.nbytes, entry.number == record.current)
            for entry in record.versions
        ]

    def roll_back(self, version: int) -> None:
        """Serve another version that is kept."""
        self._tables.roll_back(self._name, self.uid, version)

    def stats(self) -> TableStats:
        """Give bytes by part, ratio and schemes of the current version."""
        return self.current().stats()

    def current(self) -> OpenVersion:
        """Give the current version; whoever holds it may use it to the end."""
        missing = ""
        while True:
            entry = self._tables.record(self._name, self.uid).served
            latest = self._latest
            if latest is not None and latest.entry.folder == entry.folder:
                return latest
            try:
                opened = OpenVersion(self._tables.folder / entry.folder, entry)
            except FileNotFoundError as error:
                # Replaced between reading the record and opening the folder: the next record has another.
                if missing == entry.folder:
                    raise CorruptionError(
                        f"{error.filename}: a table version is missing; restore the store from a copy",
                        field=str(error.filename),
                    ) from None
                missing = entry.folder
                continue
            with self._lock:
                self._latest = opened
            return opened

    def _field(self, version: OpenVersion, field: str | None) -> str:
        if field is not None:
            return field
        names = [known.name for known in version.scheme.fields]
        if len(names) > 1:
            raise InvalidArgumentError(
                f"field: table {self._name!r} has several, pass one of {', '.join(names)}", field="field"
            )
        return names[0]


class Tables:
    """The tables of one store.

    Parameters
    ----------
    environment : Environment
        The catalog.
    commits : Commits
        Runs the changes of it.
    folder : Path
        ``tables/`` of the store.
    readonly : bool
        Whether changes are refused.
    lease : object
        Held by every table, so that the store stays open.
    """

    def __init__(
        self, environment: Environment, commits: Commits, folder: Path, *, readonly: bool, lease: object
    ) -> None:
        self.folder = folder
        self._environment = environment
        self._commits = commits
        self._readonly = readonly
        self._lease = lease
        self._known: dict[str, EmbeddedTable] = {}
        self._lock = threading.Lock()

    def put(self, name: str, frozen: Any, keep: int) -> EmbeddedTable:
        """Store a version, serve it, and remove those that are too old."""
        self._refuse_readonly("store tables")
        keep = as_count(keep, name="keep", limit=MAX_KEEP)
        table = reopened(as_fields_table(frozen))
        folder = self.folder / str(uuid.uuid4())
        digest = write_table(folder, stored_version(table), rows=table.shape.rows, dim=table.shape.dim)
        created = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        entry = TableEntry(number=0, folder=folder.name, created=created, nbytes=table.nbytes, digest=digest)
        # Only an error that vecstore raised on purpose says that nothing was committed. After anything else (an
        # interrupt) the catalog may name the new folder, now or soon: the next writer's sweep decides.
        try:
            _, removed = self._commits.run(
                lambda transaction: table_catalog.add_version(transaction, name, entry, keep)
            )
        except VecstoreError:
            remove_folder(folder)
            raise
        self._remove(removed)
        return self.get(name)

    def get(self, name: str) -> EmbeddedTable:
        """Give an existing table."""
        uid = self.record(name).uid
        with self._lock:
            known = self._known.get(name)
            if known is None or known.uid != uid:
                known = EmbeddedTable(name, uid, self, self._lease)
                self._known[name] = known
            return known

    def names(self) -> list[str]:
        """Give the names, sorted."""
        self._environment.look_for_missing_tables()
        with self._environment.read() as transaction:
            return table_catalog.list_tables(transaction)

    def record(self, name: str, uid: int | None = None) -> TableRecord:
        """Give the catalog's record of a table."""
        self._environment.look_for_missing_tables()
        with self._environment.read() as transaction:
            return table_catalog.read_table(transaction, name, uid)

    def roll_back(self, name: str, uid: int, version: int) -> None:
        """Serve another version that is kept."""
        self._refuse_readonly("roll tables back")
        number = as_count(version, name="version", limit=2**63 - 1)
        self._commits.run(lambda transaction: table_catalog.roll_back(transaction, name, uid, number))

    def drop(self, name: str) -> None:
        """Delete a table with all its versions."""
        self._refuse_readonly("drop tables")
        removed: set[str] = self._commits.run(lambda transaction: table_catalog.drop_table(transaction, name))
        with self._lock:
            self._known.pop(name, None)
        self._remove(removed)

    def lookup_many(self, requests: Sequence[tuple[str, str | None, Any]], on_unknown: OnUnknown) -> list[F32]:
        """Look up in several tables, each in one version."""
        checked = as_lookups(requests)
        versions = {name: self.get(name).current() for name, _, _ in checked}
        return [lookup(versions[name], ids, field, on_unknown) for name, field, ids in checked]

    def _remove(self, folders: set[str]) -> None:
        for folder in folders:
            remove_folder(self.folder / folder)

    def _refuse_readonly(self, what: str) -> None:
        if self._readonly:
            raise ReadOnlyError(f"the store was opened with mode='r'; open it with mode='w' to {what}")


def lookup(version: OpenVersion, ids: Any, field: str | None, on_unknown: OnUnknown) -> F32:
    """Give the vectors of ids from one version of a table."""
    try:
        given = np.asarray(ids)
    except ValueError as error:
        raise InvalidArgumentError(f"ids: rows have different lengths ({error})", field="ids") from None
    if field is None:
        return version.table.lookup_fields(given, on_unknown=on_unknown)
    return version.table.lookup_field(field, given, on_unknown=on_unknown)
