"""Transforms that go in front of a codec: what they do to rows, to decoded rows, and to queries.

A chain is written as ``"centre|pca:192|rotate"``. Each transform is fitted to the rows that reach it; then it is a
*step*:

``encode``
    what happens to a row on its way to the codec.
``decode``
    what happens to a row that the codec has decoded, in the opposite order.
``prepare``
    queries such that the distance to the decoded row is the distance of the prepared query to what the codec decodes,
    plus a number that depends on the query alone. Every step is an affine map with orthonormal rows, for which that
    number exists for inner products and for squared distances; so a transform costs a search nothing but the query.

Steps compute with kernels of a fixed order of additions, so that look-ups and distances are the same bits everywhere.
Fitting ``pca`` and ``remove`` calls LAPACK, whose last bits differ between machines: what it gives is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import CorruptionError, InvalidArgumentError
from vecstore.kernels import projection as projections
from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.kernels.rotation import rotate, rotate_back
from vecstore.query_sketch import Sketch
from vecstore.schemes.checks import stored_array
from vecstore.schemes.principal import principal_directions
from vecstore.schemes.projected import products
from vecstore.types import F32, U64, ArrayForm

__all__ = ["Projection", "Step", "Transform", "orthonormal_rows", "parse_transforms"]

#: How far products of rows of a projection may be from 0 and 1; float32 leaves about 1e-7.
_TOLERANCE = 1e-4


class Step(Protocol):
    """A fitted transform; see the module."""

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """What is stored of it, by name."""
        ...

    def encode(self, rows: F32) -> F32:
        """Give float32[n, width] of float32[n, d]."""
        ...

    def decode(self, rows: F32) -> F32:
        """Give float32[n, d] of float32[n, width]."""
        ...

    def prepare(self, queries: F32, *, squared: bool) -> tuple[F32, F32]:
        """Give the prepared queries float32[q, width], and what is added to their distances, float32[q].

        ``squared`` is True for squared distances, False for negative inner products.
        """
        ...


def _nothing(queries: F32) -> F32:
    return np.zeros(len(queries), np.float32)


@dataclass(frozen=True, slots=True)
class Centre:
    """Subtracts the mean: |q - (e + m)|^2 = |(q - m) - e|^2, and -<q, e + m> = -<q, e> - <q, m>."""

    mean: F32

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``mean`` float32[d]."""
        return {"mean": self.mean}

    def encode(self, rows: F32) -> F32:
        """Subtract the mean."""
        return rows - self.mean

    def decode(self, rows: F32) -> F32:
        """Add the mean."""
        return rows + self.mean

    def prepare(self, queries: F32, *, squared: bool) -> tuple[F32, F32]:
        """Move the queries, or give what the mean adds."""
        if squared:
            return queries - self.mean, _nothing(queries)
        return queries, -products(frozen(self.mean[None, :]), frozen(queries))[:, 0]


@dataclass(frozen=True, slots=True)
class Projection:
    """Keeps the products with orthonormal rows P.

    For queries q and codes e, -<q, e P> = -<P q, e>, and |q - e P|^2 = |P q - e|^2 + |q - P q P|^2.
    """

    matrix: F32

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``matrix`` float32[width, d]."""
        return {"matrix": self.matrix}

    def encode(self, rows: F32) -> F32:
        """Give ``rows`` times the transposed matrix."""
        return products(self.matrix, frozen(rows))

    def decode(self, rows: F32) -> F32:
        """Give ``rows`` times the matrix."""
        width = self.matrix.shape[1]
        out = np.empty((len(rows), width), np.float32)
        none = frozen(np.zeros(width, np.float32))
        projections.take_projected(frozen(rows), self.matrix, none, frozen(np.arange(len(rows))), out)
        return out

    def prepare(self, queries: F32, *, squared: bool) -> tuple[F32, F32]:
        """Project the queries; what they lose is part of squared distances."""
        inside = self.encode(queries)
        return inside, _lost(queries, self.decode(inside)) if squared else _nothing(queries)


@dataclass(frozen=True, slots=True)
class Rotation:
    """Rotates at random, which spreads what is large in few dimensions over all (``kernels/rotation.py``)."""

    salt: U64

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``salt`` uint64[1]."""
        return {"salt": self.salt}

    def encode(self, rows: F32) -> F32:
        """Rotate."""
        rotated = np.array(rows, np.float32, order="C")
        rotate(rotated, self.salt[0])
        return rotated

    def decode(self, rows: F32) -> F32:
        """Rotate back."""
        rotated = np.array(rows, np.float32, order="C")
        rotate_back(rotated, self.salt[0])
        return rotated

    def prepare(self, queries: F32, *, squared: bool) -> tuple[F32, F32]:  # noqa: ARG002
        """Rotate the queries."""
        return self.encode(queries), _nothing(queries)


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keeps the first numbers of a row; decoded rows have zeros after them."""

    width: int
    dim: int

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give none."""
        return {}

    def encode(self, rows: F32) -> F32:
        """Cut the rows."""
        return np.ascontiguousarray(rows[:, : self.width])

    def decode(self, rows: F32) -> F32:
        """Fill up with zeros."""
        return np.pad(rows, ((0, 0), (0, self.dim - self.width)))

    def prepare(self, queries: F32, *, squared: bool) -> tuple[F32, F32]:
        """Cut the queries; the rest of them is part of squared distances."""
        inside = self.encode(queries)
        return inside, _lost(queries, self.decode(inside)) if squared else _nothing(queries)


