"""Sums over rows of 4-bit codes: each code is a place in a table of 16 entries, and 16 rows are summed at a time.

Codes lie in blocks of 16 rows, column by column: byte ``[block, c, r]`` has the codes 2 c (low half) and 2 c + 1 (high
half) of row ``16 block + r``. So one vector holds the same codes of 16 rows, and their entries are found by shuffling
bytes in registers, without touching memory (as in Andre, Kermarrec and Le Scouarnec, "Cache locality is not enough:
High-Performance Nearest Neighbor Search with Product Quantization Fast Scan", VLDB 2015).

A code may be four bits of a *plane*: numbers of B bits are B planes of W columns each, least significant plane first,
and the table says what each four of them add. Then the sum over all planes, each times its power of two, is the inner
product with the numbers.

For one row at a time there are tables of floats; for blocks they are rounded to whole steps that fit a byte, which
makes every sum an exact integer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vecstore.kernels.compiling import Int, class_of, kernel, overload
from vecstore.kernels.intrinsics import GLANCE, TILE, dot
from vecstore.kernels.nibble_spans import (
    BLOCK_ROWS,
    SPAN_ROWS,
    are_short,
    column_sums,
    push_sums,
    span_rows,
    span_sums,
    stepped,
)
from vecstore.kernels.topk import push_block
from vecstore.types import F32, I32, I64, U8, U16

#: Entries of a table.
ENTRIES = 16


class NibbleSums(NamedTuple):
    """Sums of floats over the codes of a row.

    Attributes
    ----------
    codes : uint8[ceil(n / 16), W, 16]
    tables : float32[q, 2 W, 16]
        What each value of each code adds to the distance.
    bias : float32
        Distance = bias + the sum.
    """

    codes: U8
    tables: F32
    bias: np.float32


class NibbleSteps(NamedTuple):
    """The same sums in whole steps, for scans.

    Attributes
    ----------
    codes : uint8[ceil(n / 16), W, 16]
    tables : uint8[q, 2, W rounded up to a multiple of 4, 16]
        As :func:`round_tables` gives them.
    steps, bases : float32[q]
        Distance = base + step * the sum.
    """

    codes: U8
    tables: U8
    steps: F32
    bases: F32


class PlaneProducts(NamedTuple):
    """Estimates from products of float32 queries with numbers of a few bits.

    With v = 2 u - (2^B - 1) for the stored number u of B bits:
    distance = offset + norm_weight * norms[row] - product_weight * scales[row] * <q, v>.

    Attributes
    ----------
    codes : uint8[ceil(n / 16), B W, 16]
    scales, norms : float32[n]
    tables : float32[q, 2 W, 16]
        The sum of those four numbers of the query whose bits are set.
    totals, offsets : float32[q]
        The sum of all numbers of the query; what is added.
    norm_weight, product_weight : float32
    """

    codes: U8
    scales: F32
    norms: F32
    tables: F32
    totals: F32
    offsets: F32
    norm_weight: np.float32
    product_weight: np.float32


class PlaneSteps(NamedTuple):
    """The same estimates with tables in whole steps, for scans.

    Attributes
    ----------
    codes, scales, norms, offsets, norm_weight, product_weight
        As for :class:`PlaneProducts`.
    tables : uint8[q, 2, W rounded up to a multiple of 4, 16]
    planes : int
        B.
    steps, bases : float32[q]
        <q, v> = base + step * the sum.
    """

    codes: U8
    scales: F32
    norms: F32
    tables: U8
    planes: int
    steps: F32
    bases: F32
    offsets: F32
    norm_weight: np.float32
    product_weight: np.float32


class PlaneBounds(NamedTuple):
    """What the true distance is hardly ever below: an estimate less what it may be off.

    Attributes
    ----------
    estimates : PlaneSteps
    residuals : float32[n]
        How far each decoded row is from the row.
    slacks, roughs : float32[q]
        How much the estimate may be off for each unit of the residual, and of the scale.
    """

    estimates: PlaneSteps
    residuals: F32
    slacks: F32
    roughs: F32


@kernel
def code_byte(codes: U8, column: Int, row: Int) -> Int:
    """Give the byte of one column of a row."""
    return np.int64(codes[row >> 4, column, row & 15])


@kernel
def float_sum(codes: U8, first: Int, tables: F32, query: Int, row: Int) -> np.float32:
    """Give the sum of float entries over the columns of a row from ``first`` on, in order."""
    total = np.float32(0)
    for column in range(tables.shape[1] // 2):
        byte = code_byte(codes, first + column, row)
        total += tables[query, 2 * column, byte & 15]
        total += tables[query, 2 * column + 1, byte >> 4]
    return total


@kernel
def plane_float_sum(codes: U8, tables: F32, query: Int, row: Int) -> np.float32:
    """Give the sum of :func:`float_sum` over the planes, each times its power of two, the most significant first."""
    width = tables.shape[1] // 2
    total = np.float32(0)
    for first in range(codes.shape[1] - width, -1, -width):
        total = total + total + float_sum(codes, first, tables, query, row)
    return total


@kernel
def step_sum(codes: U8, planes: Int, tables: U8, query: Int, row: Int) -> np.int32:
    """Give the sum of whole steps over all planes of a row."""
    width = codes.shape[1] // planes
    total: Int = 0
    for plane in range(planes):
        part: Int = 0
        for column in range(width):
            byte = code_byte(codes, plane * width + column, row)
            part += np.int64(tables[query, 0, column, byte & 15]) + np.int64(tables[query, 1, column, byte >> 4])
        total += part << plane
    return np.int32(total)


@kernel
def squared_lengths(rows: F32, out: F32) -> None:
    """Write the squared length of each row of float32[n, d] into ``out`` float32[n], by the lane rule."""
    for row in range(len(rows)):
        out[row] = dot(rows, row, rows, row)


@kernel
def take_planes(codes: U8, planes: int, rows: I64, out: I32) -> None:
    """Write the numbers v = 2 u - (2^B - 1) of ``rows`` int64[n] into ``out`` int32[n, d]."""
    width = codes.shape[1] // planes
    for place in range(len(rows)):
        for number in range(out.shape[1]):
            value = 0
            for plane in range(planes):
                byte = code_byte(codes, plane * width + (number >> 3), rows[place])
                value += ((byte >> (number & 7)) & 1) << plane
            out[place, number] = 2 * value - ((1 << planes) - 1)


@kernel
def estimated(product: np.float32, offset: np.float32, norm: np.float32, scale: np.float32) -> np.float32:
    """Give an estimate from a product with the numbers of a row, whose norm and scale are weighted already."""
    return (offset + norm) - scale * product


def nibble_sums_distance(operands: Any, query: Any, row: Any) -> Any:
    """Give the distance of :class:`NibbleSums`."""
    return operands.bias + float_sum(operands.codes, 0, operands.tables, query, row)


def nibble_steps_distance(operands: Any, query: Any, row: Any) -> Any:
    """Give the distance of :class:`NibbleSteps`."""
    total = step_sum(operands.codes, 1, operands.tables, query, row)
    return stepped(total, operands.bases[query], operands.steps[query])


def plane_products_distance(operands: Any, query: Any, row: Any) -> Any:
    """Give the distance of :class:`PlaneProducts`."""
    width = operands.tables.shape[1] // 2
    largest = np.float32((1 << (operands.codes.shape[1] // width)) - 1)
    set_bits = plane_float_sum(operands.codes, operands.tables, query, row)
    product = (set_bits + set_bits) - largest * operands.totals[query]
    norm, scale = operands.norm_weight * operands.norms[row], operands.product_weight * operands.scales[row]
    return estimated(product, operands.offsets[query], norm, scale)


@kernel
def plane_estimate(operands: PlaneSteps, query: Int, row: Int) -> np.float32:
    """Give the estimate for one row."""
    total = step_sum(operands.codes, operands.planes, operands.tables, query, row)
    product = stepped(total, operands.bases[query], operands.steps[query])
    norm, scale = operands.norm_weight * operands.norms[row], operands.product_weight * operands.scales[row]
    return estimated(product, operands.offsets[query], norm, scale)


def plane_steps_distance(operands: Any, query: Any, row: Any) -> Any:
    """Give the distance of :class:`PlaneSteps`."""
    return plane_estimate(operands, query, row)


def plane_bounds_distance(operands: Any, query: Any, row: Any) -> Any:
    """Give the bound of :class:`PlaneBounds`."""
    slack = operands.slacks[query] * operands.residuals[row] + operands.roughs[query] * operands.estimates.scales[row]
    return plane_estimate(operands.estimates, query, row) - slack


def _write_nibble_steps(operands: Any, query: Any, sums: Any, first: Any, out: Any) -> Any:  # noqa: ARG001
    """Write the distances for ``sums`` integer[m] of the rows from ``first`` on into ``out`` float32[m]."""
    base, step = operands.bases[query], operands.steps[query]
    for place in range(len(out)):
        out[place] = stepped(sums[place], base, step)


def _write_plane_steps(operands: Any, query: Any, sums: Any, first: Any, out: Any) -> Any:
    """Write the estimates for ``sums`` integer[m] of the rows from ``first`` on into ``out`` float32[m]."""
    base, step, offset = operands.bases[query], operands.steps[query], operands.offsets[query]
    norms, scales = operands.norms[first : first + len(out)], operands.scales[first : first + len(out)]
    norm_weight, product_weight = operands.norm_weight, operands.product_weight
    for place in range(len(out)):
        product = stepped(sums[place], base, step)
        out[place] = estimated(product, offset, norm_weight * norms[place], product_weight * scales[place])


def _write_plane_bounds(operands: Any, query: Any, sums: Any, first: Any, out: Any) -> Any:
    """Write the bounds for ``sums`` integer[m] of the rows from ``first`` on into ``out`` float32[m]."""
    write_steps(operands.estimates, query, sums, first, out)
    slack, rough = operands.slacks[query], operands.roughs[query]
    residuals = operands.residuals[first : first + len(out)]
    scales = operands.estimates.scales[first : first + len(out)]
    for place in range(len(out)):
        out[place] -= slack * residuals[place] + rough * scales[place]


def _nibble_steps(operands: Any) -> Any:
    return operands.codes, 1, operands.tables


def _plane_steps(operands: Any) -> Any:
    return operands.codes, operands.planes, operands.tables


def _bound_steps(operands: Any) -> Any:
    return steps_of(operands.estimates)


def write_steps(operands: Any, query: Int, sums: U16 | I32, first: Int, out: F32) -> None:
    """Write distances for sums of steps, as the class of the operands says; only compiled code may call it."""
    raise NotImplementedError("write_steps() exists in compiled kernels only")


def steps_of(operands: Any) -> tuple[U8, Int, U8]:
    """Give the codes, the number of planes and the tables of operands; only compiled code may call it."""
    raise NotImplementedError("steps_of() exists in compiled kernels only")


_WRITERS = {NibbleSteps: _write_nibble_steps, PlaneSteps: _write_plane_steps, PlaneBounds: _write_plane_bounds}
_STEPS = {NibbleSteps: _nibble_steps, PlaneSteps: _plane_steps, PlaneBounds: _bound_steps}


@overload(write_steps)
def _choose_writer(operands: Any, query: Any, sums: Any, first: Any, out: Any) -> Any:  # noqa: ARG001
    return _WRITERS.get(class_of(operands))


@overload(steps_of)
def _choose_steps(operands: Any) -> Any:
    return _STEPS.get(class_of(operands))


@kernel
def scan_blocks(operands: Any, first: Int, last: Int, start: Int, stop: Int, out: F32) -> None:
    """Write the distances of rows start..stop to queries first..last into ``out[first:last]``, block by block."""
    codes, planes, tables = steps_of(operands)
    width = codes.shape[1] // planes
    short = are_short(planes, width)
    span = span_rows(last - first)
    tile, one = np.empty((TILE, SPAN_ROWS), np.uint16), np.empty((1, span), np.uint16)
    tile_totals = np.empty((TILE, 0 if short else SPAN_ROWS), np.int32)
    one_total = np.empty((1, 0 if short else span), np.int32)
    for low in range(start - start % BLOCK_ROWS, stop, span):
        begin, end = max(low, start), min(low + span, stop)
        block, blocks = low >> 4, (end - low + BLOCK_ROWS - 1) >> 4
        query = first
        while query < last:
            sums, totals = (tile, tile_totals) if query + TILE <= last else (one, one_total)
            if short:
                column_sums(codes, block, blocks, 0, tables, query, 0, width, sums)
            else:
                span_sums(codes, planes, tables, query, block, blocks, sums, totals)
            for number in range(len(sums)):
                line = out[query + number, begin - start : end - start]
                if short:
                    write_steps(operands, query + number, sums[number, begin - low : end - low], begin, line)
                else:
                    write_steps(operands, query + number, totals[number, begin - low : end - low], begin, line)
            query += len(sums)


def scan_steps(operands: Any, first: Any, last: Any, start: Any, stop: Any, out: Any) -> Any:
    """Write distances; see :func:`scan_blocks`."""
    scan_blocks(operands, first, last, start, stop, out)


def rank_steps(operands: Any, first: Any, last: Any, start: Any, stop: Any, cells: Any, heaps: Any) -> Any:
    """Offer the rows start..stop to the heaps of queries first..last; sums are compared before they are distances."""
    codes, tables = operands.codes, operands.tables
    width = codes.shape[1]
    if not are_short(1, width):
        scan_blocks(operands, first, last, start, stop, cells)
        push_block(cells[first:last], start, heaps[first:last])
        return
    span = span_rows(last - first)
    tile, one = np.empty((TILE, SPAN_ROWS + GLANCE), np.uint16), np.empty((1, span + GLANCE), np.uint16)
    for low in range(start - start % BLOCK_ROWS, stop, span):
        begin, end = max(low, start), min(low + span, stop)
        query = first
        while query < last:
            sums = tile if query + TILE <= last else one
            column_sums(codes, low >> 4, (end - low + BLOCK_ROWS - 1) >> 4, 0, tables, query, 0, width, sums)
            for number in range(len(sums)):
                base, step = operands.bases[query + number], operands.steps[query + number]
                push_sums(sums, number, begin - low, end - low, begin, base, step, heaps[query + number])
            query += len(sums)


#: Class -> distance of one query to one row.
DISTANCES = {
    NibbleSums: nibble_sums_distance,
    NibbleSteps: nibble_steps_distance,
    PlaneProducts: plane_products_distance,
    PlaneSteps: plane_steps_distance,
    PlaneBounds: plane_bounds_distance,
}
#: Class -> distances of a span of rows, where that is not done row by row.
SCANS = {NibbleSteps: scan_steps, PlaneSteps: scan_steps, PlaneBounds: scan_steps}
#: Class -> ranking of a span of rows, where that is not done distance by distance.
RANKS = {NibbleSteps: rank_steps}
