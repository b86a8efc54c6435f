"""A table version on disk: the arrays of all parts, and ``table.json`` that describes and seals them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vecstore.config import encode_json
from vecstore.storage.array_files import ArrayFile, message_bytes
from vecstore.storage.atomic import published, write_file
from vecstore.storage.checksum import BLOCK_BYTES, digest_bytes
from vecstore.storage.sealed_folder import CHECKSUMS, FileEntry, FileSet, Golden, SealedFolder, Sealing, StoredTable
from vecstore.types import ArrayForm

__all__ = ["ARRAYS", "DESCRIPTION", "TableDescription", "TableFiles", "frame_bytes", "part_bytes", "write_table"]

DESCRIPTION = "table.json"
ARRAYS = "arrays.arrow"
#: In place of what is not known before a table is written: no digest, folder or number is longer.
_DIGEST, _FOLDER, _LARGEST = "0" * 32, "0" * 36, 10**12 - 1


class TableDescription(Sealing, frozen=True, kw_only=True):
    """What ``table.json`` says.

    Attributes
    ----------
    table : str
        Name of the folder (a UUID).
    rows, dim : int
        Shape of the table: the rows of all fields.
    scheme : dict
        Config of the scheme ``fields``, which holds those of the parts.
    bytes : dict of str to int
        ``arrays`` and ``overhead``; they add up to the size of the folder's files except this description.
    golden : Golden
        Look-ups in every part.
    """

    format: Literal[1] = 1
    table: str
    rows: int
    dim: int
    scheme: dict[str, Any]
    bytes: dict[str, int]
    golden: Golden


def write_table(folder: Path, table: StoredTable, *, rows: int, dim: int) -> str:
    """Write and publish the folder of a table version; give the digest of its description.

    Raises
    ------
    StorageFull
        The disk ran full; nothing of the folder is left.
    """
    with published(folder) as temporary:
        files = FileSet(temporary)
        arrays = files.add_arrays(ARRAYS, table.arrays)
        files.add_checksums()
        description = TableDescription(
            table=folder.name,
            rows=rows,
            dim=dim,
            scheme=table.scheme,
            files=files.entries,
            bytes={"arrays": arrays, "overhead": files.total() - arrays},
            golden=table.golden,
        )
        data = encode_json(description)
        write_file(temporary / DESCRIPTION, data)
    return digest_bytes(data)


def frame_bytes(scheme: dict[str, Any], *, rows: int, dim: int, golden: int, pack: str) -> int:
    """Give an upper bound of the bytes of a version's folder without its parts, which :func:`part_bytes` counts.

    Parameters
    ----------
    scheme : dict
        Config of the scheme ``fields``, without parts.
    rows, dim : int
        Shape of the table.
    golden : int
        How many golden rows there are.
    pack : str
        Name of the array of bytes that small parts share.
    """
    description = TableDescription(
        table=_FOLDER,
        rows=rows,
        dim=dim,
        scheme=scheme,
        files={
            ARRAYS: FileEntry(bytes=_LARGEST, digest=_DIGEST, arrays={pack: 0}),
            CHECKSUMS: FileEntry(bytes=_LARGEST, digest=_DIGEST, arrays={ARRAYS: 0}),
        },
        bytes={"arrays": _LARGEST, "overhead": _LARGEST},
        golden=Golden(rows=[rows] * golden, digest=_DIGEST),
    )
    framing = message_bytes(ArrayForm(np.uint8, (1,))) + message_bytes(ArrayForm(np.uint64, (1,)))
    return len(encode_json(description)) + framing


def part_bytes(part: dict[str, Any], arrays: Mapping[str, ArrayForm], in_pack: int) -> int:
    """Give an upper bound of what a part adds to the bytes of a folder; what several parts add is summed.

    Parameters
    ----------
    part : dict
        Its description in the scheme.
    arrays : mapping of str to ArrayForm
        The arrays that are stored for it alone.
    in_pack : int
        Its bytes in the array that small parts share.
    """
    stored = in_pack + sum(message_bytes(form) for form in arrays.values())
    checksums = -(-stored * 8 // BLOCK_BYTES)
    names = sum(len(encode_json({name: _LARGEST})) for name in arrays)
    return stored + checksums + names + len(encode_json(part)) + 1


class TableFiles(SealedFolder[TableDescription]):
    """The opened files of one table version; see :class:`SealedFolder`."""

    what = "table"
    description_file = DESCRIPTION
    description_type = TableDescription

    def table_arrays(self) -> ArrayFile:
        """Open the arrays of all parts."""
        return self.arrays(ARRAYS)
