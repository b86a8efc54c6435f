"""Delta batches: the rows of one write as one Arrow message, which is the payload of one LMDB value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vecstore.errors import CorruptionError
from vecstore.types import F32, IdArray


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one write.

    Attributes
    ----------
    ids : int64[n] or object[n]
        Ids in order.
    vectors : float32[n, dim]
        Vectors as stored (unit rows for cosine).
    metadata : pyarrow.Table
        n rows of stored types; any subset of the collection's columns.
    """

    ids: IdArray
    vectors: F32
    metadata: pa.Table

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self.ids)


def ids_to_arrow(ids: IdArray) -> pa.Array:
    """Give ids as an Arrow array of int64 or string."""
    return pa.array(ids) if ids.dtype == np.int64 else pa.array(ids.tolist(), pa.string())


def ids_from_arrow(array: pa.Array | pa.ChunkedArray) -> IdArray:
    """Give an Arrow array of ids as int64[n] or an object array of strings."""
    if pa.types.is_integer(array.type):
        return np.ascontiguousarray(array.to_numpy(), np.int64)
    strings = np.empty(len(array), object)
    strings[:] = array.to_pylist()
    return strings


def vectors_to_arrow(vectors: F32) -> pa.FixedSizeListArray:
    """Give float32[n, dim] as an Arrow column, without copying."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])


def vectors_from_arrow(column: pa.FixedSizeListArray, dim: int) -> F32:
    """Give an Arrow column of vectors as float32[n, dim], without copying."""
    values = column.flatten().to_numpy(zero_copy_only=True)
    return np.asarray(values, np.float32).reshape(-1, dim)


def pack(batch: Batch) -> bytes:
    """Give the payload of a delta batch: one Arrow IPC stream."""
    table = pa.table(
        {
            "id": ids_to_arrow(batch.ids),
            "vector": vectors_to_arrow(batch.vectors),
            **{name: batch.metadata.column(name) for name in batch.metadata.column_names},
        }
    ).combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def unpack(payload: bytes, dim: int) -> Batch:
    """Read a payload of :func:`pack`; arrays point into ``payload``.

    Raises
    ------
    CorruptionError
        Not an Arrow stream with the expected columns.
    """
    try:
        table = pa.ipc.open_stream(payload).read_all().combine_chunks()
        ids = ids_from_arrow(table.column("id"))
        vectors = vectors_from_arrow(table.column("vector").chunk(0), dim)
    except (pa.ArrowException, KeyError, IndexError, ValueError) as error:
        raise CorruptionError(f"catalog.lmdb: a delta batch cannot be read ({error})", field="catalog.lmdb") from None
    return Batch(ids, vectors, table.drop_columns(["id", "vector"]))
