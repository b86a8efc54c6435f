"""The small records of the catalog: collections, where they stand, which segments they have; and tables."""

from __future__ import annotations

import struct
from typing import Any, Literal, Self, TypeVar

import msgspec

from vecstore.config import CollectionConfig, Config, decode_json, encode_json
from vecstore.errors import CorruptionError, InvalidArgumentError

_T = TypeVar("_T", bound=Config)
_HEAD = struct.Struct("<6Q")


class CollectionRecord(Config, frozen=True, kw_only=True):
    """A collection's name, settings and columns.

    Attributes
    ----------
    uid : int
        Number that prefixes the collection's keys; never used again after a drop.
    name : str
        The user's name for it.
    config : dict
        :class:`vecstore.config.CollectionConfig` as JSON.
    id_type : {"", "int64", "string"}
        Type of the ids, set by the first write.
    columns : dict of str to str
        Metadata columns, sorted by name, and their types (see ``vecstore/metadata.py``).
    """

    uid: int
    name: str
    config: dict[str, Any]
    id_type: Literal["", "int64", "string"] = ""
    columns: dict[str, str] = msgspec.field(default_factory=dict)
    version: Literal[1] = 1

    @property
    def settings(self) -> CollectionConfig:
        """The settings as an object."""
        return CollectionConfig.from_dict(self.config)

    def pack(self) -> bytes:
        """Give the stored bytes."""
        return encode_json(self)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Read the stored bytes."""
        return _read(cls, payload)


class SegmentEntry(Config, frozen=True, kw_only=True):
    """One segment in a manifest.

    Attributes
    ----------
    segment : str
        Folder name under ``segments/`` (a UUID).
    rows : int
        Rows in it, deleted ones included.
    first, last : int
        Sequence numbers of its first and last row; those of different segments never overlap.
    digest : str
        xxh3-128 of its ``segment.json``, which in turn holds the checksums of its files.
    """

    segment: str
    rows: int
    first: int
    last: int
    digest: str


class Manifest(Config, frozen=True, kw_only=True):
    """The segments of a collection, ascending by sequence number.

    Attributes
    ----------
    sealed : int
        All rows with a lower sequence number are in the segments (or purged); the others in the delta.
    """

    segments: tuple[SegmentEntry, ...] = ()
    sealed: int = 0
    version: Literal[1] = 1

    def pack(self) -> bytes:
        """Give the stored bytes."""
        return encode_json(self)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Read the stored bytes."""
        return _read(cls, payload)


class TableEntry(Config, frozen=True, kw_only=True):
    """One version of a table.

    Attributes
    ----------
    number : int
        Counts the versions of the table from 1; never given twice.
    folder : str
        Folder name under ``tables/`` (a UUID).
    created : str
        When it was stored: ISO 8601, UTC, whole seconds.
    nbytes : int
        Bytes of its arrays.
    digest : str
        xxh3-128 of its ``table.json``, which in turn holds the checksums of its files.
    """

    number: int
    folder: str
    created: str
    nbytes: int
    digest: str


class TableRecord(Config, frozen=True, kw_only=True):
    """A table's versions, ascending by number, and which of them is served.

    Attributes
    ----------
    uid : int
        Tells a table from an earlier one of the same name.
    name : str
        The user's name for it.
    current : int
        Number of the version that is served.
    last : int
        Highest number given so far.
    versions : tuple of TableEntry
        Those that are kept.
    """

    uid: int
    name: str
    current: int
    last: int
    versions: tuple[TableEntry, ...]
    version: Literal[1] = 1

    @property
    def served(self) -> TableEntry:
        """The entry of the current version.

        Raises
        ------
        CorruptionError
            It is not among the versions.
        """
        for entry in self.versions:
            if entry.number == self.current:
                return entry
        raise CorruptionError(
            f"catalog.lmdb: table {self.name!r}: its current version {self.current} is missing", field="catalog.lmdb"
        )

    def pack(self) -> bytes:
        """Give the stored bytes."""
        return encode_json(self)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Read the stored bytes."""
        return _read(cls, payload)


class Head(msgspec.Struct, frozen=True):
    """Where a collection stands: one small value that tells a reader what changed.

    Attributes
    ----------
    commit : int
        Number of commits to this collection.
    next_sequence : int
        Sequence number of the next row written.
    rows : int
        Live rows.
    generation : int
        Number of the manifest.
    record_commit, tombstone_commit : int
        Commit that last changed the collection record, and the tombstones.
    """

    commit: int = 0
    next_sequence: int = 0
    rows: int = 0
    generation: int = 0
    record_commit: int = 0
    tombstone_commit: int = 0

    def pack(self) -> bytes:
        """Give the stored bytes."""
        return _HEAD.pack(*msgspec.structs.astuple(self))

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Read the stored bytes."""
        return cls(*_HEAD.unpack(payload))


def _read(cls: type[_T], payload: bytes) -> _T:
    try:
        return cls.from_dict(decode_json(payload))
    except InvalidArgumentError as error:
        raise CorruptionError(
            f"catalog.lmdb: a {cls.__name__} cannot be read ({error})", field="catalog.lmdb"
        ) from None
