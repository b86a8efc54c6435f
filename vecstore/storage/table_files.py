"""A table version on disk: the arrays of all parts, and ``table.json`` that describes and seals them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from vecstore.config import encode_json
from vecstore.storage.array_files import ArrayFile
from vecstore.storage.atomic import published, write_file
from vecstore.storage.checksum import digest_bytes
from vecstore.storage.sealed_folder import FileSet, Golden, SealedFolder, Sealing, StoredTable

__all__ = ["ARRAYS", "DESCRIPTION", "TableDescription", "TableFiles", "write_table"]

DESCRIPTION = "table.json"
ARRAYS = "arrays.arrow"


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


class TableFiles(SealedFolder[TableDescription]):
    """The opened files of one table version; see :class:`SealedFolder`."""

    what = "table"
    description_file = DESCRIPTION
    description_type = TableDescription

    def table_arrays(self) -> ArrayFile:
        """Open the arrays of all parts."""
        return self.arrays(ARRAYS)
