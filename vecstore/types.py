"""Array aliases, the result types, and the one place that checks arrays at the public edge."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    import pyarrow as pa

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I64: TypeAlias = NDArray[np.int64]
I32: TypeAlias = NDArray[np.int32]
I16: TypeAlias = NDArray[np.int16]
I8: TypeAlias = NDArray[np.int8]
U8: TypeAlias = NDArray[np.uint8]
U16: TypeAlias = NDArray[np.uint16]
U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]
Mask: TypeAlias = NDArray[np.bool_]
#: int64[n], or an object array of n ``str``.
IdArray: TypeAlias = NDArray[np.int64] | NDArray[np.object_]
Id: TypeAlias = int | str
#: What users may pass as metadata: columns, rows, or a table.
Metadata: TypeAlias = "dict[str, Sequence[Any]] | Sequence[dict[str, Any]] | pa.Table | pa.RecordBatch"

#: Longest string id in bytes of UTF-8 (LMDB's key limit less our prefix).
MAX_ID_BYTES = 480
#: Largest number of dimensions of a collection.
MAX_DIM = 65_536
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")


class ArrayForm(NamedTuple):
    """Type and shape of an array."""

    dtype: type[np.generic]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of such an array."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Metric(StrEnum):
    """How near two vectors are; smaller distances are nearer.

    ``l2`` is squared Euclidean, ``ip`` is -<q, x>, ``cosine`` is 1 - <q, x> over unit vectors.
    """

    L2 = "l2"
    IP = "ip"
    COSINE = "cosine"


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result: the id, its distance to the query, and its metadata."""

    id: Id
    distance: float
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One stored row: the id, its vector float32[dim] (None if not asked for), and its metadata."""

    id: Id
    vector: F32 | None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hits(Sequence[list[Hit]]):
    """Results of one search call over q queries.

    Attributes
    ----------
    ids : int64[q, k] or object[q, k] of str
        Ids, nearest first. Places past ``counts[i]`` hold -1 or ``""``.
    distances : float32[q, k]
        Distances in the collection's metric, ascending; ``inf`` past ``counts[i]``. A distance beyond float32
        (l2 or ip of values above about 1e18) is ``inf`` or ``-inf`` too: only ``counts`` tells hits from padding.
    counts : int64[q]
        Hits per query: less than k only when fewer rows match.
    metadata : pyarrow.Table or None
        The columns asked for, one row per hit, query after query (``counts.sum()`` rows).
    """

    ids: IdArray
    distances: F32
    counts: I64
    metadata: pa.Table | None = None

    def __len__(self) -> int:
        """Give the number of queries."""
        return len(self.counts)

    @overload
    def __getitem__(self, query: int) -> list[Hit]: ...

    @overload
    def __getitem__(self, query: slice) -> Hits: ...

    def __getitem__(self, query: int | slice) -> list[Hit] | Hits:
        """Give the hits of one query, nearest first; a slice gives the results of those queries."""
        if isinstance(query, slice):
            return self._part(query)
        if not -len(self) <= query < len(self):
            raise IndexError(f"query {query} of {len(self)}")
        query %= len(self)
        count = int(self.counts[query])
        rows: list[dict[str, Any]] = [{} for _ in range(count)]
        if self.metadata is not None:
            start = int(self.counts[:query].sum())
            rows = self.metadata.slice(start, count).to_pylist()
        ids = self.ids[query, :count].tolist()
        distances = self.distances[query, :count].tolist()
        return [Hit(i, d, m) for i, d, m in zip(ids, distances, rows, strict=True)]

    def _part(self, queries: slice) -> Hits:
        metadata = None
        if self.metadata is not None:
            ends = np.cumsum(self.counts)
            spans = zip((ends - self.counts)[queries].tolist(), ends[queries].tolist(), strict=True)
            rows = [np.arange(start, end) for start, end in spans]
            metadata = self.metadata.take(np.concatenate(rows) if rows else np.empty(0, np.int64))
        return Hits(self.ids[queries], self.distances[queries], self.counts[queries], metadata)

    def __iter__(self) -> Iterator[list[Hit]]:
        """Go through the queries in order."""
        return (self[i] for i in range(len(self)))

    def to_arrow(self) -> pa.Table:
        """Give one Arrow table: ``query`` (int64), ``id``, ``distance`` (float32) and the metadata columns."""
        import pyarrow as pa

        inside = np.arange(self.ids.shape[1])[None, :] < self.counts[:, None]
        ids = self.ids[inside]
        columns = {
            "query": np.repeat(np.arange(len(self), dtype=np.int64), self.counts),
            "id": pa.array(ids) if ids.dtype == np.int64 else pa.array(ids.tolist(), pa.string()),
            "distance": self.distances[inside],
        }
        if self.metadata is not None:
            columns.update(zip(self.metadata.column_names, self.metadata.columns, strict=True))
        return pa.table(columns)


def as_matrix(vectors: Any, *, dim: int, name: str = "vectors") -> F32:
    """Give ``vectors`` as a C-contiguous float32[n, dim], or say what is wrong with them.

    Parameters
    ----------
    vectors : array_like
        [n, dim] of float16, float32, float64 or integers; nested lists are accepted.
    dim : int
        The expected number of columns.
    name : str
        How the argument is called in messages.

    Raises
    ------
    InvalidArgumentError
        Not numeric, not two-dimensional, another dim, or NaN or infinite values (also those that
        overflow float32).
    """
    array = _as_array(vectors, dim, name)
    if array.dtype == object or array.dtype.kind not in "fiu":
        raise InvalidArgumentError(
            f"{name}: expected numbers, got dtype {array.dtype}; pass float32[n, {dim}]", field=name
        )
    if array.shape == (0,) or (array.ndim == 2 and array.shape[0] == 0):
        return np.empty((0, dim), np.float32)
    if array.ndim != 2:
        raise InvalidArgumentError(
            f"{name}: expected two dimensions [n, {dim}], got shape {list(array.shape)}", field=name
        )
    if array.shape[1] != dim:
        raise InvalidArgumentError(f"{name}: expected {dim} dimensions a row, got {array.shape[1]}", field=name)
    matrix = _as_float32(array)
    # A finite sum of squares proves that all values are finite, in one pass; only a doubtful sum needs the slow look.
    flat = matrix.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.dot(flat, flat)
    if not math.isfinite(squares):
        bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
        if len(bad):
            raise InvalidArgumentError(
                f"{name}: row {int(bad[0])} holds NaN, infinity or a value beyond float32 ({len(bad)} such rows)",
                field=name,
            )
    return matrix


def _as_float32(array: NDArray[Any]) -> F32:
    if array.dtype == np.float32:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _as_array(values: Any, dim: int, name: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InvalidArgumentError(
            f"{name}: rows have different lengths ({error}); pass [n, {dim}]", field=name
        ) from None


def as_queries(queries: Any, *, dim: int) -> F32:
    """Give ``queries`` as float32[q, dim]; a single vector [dim] becomes one query.

    Raises
    ------
    InvalidArgumentError
        As :func:`as_matrix`, or when there is no query at all.
    """
    if type(queries) is np.ndarray and queries.dtype == np.float32 and queries.shape in ((dim,), (1, dim)):
        # One query of the usual form: the checks below, which take as long as a search, would find it finite only.
        matrix = np.ascontiguousarray(queries.reshape(1, dim))
        flat = matrix[0]
        # Unlike other products, this one says nothing of an overflow.
        if math.isfinite(np.vdot(flat, flat)):
            return matrix
    array = _as_array(queries, dim, "queries")
    is_flat = array.ndim == 1 and array.size > 0
    matrix = as_matrix(array[np.newaxis] if is_flat else array, dim=dim, name="queries")
    if len(matrix) == 0:
        raise InvalidArgumentError("queries: none given; pass one vector or [q, dim]", field="queries")
    return matrix


def as_metric(metric: Any) -> Metric:
    """Give a metric from its name.

    Raises
    ------
    InvalidArgumentError
        There is none of that name.
    """
    try:
        return Metric(metric)
    except ValueError:
        raise InvalidArgumentError(
            f"metric: {metric!r} is not one of {', '.join(Metric)}; pass one of these", field="metric"
        ) from None


def as_name(name: Any) -> str:
    """Give the name of a collection or table.

    Raises
    ------
    InvalidArgumentError
        It cannot be one.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidArgumentError(
            f"name: {name!r} cannot be used: 1 to 128 letters, digits, '_', '-' or '.', not starting with '.'",
            field="name",
        )
    return name


