"""Immutable folders of files that one JSON description seals: what a segment and a table version have in common.

The description holds the digest of each file's block checksums, and its own digest is in the catalog: one chain
seals everything down from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecstore.config import Config, decode_json
from vecstore.errors import CorruptionError, FormatError, InvalidArgumentError
from vecstore.storage.array_files import ArrayFile, MappedFile, write_arrays
from vecstore.storage.checksum import block_digests, digest_bytes
from vecstore.types import U64

CHECKSUMS = "checksums.arrow"


class FileEntry(Config, frozen=True, kw_only=True):
    """One file of a folder.

    Attributes
    ----------
    bytes : int
        Length.
    digest : str
        xxh3-128 over its block checksums (uint64, little-endian), which are in ``checksums.arrow``.
    arrays : dict of str to int
        Name -> offset of its tensor message; empty for ``rows.arrow``.
    """

    bytes: int
    digest: str
    arrays: dict[str, int] = msgspec.field(default_factory=dict)


class Golden(Config, frozen=True, kw_only=True):
    """Rows and the digest of their decoded float32 bytes, to notice that code and file disagree."""

    rows: list[int]
    digest: str


class Sealing(Config, frozen=True, kw_only=True):
    """What every description says: the files of the folder, by name."""

    files: dict[str, FileEntry]


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A compressed table ready to be written: scheme config, arrays, and golden look-ups."""

    scheme: dict[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    golden: Golden


@dataclass(slots=True)
class FileSet:
    """The files of a folder under construction."""

    folder: Path
    entries: dict[str, FileEntry] = field(default_factory=dict)
    blocks: dict[str, U64] = field(default_factory=dict)

    def add_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> int:
        """Write a file of arrays; give the bytes of the arrays themselves."""
        self.add_written(name, write_arrays(self.folder / name, arrays))
        return sum(array.nbytes for array in arrays.values())

    def add_written(self, name: str, offsets: dict[str, int]) -> None:
        """Take a file that is written already, with the offsets of its arrays."""
        self.blocks[name] = block_digests(self.folder / name)
        self.entries[name] = self._entry(name, offsets, self.blocks[name])

    def add_checksums(self) -> None:
        """Write the block checksums of all files so far; the file itself is sealed by the description."""
        offsets = write_arrays(self.folder / CHECKSUMS, self.blocks)
        self.entries[CHECKSUMS] = self._entry(CHECKSUMS, offsets, block_digests(self.folder / CHECKSUMS))

    def total(self) -> int:
        """Give the bytes of all files so far."""
        return sum(entry.bytes for entry in self.entries.values())

    def _entry(self, name: str, offsets: dict[str, int], blocks: U64) -> FileEntry:
        return FileEntry(bytes=(self.folder / name).stat().st_size, digest=_digest(blocks), arrays=offsets)


_Description = TypeVar("_Description", bound=Sealing)


class SealedFolder(Generic[_Description]):
    """The opened files of one folder: nothing is read but the description and the block checksums.

    Subclasses set ``what`` (for messages), ``description_file`` and ``description_type``.

    Parameters
    ----------
    folder : Path
        The folder.
    digest : str
        Digest of its description, as the catalog has it.

    Raises
    ------
    CorruptionError
        A file is missing, has another length, or the description does not match its digest.
    FormatError
        Written by a newer release.
    FileNotFoundError
        The folder is gone (a reader whose manifest has been replaced).
    """

    what: ClassVar[str]
    description_file: ClassVar[str]
    description_type: type[_Description]

    def __init__(self, folder: Path, digest: str) -> None:
        data = (folder / self.description_file).read_bytes()
        if digest_bytes(data) != digest:
            raise CorruptionError(
                f"{folder / self.description_file}: does not match its checksum; restore the store from a copy",
                field=self.description_file,
            )
        self.folder = folder
        self.description = self._parse(data)
        self.description_bytes = len(data)
        self._files: dict[str, MappedFile] = {}
        checksums = self.description.files[CHECKSUMS]
        sealed = MappedFile(
            folder / CHECKSUMS, checksums.bytes, self._sealed(CHECKSUMS, block_digests(folder / CHECKSUMS))
        )
        blocks = ArrayFile(sealed, checksums.arrays).arrays
        for name, entry in self.description.files.items():
            if name != CHECKSUMS:
                self._files[name] = MappedFile(folder / name, entry.bytes, self._sealed(name, blocks[name]))

    def _parse(self, data: bytes) -> _Description:
        plain = decode_json(data)
        if isinstance(plain, dict) and plain.get("format", 1) != 1:
            raise FormatError(
                f"{self.folder}: {self.what} format {plain['format']}; this release reads format 1",
                field=self.description_file,
            )
        try:
            return self.description_type.from_dict(plain)
        except InvalidArgumentError as error:
            raise CorruptionError(
                f"{self.folder / self.description_file}: {error}", field=self.description_file
            ) from None

    def _sealed(self, name: str, blocks: U64) -> U64:
        """Give ``blocks`` if they are the ones that the description seals."""
        if _digest(blocks) != self.description.files[name].digest:
            raise CorruptionError(
                f"{self.folder / name}: block checksums do not match the description; restore the store from a copy",
                field=name,
            )
        return blocks

    def arrays(self, name: str) -> ArrayFile:
        """Open the arrays of a file."""
        return ArrayFile(self._files[name], self.description.files[name].arrays)

    def check_all(self) -> list[str]:
        """Check every byte of every file; give one line per problem."""
        problems = []
        for file in self._files.values():
            try:
                file.check_all()
            except (CorruptionError, OSError) as error:
                problems.append(str(error))
        return problems

    @classmethod
    def open(cls, folder: Path, digest: str) -> Self:
        """Open a folder, turning every unreadable state into a CorruptionError but a missing folder."""
        try:
            return cls(folder, digest)
        except FileNotFoundError:
            if not folder.exists():
                raise
            raise CorruptionError(
                f"{folder}: files are missing; restore the store from a copy", field=folder.name
            ) from None
        except KeyError as error:
            raise CorruptionError(f"{folder}: {error} is not described", field=folder.name) from None


def _digest(blocks: U64) -> str:
    return digest_bytes(blocks.astype("<u8").tobytes())


def golden_rows(rows: int) -> NDArray[np.int64]:
    """Give the rows whose look-ups are recorded: first, middle and last."""
    return np.unique(np.array([0, rows // 2, rows - 1], np.int64))
