"""A collection that is obviously right: a dict of rows, and numpy over all of them for every search."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from vecstore.api import SCAN_BATCH, CollectionStats, CompressReport
from vecstore.config import CollectionConfig, HnswConfig, with_transform
from vecstore.errors import AlreadyExistsError, FilterError, InvalidArgumentError
from vecstore.filters import Filter, as_filter, columns_of
from vecstore.testing.conditions import passes
from vecstore.types import F32, Hits, Id, Metadata, Metric, Point

_TYPE_NAMES = {bool: "bool", int: "int64", float: "float64", str: "string", dt.datetime: "timestamp"}
_ARROW_TYPES = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "list<string>": pa.list_(pa.string()),
}

#: What the model takes as a filter: as the engine does, or a function of a row's metadata.
Where = str | Filter | Callable[[Mapping[str, Any]], bool] | None


@dataclass(frozen=True, slots=True)
class _Row:
    id: Id
    vector: F32
    metadata: dict[str, Any]


class ModelCollection:
    """The reference for :class:`vecstore.api.Collection`, in memory.

    Every scheme is taken to be exact: ``compress`` changes the settings and no vector. Compare with an engine
    on vectors that the scheme keeps exactly, such as small integers for ``float16``. Not safe for threads.

    Parameters
    ----------
    name : str
        Its name.
    dim : int
        Dimensions of every vector.
    metric : {"cosine", "l2", "ip"}
        See :class:`vecstore.types.Metric`.
    scheme, refine, transform : str or dict
        Kept in the settings, without effect.
    index : HnswConfig or None
        Kept in the settings, without effect.
    """

    def __init__(
        self,
        name: str = "model",
        *,
        dim: int,
        metric: Metric | str = Metric.COSINE,
        scheme: str | dict[str, Any] = "full",
        refine: str | dict[str, Any] | None = None,
        transform: str | None = None,
        index: HnswConfig | None = None,
    ) -> None:
        self.name = name
        self.config = CollectionConfig(
            dim=dim,
            metric=Metric(metric),
            scheme=_scheme(with_transform(scheme, transform)),
            refine=None if refine is None else _scheme(refine),
            index=index,
        )
        # In order of writing: a row that is replaced moves to the end.
        self._rows: dict[Id, _Row] = {}
        self._columns: dict[str, str] = {}
        self._id_type: type | None = None

    # -- writing ----------------------------------------------------------------------------------------------

    def insert(self, ids: Any, vectors: Any, metadata: Metadata | None = None) -> int:
        """Add rows whose ids must be new; give their number."""
        rows, columns = self._checked(ids, vectors, metadata)
        taken = [row.id for row in rows if row.id in self._rows]
        if taken:
            raise AlreadyExistsError(f"ids: {taken} exist already; use upsert to replace them", field="ids")
        return self._put(rows, columns)

    def upsert(self, ids: Any, vectors: Any, metadata: Metadata | None = None) -> int:
        """Add rows, replacing those whose ids exist; give their number."""
        return self._put(*self._checked(ids, vectors, metadata))

    def delete(self, *, ids: Any = None, where: Where = None) -> int:
        """Delete by ids or by filter; give the number of rows that existed."""
        if (ids is None) == (where is None):
            raise InvalidArgumentError("delete: pass exactly one of ids and where", field="ids")
        doomed = [row.id for row in self._matching(where)] if ids is None else set(self._keys(ids)) & set(self._rows)
        for doomed_id in doomed:
            del self._rows[doomed_id]
        return len(doomed)

    def _put(self, rows: list[_Row], columns: dict[str, str]) -> int:
        for row in rows:
            self._rows.pop(row.id, None)
            self._rows[row.id] = row
            self._id_type = type(row.id)
        self._columns = columns
        self._widen()
        return len(rows)

    def _widen(self) -> None:
        """Turn ints into floats in columns of floats, as a store of columns does."""
        floats = [name for name, kind in self._columns.items() if kind == "float64"]
        for row in self._rows.values():
            for name in floats:
                if row.metadata.get(name) is not None:
                    row.metadata[name] = float(row.metadata[name])

    def _checked(self, ids: Any, vectors: Any, metadata: Metadata | None) -> tuple[list[_Row], dict[str, str]]:
        """Give the rows of a write and the columns after it, or refuse it as a whole."""
        keys = self._keys(ids)
        if len(set(keys)) < len(keys):
            raise InvalidArgumentError("ids: one occurs twice in the batch", field="ids")
        matrix = self._matrix(vectors, "vectors")
        values = _rows_of(metadata, len(keys))
        if not len(keys) == len(matrix) == len(values):
            raise InvalidArgumentError(
                f"vectors: {len(matrix)} rows and {len(values)} rows of metadata for {len(keys)} ids", field="vectors"
            )
        columns = _with_types(self._columns, values)
        rows = [_Row(key, vector, dict(row)) for key, vector, row in zip(keys, matrix, values, strict=True)]
        return rows, columns

    # -- reading ----------------------------------------------------------------------------------------------

    def get(self, ids: Any, *, columns: Sequence[str] | None = None, vectors: bool = True) -> list[Point | None]:
        """Give the points of ``ids`` in order, None for ids that do not exist."""
        kept = self._kept(columns)
        rows = [self._rows.get(key) for key in self._keys(ids)]
        return [
            None if row is None else Point(row.id, row.vector.copy() if vectors else None, _select(row, kept))
            for row in rows
        ]

    def count(self, where: Where = None) -> int:
        """Give the number of rows, or of those that match."""
        return len(self._matching(where))

    def scan(
        self,
        *,
        where: Where = None,
        batch_size: int = SCAN_BATCH,
        columns: Sequence[str] | None = None,
        vectors: bool = True,
    ) -> Iterator[pa.RecordBatch]:
        """Go through all rows in order of writing, as of the moment of the call."""
        if batch_size < 1:
            raise InvalidArgumentError(f"batch_size: expected 1 or more, got {batch_size}", field="batch_size")
        rows, kept = self._matching(where), self._kept(columns)
        parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
        return iter([self._batch(part, kept, vectors=vectors) for part in parts])

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        where: Where = None,
        ef: int | None = None,
        recall: float | None = None,  # noqa: ARG002 - always 1
        exact: bool = False,  # noqa: ARG002 - always is
        columns: Sequence[str] | None = None,
    ) -> Hits:
        """Give the k nearest rows of each query; among equals, the one written first."""
        for name, value in (("k", k), ("ef", 1 if ef is None else ef)):
            if value < 1:
                raise InvalidArgumentError(f"{name}: expected 1 or more, got {value}", field=name)
        matrix = self._matrix(np.atleast_2d(np.asarray(queries)), "queries")
        rows, kept = self._matching(where), self._kept(columns)
        count = min(k, len(rows))
        stored = np.array([row.vector for row in rows], np.float32).reshape(len(rows), self.config.dim)
        distances = self._distances(matrix, stored)
        order = np.argsort(distances, axis=1, kind="stable")[:, :count]
        found = [[rows[i] for i in line] for line in order.tolist()]
        hits = Hits(
            self._padded([[row.id for row in line] for line in found], k),
            np.full((len(matrix), k), np.inf, np.float32),
            np.full(len(matrix), count, np.int64),
            self._table([row for line in found for row in line], kept) if kept else None,
        )
        hits.distances[:, :count] = np.take_along_axis(distances, order, 1)
        return hits

    def _distances(self, queries: F32, stored: F32) -> F32:
        """Give float32[q, n], computed in float64."""
        wide, rows = queries.astype(np.float64), stored.astype(np.float64)
        if self.config.metric is Metric.L2:
            exact = ((wide[:, None, :] - rows[None, :, :]) ** 2).sum(axis=2)
        else:
            exact = (1.0 if self.config.metric is Metric.COSINE else 0.0) - wide @ rows.T
        narrow: F32 = exact.astype(np.float32)
        return narrow

    def _padded(self, found: list[list[Id]], k: int) -> Any:
        is_text = self._id_type is str
        padded = np.full((len(found), k), "" if is_text else -1, object if is_text else np.int64)
        for line, ids in zip(padded, found, strict=True):
            line[: len(ids)] = ids
        return padded

    # -- upkeep -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Do nothing: there are no segments."""

    def optimize(self) -> None:
        """Do nothing: there are no segments."""

    def compress(
        self,
        scheme: str | dict[str, Any],
        *,
        refine: str | dict[str, Any] | None = None,
        transform: str | None = None,
        budget: float | int | None = None,  # noqa: ARG002
    ) -> CompressReport:
        """Change the settings, in which a budget has no effect; the rows stay exact."""
        settings = self.config.to_dict() | {
            "scheme": _scheme(with_transform(scheme, transform)),
            "refine": None if refine is None else _scheme(refine),
        }
        self.config = CollectionConfig.from_dict(settings)
        nbytes = len(self._rows) * self.config.dim * 4
        return CompressReport(
            rows=len(self._rows), bytes_before=nbytes, bytes_after=nbytes, relative_error=0.0, seconds=0.0, cosine=1.0
        )

    def stats(self) -> CollectionStats:
        """Give rows, id type and columns; all rows count as delta."""
        id_type = "" if self._id_type is None else "int64" if self._id_type is int else "string"
        return CollectionStats(
            rows=len(self._rows),
            delta_rows=len(self._rows),
            deleted_rows=0,
            segments=[],
            bytes_per_vector={},
            generation=0,
            id_type=id_type,
            columns=dict(self._columns),
        )

    # -- inside -----------------------------------------------------------------------------------------------

    def _keys(self, ids: Iterable[Any]) -> list[Id]:
        keys = _plain_ids(ids)
        if keys and self._id_type not in (None, type(keys[0])):
            raise InvalidArgumentError(f"ids: this collection has {self._id_type} ids", field="ids")
        return keys

    def _matrix(self, values: Any, name: str) -> F32:
        matrix = np.array(values, np.float32)
        if matrix.size == 0:
            matrix = matrix.reshape(0, self.config.dim)
        if matrix.ndim != 2 or matrix.shape[1] != self.config.dim or not np.isfinite(matrix).all():
            raise InvalidArgumentError(
                f"{name}: expected finite [n, {self.config.dim}], got shape {matrix.shape}", field=name
            )
        if self.config.metric is not Metric.COSINE:
            return matrix
        lengths = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
        if (lengths == 0).any():
            raise InvalidArgumentError(f"{name}: a row of zeros has no direction", field=name)
        unit: F32 = (matrix / lengths).astype(np.float32)
        return unit

    def _matching(self, where: Where) -> list[_Row]:
        rows = list(self._rows.values())
        if callable(where):
            return [row for row in rows if where(row.metadata)]
        condition = as_filter(where)
        if condition is None:
            return rows
        unknown = columns_of(condition) - self._columns.keys()
        if unknown:
            raise FilterError(f"where: there is no column {sorted(unknown)[0]!r}", field="where")
        return [row for row in rows if passes(condition, row.metadata)]

    def _kept(self, columns: Sequence[str] | None) -> dict[str, str]:
        if columns is None:
            return self._columns
        unknown = [name for name in columns if name not in self._columns]
        if unknown:
            raise InvalidArgumentError(f"columns: there is no column {unknown[0]!r}", field="columns")
        return {name: self._columns[name] for name in columns}

    def _table(self, rows: list[_Row], columns: dict[str, str]) -> pa.Table:
        return pa.table(
            {name: pa.array([row.metadata.get(name) for row in rows], _ARROW_TYPES[columns[name]]) for name in columns}
        )

    def _batch(self, rows: list[_Row], columns: dict[str, str], *, vectors: bool) -> pa.RecordBatch:
        id_type = pa.int64() if self._id_type is int else pa.string()
        data: dict[str, Any] = {"id": pa.array([row.id for row in rows], id_type)}
        if vectors:
            values = pa.array([value for row in rows for value in row.vector.tolist()], pa.float32())
            data["vector"] = pa.FixedSizeListArray.from_arrays(values, self.config.dim)
        table = self._table(rows, columns)
        return pa.RecordBatch.from_pydict(data | {name: table.column(name).combine_chunks() for name in columns})


