"""Screens for the forms of rows that have one: queries in panels, and how far off products with them can be.

What a screen does with rows is in :mod:`vecstore.kernels.screening`, and so are the bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from vecstore.kernels import quantise
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands, Shifted
from vecstore.kernels.intrinsics import LANES
from vecstore.kernels.loading import has_feature
from vecstore.kernels.numbers import CodesDot, CodesL2, OffsetDot, OffsetL2, PlainDot, PlainL2, ScaledDot, ScaledL2
from vecstore.kernels.screening import LENGTHS, UNIT, Screen
from vecstore.types import F32, F64, I8, I16, U8, U16

__all__ = ["is_screened", "rounding_screen_of", "screen_of"]

#: Sums whose absolute values are not below it may overflow on the way.
_LARGEST = 1e37
#: Products with a query are taken to be off by so much of its length at least, where rows are rounded: less than
#: rounding usually leaves. Else a query that rounding leaves as it is would widen the bounds of all others.
_LEAST_ERROR = 2.0**-8


def is_screened(operands: Operands | None) -> bool:
    """Tell whether :func:`screen_of` gives a screen."""
    inner = operands.inner if isinstance(operands, Shifted) else operands
    offset = isinstance(inner, OffsetDot | OffsetL2)
    return offset or isinstance(inner, PlainDot | PlainL2 | ScaledDot | ScaledL2 | CodesDot | CodesL2)


def screen_of(operands: Operands | None) -> Screen | None:
    """Give the screen for operands of rows of numbers; None for others."""
    return _behind_offsets(_screen_as_stored, operands)


def rounding_screen_of(operands: Operands | None) -> Screen | None:
    """Give a screen that rounds float32 rows to int8 and multiplies bytes, for many queries.

    It takes less time than :func:`screen_of` for each query, and some for each row; it lets more pass. None where rows
    are not float32, or where the processor cannot multiply 64 bytes at once.
    """
    return _behind_offsets(_screen_that_rounds, operands)


def _behind_offsets(make: Callable[[Any], Screen | None], operands: Operands | None) -> Screen | None:
    """Give the screen that ``make`` gives for operands without the queries' offsets, with them."""
    if isinstance(operands, Shifted):
        return _shifted(_behind_offsets(make, operands.inner), operands.offsets)
    if isinstance(operands, OffsetDot | OffsetL2):
        return _shifted(make(_without_offsets(operands)), operands.offsets)
    return make(operands)


def _screen_as_stored(operands: Any) -> Screen | None:
    if not isinstance(operands, PlainDot | PlainL2 | ScaledDot | ScaledL2 | CodesDot | CodesL2):
        return None
    rounds = not isinstance(operands, PlainDot | PlainL2) and operands.codes.dtype == np.int8
    return _screen(operands, _asked(operands, rounds=rounds and has_feature("avx512vnni")))


def _screen_that_rounds(operands: Any) -> Screen | None:
    if not isinstance(operands, PlainDot | PlainL2) or operands.rows.dtype != np.float32:
        return None
    if not has_feature("avx512vnni"):
        return None
    asked = _asked(operands, rounds=True)
    errors = np.maximum(asked.errors, _LEAST_ERROR * asked.lengths)
    # For each unit of what rounding leaves of a row, a product is off by the length of the rounded query.
    rounded = np.divide(asked.lengths + errors, errors, out=np.zeros_like(errors), where=errors > 0)
    return _screen(operands, asked._replace(errors=errors), rounded=float(rounded.max(initial=0)))


