"""``fields``: one table over the ids of several fields, made of parts that may be of different schemes.

A field is a categorical feature with ids 0..size-1. Fields lie one behind another: the *row* of an id is the id plus
the sizes of the fields before. A part covers one or more neighbouring fields with one scheme. Every layer of
``vecstore.training`` freezes into such a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from vecstore.config import Config
from vecstore.errors import CorruptionError, InvalidArgumentError, NotFoundError
from vecstore.kernels.lookup import first_outside_columns, put_field
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import (
    Capabilities,
    CompressedTable,
    Family,
    Fitting,
    OpenTable,
    Progress,
    Scheme,
    TableShape,
)
from vecstore.schemes.scorer import CheckedScorer
from vecstore.table_api import OnUnknown
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = ["Field", "Fields", "FieldsTable", "FitPart", "Part", "PartScorer", "check_fields", "starts_of"]

#: Makes the table of a part: called with its scheme, its rows, their counts, and what takes its progress.
FitPart: TypeAlias = Callable[[Scheme, F32, I64 | None, Progress], CompressedTable]

#: Of the buffer from which the rows of several fields are put in their places.
_BUFFER_BYTES = 1 << 17


class Field(Config, frozen=True, kw_only=True):
    """A categorical feature: its name and its number of ids."""

    name: str
    size: int


def check_fields(fields: tuple[Field, ...]) -> None:
    """Check that there are fields, that names are unique, and sizes positive.

    Raises
    ------
    InvalidArgumentError
        One of it is not so.
    """
    names = [field.name for field in fields]
    if not names or len(set(names)) != len(names) or any(field.size < 1 for field in fields):
        raise InvalidArgumentError(
            f"fields: expected unique names and sizes of at least 1, got {[(f.name, f.size) for f in fields]}",
            field="fields",
        )


def starts_of(fields: tuple[Field, ...]) -> I64:
    """Give the first row of each field, and the number of rows, int64[fields + 1]."""
    ends = np.cumsum([field.size for field in fields], dtype=np.int64)
    return np.concatenate([np.zeros(1, np.int64), ends])


class Part(Config, frozen=True, kw_only=True):
    """The scheme (JSON config) of the next ``fields`` fields."""

    scheme: dict[str, Any]
    fields: int = 1


class Fields(Scheme, frozen=True, kw_only=True, tag="fields"):
    """Fields and the parts that hold them.

    Attributes
    ----------
    fields : tuple of Field
        In order.
    parts : tuple of Part
        In order; together they cover all fields.
    version : int
        Version of this config.
    """

    name: ClassVar[str] = "fields"
    family: ClassVar[Family] = Family.BASELINE
    paper: ClassVar[str] = "none: several tables side by side"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False, fitting=Fitting.CODEC, appendable=False, exact=False, graph=False
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    fields: tuple[Field, ...]
    parts: tuple[Part, ...]
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check that names are unique, sizes positive, and parts cover the fields."""
        super().__post_init__()
        check_fields(self.fields)
        count = len(self.fields)
        if sum(part.fields for part in self.parts) != count or any(part.fields < 1 for part in self.parts):
            raise InvalidArgumentError(f"parts: they do not cover the {count} fields exactly", field="parts")

    @property
    def starts(self) -> I64:
        """The first row of each field, and the number of rows, int64[fields + 1]."""
        return starts_of(self.fields)

    @property
    def part_starts(self) -> I64:
        """The first row of each part, and the number of rows, int64[parts + 1]."""
        firsts = np.concatenate([[0], np.cumsum([part.fields for part in self.parts])])
        starts: I64 = self.starts[firsts]
        return starts

    def part_shapes(self, dim: int) -> list[TableShape]:
        """Give the shape of each part's table."""
        return [TableShape(int(rows), dim) for rows in np.diff(self.part_starts)]

    def schemes(self) -> list[Scheme]:
        """Give the scheme of each part."""
        from vecstore.schemes import from_config  # the registry imports this module

        return [from_config(part.scheme) for part in self.parts]

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Refuse: fields are planned by :func:`vecstore.planning.plan_fields`, which knows their names.

        Raises
        ------
        InvalidArgumentError
            Always.
        """
        raise InvalidArgumentError(
            f"scheme 'fields' is planned by plan_fields, not from {shape}, {budget}, {frequency}, {parameters}",
            field="scheme",
        )

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give the arrays of all parts, named ``<part>.<array>``."""
        return {
            f"{number}.{name}": form
            for number, forms in enumerate(self.part_forms(shape.dim))
            for name, form in forms.items()
        }

    def part_forms(self, dim: int) -> list[dict[str, ArrayForm]]:
        """Give the arrays of each part."""
        parts = zip(self.schemes(), self.part_shapes(dim), strict=True)
        return [scheme.array_forms(shape) for scheme, shape in parts]

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> FieldsTable:
        """Fit each part to its rows of ``vectors`` float32[n, dim]."""

        def fit_part(scheme: Scheme, rows: F32, counts: I64 | None, report: Progress) -> CompressedTable:
            return scheme.fit(rows, frequency=counts, seed=seed, on_progress=report)

        return self.fitted_by(fit_part, vectors, frequency, on_progress)

    def fitted_by(
        self, fit_part: FitPart, vectors: F32, frequency: I64 | None = None, on_progress: Progress | None = None
    ) -> FieldsTable:
        """Give the table of parts that ``fit_part`` makes of their rows of ``vectors`` float32[n, dim], one by one."""
        starts = self.part_starts.tolist()
        tables = []
        for scheme, start, stop in zip(self.schemes(), starts[:-1], starts[1:], strict=True):

            def report(done: int, total: int, start: int = start, stop: int = stop) -> None:
                if on_progress is not None:
                    on_progress(start + (stop - start) * done // max(total, 1), starts[-1])

            counts = None if frequency is None else frequency[start:stop]
            tables.append(fit_part(scheme, vectors[start:stop], counts, report))
            report(1, 1)
        return self.holding(tuple(tables))

    def holding(self, tables: tuple[CompressedTable, ...]) -> FieldsTable:
        """Give the table of these parts; fitting or a search may have changed what was planned: the tables know."""
        parts = tuple(
            Part(scheme=table.scheme.to_dict(), fields=part.fields)
            for part, table in zip(self.parts, tables, strict=True)
        )
        return FieldsTable(Fields(fields=self.fields, parts=parts), tables)

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> FieldsTable:
        """Make a table of the stored arrays, named ``<part>.<array>``; see :meth:`Scheme.open`."""
        if int(self.starts[-1]) != shape.rows:
            raise CorruptionError(f"fields: {self.starts[-1]} rows in the fields, {shape.rows} in the table")
        tables = []
        for number, (scheme, part) in enumerate(zip(self.schemes(), self.part_shapes(shape.dim), strict=True)):
            own = {
                name.removeprefix(f"{number}."): array
                for name, array in arrays.items()
                if name.startswith(f"{number}.")
            }
            tables.append(scheme.open(part, own))
        return FieldsTable(self, tuple(tables))


class FieldsTable(ArrayTable):
    """The parts of several fields, addressed by row or by field and id.

    Parameters
    ----------
    scheme : Fields
    parts : tuple of CompressedTable
        In order.
    """

    refusal: ClassVar[str] = "a field has a fixed number of ids"
    scheme: Fields

    def __init__(self, scheme: Fields, parts: tuple[CompressedTable, ...]) -> None:
        self.scheme = scheme
        self.parts = parts
        self.shape = TableShape(int(scheme.starts[-1]), parts[0].shape.dim)
        self._starts = scheme.starts
        self._part_starts = scheme.part_starts
        self._sizes = np.diff(self._starts)
        self._part_of_field = np.repeat(np.arange(len(parts)), [part.fields for part in scheme.parts])
        # The first row of each field within its part.
        self._firsts = self._starts[:-1] - self._part_starts[self._part_of_field]

    @cached_property
    def field_names(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(field.name for field in self.scheme.fields)

    def field(self, name: str) -> tuple[CompressedTable, int, int]:
        """Give the part that holds a field, and the first and one past the last of its rows *in that part*.

        Raises
        ------
        NotFoundError
            There is no such field.
        """
        if name not in self.field_names:
            raise NotFoundError(f"there is no field {name!r}; there are: {', '.join(self.field_names)}", field="field")
        number = self.field_names.index(name)
        part = int(self._part_of_field[number])
        first = int(self._starts[number] - self._part_starts[part])
        return self.parts[part], first, first + self.scheme.fields[number].size

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim], part by part; see :meth:`ArrayTable.take`."""
        if len(self.parts) == 1:
            self.parts[0].lookup(rows, out)
            return
        owners = np.searchsorted(self._part_starts, rows, side="right") - 1
        order = np.argsort(owners, kind="stable")
        bounds = np.searchsorted(owners[order], np.arange(len(self.parts) + 1))
        for part, first, start, stop in zip(
            self.parts, self._part_starts.tolist(), bounds[:-1].tolist(), bounds[1:].tolist(), strict=False
        ):
            if start < stop:
                own = order[start:stop]
                out[own] = part.lookup(rows[own] - first)

    def lookup_fields(self, ids: I64, *, on_unknown: OnUnknown = "error") -> F32:
        """Give float32[n, fields, dim] of ``ids`` int64[n, fields], one column a field, in order.

        ``on_unknown`` is as for :meth:`lookup_field`.

        Raises
        ------
        NotFoundError
            An id outside its field.
        InvalidArgumentError
            Another number of columns, not integers, or ``on_unknown`` is neither.
        """
        count = len(self.scheme.fields)
        given = np.asarray(ids)
        if given.ndim != 2 or given.shape[1] != count or (given.dtype.kind not in "iu" and given.size):
            raise InvalidArgumentError(
                f"ids: expected int64[n, {count}], one column for each of {_listed(self.field_names)}, "
                f"got {given.dtype}{list(given.shape)}",
                field="ids",
            )
        # One column a row, so that each field's ids lie side by side.
        columns = np.ascontiguousarray(given.T, np.int64)
        out = np.empty((*given.shape, self.shape.dim), np.float32)
        if on_unknown == "error" and first_outside_columns(columns, self._sizes) < 0:
            self._fill_fields(columns, out)
            return out
        for number in range(count):
            out[:, number] = self._lookup_ids(number, columns[number], on_unknown)
        return out

    def _fill_fields(self, columns: I64, out: F32) -> None:
        """Write the rows of ids int64[fields, n], all inside their fields, into ``out`` float32[n, fields, dim].

        Parts write rows side by side, so those of one part are looked up into a buffer that stays in cache, a block of
        ids at a time, and are put in their places from there.
        """
        n_ids, dim = len(out), self.shape.dim
        within = columns + self._firsts[:, None]
        if len(self.parts) == 1:
            self.parts[0].lookup(np.ascontiguousarray(within.T).ravel(), out.reshape(-1, dim))
            return
        widest = max(part.fields for part in self.scheme.parts)
        step = max(1, _BUFFER_BYTES // (4 * dim * widest))
        buffer = np.empty((min(step, n_ids) * widest, dim), np.float32)
        for start in range(0, n_ids, step):
            stop = min(start + step, n_ids)
            first = 0
            for table, part in zip(self.parts, self.scheme.parts, strict=True):
                last = first + part.fields
                own = within[first:last, start:stop]
                found = table.lookup(own.ravel(), buffer[: own.size])
                for number in range(part.fields):
                    put_field(found[number * (stop - start) :][: stop - start], out[start:stop], first + number)
                first = last

    def lookup_field(self, name: str, ids: I64, *, on_unknown: OnUnknown = "error") -> F32:
        """Give float32[n, dim] of ``ids`` int64[n] of one field.

        Parameters
        ----------
        name : str
            Of the field.
        ids : int64[n]
        on_unknown : {"error", "hash"}
            What to do about ids past the end of the field: refuse them, or compute their vectors as the scheme does for
            all ids. Schemes without ``capabilities.unseen`` refuse them in any case; negative ids always are.

        Raises
        ------
        NotFoundError
            There is no such field, or an id is outside it.
        InvalidArgumentError
            Not integers, or ``on_unknown`` is neither.
        """
        self.field(name)
        given = np.asarray(ids)
        if given.ndim != 1 or (given.dtype.kind not in "iu" and given.size):
            raise InvalidArgumentError(
                f"ids: expected int64[n] for the field {name!r}, got {given.dtype}{list(given.shape)}", field="ids"
            )
        return self._lookup_ids(self.field_names.index(name), given, on_unknown)

    def _lookup_ids(self, number: int, given: NDArray[Any], on_unknown: OnUnknown) -> F32:
        """Give float32[n, dim] of ids [n], checked for type and shape, of the ``number``-th field."""
        if on_unknown not in get_args(OnUnknown):
            raise InvalidArgumentError(
                f"on_unknown: expected 'error' or 'hash', got {on_unknown!r}", field="on_unknown"
            )
        ids = np.ascontiguousarray(given, np.int64)
        name, size = self.field_names[number], self.scheme.fields[number].size
        part, first, _ = self.field(name)
        if not len(ids) or (ids.min() >= 0 and ids.max() < size):
            return part.lookup(ids + first)
        unseen = part if on_unknown == "hash" and isinstance(part, OpenTable) else None
        unknown = ids >= size
        refused = ids < 0 if unseen is not None else (ids < 0) | unknown
        if unseen is None or refused.any():
            row = int(np.argmax(refused))
            hint = f"; scheme {part.scheme.name!r} hashes no others" if on_unknown == "hash" and unseen is None else ""
            raise NotFoundError(
                f"ids: {given[row]} in row {row} is outside field {name!r}, which has ids 0 to {size - 1}{hint}",
                field="ids",
            )
        own = number - int(np.searchsorted(self._part_of_field, self._part_of_field[number]))
        out = part.lookup(np.where(unknown, 0, ids) + first)
        out[unknown] = unseen.lookup_unseen(own, ids[unknown])
        return out

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        scorers = tuple(part.scorer(queries, metric) for part in self.parts)
        return CheckedScorer(PartScorer(scorers, self._part_starts), self.shape.rows, len(queries))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give the arrays of all parts, named ``<part>.<array>``."""
        return {f"{number}.{name}": a for number, part in enumerate(self.parts) for name, a in part.arrays().items()}


def _listed(names: tuple[str, ...]) -> str:
    """Give names for a message, not more than a few."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


class PartScorer:
    """Distances to the rows of several parts.

    Parameters
    ----------
    scorers : tuple of Scorer
        One a part.
    starts : int64[parts + 1]
        First row of each part, and the number of rows.
    """

    operands = None
    traversal = None

    def __init__(self, scorers: tuple[Scorer, ...], starts: I64) -> None:
        self._scorers = scorers
        self._starts = starts

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        for scorer, first, last in zip(
            self._scorers, self._starts[:-1].tolist(), self._starts[1:].tolist(), strict=True
        ):
            low, high = max(start, first), min(stop, last)
            if low < high:
                own = np.empty((len(out), high - low), np.float32)
                scorer.scan(low - first, high - first, own)
                out[:, low - start : high - start] = own

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(owners).tolist():
            own = np.flatnonzero(owners == number)
            distances = np.empty((len(out), len(own)), np.float32)
            self._scorers[number].gather(rows[own] - self._starts[number], distances)
            out[:, own] = distances

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        out[:] = np.inf
        for number, scorer in enumerate(self._scorers):
            own = (owners == number) & (rows >= 0)
            if own.any():
                distances = np.empty(rows.shape, np.float32)
                scorer.rerank(np.where(own, rows - self._starts[number], -1), distances)
                out[own] = distances[own]
