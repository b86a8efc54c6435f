"""``adapt``: frequent ids have rows of their own, all others share hashed rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import hashing, lookup
from vecstore.kernels.adapt import fill_adapted
from vecstore.kernels.compiling import frozen
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, TableShape
from vecstore.schemes.checks import (
    allowed_bytes,
    check_floor,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.full import plain_scorer
from vecstore.schemes.hash import bucket_means
from vecstore.schemes.indirect import SharedScorer
from vecstore.schemes.layouts import LaidOut, SharedRows
from vecstore.schemes.ranked_bitmap import bitmap_forms, bitmap_nbytes, most_frequent, pack, stored_bitmap
from vecstore.schemes.scorer import CheckedScorer
from vecstore.types import F32, I64, U32, U64, ArrayForm, Metric

__all__ = ["Adapt", "AdaptTable", "adapted_places"]

_SALT_BYTES = 8
#: Share of all ids that get rows of their own where the budget allows it (the default of DeepRec and of the benchmark).
_HOT_SHARE = 0.1


class Adapt(LaidOut, frozen=True, kw_only=True, tag="adapt"):
    """The ``hot`` most frequent ids have a row each; any other id has row ``bucket(mix(id, salt), shared)``.

    Which ids are hot is decided when a table is made and stored as a bitmap, so the table is made anew when the ids'
    popularity has changed. Without counts the first ids are taken as the most frequent ones.

    Attributes
    ----------
    hot : int
        Ids with a row of their own.
    shared : int
        Rows that the other ids share; 0 only where every id is hot.
    version : int
        Version of this config.

    References
    ----------
    AdaptEmb in DeepRec ("adaptive embedding": a frequency split between private and hashed rows), as compared in
    Zhang et al., "Experimental Analysis of Large-scale Learnable Vector Storage Compression", VLDB 2024.
    """

    name: ClassVar[str] = "adapt"
    family: ClassVar[Family] = Family.SHARING
    paper: ClassVar[str] = "Adaptive embedding of DeepRec; Zhang et al., VLDB 2024"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False, fitting=Fitting.CLOSED_FORM, appendable=False, exact=False, graph=False, trained=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()
    stored_rows: ClassVar[str] = "rows"

    hot: int
    shared: int
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the numbers of rows."""
        super().__post_init__()
        if self.hot < 0 or not 0 <= self.shared <= hashing.MAX_BUCKETS or self.hot + self.shared < 1:
            raise InvalidArgumentError(
                f"adapt.hot, adapt.shared: expected at least one row and at most {hashing.MAX_BUCKETS} shared ones, "
                f"got {self.hot} and {self.shared}",
                field="shared",
            )

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Split the rows that fit the budget into private and shared ones; see :meth:`Scheme.plan`.

        Private are a tenth of all ids, at most half of the rows that fit, and only ids that occur at all. ``hot`` or
        ``shared`` may be given; the other then takes what is left.
        """
        given = dict(parameters or {})
        row_bytes = shape.dim * 4
        fixed = bitmap_nbytes(shape.rows) + _SALT_BYTES
        least = given.get("hot", 0) + given.get("shared", int(given.get("hot", 0) < shape.rows))
        allowed = allowed_bytes(shape, budget)
        check_floor(cls.name, allowed, fixed + max(least, 1) * row_bytes)
        fitting = (allowed - fixed) // row_bytes
        if "shared" in given:
            hot = min(fitting - given["shared"], shape.rows)
        elif fitting >= shape.rows:
            hot = shape.rows
        else:
            occurring = shape.rows if frequency is None else int(np.count_nonzero(frequency))
            hot = min(int(_HOT_SHARE * shape.rows), fitting // 2, occurring)
        hot = given.get("hot", hot)
        shared = max(min(fitting, shape.rows) - hot, int(hot < max(shape.rows, 1)))
        return cls.from_dict({"hot": hot, "shared": shared, **given, "scheme": cls.name})

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``rows``, ``words``, ``ranks`` and ``salt``."""
        return {
            "rows": ArrayForm(np.float32, (self.hot + self.shared, shape.dim)),
            **bitmap_forms(shape.rows),
            "salt": ArrayForm(np.uint64, (1,)),
        }

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> AdaptTable:
        """Keep the rows of hot ids; give each bucket the mean of its ids' rows, weighted by ``frequency``.

        That is the least squares fit, and no useful one: rows of unrelated ids have little in common.
        """
        matrix = table_matrix(vectors)
        marked = most_frequent(len(matrix), self.hot, frequency)
        words, ranks = pack(marked)
        salt = hashing.derived_salts(seed, 1)
        places = adapted_places(self, words, ranks, salt, np.arange(len(matrix)))
        rows = np.empty((self.hot + self.shared, matrix.shape[1]), np.float32)
        rows[: self.hot] = matrix[marked]
        counts = None if frequency is None else frequency[~marked]
        rows[self.hot :] = bucket_means(matrix[~marked], places[~marked] - self.hot, self.shared, counts)
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return AdaptTable(self, TableShape(*matrix.shape), frozen(rows), words, ranks, frozen(salt))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> AdaptTable:
        """Make a table of its stored arrays (see :class:`AdaptTable`); see :meth:`Scheme.open`."""
        rows = stored_array(arrays, "rows", np.float32, (self.hot + self.shared, shape.dim))
        return AdaptTable(self, shape, frozen(rows), *self._opened(shape, arrays))

    def layout(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> SharedRows:
        """Give which stored row each row reads; see :meth:`LaidOut.layout`."""
        words, ranks, salt = self._opened(shape, arrays)
        places = partial(adapted_places, self, words, ranks, salt)
        return SharedRows(shape, {"words": words, "ranks": ranks, "salt": salt}, places)

    def _opened(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> tuple[U64, U32, U64]:
        """Give the words and ranks of the hot ids, and the salt."""
        words, ranks = stored_bitmap(arrays, "words", "ranks", shape.rows, self.hot)
        return words, ranks, frozen(stored_array(arrays, "salt", np.uint64, (1,)))


@dataclass(frozen=True, slots=True)
class AdaptTable(ArrayTable):
    """Private rows, then shared rows, and who has which.

    Attributes
    ----------
    rows : float32[hot + shared, dim]
        The rows of hot ids in the order of the ids, then the shared rows.
    words : uint64[ceil(n / 64)]
        Bitmap of the hot ids.
    ranks : uint32[ceil(n / 512)]
        Hot ids before each block of 512.
    salt : uint64[1]
    """

    refusal: ClassVar[str] = "ids share rows; train or fit a new table"

    scheme: Adapt
    shape: TableShape
    rows: F32
    words: U64
    ranks: U32
    salt: U64

    def places(self, rows: I64) -> I64:
        """Give the place int64[n] of ``rows`` int64[n] in the stored rows."""
        return adapted_places(self.scheme, self.words, self.ranks, self.salt, rows)

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        lookup.take(self.rows, frozen(self.places(rows)), out)

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once; each stored row is scored once."""
        given = queries_matrix(queries, self.shape.dim)
        scorer = SharedScorer(plain_scorer(self.rows, given, metric), len(self.rows), len(given), self.places)
        return CheckedScorer(scorer, self.shape.rows, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``rows``, ``words``, ``ranks`` and ``salt``."""
        return {"rows": self.rows, "words": self.words, "ranks": self.ranks, "salt": self.salt}


def adapted_places(scheme: Adapt, words: U64, ranks: U32, salt: U64, rows: I64) -> I64:
    """Give the place int64[n] of ``rows`` int64[n] among the ``hot + shared`` stored rows."""
    out = np.empty(len(rows), np.int64)
    fill_adapted(words, ranks, scheme.hot, scheme.shared, salt[0], frozen(rows), out)
    return out
