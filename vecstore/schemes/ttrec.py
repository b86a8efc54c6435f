"""``ttrec``: a table as a tensor train of three cores (TT-Rec)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from threading import Lock
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import ttrec as kernels
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
from vecstore.schemes.indirect import DecodingScorer
from vecstore.schemes.scorer import CheckedScorer
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = ["Ttrec", "TtrecTable"]

Three = tuple[int, int, int]
#: Names of the cores.
_CORES = ("first", "middle", "last")


class Ttrec(Scheme, frozen=True, kw_only=True, tag="ttrec"):
    """Row ``i`` is a chain of three matrices, one of each core, chosen by the three digits of ``i``.

    ``digit_order`` "little": i1 = i % n1, i2 = i // n1 % n2, i3 = i // (n1 n2). The numbers of a row, as
    [d1, d2, d3], are ``sum over r, s of first[i1, a, r] middle[i2, r, b, s] last[i3, s, c]``.

    Attributes
    ----------
    rank : int
        R, of both joints.
    row_factors : tuple of int
        n1, n2, n3, whose product is at least the number of rows.
    dim_factors : tuple of int
        d1, d2, d3, whose product is the number of dimensions.
    digit_order : {"little"}
        Which digit changes fastest from row to row.
    version : int
        Version of this config.

    References
    ----------
    Yin et al., "TT-Rec: Tensor Train Compression for Deep Learning Recommendation Models", MLSys 2021, section 3.1
    (equations 2 to 4); Oseledets, "Tensor-Train Decomposition", SIAM J. Sci. Comput. 33(5), 2011, algorithm 1.
    """

    name: ClassVar[str] = "ttrec"
    family: ClassVar[Family] = Family.HASHING
    paper: ClassVar[str] = "Yin et al., TT-Rec: Tensor Train Compression for DLRM, MLSys 2021"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False, fitting=Fitting.CLOSED_FORM, appendable=False, exact=False, graph=False, trained=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    rank: int
    row_factors: Three
    dim_factors: Three
    digit_order: Literal["little"] = "little"
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check that the rank and all factors are positive."""
        super().__post_init__()
        for name, value in (("rank", self.rank), ("row_factors", self.row_factors), ("dim_factors", self.dim_factors)):
            if min(value if isinstance(value, tuple) else (value,)) < 1:
                raise InvalidArgumentError(f"ttrec.{name}: expected at least 1, got {value}", field=name)

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the largest rank that fits the budget, and is of use; see :meth:`Scheme.plan`."""
        given = dict(parameters or {})
        allowed = allowed_bytes(shape, budget)
        settings = {"row_factors": _row_factors(shape.rows), "dim_factors": _dim_factors(shape.dim), "rank": 1, **given}
        planned = cls.from_dict({**settings, "scheme": cls.name})
        planned._check_shape(shape)
        check_floor(cls.name, allowed, planned.nbytes(shape))
        if "rank" in given:
            return planned
        return cls.from_dict(
            {**planned.to_dict(), "rank": min(planned._largest_rank(allowed // 4), planned._full_rank())}
        )

    def _words(self) -> tuple[int, int]:
        """Give the numbers stored as a, b of a R^2 + b R."""
        (n1, n2, n3), (d1, d2, d3) = self.row_factors, self.dim_factors
        return n2 * d2, n1 * d1 + n3 * d3

    def _largest_rank(self, words: int) -> int:
        """Give the largest R with a R^2 + b R <= words, exactly: the root of the quadratic, in integers."""
        square, linear = self._words()
        return (math.isqrt(linear**2 + 4 * square * words) - linear) // (2 * square)

    def _full_rank(self) -> int:
        """Give the rank at which any table is exact; more is wasted."""
        first, middle, last = (n * d for n, d in zip(self.row_factors, self.dim_factors, strict=True))
        return max(min(first, middle * last), min(last, first * middle))

    def _check_shape(self, shape: TableShape) -> None:
        """Refuse a table that the factors do not hold."""
        if math.prod(self.row_factors) < shape.rows or math.prod(self.dim_factors) != shape.dim:
            raise InvalidArgumentError(
                f"ttrec: factors {self.row_factors} and {self.dim_factors} do not hold {shape.rows} rows of "
                f"{shape.dim} dimensions",
                field="row_factors",
            )

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:  # noqa: ARG002
        """Give the three cores, which depend on the factors alone."""
        cores = zip(_CORES, self.core_shapes(), strict=True)
        return {name: ArrayForm(np.float32, size) for name, size in cores}

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,
    ) -> TtrecTable:
        """Decompose ``vectors`` float32[n, dim] by two truncated singular value decompositions (TT-SVD).

        Warning: this is there to decode and compare, not to compress collections. Rows in arbitrary order have no
        structure that the digits could catch: on 8,000 rows of rank 12 in 64 dimensions, a quarter of the bytes leaves
        a relative error of 0.74, where a plain SVD of the same size leaves 0.07. Train the layer instead.
        """
        matrix = table_matrix(vectors)
        shape = TableShape(*matrix.shape)
        self._check_shape(shape)
        cores = _decomposed(matrix, self.row_factors, self.dim_factors, self.rank)
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return TtrecTable(self, shape, *(frozen(core.astype(np.float32)) for core in cores))

    def core_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Give the shapes of the three cores: [n1, d1, R], [n2, R, d2, R] and [n3, R, d3]."""
        (n1, n2, n3), (d1, d2, d3), rank = self.row_factors, self.dim_factors, self.rank
        return (n1, d1, rank), (n2, rank, d2, rank), (n3, rank, d3)

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> TtrecTable:
        """Make a table of ``first``, ``middle``, ``last``, float32 of :meth:`core_shapes`; see :meth:`Scheme.open`."""
        self._check_shape(shape)
        return TtrecTable(self, shape, **stored_arrays(arrays, self.array_forms(shape)))


