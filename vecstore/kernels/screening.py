"""The nearest rows of many queries: quick products say which rows can be among them, and only those are scored.

A screen has the queries in panels of sixteen side by side, so that one row meets sixteen queries in a register. Its
products are summed in any order, and for int8 rows with rounded queries (where queries are many, float32 rows are
rounded as well, a block at a time); how far they can be from the distances that the operands compute is bounded, and
whatever may be among the k nearest within that bound is scored with the operands. So answers have the bits that scoring
every row would give, whatever the processor. Screens are made in :mod:`vecstore.kernels.screens`.

The bound of a product p of d numbers: with u = 2^-24, sums of d products in any order are within g(d) |q| |x| of the
true one, g(d) = d u / (1 - d u) (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, section 3.1); a
query q' instead of q adds |q - q'| |x|, and a row x' instead of x adds |q'| |x - x'|. A squared distance is
|q|^2 + |x|^2 - 2 p.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, kernel, overload
from vecstore.kernels.distance import Operands, distance
from vecstore.kernels.intrinsics import (
    LANES,
    PANEL_ROWS,
    copy_row,
    count_ones,
    decode_row,
    dot,
    panel_hits,
    squared_distance,
)
from vecstore.kernels.quantise import LARGEST, quantise
from vecstore.kernels.topk import FREE, distance_of, pack, replace_largest
from vecstore.types import F32, F64, I8, I16, I32, I64, U8, U16, U32, U64

__all__ = ["PANEL_ROWS", "Screen", "is_direct", "new_buffer", "screen_rows", "screen_span"]

#: Bytes of rows that meet all panels before the next ones: half of a usual second-level cache at most.
_BLOCK_BYTES = 1 << 18
#: Half the distance from 1 to the next float32.
UNIT = 2.0**-24
#: Computed lengths may be off by a millionth part of this and more; a bound may be as much too large.
LENGTHS = 1.001
#: Below such numbers squares lose digits; they count as if they were so large.
_TINY = 1e-18


class Screen(NamedTuple):
    """Queries in panels, and how much their products may be off.

    Attributes
    ----------
    rows : float32[n, d], uint16[n, d] (the bits of halves), int8[n, d] or int16[n, d]
        Stored numbers.
    scales : float32[n] or float32[0]
        Of the rows; none where numbers are stored as they are.
    panels : float32[p, d, 16] or uint8[p, ceil(d / 4), 16, 4]
        Queries, or their codes plus 128 (see ``intrinsics.panel_hits``).
    limits : float32[3, 16 p]
        Of each query: the weight of a row's squared length, at most 0; how much a product may be off for each unit of a
        row's length; and what a row reaches that may be among the nearest, which grows as nearer ones are found.
    constants, factors : float64[q]
        The limit at a k-th distance of D is constant - factor (rate D + slack |D|).
    rate, slack, rounding : float64
        See above; and how much of a row's squared length may be too much.
    largest : float64
        Rows longer than this may overflow.
    rounded : float64
        Where rows are rounded: what rounding leaves of a row counts as so many times its length.
    """

    rows: F32 | U16 | I8 | I16
    scales: F32
    panels: F32 | U8
    limits: F32
    constants: F64
    factors: F64
    rate: float
    slack: float
    rounding: float
    largest: float
    rounded: float


class _Block(NamedTuple):
    """What is known of the rows of a block: see ``intrinsics.panel_hits``; and which queries are near."""

    numbers: I64
    starts: I32
    lines: F32
    masks: U32


def _size(rows: Any, place: Int) -> tuple[np.float32, np.int32]:
    """Give the squared length of a row, and the sum of its codes (0 for floats); only compiled code may call it."""
    raise NotImplementedError("_size() exists in compiled kernels only")


def _bring(rows: Any, row: Int, block: Any, place: Int) -> None:
    """Copy or decode a row, without its scale, to a place of a block; only compiled code may call it."""
    raise NotImplementedError("_bring() exists in compiled kernels only")


def _bring_block(screen: Screen, rows: Any, buffer: Any, block: _Block) -> None:
    """Bring the screen's rows of a block into a buffer, and measure them; only compiled code may call it."""
    raise NotImplementedError("_bring_block() exists in compiled kernels only")


