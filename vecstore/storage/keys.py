"""Keys of the catalog: collection prefixes, ids and sequence numbers as bytes that sort as their values do."""

from __future__ import annotations

import struct

import numpy as np

from vecstore.types import U64, IdArray

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
#: Flips the sign bit, so that negative int64 sort before positive ones as unsigned bytes.
_SIGN = np.uint64(1 << 63)


def collection_prefix(uid: int) -> bytes:
    """Give the 4 bytes in front of every key of a collection."""
    return _U32.pack(uid)


def sequence_key(prefix: bytes, sequence: int) -> bytes:
    """Give the key of the delta batch (or tombstone chunk) numbered ``sequence``."""
    return prefix + _U64.pack(sequence)


def sequence_of(key: bytes) -> int:
    """Give the number at the end of a key made by :func:`sequence_key`."""
    return int(_U64.unpack(key[-8:])[0])


def id_keys(prefix: bytes, ids: IdArray) -> list[bytes]:
    """Give the key of every id: 8 big-endian bytes for int64, UTF-8 for strings."""
    if ids.dtype == np.int64:
        packed = (ids.view(np.uint64) ^ _SIGN).astype(">u8").tobytes()
        return [prefix + packed[i : i + 8] for i in range(0, len(packed), 8)]
    return [prefix + value.encode() for value in ids.tolist()]


def pack_sequences(sequences: U64) -> list[bytes]:
    """Give 8 little-endian bytes a sequence number, the payload of the id table."""
    packed = sequences.astype("<u8").tobytes()
    return [packed[i : i + 8] for i in range(0, len(packed), 8)]


def unpack_sequence(payload: bytes) -> int:
    """Read back one payload of :func:`pack_sequences`."""
    return int.from_bytes(payload, "little")
