"""A segment on disk: its folder of Arrow files, and ``segment.json`` that describes and seals them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vecstore.config import Config, decode_json, encode_json
from vecstore.errors import CorruptionError, FormatError, InvalidArgumentError
from vecstore.storage.array_files import ArrayFile, MappedFile, write_arrays
from vecstore.storage.atomic import published, write_file
from vecstore.storage.checksum import block_digests, digest_bytes
from vecstore.storage.delta import ids_to_arrow
from vecstore.types import U64, IdArray, Metric

DESCRIPTION = "segment.json"
ROWS = "rows.arrow"
CODES = "codes.arrow"
REFINE = "refine.arrow"
GRAPH = "graph.arrow"
CHECKSUMS = "checksums.arrow"
#: Column of sequence numbers in ``rows.arrow``; absent where they are consecutive.
SEQUENCE_COLUMN = "_sequence"


class FileEntry(Config, frozen=True, kw_only=True):
    """One file of a segment.

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


class Description(Config, frozen=True, kw_only=True):
    """What ``segment.json`` says.

    Attributes
    ----------
    rows, dim : int
        Shape of the table.
    metric : Metric
        Metric of the graph.
    first, last : int
        First and last sequence number.
    scheme, refine : dict or None
        Configs of the codes and of the finer copy.
    graph : dict or None
        Settings the graph was built with.
    files : dict of str to FileEntry
        By file name.
    bytes : dict of str to int
        Bytes by part: ``codes``, ``refine``, ``graph``, ``ids``, ``metadata``, ``overhead``; they add up to
        the size of the folder's files except this description.
    golden : dict of str to Golden
        For ``codes`` and ``refine``.
    """

    format: Literal[1] = 1
    segment: str
    rows: int
    dim: int
    metric: Metric
    first: int
    last: int
    scheme: dict[str, Any]
    refine: dict[str, Any] | None = None
    graph: dict[str, Any] | None = None
    files: dict[str, FileEntry]
    bytes: dict[str, int]
    golden: dict[str, Golden]


