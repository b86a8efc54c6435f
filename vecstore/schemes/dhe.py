"""``dhe``: no table at all; a small network computes each row from many hashes of its id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import hashing, mlp
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
from vecstore.schemes.indirect import DecodingScorer
from vecstore.schemes.scorer import CheckedScorer
from vecstore.types import F32, I64, U64, ArrayForm, Metric

__all__ = ["HIDDEN_LAYERS", "MAX_HASHES", "Dhe", "DheTable"]

#: Hidden layers of the network; one more layer, without activation, gives the row.
HIDDEN_LAYERS = 5
#: Hashes that the paper uses; more tell no ids apart that these do not.
MAX_HASHES = 1_024
#: Rows computed at a time, so that activations stay in cache.
_BLOCK_ROWS = 768
#: Rows that ``fit`` normalises its hidden units on.
_SAMPLE_ROWS = 4_096
#: Ridge of ``fit`` per unit of weight.
_RIDGE = 1e-6


class Dhe(Scheme, frozen=True, kw_only=True, tag="dhe"):
    """Row ``id`` is a network of ``hashes`` numbers in (-1, 1), which are hashes of the id.

    Hash j is ``(2 (mix(id, salts[j]) >> 40) + 1 - 2^24) / 2^24``. The network has five hidden layers of ``width``
    units, each linear, batch-normalised and activated, and a linear output. Tables hold the normalisation folded
    into the linear maps.

    A look-up costs about ``hashes * width + 4 width^2 + width * dim`` multiplications, which is thousands of times the
    cost of reading a row: meant for batches, and for ids that are too many to store.

    Attributes
    ----------
    width : int
        Units of each hidden layer; the budget decides it.
    hashes : int
        Hashes an id, 1 to 1,024.
    activation : {"mish", "relu"}
        The paper uses mish, x tanh(log(1 + exp x)).
    version : int
        Version of this config.

    References
    ----------
    Kang et al., "Learning to Embed Categorical Features without Embedding Tables for Recommendation", KDD 2021,
    section 4, with this project's 64-bit hash in place of the universal hash modulo 10^6.
    """

    name: ClassVar[str] = "dhe"
    family: ClassVar[Family] = Family.HASHING
    paper: ClassVar[str] = (
        "Kang et al., Learning to Embed Categorical Features without Embedding Tables for Recommendation, KDD 2021"
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False, fitting=Fitting.DISTILLED, appendable=False, exact=False, graph=False, trained=True, unseen=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    width: int
    hashes: int = 128
    activation: Literal["mish", "relu"] = "mish"
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the sizes of the network."""
        super().__post_init__()
        if self.width < 1:
            raise InvalidArgumentError(f"dhe.width: expected at least 1, got {self.width}", field="width")
        if not 1 <= self.hashes <= MAX_HASHES:
            raise InvalidArgumentError(f"dhe.hashes: expected 1 to {MAX_HASHES}, got {self.hashes}", field="hashes")

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the widest network that fits the budget; see :meth:`Scheme.plan`."""
        allowed = allowed_bytes(shape, budget)
        smallest = cls.from_dict({"width": 1, **(parameters or {}), "scheme": cls.name})
        check_floor(cls.name, allowed, smallest.nbytes(shape))
        if parameters and "width" in parameters:
            return smallest
        # All words but the salts: 4 w^2 + linear * w + dim, which grows with w.
        words = (allowed - 8 * smallest.hashes) // 4 - shape.dim
        linear = smallest.hashes + HIDDEN_LAYERS + shape.dim
        width = (isqrt(linear * linear + 16 * words) - linear) // 8
        return cls.from_dict({**smallest.to_dict(), "width": width})

    def layer_shapes(self, dim: int) -> list[tuple[int, int]]:
        """Give inputs and outputs of every linear map, in order."""
        sizes = [self.hashes, *[self.width] * HIDDEN_LAYERS, dim]
        return list(pairwise(sizes))

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``salts``, weights and biases."""
        forms = {"salts": ArrayForm(np.uint64, (self.hashes,))}
        for number, size in enumerate(self.layer_shapes(shape.dim)):
            forms[f"weights{number}"] = ArrayForm(np.float32, size)
            forms[f"biases{number}"] = ArrayForm(np.float32, size[1:])
        return forms

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> DheTable:
        """Fit the output layer to ``vectors`` float32[n, dim] by least squares, over hidden layers that stay random.

        A closed form, good for a first guess only: with fewer units than rows much is lost. Train the layer instead.
        """
        matrix = table_matrix(vectors)
        n_rows, dim = matrix.shape
        table = _random_network(self, TableShape(n_rows, dim), seed)
        weights = np.ones(n_rows) if frequency is None else np.maximum(frequency, 1e-9)
        squares, products = np.zeros((self.width + 1, self.width + 1)), np.zeros((self.width + 1, dim))
        for start in range(0, n_rows, _BLOCK_ROWS):
            rows = np.arange(start, min(start + _BLOCK_ROWS, n_rows))
            units = np.column_stack([table.hidden(rows), np.ones(len(rows))])
            weighted = (units * weights[rows, None]).T
            squares += weighted @ units
            products += weighted @ matrix[rows]
            if on_progress is not None:
                on_progress(int(rows[-1]) + 1, n_rows)
        squares += np.eye(self.width + 1) * (_RIDGE * weights.sum() + 1e-12)
        solved = np.linalg.solve(squares, products).astype(np.float32)
        return DheTable(
            self,
            table.shape,
            table.salts,
            (*table.weights[:-1], frozen(solved[:-1])),
            (*table.biases[:-1], frozen(solved[-1])),
        )

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> DheTable:
        """Make a table of the stored arrays; see :meth:`Scheme.open`.

        They are ``salts`` uint64[hashes], and ``weights0`` to ``weights5`` float32[inputs, outputs] with ``biases0``
        to ``biases5`` float32[outputs].
        """
        shapes = self.layer_shapes(shape.dim)
        return DheTable(
            self,
            shape,
            frozen(stored_array(arrays, "salts", np.uint64, (self.hashes,))),
            tuple(frozen(stored_array(arrays, f"weights{n}", np.float32, size)) for n, size in enumerate(shapes)),
            tuple(frozen(stored_array(arrays, f"biases{n}", np.float32, size[1:])) for n, size in enumerate(shapes)),
        )


