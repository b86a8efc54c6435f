"""The embedding tables in the catalog: their versions, and which of them is served.

Every function works inside a transaction that the caller opened. A version's folder is published before its entry
is stored, and removed after its entry is gone, so that an entry always has its folder.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from vecstore.errors import NotFoundError
from vecstore.storage.catalog import EMBEDDING_TABLES, next_uid
from vecstore.storage.environment import Transaction
from vecstore.storage.records import TableEntry, TableRecord

__all__ = [
    "add_version",
    "drop_table",
    "list_tables",
    "read_table",
    "referenced_folders",
    "roll_back",
]


def read_table(transaction: Transaction, name: str, uid: int | None = None) -> TableRecord:
    """Give the record of a table.

    Parameters
    ----------
    transaction : Transaction
    name : str
        Of the table.
    uid : int, optional
        Number of the table that is meant, where one of the same name might have replaced it.

    Raises
    ------
    NotFoundError
        There is none, or it was dropped.
    """
    payload = transaction.get(EMBEDDING_TABLES, name.encode()) if transaction.has_table(EMBEDDING_TABLES) else None
    if payload is None and uid is None:
        raise NotFoundError(f"there is no table {name!r}; list_tables() names those there are", field="name")
    record = None if payload is None else _unpacked(payload)
    if record is None or uid not in (None, record.uid):
        raise NotFoundError(f"table {name!r} was dropped", field="name")
    return record


@lru_cache(maxsize=256)
def _unpacked(payload: bytes) -> TableRecord:
    """Read a record, which every look-up needs and which seldom changes."""
    return TableRecord.unpack(payload)


def list_tables(transaction: Transaction) -> list[str]:
    """Give the names of all tables, sorted."""
    if not transaction.has_table(EMBEDDING_TABLES):
        return []
    return sorted(key.decode() for key, _ in transaction.scan(EMBEDDING_TABLES, b""))


def referenced_folders(transaction: Transaction) -> set[str]:
    """Give the folder names of all versions of all tables.

    Raises
    ------
    CorruptionError
        A record cannot be read, so nobody knows which folders are in use.
    """
    records = [read_table(transaction, name) for name in list_tables(transaction)]
    return {entry.folder for record in records for entry in record.versions}


def add_version(transaction: Transaction, name: str, entry: TableEntry, keep: int) -> tuple[TableRecord, set[str]]:
    """Store a version as the newest and the current one of its table, which is created where there is none.

    Parameters
    ----------
    transaction : Transaction
    name : str
        Of the table.
    entry : TableEntry
        The version; its number is given here.
    keep : int
        Versions to keep, this one included; older ones lose their entries.

    Returns
    -------
    record : TableRecord
        As it is now.
    removed : set of str
        Folders that nothing refers to any more.
    """
    if transaction.get(EMBEDDING_TABLES, name.encode()) is None:
        record = TableRecord(uid=next_uid(transaction), name=name, current=0, last=0, versions=())
    else:
        record = read_table(transaction, name)
    number = record.last + 1
    versions = (*record.versions, msgspec.structs.replace(entry, number=number))
    kept = versions[-keep:]
    record = msgspec.structs.replace(record, current=number, last=number, versions=kept)
    transaction.put(EMBEDDING_TABLES, name.encode(), record.pack())
    return record, {old.folder for old in versions[:-keep]}


def roll_back(transaction: Transaction, name: str, uid: int, number: int) -> None:
    """Serve another version that is kept.

    Raises
    ------
    NotFoundError
        It is none of those, or the table was dropped.
    """
    record = read_table(transaction, name, uid)
    kept = [entry.number for entry in record.versions]
    if number not in kept:
        raise NotFoundError(
            f"version: table {name!r} has no version {number}; it keeps {', '.join(map(str, kept))}", field="version"
        )
    transaction.put(EMBEDDING_TABLES, name.encode(), msgspec.structs.replace(record, current=number).pack())


def drop_table(transaction: Transaction, name: str) -> set[str]:
    """Remove a table with all its versions; give their folders, now orphans."""
    record = read_table(transaction, name)
    transaction.delete(EMBEDDING_TABLES, name.encode())
    return {entry.folder for entry in record.versions}