@dataclass(frozen=True, slots=True)
class StoredTable:
    """A compressed table ready to be written: scheme config, arrays, and golden look-ups."""

    scheme: dict[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    golden: Golden


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """Everything that goes into a new segment; all parts have the same rows in the same order.

    Attributes
    ----------
    sequences : uint64[n]
        Ascending.
    ids : int64[n] or object[n]
        User ids.
    metadata : pyarrow.Table
        n rows.
    """

    name: str
    dim: int
    metric: Metric
    sequences: U64
    ids: IdArray
    metadata: pa.Table
    codes: StoredTable
    refine: StoredTable | None = None
    graph: Mapping[str, NDArray[Any]] | None = None
    graph_config: dict[str, Any] | None = None


def write_segment(folder: Path, content: SegmentContent) -> str:
    """Write and publish a segment folder; give the digest of its description.

    Raises
    ------
    StorageFull
        The disk ran full; nothing of the folder is left.
    """
    with published(folder) as temporary:
        files = _FileSet(temporary)
        row_bytes = files.add_rows(content)
        parts = dict.fromkeys(("codes", "refine", "graph"), 0) | row_bytes
        golden = {"codes": content.codes.golden}
        parts["codes"] = files.add_arrays(CODES, content.codes.arrays)
        if content.refine is not None:
            parts["refine"] = files.add_arrays(REFINE, content.refine.arrays)
            golden["refine"] = content.refine.golden
        if content.graph is not None:
            parts["graph"] = files.add_arrays(GRAPH, content.graph)
        files.add_checksums()
        parts["overhead"] = sum(entry.bytes for entry in files.entries.values()) - sum(parts.values())
        description = Description(
            segment=content.name,
            rows=len(content.ids),
            dim=content.dim,
            metric=content.metric,
            first=int(content.sequences[0]),
            last=int(content.sequences[-1]),
            scheme=content.codes.scheme,
            refine=content.refine.scheme if content.refine else None,
            graph=content.graph_config,
            files=files.entries,
            bytes=parts,
            golden=golden,
        )
        data = encode_json(description)
        write_file(temporary / DESCRIPTION, data)
    return digest_bytes(data)


@dataclass(slots=True)
class _FileSet:
    """The files of a segment under construction."""

    folder: Path
    entries: dict[str, FileEntry] = field(default_factory=dict)
    blocks: dict[str, U64] = field(default_factory=dict)

    def add_arrays(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> int:
        """Write a file of arrays; give the bytes of the arrays themselves."""
        offsets = write_arrays(self.folder / name, arrays)
        self._finish(name, offsets)
        return sum(array.nbytes for array in arrays.values())

    def add_rows(self, content: SegmentContent) -> dict[str, int]:
        """Write ``rows.arrow`` as a single record batch, so that columns map as one piece; give bytes by part."""
        ids = ids_to_arrow(content.ids)
        columns: dict[str, Any] = {"id": ids}
        is_consecutive = int(content.sequences[-1] - content.sequences[0]) == len(content.sequences) - 1
        sequence_bytes = 0
        if not is_consecutive:
            columns[SEQUENCE_COLUMN] = pa.array(content.sequences)
            sequence_bytes = content.sequences.nbytes
        metadata = content.metadata.combine_chunks()
        columns.update({name: metadata.column(name) for name in metadata.column_names})
        table = pa.table(columns).combine_chunks()
        with pa.OSFile(str(self.folder / ROWS), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        self._finish(ROWS, {})
        return {"ids": ids.nbytes + sequence_bytes, "metadata": metadata.nbytes}

    def add_checksums(self) -> None:
        """Write the block checksums of all files so far; the file itself is sealed by the description."""
        offsets = write_arrays(self.folder / CHECKSUMS, self.blocks)
        self.entries[CHECKSUMS] = self._entry(CHECKSUMS, offsets, block_digests(self.folder / CHECKSUMS))

    def _finish(self, name: str, offsets: dict[str, int]) -> None:
        self.blocks[name] = block_digests(self.folder / name)
        self.entries[name] = self._entry(name, offsets, self.blocks[name])

    def _entry(self, name: str, offsets: dict[str, int], blocks: U64) -> FileEntry:
        return FileEntry(
            bytes=(self.folder / name).stat().st_size,
            digest=digest_bytes(blocks.astype("<u8").tobytes()),
            arrays=offsets,
        )


class SegmentFiles:
    """The opened files of one segment: nothing is read but the description and the block checksums.

    Parameters
    ----------
    folder : Path
        Folder of the segment.
    digest : str
        Digest of its description, as the manifest has it.

    Raises
    ------
    CorruptionError
        A file is missing, has another length, or the description does not match its digest.
    FormatError
        Written by a newer release.
    FileNotFoundError
        The folder is gone (a reader whose manifest has been replaced).
    """

    def __init__(self, folder: Path, digest: str) -> None:
        data = (folder / DESCRIPTION).read_bytes()
        if digest_bytes(data) != digest:
            raise CorruptionError(
                f"{folder / DESCRIPTION}: does not match its checksum; restore the store from a copy", field=DESCRIPTION
            )
        self.folder = folder
        self.description = _parse(folder, data)
        self._files: dict[str, MappedFile] = {}
        checksums = self.description.files[CHECKSUMS]
        sealed = MappedFile(
            folder / CHECKSUMS, checksums.bytes, self._sealed(CHECKSUMS, block_digests(folder / CHECKSUMS))
        )
        blocks = ArrayFile(sealed, checksums.arrays).arrays
        for name, entry in self.description.files.items():
            if name != CHECKSUMS:
                self._files[name] = MappedFile(folder / name, entry.bytes, self._sealed(name, blocks[name]))

    def _sealed(self, name: str, blocks: U64) -> U64:
        """Give ``blocks`` if they are the ones that the description seals."""
        if digest_bytes(blocks.astype("<u8").tobytes()) != self.description.files[name].digest:
            raise CorruptionError(
                f"{self.folder / name}: block checksums do not match the description; restore the store from a copy",
                field=name,
            )
        return blocks

    def arrays(self, name: str) -> ArrayFile:
        """Open the arrays of a file."""
        return ArrayFile(self._files[name], self.description.files[name].arrays)

    def rows(self) -> pa.Table:
        """Open ids, sequence numbers and metadata."""
        return self._files[ROWS].table()

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
        """Open a segment, turning every unreadable state into a CorruptionError but a missing folder."""
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


def _parse(folder: Path, data: bytes) -> Description:
    plain = decode_json(data)
    if isinstance(plain, dict) and plain.get("format", 1) != 1:
        raise FormatError(f"{folder}: segment format {plain['format']}; this release reads format 1", field=DESCRIPTION)
    try:
        return Description.from_dict(plain)
    except InvalidArgumentError as error:
        raise CorruptionError(f"{folder / DESCRIPTION}: {error}", field=DESCRIPTION) from None


def golden_rows(rows: int) -> NDArray[np.int64]:
    """Give the rows whose look-ups are recorded: first, middle and last."""
    return np.unique(np.array([0, rows // 2, rows - 1], np.int64))
