"""``opq``: product quantisation behind a rotation that is learned for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels.compiling import frozen
from vecstore.schemes.base import Progress, TableShape
from vecstore.schemes.checks import table_matrix
from vecstore.schemes.pq import Pq
from vecstore.schemes.principal import second_moments
from vecstore.schemes.transformed import INNER, TransformedTable, named
from vecstore.schemes.transforms import Projection, orthonormal_rows
from vecstore.types import F32, F64, ArrayForm

__all__ = ["Opq", "dealt"]

#: Rounds of quantising and rotating, and rows that they look at.
_ROUNDS = 4
_SAMPLED = 8192
#: Variances count as at least this share of the largest.
_SMALLEST = 1e-4


class Opq(Pq, frozen=True, kw_only=True, tag="opq"):
    """As ``pq``, of rows that are rotated so that parts are alike in what they hold and lose little to rounding.

    The rotation begins as principal directions, dealt to the parts so that the products of their variances are alike;
    then rows are quantised and the rotation becomes the one that brings them nearest to what was decoded, in turn.

    Attributes
    ----------
    parts : int
        Codes a row; divides dim.
    bits : int
        4 or 8: 16 or 256 centroids a part.
    version : int
        Version of this config.

    References
    ----------
    Ge, He, Ke and Sun, "Optimized Product Quantization", TPAMI 2014: the non-parametric solution (alternation), begun
    from the parametric one (allocation of principal directions).
    """

    name: ClassVar[str] = "opq"
    paper: ClassVar[str] = "Ge, He, Ke and Sun, Optimized Product Quantization, TPAMI 2014"
    row_arrays: ClassVar[tuple[str, ...]] = ()
    #: Not tried: fitting takes ten times as long as for pq behind ``rotate``, whose recall is near it.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    def width(self, dim: int) -> int:
        """Give the floats of a centroid; principal directions are dealt to parts of one size.

        Raises
        ------
        InvalidArgumentError
            The parts do not divide ``dim``.
        """
        if dim % self.parts:
            raise InvalidArgumentError(f"opq.parts: {self.parts} does not divide {dim} dimensions", field="parts")
        return dim // self.parts

    @property
    def _inner(self) -> Pq:
        return Pq(parts=self.parts, bits=self.bits)

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``0.matrix``, and those of ``pq`` named ``inner.<array>``."""
        inner = {f"{INNER}{name}": form for name, form in super().array_forms(shape).items()}
        return {"0.matrix": ArrayForm(np.float32, (shape.dim, shape.dim)), **inner}

    def fit(  # type: ignore[override]  # a rotation in front of a table of pq
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> TransformedTable:
        """Learn the rotation from a sample of ``vectors`` float32[n, dim], and quantise all of them."""
        matrix = table_matrix(vectors)
        self.width(matrix.shape[1])
        generator = np.random.default_rng(seed)
        chosen = generator.choice(len(matrix), min(_SAMPLED, len(matrix)), replace=False)
        sample = matrix[np.sort(chosen)]
        rotation = _allocated(sample, self.parts)
        for _ in range(_ROUNDS if len(sample) else 0):
            decoded = self._inner.fit(Projection(rotation).encode(sample), seed=seed).lookup(np.arange(len(sample)))
            left, _, right = np.linalg.svd(decoded.T.astype(np.float64) @ sample.astype(np.float64))
            rotation = frozen((left @ right).astype(np.float32))
        step = Projection(rotation)
        inner = self._inner.fit(step.encode(matrix), seed=seed, on_progress=on_progress)
        return TransformedTable(self, TableShape(*matrix.shape), (step,), inner)

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> TransformedTable:  # type: ignore[override]
        """Make a table of the stored ``0.matrix``, and the arrays of ``pq`` as ``inner.<array>``."""
        step = Projection(orthonormal_rows(named(arrays, "0."), "matrix", shape.dim, shape.dim))
        return TransformedTable(self, shape, (step,), self._inner.open(shape, named(arrays, INNER)))


def _allocated(rows: F32, parts: int) -> F32:
    """Give the principal directions, float32[d, d], dealt to the parts."""
    variances: F64
    variances, vectors = np.linalg.eigh(second_moments(rows))
    return frozen(vectors[:, ::-1][:, dealt(variances[::-1], parts)].T.astype(np.float32))


def dealt(variances: F64, parts: int) -> list[int]:
    """Give the order of directions that deals each to the part with room whose product of variances is the smallest.

    Codes of as many bits for every part then leave the least (Ge, He, Ke and Sun, TPAMI 2014, section 4.3).

    Parameters
    ----------
    variances : float64[d]
        ``parts`` divides d; falling ones are balanced best.
    parts : int
    """
    logs = np.log(np.maximum(variances, _SMALLEST * max(variances.max(), np.finfo(np.float64).tiny)))
    room = len(logs) // parts
    hands: list[list[int]] = [[] for _ in range(parts)]
    products = np.zeros(parts)
    # Variances below 1 make a product smaller, so what is dealt is measured from the smallest one.
    for direction, log in enumerate(logs - logs.min()):
        open_parts = [part for part in range(parts) if len(hands[part]) < room]
        part = min(open_parts, key=lambda number: products[number])
        hands[part].append(direction)
        products[part] += log
    return [direction for own in hands for direction in own]
