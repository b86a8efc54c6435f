"""Hybrids: the rows that one scheme stores are held by the codec of another.

>>> class AdaptInt8(Composed, frozen=True, kw_only=True, tag="adapt+int8"): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import CompressedTable, Progress, Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes, check_floor, table_matrix
from vecstore.schemes.layouts import LaidOut, Layout
from vecstore.schemes.transformed import named
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = ["CODEC", "Composed", "ComposedTable", "composed_settings"]

#: What names of the arrays of the codec begin with.
CODEC = "codec."
#: A layout that is planned with twice the bytes of float32, and this many more, is the largest there is.
_MORE_BYTES = 1 << 16


class Composed(Scheme, frozen=True, kw_only=True):
    """What all hybrids share: the config of the layout, and that of the codec that holds its rows.

    A hybrid is a subclass that names both: ``outer_scheme``, and ``codec_scheme`` with the ``codec_settings`` that are
    not its defaults. It may have ``outer`` and ``codec`` as parameters, which hold settings of the two.

    A budget decides the layout; the codec takes what it takes for the rows of that.
    """

    layer: ClassVar[str] = "vecstore.training.composed:ComposedPart"
    row_arrays: ClassVar[tuple[str, ...]] = ()
    outer_scheme: ClassVar[type[LaidOut]]
    codec_scheme: ClassVar[type[Scheme]]
    codec_settings: ClassVar[Mapping[str, Any]] = {}

    outer: dict[str, Any]
    codec: dict[str, Any]
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check both configs."""
        super().__post_init__()
        for name, cls in (("outer", self.outer_scheme), ("codec", self.codec_scheme)):
            config = getattr(self, name)
            if config.get("scheme") != cls.name:
                raise InvalidArgumentError(
                    f"{self.name}.{name}: expected a config of {cls.name!r}, got {config}", field=name
                )
            cls.from_dict(config)

    @property
    def laid_out(self) -> LaidOut:
        """The scheme of the layout."""
        return self.outer_scheme.from_dict(self.outer)

    @property
    def row_codec(self) -> Scheme:
        """The scheme that holds the stored rows."""
        return self.codec_scheme.from_dict(self.codec)

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the largest layout whose coded rows fit; see :meth:`Scheme.plan`.

        As in :mod:`vecstore.schemes.planning`, an interval of bytes is halved at places that do not depend on the
        budget, and a form is taken only if it is no smaller than the one before.
        """
        given = composed_settings(cls, parameters)

        low, high = cls._least(shape, frequency, given), 2 * shape.float32_bytes + _MORE_BYTES
        chosen, largest = cls._at(low, shape, frequency, given), cls._at(max(low, high), shape, frequency, given)
        allowed = allowed_bytes(shape, budget)
        check_floor(cls.name, allowed, min(chosen.nbytes(shape), largest.nbytes(shape)))
        if largest.nbytes(shape) <= allowed:
            return largest
        while high - low > 1:
            middle = (low + high) // 2
            candidate = cls._at(middle, shape, frequency, given)
            if candidate.nbytes(shape) > allowed:
                high = middle
            else:
                low = middle
                chosen = candidate if candidate.nbytes(shape) >= chosen.nbytes(shape) else chosen
        return chosen

    @classmethod
    def plan_fields(
        cls,
        shapes: Sequence[TableShape],
        frequency: Sequence[NDArray[np.int64] | None],
        parameters: Mapping[str, Any],
    ) -> Callable[[float], list[Scheme]] | None:
        """Give the rule of the layout's scheme, where it has one; see :meth:`Scheme.plan_fields`."""
        given = composed_settings(cls, parameters)
        rule = cls.outer_scheme.plan_fields(shapes, frequency, given["outer"])
        if rule is None:
            return None
        outer_rule = rule
        whole = [cls.plan(shape, 2 * shape.float32_bytes + _MORE_BYTES, None, parameters) for shape in shapes]

        def at(share: float) -> list[Scheme]:
            found = [cls._around(own, given, shape) for own, shape in zip(outer_rule(share), shapes, strict=True)]
            # Short rows and their matrix may take more than whole rows in codes.
            return [
                own if own.nbytes(shape) < most.nbytes(shape) else most
                for own, most, shape in zip(found, whole, shapes, strict=True)
            ]

        return at

    @classmethod
    def _at(
        cls, allowed: int, shape: TableShape, frequency: NDArray[np.int64] | None, given: Mapping[str, Any]
    ) -> Self:
        """Give the hybrid around the layout that is planned with these bytes for float32 rows."""
        return cls._around(cls.outer_scheme.plan(shape, allowed, frequency, given["outer"]), given, shape)

    @classmethod
    def _least(cls, shape: TableShape, frequency: NDArray[np.int64] | None, given: Mapping[str, Any]) -> int:
        """Give the bytes of the smallest layout with float32 rows."""
        try:
            return cls.outer_scheme.plan(shape, 0, frequency, given["outer"]).nbytes(shape)
        except BudgetInfeasible as error:
            return error.floor

    @classmethod
    def _around(cls, outer: Scheme, given: Mapping[str, Any], shape: TableShape) -> Self:
        """Give the hybrid whose layout is planned, with the smallest form of the codec that settings allow."""
        if not isinstance(outer, cls.outer_scheme):
            raise TypeError(f"{cls.name}: {outer.name!r} planned in place of {cls.outer_scheme.name!r}")
        stored = outer.stored_shape(shape)
        try:
            codec = cls.codec_scheme.plan(stored, 0, None, given["codec"])
        except BudgetInfeasible as error:
            codec = cls.codec_scheme.plan(stored, error.floor, None, given["codec"])
        return cls(outer=outer.to_dict(), codec=codec.to_dict())

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give those of the layout without its rows, and of the codec, named ``codec.<array>``."""
        outer = self.laid_out
        own = {name: form for name, form in outer.array_forms(shape).items() if name != outer.stored_rows}
        codec = self.row_codec.array_forms(outer.stored_shape(shape))
        return own | {f"{CODEC}{name}": form for name, form in codec.items()}

    def check(self, vectors: F32) -> None:
        """Refuse values that might pass the range of the codec in stored rows."""
        self.laid_out.check(vectors)
        if vectors.size:
            with np.errstate(over="ignore"):
                largest = self.laid_out.largest(vectors)
            self.row_codec.check(np.minimum(largest, np.finfo(np.float32).max).astype(np.float32))

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> ComposedTable:
        """Fit the layout to ``vectors`` float32[n, dim], and then the codec to its rows."""
        matrix = table_matrix(vectors)
        return self.coded(self.laid_out.fit(matrix, frequency=frequency, seed=seed, on_progress=on_progress), seed=seed)

    def coded(self, table: CompressedTable, *, seed: int = 0) -> ComposedTable:
        """Give a table of the layout's scheme, perhaps of another form than was planned, with its rows in the codec."""
        outer = table.scheme
        if not isinstance(outer, self.outer_scheme):
            raise TypeError(f"{self.name}: expected a table of {self.outer_scheme.name!r}, got {outer.name!r}")
        arrays = table.arrays()
        stored = outer.stored_shape(table.shape)
        rows = arrays[outer.stored_rows].reshape(stored.rows, stored.dim)
        scheme = type(self)(outer=outer.to_dict(), codec=self.codec)
        layout = outer.layout(table.shape, outer.other_arrays(arrays))
        return ComposedTable(scheme, layout, self.row_codec.fit(rows, seed=seed))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> ComposedTable:
        """Make a table of stored arrays; see :meth:`array_forms` for their names, and :meth:`Scheme.open`."""
        outer = self.laid_out
        layout = outer.layout(shape, {name: array for name, array in arrays.items() if not name.startswith(CODEC)})
        return ComposedTable(self, layout, self.row_codec.open(outer.stored_shape(shape), named(arrays, CODEC)))