@dataclass(frozen=True, slots=True)
class Unit:
    """Gives rows the length 1; it is not undone, and distances are those to the rows of length 1."""

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give none."""
        return {}

    def encode(self, rows: F32) -> F32:
        """Divide each row by its length; zeros stay."""
        lengths = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1))[:, None]
        unit: F32 = np.divide(rows, lengths, out=np.zeros(rows.shape), where=lengths > 0).astype(np.float32)
        return unit

    def decode(self, rows: F32) -> F32:
        """Leave the rows as they are."""
        return rows

    def prepare(self, queries: F32, *, squared: bool) -> tuple[F32, F32]:  # noqa: ARG002
        """Leave the queries as they are: a factor a query changes no order."""
        return queries, _nothing(queries)


@dataclass(frozen=True, slots=True)
class Removal:
    """Takes orthonormal directions out of rows; it is not undone, and distances are those to what is left."""

    directions: F32

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``directions`` float32[count, d]."""
        return {"directions": self.directions}

    def encode(self, rows: F32) -> F32:
        """Subtract what a row has of the directions."""
        inside = Projection(self.directions)
        return rows - inside.decode(inside.encode(rows))

    def decode(self, rows: F32) -> F32:
        """Leave the rows as they are."""
        return rows

    def prepare(self, queries: F32, *, squared: bool) -> tuple[F32, F32]:  # noqa: ARG002
        """Leave the queries as they are: <q, x - B x B> = <q - B q B, x>, so the rows alone decide."""
        return queries, _nothing(queries)


