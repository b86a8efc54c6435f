"""Import numpy archives (.npz, .npy) and .fvecs files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vecstore.cli.source import Batch, ReadOptions, Source, check_columns, check_dim, finite_matrix, row_number_note
from vecstore.errors import FormatError, InvalidArgumentError
from vecstore.types import F32, I32, IdArray, as_ids

if TYPE_CHECKING:
    import pyarrow as pa

#: Names under which the vectors and the ids of an archive are looked for, in this order.
_VECTOR_NAMES = ("vectors", "vector", "base")
_ID_NAMES = ("ids", "id")


def open_npz(path: Path, options: ReadOptions) -> Source:
    """Open an archive of arrays: a matrix of vectors, perhaps ids, and one array a metadata column.

    Raises
    ------
    FormatError
        Not an archive of plain arrays.
    InvalidArgumentError
        No matrix of vectors, or an array that cannot be stored.
    """
    arrays = _load_archive(path)
    name = _vector_name(path, arrays, options.vector_column)
    vectors = _numbers(path, name, arrays.pop(name))
    id_name = options.id_column or next((known for known in _ID_NAMES if known in arrays), None)
    if id_name is not None and id_name not in arrays:
        raise InvalidArgumentError(f"{path}: has no array {id_name!r}; it has: {', '.join(arrays) or 'no other'}")
    ids, notes = _archive_ids(path, id_name, arrays, len(vectors))
    table, others = _archive_columns(path, arrays, len(vectors), options.skip_columns)
    if others:
        notes.append(f"{path}: arrays that are no columns of {len(vectors)} values were left out: {', '.join(others)}")
    return Source(
        rows=len(vectors),
        dim=check_dim(path, vectors.shape[1]),
        batches=_matrix_batches(path, vectors, ids, table, options.batch_size),
        notes=tuple(notes),
    )


def open_fvecs(path: Path, options: ReadOptions) -> Source:
    """Open an .fvecs file: per row the number of dimensions (int32), then as many float32, little-endian.

    Raises
    ------
    FormatError
        The sizes do not fit together.
    """
    vectors = _map_fvecs(path)
    notes = (row_number_note(path, "id"),)
    batches = _matrix_batches(path, vectors, np.arange(len(vectors), dtype=np.int64), None, options.batch_size)
    return Source(rows=len(vectors), dim=check_dim(path, vectors.shape[1]), batches=batches, notes=notes)


def read_matrix(path: Path) -> F32:
    """Read float32[q, dim] from .npy, .npz (its array ``queries``, or the only matrix) or .fvecs.

    Raises
    ------
    InvalidArgumentError
        Another ending, no such matrix, not finite.
    FormatError
        Not a file of that format.
    """
    match path.suffix.lower():
        case ".npy":
            loaded = load_arrays(path)
            if not isinstance(loaded, np.ndarray):
                raise FormatError(f"{path}: is an archive of arrays; rename it to .npz")
            array = _numbers(path, "array", loaded)
        case ".npz":
            arrays = _load_archive(path)
            name = _vector_name(path, arrays, "queries" if "queries" in arrays else None)
            array = _numbers(path, name, arrays[name])
        case ".fvecs":
            array = _map_fvecs(path)
        case _:
            raise InvalidArgumentError(f"{path}: queries are read from .npy, .npz or .fvecs files")
    return finite_matrix(path, array, range(len(array)))


def read_matrices(path: Path, wanted: tuple[str, ...]) -> dict[str, F32]:
    """Read matrices float32[n, dim] of an .npz archive by their names: those ``wanted``, or all that are matrices.

    Raises
    ------
    InvalidArgumentError
        None there, no matrix of that name, not finite.
    FormatError
        Not an archive of plain arrays.
    """
    arrays = _load_archive(path)
    names = wanted or tuple(name for name, array in arrays.items() if array.ndim == 2 and array.dtype.kind in "fiu")
    if not names:
        raise InvalidArgumentError(f"{path}: has no matrix; it has: {', '.join(arrays) or 'no arrays'}")
    matrices = {name: _numbers(path, name, arrays[_vector_name(path, arrays, name)]) for name in names}
    return {name: finite_matrix(path, array, range(len(array))) for name, array in matrices.items()}


def load_arrays(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """Load the array of an .npy file or the arrays of an .npz archive, never unpickling.

    Raises
    ------
    FormatError
        Not such a file, or arrays of Python objects.
    """
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise FormatError(
            f"{path}: cannot be read as plain numpy arrays ({error}); arrays of Python objects are not supported, "
            "save strings as '<U'"
        ) from None


def _load_archive(path: Path) -> dict[str, NDArray[Any]]:
    arrays = load_arrays(path)
    if isinstance(arrays, np.ndarray):
        raise FormatError(
            f"{path}: holds one plain array, not an .npz archive; save it with numpy.savez(file, vectors=…)"
        )
    return arrays


def _vector_name(path: Path, arrays: dict[str, NDArray[Any]], wanted: str | None) -> str:
    """Find the matrix: the asked name, a usual one, or the only one."""
    if wanted is not None:
        if wanted not in arrays:
            raise InvalidArgumentError(f"{path}: has no array {wanted!r}; it has: {', '.join(arrays) or 'none'}")
        return wanted
    matrices = [name for name, array in arrays.items() if array.ndim == 2]
    usual = [name for name in _VECTOR_NAMES if name in matrices]
    if not usual and len(matrices) != 1:
        raise InvalidArgumentError(
            f"{path}: cannot tell which array holds the vectors (matrices: {', '.join(matrices) or 'none'}); "
            "name it with --vector-column"
        )
    return usual[0] if usual else matrices[0]


def _numbers(path: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InvalidArgumentError(
            f"{path}: {name!r} is {array.dtype} of shape {list(array.shape)}; expected numbers [rows, dim]"
        )
    return array


def _archive_ids(path: Path, name: str | None, arrays: dict[str, NDArray[Any]], rows: int) -> tuple[IdArray, list[str]]:
    """Take the ids out of ``arrays``; number the rows where there are none, and say so."""
    if name is None:
        return np.arange(rows, dtype=np.int64), [row_number_note(path, _ID_NAMES[0])]
    try:
        ids = as_ids(arrays.pop(name), name=name)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: {error}") from None
    if len(ids) != rows:
        raise InvalidArgumentError(f"{path}: {name!r} has {len(ids)} values for {rows} vectors")
    return ids, []


def _archive_columns(
    path: Path, arrays: dict[str, NDArray[Any]], rows: int, skipped: frozenset[str]
) -> tuple[pa.Table | None, list[str]]:
    """Give the metadata columns as a table, and the names of the arrays that are none."""
    import pyarrow as pa

    columns, others = {}, []
    for name, array in arrays.items():
        if name in skipped:
            continue
        if array.shape != (rows,):
            others.append(name)
            continue
        try:
            columns[name] = pa.array(array.tolist() if array.dtype.kind == "U" else array)
        except pa.ArrowException as error:
            raise InvalidArgumentError(
                f"{path}: array {name!r} of {array.dtype} cannot be stored ({error}); use --skip-column {name}"
            ) from None
    if not columns:
        return None, others
    table = pa.table(columns)
    check_columns(path, table.schema)
    return table, others


def _map_fvecs(path: Path) -> NDArray[np.float32]:
    """Map the file and give its vectors, a view [n, dim] without copies."""
    size = path.stat().st_size
    if size < 8:
        raise FormatError(f"{path}: {size} bytes are too few for a row of an .fvecs file")
    words: I32 = np.memmap(path, "<i4", mode="r", shape=(size // 4,))
    dim = check_dim(path, int(words[0]))
    if size % (4 * (dim + 1)):
        raise FormatError(
            f"{path}: {size} bytes are not whole rows of {dim} dimensions ({4 * (dim + 1)} bytes each); "
            "the file is cut off or of another format"
        )
    table = words.reshape(-1, dim + 1)
    wrong = np.flatnonzero(table[:, 0] != dim)
    if len(wrong):
        row = int(wrong[0])
        raise FormatError(f"{path}: row {row} says {int(table[row, 0])} dimensions, row 0 says {dim}; all must agree")
    vectors: NDArray[np.float32] = table[:, 1:].view("<f4")
    return vectors


def _matrix_batches(
    path: Path, vectors: NDArray[Any], ids: IdArray, table: pa.Table | None, batch_size: int
) -> Iterator[Batch]:
    for start in range(0, len(vectors), batch_size):
        part = slice(start, start + batch_size)
        matrix = finite_matrix(path, vectors[part], range(start, len(vectors)))
        yield ids[part], matrix, None if table is None else table.slice(start, batch_size)
