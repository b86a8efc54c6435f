"""A segment on disk: its folder of Arrow files, and ``segment.json`` that describes and seals them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from numpy.typing import NDArray

from vecstore.config import encode_json
from vecstore.errors import LimitError
from vecstore.storage.atomic import published, write_file
from vecstore.storage.checksum import digest_bytes
from vecstore.storage.delta import ids_to_arrow
from vecstore.storage.sealed_folder import CHECKSUMS, FileSet, Golden, SealedFolder, Sealing, StoredTable, golden_rows
from vecstore.types import U64, IdArray, Metric

__all__ = [
    "CHECKSUMS",
    "CODES",
    "DESCRIPTION",
    "GRAPH",
    "REFINE",
    "ROWS",
    "SEQUENCE_COLUMN",
    "Description",
    "Golden",
    "SegmentContent",
    "SegmentFiles",
    "StoredTable",
    "golden_rows",
    "write_segment",
]

DESCRIPTION = "segment.json"
ROWS = "rows.arrow"
CODES = "codes.arrow"
REFINE = "refine.arrow"
GRAPH = "graph.arrow"
#: Column of sequence numbers in ``rows.arrow``; absent where they are consecutive.
SEQUENCE_COLUMN = "_sequence"


class Description(Sealing, frozen=True, kw_only=True):
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
    calibration : dict or None
        Recall by effort, as measured on rows held out; None where nothing was measured.
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
    calibration: dict[str, Any] | None = None
    bytes: dict[str, int]
    golden: dict[str, Golden]


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
    calibration: dict[str, Any] | None = None


def write_segment(folder: Path, content: SegmentContent) -> str:
    """Write and publish a segment folder; give the digest of its description.

    Raises
    ------
    StorageFull
        The disk ran full; nothing of the folder is left.
    LimitError
        A column does not fit in one piece; nothing of the folder is left.
    """
    with published(folder) as temporary:
        files = FileSet(temporary)
        row_bytes = _add_rows(files, content)
        parts = dict.fromkeys(("codes", "refine", "graph"), 0) | row_bytes
        golden = {"codes": content.codes.golden}
        parts["codes"] = files.add_arrays(CODES, content.codes.arrays)
        if content.refine is not None:
            parts["refine"] = files.add_arrays(REFINE, content.refine.arrays)
            golden["refine"] = content.refine.golden
        if content.graph is not None:
            parts["graph"] = files.add_arrays(GRAPH, content.graph)
        files.add_checksums()
        parts["overhead"] = files.total() - sum(parts.values())
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
            calibration=content.calibration,
            files=files.entries,
            bytes=parts,
            golden=golden,
        )
        data = encode_json(description)
        write_file(temporary / DESCRIPTION, data)
    return digest_bytes(data)


def _add_rows(files: FileSet, content: SegmentContent) -> dict[str, int]:
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
    table = pa.table(columns)
    _check_one_piece(table)
    with pa.OSFile(str(files.folder / ROWS), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    files.add_written(ROWS, {})
    return {"ids": ids.nbytes + sequence_bytes, "metadata": metadata.nbytes}


def _check_one_piece(table: pa.Table) -> None:
    """Refuse columns that Arrow could not put in one chunk: readers take the first and would miss the rest."""
    for name in table.column_names:
        column = table.column(name)
        if column.num_chunks != 1:
            raise LimitError(
                f"column {name!r}: {column.nbytes} bytes do not fit in one segment, whose columns hold up to 2 GiB of "
                "text each; flush more often (StoreConfig.seal_rows) or keep long texts elsewhere",
                field=name,
            )


class SegmentFiles(SealedFolder[Description]):
    """The opened files of one segment; see :class:`SealedFolder`."""

    what = "segment"
    description_file = DESCRIPTION
    description_type = Description

    def rows(self) -> pa.Table:
        """Open ids, sequence numbers and metadata."""
        return self._files[ROWS].table()