def as_count(value: Any, *, name: str, limit: int) -> int:
    """Give ``value`` as an int from 1 to ``limit``.

    Raises
    ------
    InvalidArgumentError
        Not an integer, or outside.
    """
    if type(value) is int and 1 <= value <= limit:
        return value
    try:
        count = operator.index(value)
    except TypeError:
        count = 0
    if isinstance(value, bool) or not 1 <= count <= limit:
        raise InvalidArgumentError(f"{name}: expected an integer from 1 to {limit}, got {value!r}", field=name)
    return count


def as_recall(value: Any, *, name: str) -> float:
    """Give a share above 0 and at most 1.

    Raises
    ------
    InvalidArgumentError
        Not a number, or outside.
    """
    try:
        share = float("nan") if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        share = float("nan")
    if not 0 < share <= 1:
        raise InvalidArgumentError(f"{name}: expected a number above 0 and at most 1, got {value!r}", field=name)
    return share


def as_ids(ids: Any, *, name: str = "ids") -> IdArray:
    """Give ``ids`` as int64[n] or as an object array of n strings.

    Raises
    ------
    InvalidArgumentError
        Mixed types, floats, integers outside int64, empty or overlong strings, or not one-dimensional.
    """
    if hasattr(ids, "to_pylist"):  # pyarrow arrays
        ids = ids.to_pylist()
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InvalidArgumentError(
            f"{name}: expected a sequence of int64 or str, got the single value {ids!r}; pass [{ids!r}]", field=name
        )
    if not isinstance(ids, np.ndarray):
        return _ids_of(list(ids), name)
    if ids.dtype.kind in "UO" and ids.ndim == 1:
        return _ids_of(ids.tolist(), name)
    return _as_integers(ids, name)