def _row_factors(n_rows: int) -> Three:
    """Give n1 <= n2 <= n3 near the cube root, whose product is at least ``n_rows``."""
    last = _ceil_root(n_rows, 3)
    middle = _ceil_root(-(-n_rows // last), 2)
    return max(1, -(-n_rows // (last * middle))), middle, last


def _ceil_root(value: int, degree: int) -> int:
    """Give the smallest integer of at least 1 whose power is at least ``value``."""
    root: int = max(1, round(value ** (1 / degree)) - 1)
    while root**degree < value:
        root += 1
    return root


def _dim_factors(dim: int) -> Three:
    """Give d1 <= d2 <= d3 with d1 d2 d3 = dim and the smallest sum, such as 2, 2, 4 for 16."""
    choices = [
        (first + second + dim // (first * second), (first, second, dim // (first * second)))
        for first in range(1, _ceil_root(dim, 3) + 1)
        if dim % first == 0
        for second in range(first, math.isqrt(dim // first) + 1)
        if dim // first % second == 0
    ]
    return min(choices)[1]


def _decomposed(
    matrix: F32, row_factors: Three, dim_factors: Three, rank: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Give the cores of TT-SVD (Oseledets 2011, algorithm 1), padded with zeros to ``rank``."""
    (n1, n2, n3), (d1, d2, d3) = row_factors, dim_factors
    padded = np.zeros((n1 * n2 * n3, d1 * d2 * d3))
    padded[: len(matrix)] = matrix
    # [i3, i2, i1, a, b, c], because i1 changes fastest, to [i1 a, i2 b, i3 c].
    tensor = padded.reshape(n3, n2, n1, d1, d2, d3).transpose(2, 3, 1, 4, 0, 5)
    left, rest = _halves(tensor.reshape(n1 * d1, -1), rank)
    centre, right = _halves(rest.reshape(rank * n2 * d2, n3 * d3), rank)
    return (
        left.reshape(n1, d1, rank),
        centre.reshape(rank, n2, d2, rank).transpose(1, 0, 2, 3),
        right.reshape(rank, n3, d3).transpose(1, 0, 2),
    )


def _halves(matrix: NDArray[np.float64], rank: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give U [m, rank] and S V^T [rank, n] of the best approximation, padded with zeros."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    kept = min(rank, len(values))
    padded_left, padded_right = np.zeros((len(matrix), rank)), np.zeros((rank, matrix.shape[1]))
    padded_left[:, :kept] = left[:, :kept]
    padded_right[:kept] = values[:kept, None] * right[:kept]
    return padded_left, padded_right


class TtrecTable(ArrayTable):
    """Three cores, and in memory the products of the last two once that pays.

    Parameters
    ----------
    scheme : Ttrec
    shape : TableShape
    first : float32[n1, d1, R]
    middle : float32[n2, R, d2, R]
    last : float32[n3, R, d3]
    """

    refusal: ClassVar[str] = "all share the cores; train or fit a new table"
    scheme: Ttrec

    def __init__(self, scheme: Ttrec, shape: TableShape, first: F32, middle: F32, last: F32) -> None:
        self.scheme = scheme
        self.shape = shape
        self.first = first
        self.middle = middle
        self.last = last
        self._tail_shape = (len(middle) * len(last), scheme.rank, middle.shape[2] * last.shape[2])
        self._asked = 0
        self._tails: F32 | None = None
        self._lock = Lock()

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        tails = self._tails_for(len(rows))
        if tails is None:
            scratch = np.empty(self._tail_shape[1:], np.float32)
            order = np.argsort(rows // len(self.first), kind="stable")
            kernels.take_chains(self.first, self.middle, self.last, rows, order, scratch, out)
        else:
            kernels.take_with_tails(self.first, tails, rows, out)

    def _tails_for(self, n_rows: int) -> F32 | None:
        """Give the products of the last two cores, or None while they would not pay.

        They are made once as many rows were asked for as there are tails, so that making them never costs more than
        the look-ups did, and only where they take at most half of the memory of the uncompressed table. A look-up has
        the same bits with them and without.
        """
        if math.prod(self._tail_shape) * 4 > self.shape.float32_bytes // 2:
            return None
        with self._lock:
            self._asked += n_rows
            if self._tails is None and self._asked >= self._tail_shape[0]:
                tails = np.empty(self._tail_shape, np.float32)
                kernels.fill_tails(self.middle, self.last, tails)
                self._tails = frozen(tails)
            return self._tails

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows, which are decoded in blocks.

        A query could be contracted with a tail once for the n1 rows that share it, for inner products. But that leaves
        d1 R products a row and query, mostly more than the dim products of a decoded row, and a contraction for every
        tail and query, where a decoded row serves all queries. Measured at 100,000 rows and a tenth of the bytes, it
        won for one query of 16 dimensions that scans all rows (by half), and took 1.1 to 100 times as long otherwise.
        """
        given = queries_matrix(queries, self.shape.dim)
        return CheckedScorer(DecodingScorer(self.lookup, given, metric), self.shape.rows, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``first``, ``middle`` and ``last``."""
        return {"first": self.first, "middle": self.middle, "last": self.last}