@dataclass(frozen=True, slots=True)
class DheTable(ArrayTable):
    """The network and its salts.

    Attributes
    ----------
    salts : uint64[hashes]
    weights : tuple of float32[inputs, outputs]
        One a layer, in order.
    biases : tuple of float32[outputs]
    """

    refusal: ClassVar[str] = "all share one network; train or fit a new table"

    scheme: Dhe
    shape: TableShape
    salts: U64
    weights: tuple[F32, ...]
    biases: tuple[F32, ...]

    def hidden(self, rows: I64, layers: int = HIDDEN_LAYERS) -> F32:
        """Give the units float32[n, width] of the last of ``layers`` hidden layers for any int64[n]."""
        values = np.empty((len(rows), self.scheme.hashes), np.float32)
        mlp.fill_hashes(frozen(rows), self.salts, values)
        activate = mlp.mish if self.scheme.activation == "mish" else mlp.relu
        for weights, bias in zip(self.weights[:layers], self.biases[:layers], strict=True):
            units = np.empty((len(rows), self.scheme.width), np.float32)
            mlp.affine(values, weights, bias, units)
            activate(units)
            values = units
        return values

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; a row's bits do not depend on the rows beside it."""
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            mlp.affine(self.hidden(rows[block]), self.weights[-1], self.biases[-1], out[block])

    def lookup_unseen(self, field: int, ids: I64) -> F32:  # noqa: ARG002 - one field
        """Give float32[n, dim] of ``ids`` int64[n] past the end of the table: any id has hashes."""
        out = np.empty((len(ids), self.shape.dim), np.float32)
        self.take(frozen(ids), out)
        return out

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once; rows are decoded in blocks."""
        given = queries_matrix(queries, self.shape.dim)
        return CheckedScorer(DecodingScorer(self.lookup, given, metric), self.shape.rows, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``salts``, ``weights0`` to ``weights5`` and ``biases0`` to ``biases5``."""
        named: dict[str, NDArray[Any]] = {"salts": self.salts}
        for number, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            named[f"weights{number}"] = weights
            named[f"biases{number}"] = bias
        return named


def _random_network(scheme: Dhe, shape: TableShape, seed: int) -> DheTable:
    """Give a network of random hidden layers whose units have mean 0 and variance 1 before their activation."""
    rng = np.random.default_rng(seed)
    sample = np.unique(np.linspace(0, max(shape.rows - 1, 0), min(shape.rows, _SAMPLE_ROWS)).astype(np.int64))
    shapes = scheme.layer_shapes(shape.dim)
    weights = [
        (rng.standard_normal(size) / np.sqrt(size[0])).astype(np.float32)
        if number < HIDDEN_LAYERS
        else np.zeros(size, np.float32)
        for number, size in enumerate(shapes)
    ]
    biases = [np.zeros(size[1], np.float32) for size in shapes]
    salts = frozen(hashing.derived_salts(seed, scheme.hashes))
    for number in range(HIDDEN_LAYERS if len(sample) else 0):
        table = DheTable(scheme, shape, salts, tuple(map(frozen, weights)), tuple(map(frozen, biases)))
        units = table.hidden(sample, number).astype(np.float64) @ weights[number]
        factor = 1 / (units.std(axis=0) + 1e-3)
        biases[number] = (-units.mean(axis=0) * factor).astype(np.float32)
        weights[number] = (weights[number] * factor).astype(np.float32)
    return DheTable(scheme, shape, salts, tuple(map(frozen, weights)), tuple(map(frozen, biases)))