def _ids_of(values: list[Any], name: str) -> IdArray:
    """Give a list of ids as an array, decided on the types of all values: numpy alone would turn some into others."""
    kinds = set(map(type, values))
    if any(issubclass(kind, str) for kind in kinds):
        return _as_strings(values, name)
    if kinds & {bool, np.bool_}:
        raise _mixed_ids(kinds, name)
    if all(issubclass(kind, int | np.integer) for kind in kinds):
        low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        for extreme in (min(values, default=0), max(values, default=0)):
            if not low <= extreme <= high:
                raise InvalidArgumentError(f"{name}: {extreme} does not fit int64", field=name)
        return np.array(values, np.int64)
    try:
        array = np.asarray(values)
    except ValueError:
        raise InvalidArgumentError(f"{name}: expected one dimension, got nested sequences", field=name) from None
    if array.dtype == object and array.ndim == 1:
        raise _mixed_ids(kinds, name)
    return _as_integers(array, name)


def _as_integers(array: NDArray[Any], name: str) -> I64:
    """Give an array of integers as int64[n], or say what is wrong with it."""
    if array.ndim != 1:
        raise InvalidArgumentError(f"{name}: expected one dimension, got shape {list(array.shape)}", field=name)
    if array.size == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{name}: expected all int64 or all str, got {array.dtype}", field=name)
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise InvalidArgumentError(f"{name}: {array.max()} does not fit int64", field=name)
    return np.ascontiguousarray(array, dtype=np.int64)


def _as_strings(values: list[Any], name: str) -> NDArray[np.object_]:
    """Give strings that can be ids as object[n], or say what is wrong with them."""
    kinds = set(map(type, values))
    if not all(issubclass(kind, str) for kind in kinds):
        raise _mixed_ids(kinds, name)
    if kinds != {str}:
        # Subclasses such as numpy's strings; their own text, whatever their str() shows.
        values = [str.__str__(value) for value in values]
    for position, value in enumerate(values):
        problem = _id_problem(value)
        if problem:
            raise InvalidArgumentError(f"{name}: string at position {position} {problem}", field=name)
    strings = np.empty(len(values), object)
    strings[:] = values
    return strings


def _mixed_ids(kinds: set[type], name: str) -> InvalidArgumentError:
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    return InvalidArgumentError(f"{name}: expected all int64 or all str, got {names}", field=name)


def _id_problem(value: str) -> str:
    """Say why a string cannot be an id, or nothing."""
    if not value:
        return "is empty"
    if value.isascii():
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            return "has a lone surrogate, which is no Unicode text"
    return f"is longer than {MAX_ID_BYTES} bytes" if size > MAX_ID_BYTES else ""


def refuse_duplicates(ids: IdArray, *, name: str = "ids") -> None:
    """Raise InvalidArgumentError when an id occurs twice in ``ids``."""
    values = ids.tolist()
    if len(set(values)) == len(values):
        return
    seen: set[Id] = set()
    for position, value in enumerate(values):
        if value in seen:
            raise InvalidArgumentError(
                f"{name}: {value!r} occurs twice in the batch (again at position {position})", field=name
            )
        seen.add(value)
