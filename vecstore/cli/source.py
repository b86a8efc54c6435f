"""What every import file becomes: rows in batches, with the checks that all formats share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vecstore.errors import InvalidArgumentError
from vecstore.types import F32, MAX_DIM, IdArray

if TYPE_CHECKING:
    import pyarrow as pa

    from vecstore.config import CollectionConfig

#: ids [n], vectors float32[n, dim], metadata of n rows or None.
Batch: TypeAlias = "tuple[IdArray, F32, pa.Table | None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read an import file.

    Attributes
    ----------
    id_column, vector_column : str or None
        Names in the file; None for the usual names of the format.
    skip_columns : frozenset of str
        Columns to leave out.
    batch_size : int
        Rows a batch.
    limit : int or None
        Rows to read at most.
    """

    id_column: str | None = None
    vector_column: str | None = None
    skip_columns: frozenset[str] = frozenset()
    batch_size: int = 1_000
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An opened import file.

    Attributes
    ----------
    rows : int or None
        Rows that ``batches`` will give, where known.
    dim : int
        Dimensions of the vectors.
    batches : iterator of Batch
        The rows, in the file's order; can be gone through once.
    notes : tuple of str
        What the user should know: row numbers used as ids, arrays left out.
    config : CollectionConfig or None
        Settings of the collection that the file was exported from.
    """

    rows: int | None
    dim: int
    batches: Iterator[Batch]
    notes: tuple[str, ...] = ()
    config: CollectionConfig | None = None


def row_number_note(path: Path, name: str) -> str:
    """Say that the rows are numbered because the file has no ids."""
    return f"{path} has no {name!r}: row numbers from 0 are the ids (--id-column names another column)"


def check_dim(path: Path, dim: int) -> int:
    """Give ``dim``, or raise InvalidArgumentError where no collection can have it."""
    if not 1 <= dim <= MAX_DIM:
        raise InvalidArgumentError(f"{path}: vectors of {dim} dimensions; expected 1 to {MAX_DIM}")
    return dim


def finite_matrix(path: Path, array: Any, numbers: Sequence[int], unit: str = "row") -> F32:
    """Give numbers [n, dim] as float32, refusing what is not finite there.

    Parameters
    ----------
    path : Path
        The file, for the message.
    array : array
        [n, dim] of numbers.
    numbers : sequence of int
        What the rows of ``array`` are numbered in the file.
    unit : str
        What is numbered: rows or lines.

    Raises
    ------
    InvalidArgumentError
        NaN, infinity, or a value too large for float32.
    """
    with np.errstate(over="ignore"):
        matrix: F32 = np.ascontiguousarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if len(bad):
        raise InvalidArgumentError(
            f"{path}: {unit} {numbers[int(bad[0])]}: the vector holds NaN, infinity or a value too large for float32; "
            "correct or remove the row"
        )
    return matrix


def check_columns(path: Path, schema: pa.Schema) -> None:
    """Refuse metadata columns that a collection cannot hold, before anything is written.

    Raises
    ------
    InvalidArgumentError
        Names the column and how to leave it out.
    """
    from vecstore.metadata import COLUMN_TYPES, as_metadata

    for field in schema:
        try:
            as_metadata(schema.empty_table().select([field.name]), 0)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{path}: {error}; rename it, or use --skip-column {field.name}") from None
        if not _is_storable(field.type):
            raise InvalidArgumentError(
                f"{path}: column {field.name!r} has type {field.type}, which is not stored (only "
                f"{', '.join(COLUMN_TYPES)} are); convert it, or use --skip-column {field.name}"
            )


def _is_storable(kind: pa.DataType) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    is_list = types.is_list(kind) or types.is_large_list(kind)
    if is_list:
        return bool(types.is_string(kind.value_type) or types.is_large_string(kind.value_type))
    known = (
        types.is_null,
        types.is_boolean,
        types.is_integer,
        types.is_floating,
        types.is_string,
        types.is_large_string,
        types.is_date,
        types.is_timestamp,
    )
    return any(is_kind(kind) for is_kind in known)
