"""``unified``: one table for all fields, which tell their rows apart by salts of their own (feature multiplexing)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import AlreadyExistsError, CorruptionError, InvalidArgumentError
from vecstore.kernels import hashing, lookup
from vecstore.kernels import unified as kernels
from vecstore.kernels.compiling import frozen
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    allowed_bytes,
    check_floor,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.chunks import ChunkScorer
from vecstore.schemes.collisions import FieldCollisions, field_collisions
from vecstore.schemes.fields import Field, check_fields, starts_of
from vecstore.schemes.hash import bucket_means
from vecstore.schemes.scorer import CheckedScorer
from vecstore.types import F32, I64, U64, ArrayForm, Metric

__all__ = ["Unified", "UnifiedTable", "salts_of"]

#: Look-ups an id, the first of these that divides the dimensions.
_LOOKUPS = (2, 3, 4, 5, 1)


class Unified(Scheme, frozen=True, kw_only=True, tag="unified"):
    """Look-up j of an id is row ``bucket(mix(id, salts[field, j]), buckets)`` of one table; the row is their chain.

    A table row has ``width`` numbers, so every id has dim / width look-ups. The model's first layer tells apart fields
    that share rows; it cannot tell apart ids of one field that share all of theirs.

    Attributes
    ----------
    fields : tuple of Field
        In order.
    buckets : int
        Rows that are shared.
    width : int
        Numbers a row; divides the dimensions.
    exempt : tuple of str
        Fields whose ids have rows of their own, which follow the shared ones in the order of the fields.
    version : int
        Version of this config.

    References
    ----------
    Coleman et al., "Unified Embedding: Battle-Tested Feature Representations for Web-Scale ML Systems", NeurIPS 2023,
    section 3 (feature multiplexing), with this project's hash.
    """

    name: ClassVar[str] = "unified"
    family: ClassVar[Family] = Family.HASHING
    paper: ClassVar[str] = (
        "Coleman et al., Unified Embedding: Battle-Tested Feature Representations for Web-Scale ML Systems, "
        "NeurIPS 2023"
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False,
        fitting=Fitting.CLOSED_FORM,
        appendable=False,
        exact=False,
        graph=False,
        joint=True,
        trained=True,
        unseen=True,
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    fields: tuple[Field, ...]
    buckets: int
    width: int
    exempt: tuple[str, ...] = ()
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check fields and sizes."""
        super().__post_init__()
        check_fields(self.fields)
        if not 1 <= self.buckets <= hashing.MAX_BUCKETS:
            raise InvalidArgumentError(
                f"unified.buckets: expected 1 to {hashing.MAX_BUCKETS}, got {self.buckets}", field="buckets"
            )
        if self.width < 1:
            raise InvalidArgumentError(f"unified.width: expected at least 1, got {self.width}", field="width")
        unknown = set(self.exempt) - {field.name for field in self.fields}
        if unknown or len(set(self.exempt)) != len(self.exempt):
            raise InvalidArgumentError(f"unified.exempt: expected names of fields, got {self.exempt}", field="exempt")

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the largest table that fits the budget; see :meth:`Scheme.plan`.

        Parameters that are no settings of the config: ``exempt_below`` (0 by default), the size below which a field is
        exempt. ``fields`` is one field ``"row"`` by default, and ``width`` half of the dimensions (a third, a quarter,
        a fifth or all of them where they are odd).
        """
        allowed = allowed_bytes(shape, budget)
        given: dict[str, Any] = {"fields": [{"name": "row", "size": shape.rows}], **(parameters or {})}
        bound = given.pop("exempt_below", 0)
        if isinstance(bound, bool) or not isinstance(bound, int) or bound < 0:
            raise InvalidArgumentError(f"exempt_below: expected a number of ids, got {bound!r}", field="exempt_below")
        width = shape.dim // next(count for count in _LOOKUPS if shape.dim % count == 0)
        smallest = cls.from_dict({"buckets": 1, "width": width, **given, "scheme": cls.name})
        if bound:
            small = [field.name for field in smallest.fields if field.size < bound]
            smallest = cls.from_dict({**smallest.to_dict(), "exempt": [*dict.fromkeys([*smallest.exempt, *small])]})
        floor = smallest.nbytes(shape)
        check_floor(cls.name, allowed, floor)
        if "buckets" in given:
            return smallest
        hashed = sum(field.size for field in smallest.fields if field.name not in smallest.exempt)
        most = min(max(hashed * smallest.lookups(shape.dim), 1), hashing.MAX_BUCKETS)
        fitting = 1 + (allowed - floor) // (4 * smallest.width)
        return cls.from_dict({**smallest.to_dict(), "buckets": min(fitting, most)})

    def lookups(self, dim: int) -> int:
        """Give the look-ups an id.

        Raises
        ------
        InvalidArgumentError
            Rows of this width do not make up ``dim`` numbers.
        """
        if dim % self.width:
            raise InvalidArgumentError(
                f"unified.width: {self.width} does not divide the {dim} dimensions", field="width"
            )
        return dim // self.width

    def firsts(self, dim: int) -> I64:
        """Give the first own table row of each field, -1 for fields that share, int64[fields]."""
        is_exempt = np.array([field.name in self.exempt for field in self.fields])
        own = np.where(is_exempt, [field.size for field in self.fields], 0) * self.lookups(dim)
        return np.where(is_exempt, self.buckets + np.cumsum(own) - own, -1).astype(np.int64)

    def table_rows(self, dim: int) -> int:
        """Give the rows of the table: shared ones and those of exempt fields."""
        own = sum(field.size for field in self.fields if field.name in self.exempt)
        return self.buckets + own * self.lookups(dim)

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``rows``, ``salts`` and ``key``."""
        return {
            "rows": ArrayForm(np.float32, (self.table_rows(shape.dim), self.width)),
            "salts": ArrayForm(np.uint64, (len(self.fields), self.lookups(shape.dim))),
            "key": ArrayForm(np.uint64, (1,)),
        }

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> UnifiedTable:
        """Give each row the mean of what it stands for (weighted by ``frequency``), which is the least squares fit."""
        matrix = table_matrix(vectors)
        shape = TableShape(*matrix.shape)
        if shape.rows != starts_of(self.fields)[-1]:
            raise InvalidArgumentError(
                f"vectors: expected {starts_of(self.fields)[-1]} rows, one an id, got {shape.rows}", field="vectors"
            )
        count = self.lookups(shape.dim)
        key = hashing.derived_salts(seed, 1)
        salts = salts_of(self, key, count)
        # A table whose rows are still to come knows the places already.
        unfilled = np.empty((self.table_rows(shape.dim), self.width), np.float32)
        places = UnifiedTable(self, shape, unfilled, salts, frozen(key)).places(np.arange(shape.rows))
        repeated = None if frequency is None else np.repeat(frequency, count)
        rows = bucket_means(matrix.reshape(-1, self.width), places.ravel(), len(unfilled), repeated)
        if on_progress is not None:
            on_progress(shape.rows, shape.rows)
        return UnifiedTable(self, shape, frozen(rows), salts, frozen(key))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> UnifiedTable:
        """Make a table of the stored arrays; see :meth:`Scheme.open`.

        They are ``rows`` float32[rows, width], ``salts`` uint64[fields, look-ups] and ``key`` uint64[1].
        """
        if shape.rows != starts_of(self.fields)[-1]:
            raise CorruptionError(
                f"unified: {starts_of(self.fields)[-1]} rows in the fields, {shape.rows} in the table", field="fields"
            )
        count = self.lookups(shape.dim)
        rows = stored_array(arrays, "rows", np.float32, (self.table_rows(shape.dim), self.width))
        salts = stored_array(arrays, "salts", np.uint64, (len(self.fields), count))
        key = stored_array(arrays, "key", np.uint64, (1,))
        return UnifiedTable(self, shape, frozen(rows), frozen(salts), frozen(key))


