"""``hash``: ids share the rows of a smaller table by their hash; the mandatory baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import hashing, lookup
from vecstore.kernels.compiling import frozen
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    allowed_bytes,
    check_floor,
    queries_matrix,
    stored_arrays,
    table_matrix,
)
from vecstore.schemes.full import plain_scorer
from vecstore.schemes.indirect import SharedScorer
from vecstore.schemes.scorer import CheckedScorer
from vecstore.types import F32, I64, U64, ArrayForm, Metric

__all__ = ["Hash", "HashTable", "bucket_means"]

_SALT_BYTES = 8


class Hash(Scheme, frozen=True, kw_only=True, tag="hash"):
    """Row ``id`` is row ``bucket(mix(id, salt), buckets)`` of a table of ``buckets`` float32 rows.

    Attributes
    ----------
    buckets : int
        Rows of the shared table.
    version : int
        Version of this config.

    References
    ----------
    Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", ICML 2009, with this project's hash.
    """

    name: ClassVar[str] = "hash"
    family: ClassVar[Family] = Family.BASELINE
    paper: ClassVar[str] = "Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False,
        fitting=Fitting.CLOSED_FORM,
        appendable=False,
        exact=False,
        graph=False,
        trained=True,
        unseen=True,
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    buckets: int
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the number of buckets."""
        super().__post_init__()
        if not 1 <= self.buckets <= hashing.MAX_BUCKETS:
            raise InvalidArgumentError(
                f"hash.buckets: expected 1 to {hashing.MAX_BUCKETS}, got {self.buckets}", field="buckets"
            )

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the largest table that fits the budget; see :meth:`Scheme.plan`."""
        allowed = allowed_bytes(shape, budget)
        check_floor(cls.name, allowed, shape.dim * 4 + _SALT_BYTES)
        fitting = (allowed - _SALT_BYTES) // (shape.dim * 4)
        largest = {"buckets": min(fitting, max(shape.rows, 1))}
        planned = cls.from_dict({**largest, **(parameters or {}), "scheme": cls.name})
        check_floor(cls.name, allowed, planned.nbytes(shape))
        return planned

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``rows`` and ``salt``."""
        return {"rows": ArrayForm(np.float32, (self.buckets, shape.dim)), "salt": ArrayForm(np.uint64, (1,))}

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> HashTable:
        """Give each bucket the mean of its rows (weighted by ``frequency``), which is the least squares fit."""
        matrix = table_matrix(vectors)
        salt = hashing.derived_salts(seed, 1)
        places = hashing.buckets(np.arange(len(matrix)), int(salt[0]), self.buckets)
        rows = bucket_means(matrix, places, self.buckets, frequency)
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return HashTable(self, TableShape(*matrix.shape), frozen(rows), frozen(salt))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> HashTable:
        """Make a table of the stored ``rows`` float32[buckets, dim] and ``salt`` uint64[1]; see :meth:`Scheme.open`."""
        return HashTable(self, shape, **stored_arrays(arrays, self.array_forms(shape)))


@dataclass(frozen=True, slots=True)
class HashTable(ArrayTable):
    """Shared rows and the salt that says which id has which.

    Attributes
    ----------
    rows : float32[buckets, dim]
    salt : uint64[1]
    """

    refusal: ClassVar[str] = "ids share rows; train or fit a new table"

    scheme: Hash
    shape: TableShape
    rows: F32
    salt: U64

    def places(self, rows: I64) -> I64:
        """Give the bucket int64[n] of ``rows`` int64[n]; any int64 has one."""
        return hashing.buckets(rows, int(self.salt[0]), self.scheme.buckets)

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        lookup.take(self.rows, self.places(rows), out)

    def lookup_unseen(self, field: int, ids: I64) -> F32:  # noqa: ARG002 - one field
        """Give float32[n, dim] of ``ids`` int64[n] past the end of the table: any id has a bucket."""
        out = np.empty((len(ids), self.shape.dim), np.float32)
        lookup.take(self.rows, self.places(ids), out)
        return out

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows: each bucket is scored once."""
        given = queries_matrix(queries, self.shape.dim)
        shared = SharedScorer(plain_scorer(self.rows, given, metric), self.scheme.buckets, len(given), self.places)
        return CheckedScorer(shared, self.shape.rows, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``rows`` and ``salt``."""
        return {"rows": self.rows, "salt": self.salt}


def bucket_means(matrix: F32, places: I64, buckets: int, frequency: I64 | None) -> F32:
    """Give the mean float32[buckets, dim] of the rows in each bucket, weighted by ``frequency``; 0 for empty buckets.

    Parameters
    ----------
    matrix : float32[n, dim]
    places : int64[n]
        The bucket of each row.
    buckets : int
    frequency : int64[n] or None
        A row that never occurs counts only among others that never occur.
    """
    weights = np.ones(len(matrix)) if frequency is None else np.maximum(frequency, 1e-9)
    sums = np.zeros((buckets, matrix.shape[1]))
    np.add.at(sums, places, matrix * weights[:, None])
    totals = np.bincount(places, weights, buckets)
    return (sums / np.maximum(totals, 1e-12)[:, None]).astype(np.float32)
