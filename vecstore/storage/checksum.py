"""Checksums of everything stored: framed values in LMDB, whole files and their blocks.

LMDB has no content checksums (a flipped byte comes back as data), so every value is framed with a version,
its length and xxh3-64 over table, key and payload: a value that was damaged, cut, or stored under another
key or in another table does not pass.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xxhash

from vecstore.errors import CorruptionError
from vecstore.types import U64

_FRAME = struct.Struct("<BxxxIQ")
_FRAME_VERSION = 1
#: Bytes in front of every framed payload.
FRAME_BYTES = _FRAME.size
#: Bytes covered by one block checksum of a segment file.
BLOCK_BYTES = 1 << 18


def frame(table: int, key: bytes, payload: bytes) -> bytes:
    """Give ``payload`` with its header in front, bound to ``table`` and ``key``."""
    return _FRAME.pack(_FRAME_VERSION, len(payload), _digest(table, key, payload)) + payload


def frame_many(table: int, items: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Frame small (key, payload) pairs; the tight loop behind every id that is written."""
    pack, digest, version = _FRAME.pack, xxhash.xxh3_64_intdigest, _FRAME_VERSION
    return [(key, pack(version, len(payload), digest(key + payload, table)) + payload) for key, payload in items]


def unframe(table: int, key: bytes, value: bytes) -> bytes:
    """Give the payload of a framed value.

    Raises
    ------
    CorruptionError
        Too short, of another length than stated, of an unknown version, or with a wrong checksum.
    """
    if len(value) >= FRAME_BYTES:
        version, length, digest = _FRAME.unpack_from(value)
        payload = value[FRAME_BYTES:]
        if version == _FRAME_VERSION and length == len(payload) and digest == _digest(table, key, payload):
            return payload
    raise CorruptionError(
        f"catalog.lmdb: table {table}, key {key.hex()}: the value ({len(value)} bytes) does not match its checksum; "
        "run `vecstore verify` and restore from a copy",
        field="catalog.lmdb",
    )


def _digest(table: int, key: bytes, payload: bytes) -> int:
    if len(payload) < 4096:
        return xxhash.xxh3_64_intdigest(key + payload, table)
    state = xxhash.xxh3_64(key, table)
    state.update(payload)
    return state.intdigest()


def digest_bytes(data: bytes) -> str:
    """Give the xxh3-128 of ``data`` as 32 hex digits."""
    return xxhash.xxh3_128_hexdigest(data)


def block_digests(path: Path) -> U64:
    """Give xxh3-64 of every :data:`BLOCK_BYTES` of a file, uint64[blocks] (the last block may be short)."""
    digests = []
    with path.open("rb", buffering=0) as file:
        while block := file.read(BLOCK_BYTES):
            digests.append(xxhash.xxh3_64_intdigest(block))
    return np.array(digests, np.uint64)


def block_digest(block: bytes) -> int:
    """Give xxh3-64 of one block."""
    return xxhash.xxh3_64_intdigest(block)
