"""``compo``: a row is the product (or sum) of a quotient row and a remainder row (CompoEmb, the Q-R trick)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import compo as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    allowed_bytes,
    check_floor,
    queries_matrix,
    stored_arrays,
    table_matrix,
)
from vecstore.schemes.factored import FactoredScorer
from vecstore.schemes.full import plain_scorer
from vecstore.schemes.indirect import DecodingScorer, SharedScorer
from vecstore.schemes.scorer import CheckedScorer, bias_of
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = ["Compo", "CompoTable"]

#: Alternating least squares steps of ``fit``.
_ROUNDS = 20


class Compo(Scheme, frozen=True, kw_only=True, tag="compo"):
    """Row ``i`` is ``quotient[i // m]`` times (or plus) ``remainder[i % m]``, for m remainders.

    Every id has its own pair, so no two ids are forced to be equal. Ids count as they are, so they must be stable: the
    index of a frozen vocabulary, best ordered by frequency, because neighbours share a quotient but never a remainder.

    Attributes
    ----------
    remainders : int
        m.
    aggregate : {"product", "sum"}
    version : int
        Version of this config.

    References
    ----------
    Shi et al., "Compositional Embeddings Using Complementary Partitions for Memory-Efficient Recommendation Systems",
    KDD 2020, section 3 (quotient-remainder trick) and 4 (operations).
    """

    name: ClassVar[str] = "compo"
    family: ClassVar[Family] = Family.HASHING
    paper: ClassVar[str] = "Shi et al., Compositional Embeddings Using Complementary Partitions, KDD 2020"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False, fitting=Fitting.ALTERNATING, appendable=False, exact=False, graph=False, trained=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    remainders: int
    aggregate: Literal["product", "sum"] = "product"
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the number of remainders."""
        super().__post_init__()
        if self.remainders < 1:
            raise InvalidArgumentError(
                f"compo.remainders: expected at least 1, got {self.remainders}", field="remainders"
            )

    def quotients(self, n_rows: int) -> int:
        """Give the number of quotients of ``n_rows`` rows."""
        return -(-n_rows // self.remainders)

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the most remainders that fit the budget; see :meth:`Scheme.plan`.

        ``m + ceil(n / m)`` rows are stored. That never falls as m grows from about sqrt(n), where it is smallest, so
        every budget above the floor is used to within a row (the other branch, m below sqrt(n), is far coarser).
        """
        allowed = allowed_bytes(shape, budget)
        smallest = _smallest(shape.rows)
        settings = {"remainders": smallest, **(parameters or {}), "scheme": cls.name}
        planned = cls.from_dict(settings)
        check_floor(cls.name, allowed, planned.nbytes(shape))
        if "remainders" in (parameters or {}):
            return planned
        return cls.from_dict({**settings, "remainders": _largest(shape.rows, smallest, allowed // (shape.dim * 4))})

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``quotient`` and ``remainder``."""
        return {
            "quotient": ArrayForm(np.float32, (self.quotients(shape.rows), shape.dim)),
            "remainder": ArrayForm(np.float32, (self.remainders, shape.dim)),
        }

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> CompoTable:
        """Fit both tables to ``vectors`` float32[n, dim] by alternating least squares, weighted by ``frequency``.

        Rows in arbitrary order are hardly products, so most of the matrix is lost: train instead.
        """
        matrix = table_matrix(vectors)
        n_rows, dim = matrix.shape
        grid = (self.quotients(n_rows), self.remainders)
        values, weights = np.zeros((grid[0] * grid[1], dim)), np.zeros((grid[0] * grid[1], 1))
        values[:n_rows] = matrix
        weights[:n_rows, 0] = 1 if frequency is None else np.maximum(frequency, 1e-9)
        solve = _product_factors if self.aggregate == "product" else _sum_factors
        quotient, remainder = solve(values.reshape(*grid, dim), weights.reshape(*grid, 1), seed)
        if on_progress is not None:
            on_progress(n_rows, n_rows)
        return CompoTable(self, TableShape(n_rows, dim), frozen(quotient), frozen(remainder))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> CompoTable:
        """Make a table of stored arrays; see :meth:`Scheme.open`.

        They are ``quotient`` float32[ceil(n / m), dim] and ``remainder`` float32[m, dim].
        """
        return CompoTable(self, shape, **stored_arrays(arrays, self.array_forms(shape)))


def _smallest(n_rows: int) -> int:
    """Give the m whose m + ceil(n / m) is smallest: ceil(sqrt(n))."""
    root = math.isqrt(n_rows)
    return max(1, root if root * root == n_rows else root + 1)


def _largest(n_rows: int, low: int, stored: int) -> int:
    """Give the largest m from ``low`` (which fits) to ``n_rows`` with m + ceil(n / m) <= ``stored``."""
    high = max(low, n_rows)
    while low < high:
        middle = (low + high + 1) // 2
        if middle - (-n_rows // middle) <= stored:
            low = middle
        else:
            high = middle - 1
    return low


def _product_factors(values: NDArray[np.float64], weights: NDArray[np.float64], seed: int) -> tuple[F32, F32]:
    """Give a [k, d] and b [m, d] with a b near ``values`` [k, m, d], by alternating weighted least squares."""
    other = np.random.default_rng(seed).normal(1, 0.1, values.shape[1:])
    own = np.zeros((len(values), values.shape[2]))
    weighted = values * weights
    for _ in range(_ROUNDS):
        own = (weighted * other).sum(axis=1) / np.maximum((weights * other**2).sum(axis=1), 1e-30)
        other = (weighted * own[:, None]).sum(axis=0) / np.maximum((weights * own[:, None] ** 2).sum(axis=0), 1e-30)
    return own.astype(np.float32), other.astype(np.float32)


def _sum_factors(
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    seed: int,  # noqa: ARG001
) -> tuple[F32, F32]:
    """Give a [k, d] and b [m, d] with a + b near ``values`` [k, m, d], by alternating weighted least squares."""
    own, other = np.zeros((len(values), values.shape[2])), np.zeros(values.shape[1:])
    for _ in range(_ROUNDS):
        own = (weights * (values - other)).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-30)
        other = (weights * (values - own[:, None])).sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-30)
    return own.astype(np.float32), other.astype(np.float32)


_TAKE = {"product": kernels.take_products, "sum": kernels.take_sums}


@dataclass(frozen=True, slots=True)
class CompoTable(ArrayTable):
    """Quotient rows and remainder rows.

    Attributes
    ----------
    quotient : float32[ceil(n / m), dim]
    remainder : float32[m, dim]
    """

    refusal: ClassVar[str] = "ids share rows; train or fit a new table"

    scheme: Compo
    shape: TableShape
    quotient: F32
    remainder: F32

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        _TAKE[self.scheme.aggregate](self.quotient, self.remainder, rows, out)

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows.

        Inner products never decode: <q, a b> = <q a, b> costs one product of the query with each quotient, and
        <q, a + b> = <q, a> + <q, b> two numbers a row. Euclidean distances decode, because expanding the square would
        lose the digits that tell near rows apart.
        """
        given = frozen(queries_matrix(queries, self.shape.dim))
        return CheckedScorer(self._scorer(given, metric), self.shape.rows, len(given))

    def _scorer(self, queries: F32, metric: Metric) -> DecodingScorer | FactoredScorer | SumScorer:
        if metric is Metric.L2:
            return DecodingScorer(self.lookup, queries, metric)
        if self.scheme.aggregate == "sum":
            return SumScorer(self.quotient, self.remainder, queries, bias_of(metric))
        return FactoredScorer(self.quotient, queries, self.remainder, bias_of(metric), self.shape.rows)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``quotient`` and ``remainder``."""
        return {"quotient": self.quotient, "remainder": self.remainder}


class SumScorer:
    """Inner products of queries with sums of a quotient and a remainder: both are scored, then added.

    Each is scored once, where at least as many rows are asked for as there are (see :class:`SharedScorer`).

    Parameters
    ----------
    quotient, remainder, queries : float32[k, d], float32[m, d], float32[q, d]
    bias : float32
        Distance = bias - <query, row>.
    """

    operands: Operands | None = None
    traversal: Operands | None = None

    def __init__(self, quotient: F32, remainder: F32, queries: F32, bias: np.float32) -> None:
        size = len(remainder)
        self._first = _products(quotient, queries, lambda rows: rows // size)
        self._second = _products(remainder, queries, lambda rows: rows % size)
        self._bias = bias

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self.gather(np.arange(start, stop), out)

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        second = np.empty_like(out)
        self._first.gather(rows, out)
        self._second.gather(rows, second)
        out += second
        out += self._bias

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        second = np.empty_like(out)
        self._first.rerank(rows, out)
        self._second.rerank(rows, second)
        out += second
        out += self._bias


def _products(rows: F32, queries: F32, place_of: Callable[[I64], I64]) -> SharedScorer:
    """Give the scorer of ``-<query, row>`` for the rows that ``place_of`` names."""
    return SharedScorer(plain_scorer(rows, queries, Metric.IP), len(rows), len(queries), place_of)
