"""A table on its way to a server: the announcement of its arrays, then their bytes in checked chunks."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError, LimitError, VecstoreError
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import Fields, FieldsTable
from vecstore.types import MAX_DIM, U8
from vecstore.v1 import tables_pb2
from vecstore.wire.records import scheme_from_message, scheme_to_message

#: Bytes of one chunk: what is sent, and the most that is taken.
CHUNK_BYTES = 256 * 1024
MAX_CHUNK_BYTES = 1024 * 1024
#: Types of arrays, by their names on the wire.
_DTYPES = {
    np.dtype(name).name: np.dtype(name).newbyteorder("<")
    for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
}
_MAX_AXES = 8


def upload_messages(name: str, table: FieldsTable, keep: int) -> Iterator[tables_pb2.PutTableRequest]:
    """Give the messages that store a table."""
    arrays = {key: np.ascontiguousarray(array) for key, array in table.arrays().items()}
    yield tables_pb2.PutTableRequest(
        start=tables_pb2.PutTableStart(
            name=name,
            scheme=scheme_to_message(table.scheme.to_dict()),
            dim=table.shape.dim,
            keep=keep,
            arrays=[
                tables_pb2.ArrayInfo(name=key, dtype=array.dtype.name, shape=array.shape)
                for key, array in arrays.items()
            ],
        )
    )
    for array in arrays.values():
        content = _bytes_of(array.astype(array.dtype.newbyteorder("<"), copy=False))
        for start in range(0, len(content), CHUNK_BYTES):
            data = content[start : start + CHUNK_BYTES].tobytes()
            yield tables_pb2.PutTableRequest(chunk=tables_pb2.ArrayChunk(data=data, crc32=zlib.crc32(data)))


class TableUpload:
    """A table on its way in.

    Parameters
    ----------
    start : PutTableStart
        What will come.
    max_bytes : int
        Most bytes of all arrays.

    Raises
    ------
    InvalidArgumentError
        The announcement is not sound.
    LimitError
        It is over ``max_bytes``.
    """

    def __init__(self, start: tables_pb2.PutTableStart, max_bytes: int) -> None:
        scheme = scheme_from_message(start.scheme, field="scheme")
        if isinstance(scheme, str) or scheme.get("scheme") != Fields.name:
            raise InvalidArgumentError("scheme: expected the JSON config of the scheme 'fields'", field="scheme")
        if not 1 <= start.dim <= MAX_DIM:
            raise InvalidArgumentError(f"dim: expected 1 to {MAX_DIM}, got {start.dim}", field="dim")
        self._scheme = Fields.from_dict(scheme)
        self._dim = start.dim
        sizes = [_size_of(info) for info in start.arrays]
        self._total = sum(sizes)
        if self._total > max_bytes:
            raise LimitError(f"arrays: {self._total} bytes in one table, the limit is {max_bytes}", field="arrays")
        # One buffer for all: chunks go on where the last one ended, wherever one array ends and the next begins.
        self._buffers = [np.empty(size, np.uint8) for size in sizes]
        self._arrays = {
            info.name: buffer.view(_DTYPES[info.dtype]).reshape(tuple(info.shape))
            for info, buffer in zip(start.arrays, self._buffers, strict=True)
        }
        if len(self._arrays) != len(start.arrays):
            raise InvalidArgumentError("arrays: a name occurs twice", field="arrays")
        self._received = 0
        self._place = (0, 0)

    def add(self, chunk: tables_pb2.ArrayChunk) -> None:
        """Take the next bytes.

        Raises
        ------
        InvalidArgumentError
            They do not match their checksum, or are more than was announced.
        LimitError
            The chunk is too large.
        """
        data = chunk.data
        if len(data) > MAX_CHUNK_BYTES:
            raise LimitError(f"chunk: {len(data)} bytes, the limit is {MAX_CHUNK_BYTES}", field="chunk")
        if zlib.crc32(data) != chunk.crc32:
            raise InvalidArgumentError(
                f"chunk: the {len(data)} bytes after {self._received} do not match their checksum; send it all again",
                field="chunk",
            )
        if self._received + len(data) > self._total:
            raise InvalidArgumentError(
                f"chunk: {self._received + len(data)} bytes came, {self._total} were announced", field="chunk"
            )
        self._received += len(data)
        content = np.frombuffer(data, np.uint8)
        while len(content):
            number, offset = self._place
            buffer = self._buffers[number]
            part = content[: len(buffer) - offset]
            buffer[offset : offset + len(part)] = part
            content = content[len(part) :]
            is_full = offset + len(part) == len(buffer)
            self._place = (number + 1, 0) if is_full else (number, offset + len(part))

    def finish(self) -> FieldsTable:
        """Give the table.

        Raises
        ------
        InvalidArgumentError
            Bytes are missing, or the arrays do not fit the scheme.
        """
        if self._received != self._total:
            raise InvalidArgumentError(
                f"chunk: {self._received} bytes came, {self._total} were announced; send the table again", field="chunk"
            )
        shape = TableShape(int(self._scheme.starts[-1]), self._dim)
        try:
            table = self._scheme.open(shape, self._arrays)
        except VecstoreError as error:
            raise InvalidArgumentError(f"arrays: they do not fit the scheme: {error}", field="arrays") from None
        if table.nbytes != self._total:
            raise InvalidArgumentError(
                f"arrays: {self._total} bytes came, the scheme has {table.nbytes}", field="arrays"
            )
        return table


def _size_of(info: tables_pb2.ArrayInfo) -> int:
    if info.dtype not in _DTYPES:
        raise InvalidArgumentError(
            f"arrays: {info.name!r} has the dtype {info.dtype!r}; known are {', '.join(_DTYPES)}", field="arrays"
        )
    if len(info.shape) > _MAX_AXES:
        raise InvalidArgumentError(
            f"arrays: {info.name!r} has {len(info.shape)} axes, at most {_MAX_AXES}", field="arrays"
        )
    return math.prod(info.shape) * _DTYPES[info.dtype].itemsize


def _bytes_of(array: NDArray[Any]) -> U8:
    """Give the bytes of a contiguous array, uint8[nbytes], without copying."""
    return array.reshape(-1).view(np.uint8)