class ComposedTable(ArrayTable):
    """A layout, and a table of the stored rows.

    Parameters
    ----------
    scheme : Composed
    layout : Layout
    stored : CompressedTable
    """

    refusal: ClassVar[str] = "its layout is made for those it has; train or fit a new table"

    def __init__(self, scheme: Composed, layout: Layout, stored: CompressedTable) -> None:
        self.scheme = scheme
        self.shape = layout.shape
        self.layout = layout
        self.stored = stored

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        self.layout.take(self.stored, rows, out)

    def scorer(self, queries: F32, metric: Metric) -> Scorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once: stored rows are scored in their codes."""
        return self.layout.scorer(self.stored, queries, metric)

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give the arrays of the layout, and those of the codec, named ``codec.<array>``."""
        return {**self.layout.arrays, **{f"{CODEC}{name}": array for name, array in self.stored.arrays().items()}}


def composed_settings(cls: type[Composed], parameters: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Give the settings of the layout and of the codec that are given, without their names.

    Raises
    ------
    InvalidArgumentError
        There is another parameter, or one of the two is of another scheme.
    """
    given = dict(parameters or {})
    found = {}
    for name, scheme in (("outer", cls.outer_scheme), ("codec", cls.codec_scheme)):
        own = given.pop(name, {})
        if not isinstance(own, Mapping) or own.get("scheme", scheme.name) != scheme.name:
            raise InvalidArgumentError(
                f"{cls.name}.{name}: expected settings of {scheme.name!r}, got {own!r}", field=name
            )
        found[name] = {key: value for key, value in own.items() if key != "scheme"}
    if given:
        raise InvalidArgumentError(
            f"{cls.name}: there is no parameter {', '.join(map(repr, given))}; settings go into 'outer' and 'codec'",
            field=next(iter(given)),
        )
    found["codec"] = {**cls.codec_settings, **found["codec"]}
    return found
