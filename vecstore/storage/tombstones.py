"""Deleted rows as roaring bitmaps, in chunks of 65,536 sequence numbers.

A row's sequence number never changes, so a tombstone stays valid while its row moves from the delta to a
segment or from one segment to another. Chunking bounds what one delete rewrites to about 8 KiB.
"""

from __future__ import annotations

import struct

import numpy as np
import pyroaring

from vecstore.errors import CorruptionError
from vecstore.storage.environment import Transaction
from vecstore.storage.keys import sequence_key, sequence_of
from vecstore.types import U64

_COMMIT = struct.Struct("<Q")
_SHIFT = 16
_LOW = np.uint64((1 << _SHIFT) - 1)


class Tombstones:
    """All deleted sequence numbers of one collection, as of one commit; immutable."""

    def __init__(self, chunks: dict[int, tuple[int, U64]] | None = None) -> None:
        self._chunks = chunks or {}

    def between(self, first: int, last: int) -> U64:
        """Give the deleted sequence numbers from ``first`` to ``last`` (both included), ascending, uint64."""
        low, high = first >> _SHIFT, last >> _SHIFT
        parts = [
            numbers[(numbers >= first) & (numbers <= last)]
            for chunk, (_, numbers) in sorted(self._chunks.items())
            if low <= chunk <= high
        ]
        return np.concatenate(parts) if parts else np.empty(0, np.uint64)

    def refreshed(self, transaction: Transaction, table: int, prefix: bytes) -> Tombstones:
        """Give the tombstones as the transaction sees them, decoding only the chunks that changed."""
        chunks: dict[int, tuple[int, U64]] = {}
        for key, payload in transaction.scan(table, prefix):
            chunk = sequence_of(key)
            (commit,) = _COMMIT.unpack_from(payload)
            known = self._chunks.get(chunk)
            chunks[chunk] = known if known and known[0] == commit else (commit, _numbers(chunk, payload))
        return Tombstones(chunks)


def change(
    transaction: Transaction,
    table: int,
    prefix: bytes,
    commit: int,
    *,
    add: U64 | None = None,
    remove: U64 | None = None,
) -> None:
    """Add or remove sequence numbers within a write transaction; empty chunks vanish."""
    for numbers, is_added in ((add, True), (remove, False)):
        if numbers is None or len(numbers) == 0:
            continue
        ordered = np.sort(numbers)
        chunks, starts = np.unique(ordered >> np.uint64(_SHIFT), return_index=True)
        for chunk, members in zip(chunks.tolist(), np.split(ordered, starts[1:]), strict=True):
            key = sequence_key(prefix, chunk)
            payload = transaction.get(table, key)
            bitmap = pyroaring.BitMap() if payload is None else _bitmap(payload)
            low = pyroaring.BitMap((members & _LOW).astype(np.uint32))
            bitmap = bitmap | low if is_added else bitmap - low
            if bitmap:
                transaction.put(table, key, _COMMIT.pack(commit) + bitmap.serialize())
            else:
                transaction.delete(table, key)


def _bitmap(payload: bytes) -> pyroaring.BitMap:
    try:
        return pyroaring.BitMap.deserialize(payload[_COMMIT.size :])
    except ValueError as error:
        raise CorruptionError(
            f"catalog.lmdb: a tombstone chunk cannot be read ({error})", field="catalog.lmdb"
        ) from None


def _numbers(chunk: int, payload: bytes) -> U64:
    low = np.array(_bitmap(payload), dtype=np.uint64)
    return low + np.uint64(chunk << _SHIFT)
