"""The catalog: collections, their heads and manifests, the id map, delta batches and tombstones in LMDB.

A row's *sequence number* is given once, when it is written, and never changes: the id map says id ->
sequence number, each segment and the delta cover disjoint ranges of them. So sealing and merging move rows
without touching the id map, and a write that meets a running seal needs no coordination with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from vecstore.config import CollectionConfig
from vecstore.errors import AlreadyExistsError, CorruptionError, InvalidArgumentError, NotFoundError
from vecstore.metadata import merged_columns
from vecstore.storage import delta, tombstones
from vecstore.storage.environment import Environment, Transaction
from vecstore.storage.keys import (
    collection_prefix,
    id_keys,
    pack_sequences,
    sequence_key,
    sequence_of,
    unpack_sequence,
)
from vecstore.storage.records import CollectionRecord, Head, Manifest
from vecstore.types import U64, IdArray

#: Table numbers; they seed the checksums, so they are part of the format.
META: Final = 1
COLLECTIONS: Final = 2
HEADS: Final = 3
MANIFESTS: Final = 4
IDS: Final = 5
DELTA: Final = 6
TOMBSTONES: Final = 7
#: Embedding tables (see ``table_catalog``); stores made before there were any lack it.
EMBEDDING_TABLES: Final = 8

TABLES: Final = {
    META: "meta",
    COLLECTIONS: "collections",
    HEADS: "heads",
    MANIFESTS: "manifests",
    IDS: "ids",
    DELTA: "delta",
    TOMBSTONES: "tombstones",
    EMBEDDING_TABLES: "tables",
}
_ADDED_LATER = frozenset({EMBEDDING_TABLES})
_NEXT_UID = b"next_uid"
#: Tables whose keys begin with the collection's prefix.
_OWNED = (HEADS, MANIFESTS, IDS, DELTA, TOMBSTONES)

Operation = Callable[[Transaction], Any]


def create_environment(path: Path) -> Environment:
    """Make an empty catalog."""
    return Environment(path, TABLES, readonly=False, create=True)


def open_environment(path: Path, *, readonly: bool, relaxed: bool = False, map_gib: int = 64) -> Environment:
    """Open an existing catalog's environment."""
    return Environment(path, TABLES, optional=_ADDED_LATER, readonly=readonly, relaxed=relaxed, map_bytes=map_gib << 30)


def next_uid(transaction: Transaction) -> int:
    """Give a number that no collection or table has or had."""
    uid = int.from_bytes(transaction.get(META, _NEXT_UID) or b"\x01", "little")
    transaction.put(META, _NEXT_UID, (uid + 1).to_bytes(4, "little"))
    return uid


# -- collections ------------------------------------------------------------------------------------------


def create_collection(transaction: Transaction, name: str, config: CollectionConfig) -> CollectionRecord:
    """Store a new, empty collection.

    Raises
    ------
    AlreadyExistsError
        The name is taken.
    """
    if transaction.get(COLLECTIONS, name.encode()) is not None:
        raise AlreadyExistsError(f"collection {name!r} exists already; open it with collection({name!r})", field="name")
    uid = next_uid(transaction)
    record = CollectionRecord(uid=uid, name=name, config=config.to_dict())
    prefix = collection_prefix(uid)
    transaction.put(COLLECTIONS, name.encode(), record.pack())
    transaction.put(HEADS, prefix, Head().pack())
    transaction.put(MANIFESTS, prefix, Manifest().pack())
    return record


def read_record(transaction: Transaction, name: str) -> CollectionRecord:
    """Give the record of the collection called ``name``.

    Raises
    ------
    NotFoundError
        There is none.
    """
    payload = transaction.get(COLLECTIONS, name.encode())
    if payload is None:
        raise NotFoundError(f"there is no collection {name!r}; list_collections() names those there are", field="name")
    return CollectionRecord.unpack(payload)


def list_names(transaction: Transaction) -> list[str]:
    """Give the names of all collections, sorted."""
    return sorted(key.decode() for key, _ in transaction.scan(COLLECTIONS, b""))


def drop_collection(transaction: Transaction, name: str) -> set[str]:
    """Remove a collection and everything stored under its prefix; give its segment folders, now orphans."""
    record = read_record(transaction, name)
    segments = {entry.segment for entry in CollectionStore(name, record.uid).manifest(transaction).segments}
    transaction.delete(COLLECTIONS, name.encode())
    for table in _OWNED:
        transaction.delete_prefix(table, collection_prefix(record.uid))
    return segments


def referenced_segments(transaction: Transaction) -> set[str]:
    """Give the folder names of all segments in any manifest.

    Raises
    ------
    CorruptionError
        A record or manifest cannot be read, so nobody knows which folders are in use.
    """
    stores = [CollectionStore(name, read_record(transaction, name).uid) for name in list_names(transaction)]
    return {entry.segment for store in stores for entry in store.manifest(transaction).segments}