def _float_size(rows: Any, place: Any) -> Any:
    return dot(rows, place, rows, place), np.int32(0)


def _code_size(rows: Any, place: Any) -> Any:
    total, square = np.int32(0), np.int32(0)
    for column in range(rows.shape[1]):
        code = np.int32(rows[place, column])
        total += code
        square += code * code
    return np.float32(square), total


@kernel
def _code_sum(codes: I8, place: Int) -> np.int32:
    total = np.int32(0)
    for column in range(codes.shape[1]):
        total += np.int32(codes[place, column])
    return total


def _copy(rows: Any, row: Any, block: Any, place: Any) -> Any:
    copy_row(rows, row, block, place)


def _decode(rows: Any, row: Any, block: Any, place: Any) -> Any:
    decode_row(rows, row, np.float32(1), block, place)


@overload(_size)
def _choose_size(rows: Any, place: Any) -> Any:  # noqa: ARG001
    return _float_size if rows.dtype.name == "float32" else _code_size


@overload(_bring)
def _choose_bring(rows: Any, row: Any, block: Any, place: Any) -> Any:  # noqa: ARG001
    return _copy if rows.dtype == block.dtype else _decode


@kernel
def _limit(screen: Screen, query: Int, furthest: np.uint64) -> np.float32:
    """Give what rows reach that may be nearer than the k-th so far, or as near; rounded down."""
    if furthest == FREE:
        return np.float32(-np.inf)
    farthest = np.float64(distance_of(furthest))
    limit = screen.constants[query] - screen.factors[query] * (screen.rate * farthest + screen.slack * abs(farthest))
    return np.float32(limit - 2 * UNIT * abs(limit))


@kernel
def _measure(screen: Screen, rows: Any, first: Int, block: _Block) -> None:
    """Write what the screen needs to know of each row of a block."""
    for place in range(len(block.numbers)):
        square, total = _size(rows, first + place)
        scale = screen.scales[block.numbers[place]] if len(screen.scales) else np.float32(1)
        true_square = np.float64(square) * np.float64(scale) * np.float64(scale)
        length = LENGTHS * np.sqrt(true_square) + _TINY * rows.shape[1]
        block.starts[place] = -128 * total
        block.lines[0, place] = scale
        block.lines[1, place] = true_square * (1 - screen.rounding)
        block.lines[2, place] = length if length < screen.largest else np.inf


def _as_stored(screen: Any, rows: Any, buffer: Any, block: Any) -> Any:
    for place in range(len(block.numbers)):
        _bring(rows, block.numbers[place], buffer, place)
    _measure(screen, buffer, 0, block)


def _rounded(screen: Any, rows: Any, buffer: Any, block: Any) -> Any:
    for place in range(len(block.numbers)):
        row = block.numbers[place]
        scales = block.lines[0, place : place + 1]
        quantise(rows[row : row + 1], buffer[place : place + 1], scales, LARGEST)
        square = np.float64(dot(rows, row, rows, row))
        length = LENGTHS * np.sqrt(square) + _TINY * rows.shape[1]
        # Each of the differences is rounded too, by less than a few parts of what its number is.
        left = np.sqrt(np.float64(squared_distance(buffer, place, scales[0], rows, row))) + 4 * UNIT * length
        reach = length + screen.rounded * (LENGTHS * left + _TINY * rows.shape[1])
        block.starts[place] = -128 * _code_sum(buffer, place)
        block.lines[1, place] = square * (1 - screen.rounding)
        block.lines[2, place] = reach if length < screen.largest else np.inf


@overload(_bring_block)
def _choose_bring_block(screen: Any, rows: Any, buffer: Any, block: Any) -> Any:  # noqa: ARG001
    return _rounded if (rows.dtype.name, buffer.dtype.name) == ("float32", "int8") else _as_stored


@kernel
def _offer(screen: Screen, operands: Operands, query: Int, row: Int, heaps: U64) -> None:
    """Score a row, and keep it if it is among the nearest."""
    heap = heaps[query]
    key = pack(distance(operands, query, row), row)
    if key < heap[0]:
        replace_largest(heap, key)
        screen.limits[2, query] = _limit(screen, query, heap[0])


