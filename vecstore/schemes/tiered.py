"""Tables whose rows are in tiers by their length, each tier a table of its own, larger a row where rows are longer.

>>> class MagPq(Tiered, frozen=True, kw_only=True, tag="magpq"): ...
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from vecstore.config import Config
from vecstore.errors import InvalidArgumentError
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import CompressedTable, Progress, Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes, check_floor, queries_matrix, table_matrix
from vecstore.schemes.tier_map import TierMap
from vecstore.schemes.tier_scorer import TierScorer
from vecstore.schemes.transformed import named
from vecstore.types import F32, F64, I64, ArrayForm, Metric

__all__ = ["Tier", "Tiered", "TieredTable"]

#: The most tiers that there may be.
_MOST_TIERS = 8
#: How far the sum of the shares of tiers may be from 1.
_SUM_TOLERANCE = 1e-6
#: By how much a tier is preferred to the one before where both have the same number of rows.
_FIRST = 1e-6
#: What the product of a size and a quotient of sizes may lack of a size.
_ROUNDING = 1e-9
#: Lengths are alike where the mean of the longest tier is less than this multiple of that of the shortest.
_ALIKE = 1.01


class Tier(Config, frozen=True, kw_only=True):
    """A tier: its share of the rows, and how large the form of a row is, such as its codes or dimensions."""

    share: float
    size: int


class Tiered(Scheme, frozen=True, kw_only=True):
    """What schemes with tiers by the length of rows share.

    Rows, sorted by length, are cut into tiers of equal total length: the longer the rows, the fewer they are. A tier
    of n rows gets a size proportional to ``n ** -alpha``, rounded down to one that there is; of such sizes the largest
    that fit the budget are taken. Long rows have the largest errors, and inner products find them most often.

    The lengths of rows are known once there are rows. So a plan is for tiers of equally many, or for a single one where
    that uses more of the budget, and a fit cuts the rows by their lengths and chooses sizes anew, within the bytes of
    the plan. Where lengths are alike, as those of unit vectors are, tiers would cost bytes and be of no use: then all
    rows are in one.

    A subclass names the scheme of the tiers, its setting that is the size, and the sizes that there are.
    """

    row_arrays: ClassVar[tuple[str, ...]] = ()
    #: Not tried: the vectors of most collections are of one length, or as good as that.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    inner_scheme: ClassVar[type[Scheme]]
    sized_by: ClassVar[str]

    tiers: tuple[Tier, ...]
    groups: int = 2
    inner: dict[str, Any] = msgspec.field(default_factory=dict)
    alpha: float = 0.3
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the shares, the exponent, and the settings of the scheme of the tiers."""
        super().__post_init__()
        shares = [tier.share for tier in self.tiers]
        if not 1 <= len(shares) <= _MOST_TIERS or min(shares) < 0 or abs(sum(shares) - 1) > _SUM_TOLERANCE:
            raise InvalidArgumentError(
                f"{self.name}.tiers: expected 1 to {_MOST_TIERS} shares of the rows that add up to 1, got {shares}",
                field="tiers",
            )
        if not 1 <= self.groups <= _MOST_TIERS:
            raise InvalidArgumentError(
                f"{self.name}.groups: expected 1 to {_MOST_TIERS} tiers, got {self.groups}", field="groups"
            )
        if not 0 <= self.alpha <= 1:
            raise InvalidArgumentError(f"{self.name}.alpha: expected 0 to 1, got {self.alpha}", field="alpha")
        self.schemes()

    @classmethod
    @abstractmethod
    def sizes(cls, dim: int) -> list[int]:
        """Give the sizes that there are in ``dim`` dimensions, rising."""

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the largest sizes that fit, for tiers of equally many rows or for one; see :meth:`Scheme.plan`."""
        given = {"tiers": [{"share": 1.0, "size": cls.sizes(shape.dim)[0]}], **(parameters or {}), "scheme": cls.name}
        scheme = cls.from_dict(given)
        allowed = allowed_bytes(shape, budget)
        if parameters and "tiers" in parameters:
            check_floor(cls.name, allowed, scheme.nbytes(shape))
            return scheme
        forms = scheme.forms(shape) | scheme._cut([1 / scheme.groups] * scheme.groups).forms(shape)
        check_floor(cls.name, allowed, min(forms))
        return forms[max(size for size in forms if size <= allowed)]

    def counts(self, rows: int) -> list[int]:
        """Give how many of ``rows`` rows are in each tier, the shortest first."""
        ends = np.rint(np.cumsum([tier.share for tier in self.tiers]) * rows).astype(int).tolist()
        return [end - start for start, end in pairwise([0, *ends[:-1], rows])]

    def schemes(self) -> list[Scheme]:
        """Give the scheme of each tier."""
        return [self._sized(tier.size) for tier in self.tiers]

    def _sized(self, size: int) -> Scheme:
        return self.inner_scheme.from_dict({**self.inner, self.sized_by: size, "scheme": self.inner_scheme.name})

    def forms(self, shape: TableShape) -> dict[int, Self]:
        """Give this scheme with all sizes that the rule allows, by the bytes of a table of ``shape``."""
        counts = self.counts(shape.rows)
        # Among tiers of equally many rows, the one of the longest rows gets the next size first.
        weights = np.maximum(counts, 1) ** -self.alpha * (1 + _FIRST * np.arange(len(counts)))
        weights /= weights.max()
        sizes = self.sizes(shape.dim)
        tables = [TableShape(count, shape.dim) for count in counts]
        costs = [[self._sized(size).nbytes(own) for size in sizes] for own in tables]
        shared = sum(form.nbytes for form in TierMap.forms(counts).values())
        found = {}
        for scale in sorted({size / weight for size in sizes for weight in weights.tolist()}):
            # A size that just fits must not be lost to rounding.
            below = np.searchsorted(sizes, scale * weights * (1 + _ROUNDING), side="right") - 1
            chosen = np.maximum(below, 0).tolist()
            # Few wide rows and what they share may take more than the largest size, which loses less.
            chosen = [place if own[place] < own[-1] else -1 for place, own in zip(chosen, costs, strict=True)]
            nbytes = shared + sum(own[place] for place, own in zip(chosen, costs, strict=True))
            found[nbytes] = [sizes[place] for place in chosen]
        return {nbytes: self._with_sizes(chosen) for nbytes, chosen in found.items()}

    def _cut(self, shares: Sequence[float]) -> Self:
        """Give this scheme with tiers of these shares, all of one size."""
        return replace(self, tiers=tuple(Tier(share=share, size=self.tiers[0].size) for share in shares))

    def _with_sizes(self, sizes: Sequence[int]) -> Self:
        tiers = tuple(Tier(share=tier.share, size=size) for tier, size in zip(self.tiers, sizes, strict=True))
        return replace(self, tiers=tiers)

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give the bitmaps, named ``map.<tier>.<array>``, and the arrays of each tier, named ``<tier>.<array>``."""
        counts = self.counts(shape.rows)
        return TierMap.forms(counts) | {
            f"{tier}.{name}": form
            for tier, (scheme, count) in enumerate(zip(self.schemes(), counts, strict=True))
            for name, form in scheme.array_forms(TableShape(count, shape.dim)).items()
        }

    def check(self, vectors: F32) -> None:
        """Refuse values that the scheme of the tiers cannot hold."""
        self.schemes()[0].check(vectors)

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> TieredTable:
        """Cut the rows of ``vectors`` float32[n, dim] by their lengths, and fit a table to each tier."""
        matrix = table_matrix(vectors)
        shape = TableShape(*matrix.shape)
        lengths = np.sqrt(np.square(matrix, dtype=np.float64).sum(axis=1))
        scheme = self._for_lengths(lengths, shape)
        owners = np.empty(shape.rows, np.int64)
        owners[np.argsort(lengths, kind="stable")] = np.repeat(np.arange(len(scheme.tiers)), scheme.counts(shape.rows))
        tables, done = [], 0
        for tier, own in enumerate(scheme.schemes()):
            rows = np.flatnonzero(owners == tier)

            def report(part: int, total: int, before: int = done, count: int = len(rows)) -> None:
                if on_progress is not None:
                    on_progress(before + count * part // max(total, 1), shape.rows)

            counts = None if frequency is None else frequency[rows]
            tables.append(own.fit(matrix[rows], frequency=counts, seed=seed, on_progress=report))
            done += len(rows)
        return TieredTable(scheme, shape, TierMap.of(owners, len(tables)), tuple(tables))

    def _for_lengths(self, lengths: F64, shape: TableShape) -> Self:
        """Give this scheme with the tiers of rows of these lengths, float64[n], within its bytes."""
        allowed = self.nbytes(shape)
        for ends in (_equal_totals(np.sort(lengths), self.groups), [shape.rows]):
            counts = np.diff(ends, prepend=0).tolist()
            forms = self._cut([count / shape.rows if shape.rows else 1.0 for count in counts]).forms(shape)
            fitting = [size for size in forms if size <= allowed]
            if fitting:
                return forms[max(fitting)]
        # No form is smaller than this, and so none for these lengths.
        return self

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> TieredTable:
        """Make a table of stored arrays; see :meth:`array_forms` for their names, and :meth:`Scheme.open`."""
        counts = self.counts(shape.rows)
        tables = [
            scheme.open(TableShape(count, shape.dim), named(arrays, f"{tier}."))
            for tier, (scheme, count) in enumerate(zip(self.schemes(), counts, strict=True))
        ]
        return TieredTable(self, shape, TierMap.open(counts, arrays), tuple(tables))


def _equal_totals(lengths: F64, n_tiers: int) -> list[int]:
    """Give the end of each tier of rising ``lengths`` float64[n]; a single one where they are alike."""
    totals = np.cumsum(lengths)
    if not len(totals) or totals[-1] == 0:
        return [len(lengths)]
    ends = np.searchsorted(totals, totals[-1] * np.arange(1, n_tiers) / n_tiers, side="right").tolist()
    # Tiers have the same total, so their numbers of rows are as their mean lengths.
    alike = ends and ends[0] <= _ALIKE * (len(lengths) - ends[-1])
    return [len(lengths)] if alike else [*ends, len(lengths)]


class TieredTable(ArrayTable):
    """Tables of all tiers, and which row is where.

    Parameters
    ----------
    scheme : Tiered
    shape : TableShape
    tier_map : TierMap
    parts : tuple of CompressedTable
        One a tier, the shortest rows first.
    """

    refusal: ClassVar[str] = "their lengths may belong to other tiers; fit a new table"
    scheme: Tiered

    def __init__(
        self, scheme: Tiered, shape: TableShape, tier_map: TierMap, parts: tuple[CompressedTable, ...]
    ) -> None:
        self.scheme = scheme
        self.shape = shape
        self.tier_map = tier_map
        self.parts = parts

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim], tier by tier; see :meth:`ArrayTable.take`."""
        owners, within = self.tier_map.locate(rows)
        for tier, part in enumerate(self.parts):
            own = np.flatnonzero(owners == tier)
            if len(own):
                out[own] = part.lookup(within[own])

    def scorer(self, queries: F32, metric: Metric) -> TierScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        given = queries_matrix(queries, self.shape.dim)
        parts = tuple(part.scorer(given, metric) for part in self.parts)
        counts = tuple(part.shape.rows for part in self.parts)
        return TierScorer(self.tier_map, parts, counts, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give the bitmaps and the arrays of each tier; see :meth:`Tiered.array_forms`."""
        own = {f"{tier}.{name}": a for tier, part in enumerate(self.parts) for name, a in part.arrays().items()}
        return self.tier_map.arrays() | own
