"""Files of named arrays: a sequence of Arrow tensor messages, each body on a 64-byte boundary.

Arrow's table format aligns columns to 8 bytes only, which costs a scan up to a tenth of its speed; tensor
messages are aligned to 64. Any Arrow library reads them (``pyarrow.ipc.read_tensor`` at the offsets listed
in ``segment.json``).
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.errors import CorruptionError
from vecstore.storage.checksum import BLOCK_BYTES, block_digest
from vecstore.types import I64, U64, ArrayForm


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Write arrays one after another; give the offset of each one's message."""
    offsets: dict[str, int] = {}
    with pa.OSFile(str(path), "wb") as sink:
        for name, array in arrays.items():
            padding = -sink.tell() % 64
            sink.write(b"\0" * padding)
            offsets[name] = sink.tell()
            pa.ipc.write_tensor(pa.Tensor.from_numpy(np.ascontiguousarray(array)), sink)
    return offsets


def message_bytes(form: ArrayForm) -> int:
    """Give an upper bound of what an array of a form adds to a file: message, body and padding."""
    # Measured: messages have 192 bytes in front of the body for one axis, and at most 64 more for each further axis.
    framing = 64 * (2 + max(len(form.shape), 1))
    return framing + -(-form.nbytes // 64) * 64


class MappedFile:
    """One immutable file of a segment, memory-mapped, whose bytes are checked before their first use.

    Parameters
    ----------
    path : Path
        The file.
    size : int
        Its length as recorded when it was written.
    blocks : uint64[ceil(size / BLOCK_BYTES)]
        xxh3-64 of each block.

    Raises
    ------
    CorruptionError
        Missing, or of another length.
    """

    def __init__(self, path: Path, size: int, blocks: U64) -> None:
        self.path = path
        self._size = size
        self._blocks = blocks
        self._checked = np.zeros(len(blocks), np.bool_)
        self._lock = threading.Lock()
        actual = path.stat().st_size
        if actual != size or len(blocks) != -(-size // BLOCK_BYTES):
            raise CorruptionError(
                f"{path}: {actual} bytes where {size} were written; restore the store from a copy", field=path.name
            )
        # Held open, because the folder may be unlinked (replaced by a merge) while this process still reads it.
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._buffer = pa.memory_map(str(path)).read_buffer(size) if size else pa.py_buffer(b"")

    def tensor(self, offset: int) -> tuple[NDArray[Any], int]:
        """Give the array whose message is at ``offset``, without copying, and the place of its first byte.

        Raises
        ------
        CorruptionError
            There is no readable tensor.
        """
        self.check(offset, offset + 1)
        try:
            # A reader of its own: threads that open arrays of the same file must not move each other's place.
            reader = pa.BufferReader(self._buffer)
            reader.seek(offset)
            array = pa.ipc.read_tensor(reader).to_numpy()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CorruptionError(f"{self.path}: no array at byte {offset} ({error})", field=self.path.name) from None
        # An array without bytes need not point into the file.
        return array, int(array.ctypes.data - self._buffer.address) if array.nbytes else 0

    def table(self) -> pa.Table:
        """Give the Arrow table in an IPC file, without copying; the whole file is checked first."""
        self.check_all()
        try:
            return pa.ipc.open_file(self._buffer).read_all()
        except (pa.ArrowException, OSError) as error:
            raise CorruptionError(f"{self.path}: not an Arrow file ({error})", field=self.path.name) from None

    def check(self, start: int, stop: int) -> None:
        """Check the blocks that hold bytes start..stop, those not checked before.

        Raises
        ------
        CorruptionError
            A block does not match its checksum.
        """
        self._check_blocks(np.arange(start // BLOCK_BYTES, -(-stop // BLOCK_BYTES)))

    def check_rows(self, rows: I64, first_byte: int, row_bytes: int) -> None:
        """Check the blocks that hold ``rows`` of an array whose first byte is at ``first_byte``."""
        if row_bytes == 0 or len(rows) == 0:
            return
        starts = (first_byte + rows * row_bytes) // BLOCK_BYTES
        stops = (first_byte + (rows + 1) * row_bytes - 1) // BLOCK_BYTES
        widest = int((stops - starts).max())
        touched = [np.minimum(starts + i, stops) for i in range(widest + 1)]
        self._check_blocks(np.unique(np.concatenate(touched)))

    def check_all(self) -> None:
        """Check the whole file, unless that was done before."""
        if not self._checked.all():
            self._check_blocks(np.arange(len(self._blocks)))

    def _check_blocks(self, numbers: NDArray[Any]) -> None:
        missing = numbers[~self._checked[numbers]]
        if len(missing) == 0:
            return
        # Read through a descriptor, not through the map: checking must not make the file resident here.
        with self._lock:
            for number in missing.tolist():
                block = os.pread(self._descriptor, BLOCK_BYTES, number * BLOCK_BYTES)
                if block_digest(block) != int(self._blocks[number]):
                    start = number * BLOCK_BYTES
                    raise CorruptionError(
                        f"{self.path}: bytes {start} to {start + len(block)} do not match their checksum; "
                        "restore the store from a copy",
                        field=self.path.name,
                    )
                self._checked[number] = True


class ArrayFile:
    """The named arrays of one file.

    Parameters
    ----------
    file : MappedFile
        The file.
    offsets : dict of str to int
        Name -> offset of its tensor message.
    """

    def __init__(self, file: MappedFile, offsets: Mapping[str, int]) -> None:
        self._file = file
        self.arrays: dict[str, NDArray[Any]] = {}
        self._first_byte: dict[str, int] = {}
        for name, offset in offsets.items():
            self.arrays[name], self._first_byte[name] = file.tensor(offset)

    def check_all(self) -> None:
        """Check every byte of the file, once a process."""
        self._file.check_all()

    def check_rows(self, rows: I64, row_arrays: tuple[str, ...]) -> None:
        """Check the bytes behind ``rows`` of the row-aligned arrays, and all bytes of the shared ones."""
        for name, array in self.arrays.items():
            first = self._first_byte[name]
            if name in row_arrays and len(array):
                self._file.check_rows(rows, first, array.nbytes // len(array))
            else:
                self._file.check(first, first + array.nbytes)