@kernel
def _screen_block(screen: Screen, operands: Operands, rows: Any, first: Int, block: _Block, heaps: U64) -> int:
    """Offer the rows ``first`` and on of ``rows``, as many as the block's numbers, at least PANEL_ROWS.

    They have been measured. Gives how many distances were computed.
    """
    scored = 0
    count = len(block.numbers)
    one = np.uint32(1)
    for panel in range(len(screen.panels)):
        for low in range(0, count, PANEL_ROWS):
            # The last ones are taken together with some that have had their turn.
            begin = min(low, count - PANEL_ROWS)
            if not panel_hits(
                rows,
                first + begin,
                screen.panels,
                panel,
                block.starts,
                block.lines,
                begin,
                screen.limits,
                block.masks,
            ):
                continue
            for number in range(low - begin, PANEL_ROWS):
                mask = block.masks[number]
                while mask:
                    query = panel * LANES + np.int64(count_ones(np.uint64((mask & (~mask + one)) - one)))
                    mask &= mask - one
                    if query < len(heaps):
                        _offer(screen, operands, query, block.numbers[begin + number], heaps)
                        scored += 1
    return scored


@kernel
def _block_rows(screen: Screen) -> int:
    """Give how many rows a block has: a multiple of PANEL_ROWS."""
    width = screen.rows.shape[1] * (4 if screen.panels.ndim == 3 else 1)
    rows: int = max(1, _BLOCK_BYTES // (width * PANEL_ROWS)) * PANEL_ROWS
    return rows


@kernel
def _new_block(size: int) -> _Block:
    return _Block(
        np.empty(size, np.int64),
        np.empty(size, np.int32),
        np.empty((3, size), np.float32),
        np.empty(PANEL_ROWS, np.uint32),
    )


@kernel
def screen_span(screen: Screen, operands: Operands, start: int, stop: int, heaps: U64) -> int:
    """Offer the rows start..stop, at least PANEL_ROWS, of a screen that :func:`is_direct` to the heaps.

    Gives how many distances were computed.
    """
    scored = 0
    size = _block_rows(screen)
    block = _new_block(size + PANEL_ROWS)
    low = start
    while low < stop:
        count = size if stop - low >= size + PANEL_ROWS else stop - low
        numbers = block.numbers[:count]
        for place in range(count):
            numbers[place] = low + place
        part = _Block(numbers, block.starts, block.lines, block.masks)
        _measure(screen, screen.rows, low, part)
        scored += _screen_block(screen, operands, screen.rows, low, part, heaps)
        low += count
    return scored


@kernel
def screen_rows(screen: Screen, operands: Operands, rows: I64, buffer: F32 | I8, heaps: U64) -> int:
    """Offer ``rows`` int64[m], at least PANEL_ROWS of them, all inside the table, to the heaps.

    They are brought into ``buffer`` (see :func:`new_buffer`) a block at a time, decoded where the screen wants floats,
    rounded where it wants bytes. Gives how many distances were computed.
    """
    scored = 0
    size = _block_rows(screen)
    block = _new_block(size + PANEL_ROWS)
    low = 0
    while low < len(rows):
        count = size if len(rows) - low >= size + PANEL_ROWS else len(rows) - low
        numbers = block.numbers[:count]
        for place in range(count):
            numbers[place] = rows[low + place]
        part = _Block(numbers, block.starts, block.lines, block.masks)
        _bring_block(screen, screen.rows, buffer, part)
        scored += _screen_block(screen, operands, buffer, 0, part, heaps)
        low += count
    return scored


def new_buffer(screen: Screen) -> F32 | I8:
    """Give room for a block of rows, for :func:`screen_rows`."""
    shape = (_block_rows(screen) + PANEL_ROWS, screen.rows.shape[1])
    return np.empty(shape, np.float32) if screen.panels.ndim == 3 else np.empty(shape, np.int8)


def is_direct(screen: Screen) -> bool:
    """Tell whether rows meet the panels as they are stored."""
    return screen.rows.dtype == (np.float32 if screen.panels.ndim == 3 else np.int8)