def _screen(operands: Any, asked: _Asked, *, rounded: float = 0.0) -> Screen:
    """Give the screen for queries that were asked; for ``rounded`` see :class:`Screen`."""
    rows: F32 | U16 | I8 | I16
    if isinstance(operands, PlainDot | PlainL2):
        rows, scales = operands.rows, frozen(np.empty(0, np.float32))
    else:
        rows, scales = operands.codes, operands.scales
    bias = None if isinstance(operands, PlainL2 | ScaledL2 | CodesL2) else float(operands.bias)
    dim = rows.shape[1]
    n_queries = len(asked.lengths)
    exact = _sum_bound(dim // 64 + 16)
    limits = np.zeros((3, len(asked.panels) * LANES), np.float32)
    limits[0, :n_queries] = 0 if bias is not None else -0.5 / asked.units
    limits[1, :n_queries] = LENGTHS * asked.errors / asked.units
    limits[2, :n_queries] = -np.inf
    limits[2, n_queries:] = np.inf
    constants = asked.lengths**2 / 2 if bias is None else np.full(n_queries, bias)
    # What underflows on the way is far less.
    constants -= (1e-12 * constants if bias is None else 0) + 1e-30 * dim * (1 + asked.lengths)
    rounding = exact + 8 * UNIT
    if isinstance(operands, CodesL2):
        # Squared lengths are computed apart, and what is small is the difference of three large numbers.
        constants -= 4 * rounding * constants
        rounding *= 4
    return Screen(
        rows,
        scales,
        asked.panels,
        limits,
        frozen(constants / asked.units),
        frozen(1 / asked.units),
        0.5 if bias is None else 1.0,
        exact if bias is None else 4 * UNIT,
        rounding,
        _LARGEST / max(float(asked.lengths.max(initial=0)), 1e-30),
        rounded,
    )


class _Asked(NamedTuple):
    """Queries in panels of ``units`` each, their lengths, and how much a product with a row of length 1 may be off."""

    panels: F32 | U8
    units: F64
    lengths: F64
    errors: F64


def _asked(operands: Any, *, rounds: bool) -> _Asked:
    """Put queries into panels; of bytes where ``rounds`` says that the processor multiplies them."""
    queries = operands.queries
    dim = queries.shape[1]
    exact = _sum_bound(dim // 64 + 16)
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    if isinstance(operands, CodesDot | CodesL2):
        units = operands.query_scales.astype(np.float64)
        lengths = lengths * units
        units[units == 0] = 1
        # Sums of integers are exact, as long as no float32 takes part.
        panels = _byte_panels(queries) if rounds else _float_panels(queries.astype(np.float32))
        return _Asked(panels, units, lengths, (16 * UNIT + (0 if rounds else _sum_bound(dim + 16))) * lengths)
    if rounds:
        panels, units, errors = _code_panels(queries)
        return _Asked(panels, units, lengths, errors + (exact + 8 * UNIT) * lengths)
    return _Asked(_float_panels(queries), np.ones(len(queries)), lengths, (exact + _sum_bound(dim + 16)) * lengths)


def _without_offsets(operands: OffsetDot | OffsetL2) -> Operands:
    """Give operands for the same distances less the queries' offsets."""
    rows: Any = operands.rows
    queries, none = operands.queries, np.float32(0)
    squared = isinstance(operands, OffsetL2)
    if rows.dtype == np.float32:
        return PlainL2(rows, queries) if squared else PlainDot(rows, queries, none)
    scales = frozen(np.full(len(rows), operands.scale, np.float32))
    return ScaledL2(rows, scales, queries) if squared else ScaledDot(rows, scales, queries, none)


def _shifted(screen: Screen | None, offsets: F32) -> Screen | None:
    """Give the screen for distances D + offset, rounded: D is within so much of what is left without the offset."""
    if screen is None:
        return None
    slack = screen.slack + 4 * UNIT
    wide = offsets.astype(np.float64)
    constants = screen.constants + screen.factors * (screen.rate * wide - slack * np.abs(wide))
    return screen._replace(constants=frozen(constants), slack=slack)


def _sum_bound(count: int) -> float:
    """Give g(count): how much a sum of so many products may be off, over the sum of their sizes."""
    return count * UNIT / (1 - count * UNIT)


def _float_panels(queries: F32) -> F32:
    padded = _padded(queries, 1)
    return frozen(padded.reshape(-1, LANES, queries.shape[1]).transpose(0, 2, 1))


def _code_panels(queries: F32) -> tuple[U8, F64, F64]:
    """Round queries to int8; give the panels, the scales, and the lengths of what rounding left."""
    codes, scales = np.empty(queries.shape, np.int8), np.empty(len(queries), np.float32)
    quantise.quantise(queries, codes, scales, quantise.LARGEST)
    units = scales.astype(np.float64)
    left = np.linalg.norm(queries - units[:, None] * codes, axis=1)
    units[units == 0] = 1
    return _byte_panels(codes), units, left


def _byte_panels(codes: I8) -> U8:
    padded = _padded(codes, 4)
    panels = padded.reshape(-1, LANES, padded.shape[1] // 4, 4).transpose(0, 2, 1, 3)
    return frozen(np.ascontiguousarray(panels).view(np.uint8) ^ np.uint8(128))


def _padded(matrix: Any, columns: int) -> Any:
    """Fill up to a multiple of sixteen rows and of so many columns with zeros."""
    return np.pad(matrix, ((0, -len(matrix) % LANES), (0, -matrix.shape[1] % columns)))