class UnifiedTable(ArrayTable):
    """The shared table, and the salts that say which rows an id of a field has.

    Parameters
    ----------
    scheme : Unified
    shape : TableShape
    rows : float32[rows, width]
        Shared rows, then those of exempt fields.
    salts : uint64[fields, look-ups]
    key : uint64[1]
        What the salts come from, together with the names of the fields.
    """

    refusal: ClassVar[str] = "ids share rows; add a field (with_field), or train or fit a new table"
    scheme: Unified

    def __init__(self, scheme: Unified, shape: TableShape, rows: F32, salts: U64, key: U64) -> None:
        self.scheme = scheme
        self.shape = shape
        self.rows = rows
        self.salts = salts
        self.key = key
        self._starts = frozen(starts_of(scheme.fields))
        self._firsts = frozen(scheme.firsts(shape.dim))

    def places(self, rows: I64) -> I64:
        """Give the table rows int64[n, look-ups] of ``rows`` int64[n]."""
        out = np.empty((len(rows), self.salts.shape[1]), np.int64)
        kernels.fill_places(frozen(rows), self._starts, self._firsts, self.salts, self.scheme.buckets, out)
        return out

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        lookup.take(self.rows, frozen(self.places(rows).ravel()), out.reshape(-1, self.scheme.width))

    def lookup_unseen(self, field: int, ids: I64) -> F32:
        """Give float32[n, dim] of ``ids`` int64[n] past the end of the ``field``-th field: any id has shared rows.

        That holds for exempt fields too, whose own rows are for the ids that they had.
        """
        places = np.empty((len(ids), self.salts.shape[1]), np.int64)
        kernels.fill_shared(frozen(ids), frozen(self.salts[field]), self.scheme.buckets, places)
        out = np.empty((len(ids), self.shape.dim), np.float32)
        lookup.take(self.rows, frozen(places.ravel()), out.reshape(-1, self.scheme.width))
        return out

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows: chunks are scored in place."""
        given = queries_matrix(queries, self.shape.dim)
        return CheckedScorer(ChunkScorer(self.rows, given, metric, self.places), self.shape.rows, len(given))

    def with_field(self, name: str, size: int) -> UnifiedTable:
        """Give a table that has one more field, behind the others, on the same rows: it costs its salts only.

        Its ids share the rows that are there, so they have vectors at once; training goes on from there. It takes the
        salts that it would have had from the beginning.

        Raises
        ------
        AlreadyExistsError
            There is a field of that name.
        """
        if any(field.name == name for field in self.scheme.fields):
            raise AlreadyExistsError(f"there is a field {name!r} already", field="field")
        fields = [*self.scheme.to_dict()["fields"], {"name": name, "size": size}]
        scheme = Unified.from_dict({**self.scheme.to_dict(), "fields": fields})
        salts = np.concatenate([self.salts, _field_salts(name, self.key, self.salts.shape[1])[None]])
        shape = TableShape(self.shape.rows + size, self.shape.dim)
        return UnifiedTable(scheme, shape, self.rows, frozen(salts), self.key)

    def collisions(self) -> dict[str, FieldCollisions]:
        """Give how much of each field shares its table rows, and with whom; every id counts once."""
        starts = self._starts.tolist()
        places = [self.places(np.arange(start, stop)) for start, stop in pairwise(starts)]
        found = field_collisions(places, len(self.rows))
        return {field.name: one for field, one in zip(self.scheme.fields, found, strict=True)}

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``rows``, ``salts`` and ``key``."""
        return {"rows": self.rows, "salts": self.salts, "key": self.key}


def salts_of(scheme: Unified, key: U64, count: int) -> U64:
    """Give uint64[fields, count], each row of which depends on the name of its field and ``key`` uint64[1] only."""
    return frozen(np.stack([_field_salts(field.name, key, count) for field in scheme.fields]))


def _field_salts(name: str, key: U64, count: int) -> U64:
    """Give uint64[count]: the salts derived from the hash of the UTF-8 name xor the key."""
    return hashing.derived_salts(kernels.name_key(name.encode()) ^ int(key[0]), count)