def _lost(queries: F32, kept: F32) -> F32:
    """Give the squared length of what ``queries`` have beyond ``kept``, float32[q]."""
    lost = np.empty(len(queries), np.float32)
    projections.paired_squared_distances(frozen(queries), frozen(kept), lost)
    return lost


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a transform is fitted, opened, and how large it is.

    Attributes
    ----------
    counted : bool
        Whether it is written with a number.
    width : callable
        (dimensions, number) -> dimensions after it.
    forms : callable
        (dimensions, number) -> type and shape of its arrays, by name.
    fit : callable
        (rows, number, salt, sketch of queries or None) -> step.
    open : callable
        (dimensions, number, arrays) -> step.
    """

    counted: bool
    width: Callable[[int, int], int]
    forms: Callable[[int, int], dict[str, ArrayForm]]
    fit: Callable[[F32, int, U64, Sketch | None], Step]
    open: Callable[[int, int, Mapping[str, NDArray[Any]]], Step]


def _open_centre(dim: int, _: int, arrays: Mapping[str, NDArray[Any]]) -> Step:
    return Centre(frozen(stored_array(arrays, "mean", np.float32, (dim,))))


def _open_projection(dim: int, number: int, arrays: Mapping[str, NDArray[Any]]) -> Step:
    return Projection(orthonormal_rows(arrays, "matrix", number, dim))


def _open_rotation(_: int, __: int, arrays: Mapping[str, NDArray[Any]]) -> Step:
    return Rotation(frozen(stored_array(arrays, "salt", np.uint64, (1,))))


def _open_removal(dim: int, number: int, arrays: Mapping[str, NDArray[Any]]) -> Step:
    return Removal(orthonormal_rows(arrays, "directions", number, dim))


def orthonormal_rows(arrays: Mapping[str, NDArray[Any]], name: str, count: int, dim: int) -> F32:
    """Give a stored array float32[count, dim], frozen.

    Raises
    ------
    CorruptionError
        It is missing, has another shape or dtype, or its rows are not orthonormal.
    """
    rows = frozen(stored_array(arrays, name, np.float32, (count, dim)))
    if not np.allclose(products(rows, rows), np.eye(count), atol=_TOLERANCE):
        raise CorruptionError(f"array {name!r}: its rows are not orthonormal", field=name)
    return rows


#: Transform -> how it works.
_KINDS = {
    "centre": _Kind(
        counted=False,
        width=lambda dim, _: dim,
        forms=lambda dim, _: {"mean": ArrayForm(np.float32, (dim,))},
        fit=lambda rows, _, __, ___: Centre(frozen(_mean(rows))),
        open=_open_centre,
    ),
    "pca": _Kind(
        counted=True,
        width=lambda _, number: number,
        forms=lambda dim, number: {"matrix": ArrayForm(np.float32, (number, dim))},
        fit=lambda rows, number, _, sketch: Projection(principal_directions(rows, number, sketch)),
        open=_open_projection,
    ),
    "rotate": _Kind(
        counted=False,
        width=lambda dim, _: dim,
        forms=lambda _, __: {"salt": ArrayForm(np.uint64, (1,))},
        fit=lambda _, __, salt, ___: Rotation(frozen(salt)),
        open=_open_rotation,
    ),
    "truncate": _Kind(
        counted=True,
        width=lambda _, number: number,
        forms=lambda _, __: {},
        fit=lambda rows, number, _, __: Prefix(number, rows.shape[1]),
        open=lambda dim, number, _: Prefix(number, dim),
    ),
    "unit": _Kind(
        counted=False,
        width=lambda dim, _: dim,
        forms=lambda _, __: {},
        fit=lambda _, __, ___, ____: Unit(),
        open=lambda _, __, ___: Unit(),
    ),
    "remove": _Kind(
        counted=True,
        width=lambda dim, _: dim,
        forms=lambda dim, number: {"directions": ArrayForm(np.float32, (number, dim))},
        fit=lambda rows, number, _, __: Removal(principal_directions(rows, number)),
        open=_open_removal,
    ),
}


@dataclass(frozen=True, slots=True)
class Transform:
    """One transform of a chain, not fitted yet.

    Attributes
    ----------
    name : str
    number : int
        What is written behind the colon; 0 where there is none.
    """

    name: str
    number: int

    def width(self, dim: int) -> int:
        """Give the dimensions after it.

        Raises
        ------
        InvalidArgumentError
            Its number is more than ``dim``.
        """
        if self.number > dim:
            raise InvalidArgumentError(
                f"transform: {self.name}:{self.number} asks for more than the {dim} dimensions that reach it",
                field="transform",
            )
        return _KINDS[self.name].width(dim, self.number)

    def array_forms(self, dim: int) -> dict[str, ArrayForm]:
        """Give type and shape of its arrays, by name, for rows of ``dim`` numbers."""
        return _KINDS[self.name].forms(dim, self.number)

    def fit(self, rows: F32, salt: U64, sketch: Sketch | None = None) -> Step:
        """Fit it to float32[n, d].

        ``salt`` uint64[1] is all that it may draw from; the sketch is of queries as they reach it, where there is one.
        """
        return _KINDS[self.name].fit(rows, self.number, salt, sketch)

    def open(self, dim: int, arrays: Mapping[str, NDArray[Any]]) -> Step:
        """Make the step of stored arrays.

        Raises
        ------
        CorruptionError
            An array is missing or does not fit.
        """
        return _KINDS[self.name].open(dim, self.number, arrays)


def parse_transforms(text: str) -> tuple[Transform, ...]:
    """Give the transforms of a chain such as ``"centre|pca:192|rotate"``.

    Raises
    ------
    InvalidArgumentError
        Not such a text; the message says which part is wrong and what there is.
    """
    return tuple(_parsed(part.strip()) for part in text.split("|"))


def _parsed(part: str) -> Transform:
    name, colon, number = part.partition(":")
    kind = _KINDS.get(name)
    if kind is None:
        raise InvalidArgumentError(
            f"transform: there is no {part!r}; there are: "
            f"{', '.join(known + (':K' if has.counted else '') for known, has in _KINDS.items())}, joined by '|'",
            field="transform",
        )
    if kind.counted != bool(colon) or (colon and not (number.isascii() and number.isdigit() and int(number) > 0)):
        form = f"{name}:K with K at least 1" if kind.counted else f"{name} without a number"
        raise InvalidArgumentError(f"transform: expected {form}, got {part!r}", field="transform")
    return Transform(name, int(number or 0))


def salts_of(seed: int, count: int) -> list[U64]:
    """Give a salt uint64[1] for each transform of a chain."""
    return [salt.reshape(1) for salt in derived_salts(seed, count)]


def _mean(rows: F32) -> F32:
    if not len(rows):
        return np.zeros(rows.shape[1], np.float32)
    mean: F32 = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean
