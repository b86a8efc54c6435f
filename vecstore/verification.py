"""``verify``: every checksum of a store, and what must agree between the catalog and the folders."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from vecstore.errors import VecstoreError
from vecstore.segment import RowSource, Segment
from vecstore.storage import catalog, table_catalog
from vecstore.storage.environment import Environment, Transaction
from vecstore.table_version import OpenVersion
from vecstore.view import Views

#: What reading damaged rows can raise; each becomes a line, so that the rest is checked too.
_UNREADABLE = (VecstoreError, pa.ArrowException)


def verify(environment: Environment, folder: Path, tables: Path) -> list[str]:
    """Check a store; give one line per problem.

    Parameters
    ----------
    environment : Environment
        The catalog.
    folder : Path
        ``segments/`` of the store.
    tables : Path
        ``tables/`` of the store.
    """
    with environment.read() as transaction:
        present = [number for number in catalog.TABLES if transaction.has_table(number)]
        problems = [line for number in present for line in transaction.damaged(number)]
        if problems:
            return problems
        collections = {name: catalog.read_record(transaction, name).uid for name in catalog.list_names(transaction)}
    for name, uid in collections.items():
        try:
            problems += _verify_collection(environment, folder, name, uid)
        except _UNREADABLE as error:
            problems.append(f"collection {name!r}: {error}")
    return problems + _verify_tables(environment, tables)


def _verify_collection(environment: Environment, folder: Path, name: str, uid: int) -> list[str]:
    store = catalog.CollectionStore(name, uid)
    problems: list[str] = []
    with Views(environment, store, folder).snapshot() as (transaction, view):
        ids = _count_ids(transaction, store)
    live = sum(source.live.count for source in view.sources)
    if not view.head.rows == ids == live:
        problems.append(
            f"collection {name!r}: {view.head.rows} rows in its head, {ids} in the id map, {live} in segments and delta"
        )
    for source in view.segments:
        # Opened for this check alone, so nothing of it counts as checked; a merge may unlink it meanwhile.
        problems += _verify_segment(source.source)
    return problems


def _verify_segment(segment: RowSource) -> list[str]:
    if not isinstance(segment, Segment):
        raise TypeError("only sealed segments have files")
    try:
        return segment.verify()
    except _UNREADABLE as error:
        return [f"segment {segment.name}: {error}"]


def _count_ids(transaction: Transaction, store: catalog.CollectionStore) -> int:
    return sum(1 for _ in transaction.scan(catalog.IDS, store.prefix))


def _verify_tables(environment: Environment, folder: Path) -> list[str]:
    with environment.read() as transaction:
        records = [table_catalog.read_table(transaction, name) for name in table_catalog.list_tables(transaction)]
    problems: list[str] = []
    for record in records:
        for entry in record.versions:
            try:
                found = OpenVersion(folder / entry.folder, entry).verify()
            except FileNotFoundError:
                found = [] if _is_gone(environment, entry.folder) else ["its folder is missing"]
            except VecstoreError as error:
                found = [str(error)]
            problems += [f"table {record.name!r}, version {entry.number}: {line}" for line in found]
        if record.current not in [entry.number for entry in record.versions]:
            problems.append(f"table {record.name!r}: its current version {record.current} is missing")
    return problems


def _is_gone(environment: Environment, folder: str) -> bool:
    """Tell whether a version was replaced or dropped since its entry was read."""
    with environment.read() as transaction:
        return folder not in table_catalog.referenced_folders(transaction)