def _scheme(scheme: str | dict[str, Any]) -> dict[str, Any]:
    return {"scheme": scheme} if isinstance(scheme, str) else scheme


def _plain_ids(ids: Iterable[Any]) -> list[Id]:
    """Give ids as plain ints or plain strings."""
    keys = [key.item() if isinstance(key, np.generic) else key for key in ids]
    kinds = {type(key) for key in keys}
    if len(kinds) > 1 or not kinds <= {int, str}:
        raise InvalidArgumentError("ids: expected all int or all str", field="ids")
    return keys


def _rows_of(metadata: Metadata | None, count: int) -> list[dict[str, Any]]:
    """Give metadata as one dict a row."""
    if metadata is None:
        return [{} for _ in range(count)]
    if isinstance(metadata, pa.Table | pa.RecordBatch):
        rows: list[dict[str, Any]] = metadata.to_pylist()
        return rows
    if isinstance(metadata, dict):
        if any(len(values) != count for values in metadata.values()):
            raise InvalidArgumentError(f"metadata: expected {count} values in every column", field="metadata")
        return [{name: _plain(values[i]) for name, values in metadata.items()} for i in range(count)]
    return [{name: _plain(value) for name, value in row.items()} for row in metadata]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=value.tzinfo or dt.UTC)
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    return value


def _with_types(columns: dict[str, str], rows: list[dict[str, Any]]) -> dict[str, str]:
    """Give the columns after a batch; refuse values of another type than their column's."""
    merged = dict(columns)
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if row.get(name) is not None]
        if not values:
            continue
        kinds = {"list<string>" if isinstance(value, list) else _TYPE_NAMES.get(type(value), "") for value in values}
        kind = "float64" if kinds == {"int64", "float64"} else min(kinds)
        known = merged.setdefault(name, kind)
        is_mixed = len(kinds) > 1 and kind != "float64"
        if is_mixed or not kind or (known != kind and (known, kind) != ("float64", "int64")):
            raise InvalidArgumentError(
                f"metadata: column {name!r} is {known}, got {', '.join(sorted(kinds))}", field=f"metadata.{name}"
            )
    return merged


def _select(row: _Row, columns: dict[str, str]) -> dict[str, Any]:
    return {name: row.metadata.get(name) for name in columns}