# -- one collection ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Publication:
    """A swap of the manifest: what a seal, merge or compression has made ready on disk.

    Attributes
    ----------
    removed : set of str
        Segments that the new ones replace.
    manifest_of : callable
        Gives the new manifest from the current one.
    purged : uint64[n]
        Sequence numbers of deleted rows that were left out of the new segments.
    config : CollectionConfig or None
        New settings of the collection, when they change.
    """

    removed: set[str]
    manifest_of: Callable[[Manifest], Manifest]
    purged: U64
    config: CollectionConfig | None = None


class CollectionStore:
    """Reads and writes of one collection; every method works inside a transaction that the caller opened."""

    def __init__(self, name: str, uid: int) -> None:
        self.name = name
        self.uid = uid
        self.prefix = collection_prefix(uid)

    def head(self, transaction: Transaction) -> Head:
        """Give the head.

        Raises
        ------
        NotFoundError
            The collection was dropped.
        CorruptionError
            The collection exists, but its head is gone.
        """
        payload = transaction.get(HEADS, self.prefix)
        if payload is not None:
            return Head.unpack(payload)
        record = transaction.get(COLLECTIONS, self.name.encode())
        if record is not None and CollectionRecord.unpack(record).uid == self.uid:
            raise _missing(self.name, "head")
        raise _dropped(self.name)

    def record(self, transaction: Transaction) -> CollectionRecord:
        """Give the record.

        Raises
        ------
        NotFoundError
            The collection was dropped, even if there is another of its name now.
        """
        payload = transaction.get(COLLECTIONS, self.name.encode())
        record = None if payload is None else CollectionRecord.unpack(payload)
        if record is None or record.uid != self.uid:
            raise _dropped(self.name)
        return record

    def manifest(self, transaction: Transaction) -> Manifest:
        """Give the manifest.

        Raises
        ------
        CorruptionError
            Every collection has one, and this one's is gone.
        """
        payload = transaction.get(MANIFESTS, self.prefix)
        if payload is None:
            raise _missing(self.name, "manifest")
        return Manifest.unpack(payload)

    def sequences(self, transaction: Transaction, ids: IdArray) -> dict[int, int]:
        """Give position in ``ids`` -> sequence number, for the ids that exist.

        Raises
        ------
        InvalidArgumentError
            The collection has ids of the other type.
        """
        record = self.record(transaction)
        if len(ids) == 0:
            return {}
        _check_id_type(record, ids)
        keys = id_keys(self.prefix, ids)
        found = transaction.get_many(IDS, keys)
        return {i: unpack_sequence(found[key]) for i, key in enumerate(keys) if key in found}

    def delta_batches(self, transaction: Transaction, start: int, dim: int) -> list[delta.Batch]:
        """Give the delta batches from sequence number ``start`` on.

        Raises
        ------
        CorruptionError
            One is missing or cannot be read: the rows behind it would be taken for others.
        """
        batches: list[delta.Batch] = []
        expected = start
        for key, payload in transaction.scan(DELTA, self.prefix, sequence_key(self.prefix, start)):
            if sequence_of(key) != expected:
                break
            batches.append(delta.unpack(payload, dim))
            expected += len(batches[-1])
        if expected != self.head(transaction).next_sequence:
            raise _missing(self.name, f"delta batch {expected}")
        return batches

    def write(self, batch: delta.Batch, payload: bytes, *, replace: bool) -> Operation:
        """Give the operation that adds a batch; ``payload`` is its packed form.

        The operation raises AlreadyExistsError (``replace=False`` and an id exists) or InvalidArgumentError
        (id or column types differ from the collection's, or a value does not fit its column) or LimitError (too
        many columns) before it writes anything.
        """

        def operation(transaction: Transaction) -> int:
            head, record = self.head(transaction), self.record(transaction)
            _check_id_type(record, batch.ids)
            id_type = _id_type(batch.ids)
            columns = merged_columns(record.columns, batch.metadata)
            keys = id_keys(self.prefix, batch.ids)
            existing = transaction.get_many(IDS, keys) if head.rows else {}
            if existing and not replace:
                taken = [i for i, key in zip(batch.ids.tolist(), keys, strict=True) if key in existing]
                raise AlreadyExistsError(
                    f"ids: {len(taken)} of {len(keys)} exist already, e.g. {taken[0]!r}; nothing was written. "
                    "Use upsert to replace rows",
                    field="ids",
                )
            commit = head.commit + 1
            record_commit = head.record_commit
            if (id_type, columns) != (record.id_type, record.columns):
                self._put_record(transaction, msgspec.structs.replace(record, id_type=id_type, columns=columns))
                record_commit = commit
            tombstone_commit = head.tombstone_commit
            if existing:
                old = np.array([unpack_sequence(value) for value in existing.values()], np.uint64)
                tombstones.change(transaction, TOMBSTONES, self.prefix, commit, add=old)
                tombstone_commit = commit
            sequences = np.arange(head.next_sequence, head.next_sequence + len(keys), dtype=np.uint64)
            transaction.put_many(IDS, sorted(zip(keys, pack_sequences(sequences), strict=True)))
            transaction.put(DELTA, sequence_key(self.prefix, head.next_sequence), payload)
            self._put_head(
                transaction,
                Head(
                    commit=commit,
                    next_sequence=head.next_sequence + len(keys),
                    rows=head.rows + len(keys) - len(existing),
                    generation=head.generation,
                    record_commit=record_commit,
                    tombstone_commit=tombstone_commit,
                ),
            )
            return len(keys)

        return operation

    def delete(self, ids: IdArray, sequences: U64 | None = None) -> Operation:
        """Give the operation that deletes rows by id; its result is the number that existed.

        With ``sequences``, uint64[n], only rows that still are of that version are deleted. The operation raises
        InvalidArgumentError where the collection has ids of the other type.
        """

        def operation(transaction: Transaction) -> int:
            head, record = self.head(transaction), self.record(transaction)
            _check_id_type(record, ids)
            keys = id_keys(self.prefix, ids)
            existing = transaction.get_many(IDS, keys)
            if sequences is not None:
                wanted = dict(zip(keys, pack_sequences(sequences), strict=True))
                existing = {key: value for key, value in existing.items() if wanted[key] == value}
            if not existing:
                return 0
            for key in existing:
                transaction.delete(IDS, key)
            old = np.array([unpack_sequence(value) for value in existing.values()], np.uint64)
            commit = head.commit + 1
            tombstones.change(transaction, TOMBSTONES, self.prefix, commit, add=old)
            self._put_head(
                transaction,
                msgspec.structs.replace(head, commit=commit, rows=head.rows - len(existing), tombstone_commit=commit),
            )
            return len(existing)

        return operation

    def publish(self, publication: Publication) -> Operation:
        """Give the operation that swaps the manifest, and drops sealed delta batches and purged tombstones.

        Its result is the new generation, or None where a segment to be replaced is gone (the collection was
        changed by another publication meanwhile): then nothing was written.
        """

        def operation(transaction: Transaction) -> int | None:
            head, manifest = self.head(transaction), self.manifest(transaction)
            if not publication.removed <= {entry.segment for entry in manifest.segments}:
                return None
            changed = publication.manifest_of(manifest)
            commit = head.commit + 1
            tombstones.change(transaction, TOMBSTONES, self.prefix, commit, remove=publication.purged)
            transaction.delete_prefix(DELTA, self.prefix, sequence_key(self.prefix, changed.sealed))
            transaction.put(MANIFESTS, self.prefix, changed.pack())
            record_commit = head.record_commit
            if publication.config is not None:
                record = self.record(transaction)
                self._put_record(transaction, msgspec.structs.replace(record, config=publication.config.to_dict()))
                record_commit = commit
            self._put_head(
                transaction,
                msgspec.structs.replace(
                    head,
                    commit=commit,
                    generation=head.generation + 1,
                    record_commit=record_commit,
                    tombstone_commit=commit,
                ),
            )
            return head.generation + 1

        return operation

    def _put_head(self, transaction: Transaction, head: Head) -> None:
        transaction.put(HEADS, self.prefix, head.pack())

    def _put_record(self, transaction: Transaction, record: CollectionRecord) -> None:
        transaction.put(COLLECTIONS, self.name.encode(), record.pack())


def _missing(name: str, what: str) -> CorruptionError:
    return CorruptionError(
        f"catalog.lmdb: collection {name!r}: its {what} is missing; restore the store from a copy", field="catalog.lmdb"
    )


def _dropped(name: str) -> NotFoundError:
    return NotFoundError(
        f"collection {name!r} was dropped; collection({name!r}) gives the one that has its name now, if any",
        field="name",
    )


def _check_id_type(record: CollectionRecord, ids: IdArray) -> None:
    """Refuse ids of the type that a collection does not have; one without rows yet takes both."""
    kind = _id_type(ids)
    if record.id_type not in ("", kind):
        raise InvalidArgumentError(
            f"ids: collection {record.name!r} has {record.id_type} ids, got {kind}; pass {record.id_type}", field="ids"
        )


def _id_type(ids: IdArray) -> str:
    return "int64" if ids.dtype == np.int64 else "string"
