"""Sums over 4-bit codes that are looked up in registers, for blocks of 16 rows.

Bytes are added until they may overflow, then as the 16 bits that two of them are: once as they are, which gives the
even ones and 256 times the odd ones together, and once shifted, which gives the odd ones.

With vectors of 64 bytes, one has four columns of a block, whose sums are folded at the end: few loads, and masks where
columns end. With shorter ones, one has a column of as many blocks as fit, and tables are repeated as they are loaded:
nothing is folded, and no lane is empty.
"""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vecstore.kernels.intrinsics.emitting import (
    BLOCK,
    I8,
    I16,
    I32,
    I64,
    Builder,
    Row,
    Value,
    load,
    row_of,
    steps,
    tail_mask,
)
from vecstore.kernels.intrinsics.memory import prefetch_address
from vecstore.kernels.intrinsics.shuffles import (
    high_halves,
    interleaved,
    joined,
    low_halves,
    shuffle_bytes,
    shuffled_at_once,
)
from vecstore.kernels.intrinsics.sizes import GROUP_COLUMNS, TILE

#: Rows of a block, and bytes of one of its columns.
_ROWS = 16
#: Number of queries -> blocks whose sums are in registers at once, with those of AVX-512.
_TOGETHER = {1: 4, TILE: 1}
#: Number of queries -> vectors of codes whose sums are in registers at once, with fewer registers.
_VECTORS = {1: 2, TILE: 1}
#: Columns whose numbers are the same modulo this share a sum of bytes.
_CLASSES = 4

#: The low and the high tables of a query, from the first column on.
_Tables = tuple[Row, Row]


class _Totals(NamedTuple):
    """Where the sums of a vector of rows for one query grow."""

    #: Sums of a few columns, in bytes.
    few: Value
    #: Sums in 16 bits: of the odd rows times 256 and the even ones together, and of the odd ones.
    both: Value
    odd: Value


def _new_totals(builder: Builder, lanes: int) -> _Totals:
    kinds = ir.VectorType(I8, lanes), ir.VectorType(I16, lanes // 2), ir.VectorType(I16, lanes // 2)
    totals = _Totals(*(cgutils.alloca_once(builder, kind) for kind in kinds))
    for place in totals:
        _clear(builder, place)
    return totals


def _clear(builder: Builder, place: Value) -> None:
    builder.store(ir.Constant(place.type.pointee, None), place)


def _add_found(builder: Builder, codes: tuple[Value, Value], tables: tuple[Value, Value], total: _Totals) -> None:
    """Emit the look-up of the low and the high halves of codes, and add what is found to the bytes."""
    low, high = (shuffle_bytes(builder, table, half) for table, half in zip(tables, codes, strict=True))
    builder.store(builder.add(builder.load(total.few), builder.add(low, high)), total.few)


def _widen(builder: Builder, total: _Totals) -> None:
    """Emit the addition of the bytes to the sums in 16 bits."""
    wide = total.both.type.pointee
    pairs = builder.bitcast(builder.load(total.few), wide)
    upper = builder.lshr(pairs, ir.Constant(wide, [8] * wide.count))
    builder.store(builder.add(builder.load(total.both), pairs), total.both)
    builder.store(builder.add(builder.load(total.odd), upper), total.odd)
    _clear(builder, total.few)


def _even(builder: Builder, both: Value, odd: Value) -> Value:
    """Emit the sums of the even rows."""
    return builder.sub(both, builder.shl(odd, ir.Constant(odd.type, [8] * odd.type.count)))


def _folded(builder: Builder, vectors: list[Value], segment: int) -> list[Value]:
    """Emit the sums of the halves of every ``segment`` lanes; two vectors become one, and one becomes half of one."""
    lanes = min(2, len(vectors)) * vectors[0].type.count
    undefined = ir.Constant(vectors[0].type, ir.Undefined)
    folded = []
    for first, second in zip(vectors[::2], vectors[1::2] or [undefined], strict=True):
        halves = []
        for half in (0, segment // 2):
            places = [start + half + lane for start in range(0, lanes, segment) for lane in range(segment // 2)]
            order = ir.Constant(ir.VectorType(I32, len(places)), places)
            halves.append(builder.shuffle_vector(first, second, order))
        folded.append(builder.add(*halves))
    return folded


def _sums_by_columns(builder: Builder, blocks: list[Row], tables: list[_Tables]) -> list[list[Value]]:
    """Emit the sums of the rows of one or four blocks, 16 bits each: for each query those of all blocks.

    A vector has four columns of a block.
    """
    totals = [[_new_totals(builder, BLOCK) for _ in tables] for _ in blocks]
    every = [total for block in totals for total in block]
    length = blocks[0].length

    def add(offset: Value, mask: Value | None) -> None:
        entries = [tuple(load(builder, half, offset, None, BLOCK) for half in table) for table in tables]
        for block, own in zip(blocks, totals, strict=True):
            codes = load(builder, block, offset, mask, BLOCK)
            if mask is None:
                # The next blocks, if there are any: processors ignore what they are asked for in vain.
                ahead = builder.add(offset, builder.mul(length, I64(len(blocks))))
                prefetch_address(builder, builder.gep(block.address, [ahead]))
            halves = low_halves(builder, codes), high_halves(builder, codes)
            for (low, high), total in zip(entries, own, strict=True):
                _add_found(builder, halves, (low, high), total)

    def widen() -> None:
        for total in every:
            _widen(builder, total)

    grouped = builder.and_(length, I64(-GROUP_COLUMNS * _ROWS))
    with steps(builder, grouped, GROUP_COLUMNS * _ROWS) as start:
        for offset in range(0, GROUP_COLUMNS * _ROWS, BLOCK):
            add(builder.add(start, I64(offset)), None)
        widen()
    whole = builder.and_(length, I64(-BLOCK))
    with builder.if_then(builder.icmp_signed("<", grouped, length)):
        with cgutils.for_range_slice(builder, grouped, whole, I64(BLOCK), I64) as (offset, _):
            add(offset, None)
        with builder.if_then(builder.icmp_signed("<", whole, length)):
            add(whole, tail_mask(builder, builder.sub(length, whole), BLOCK))
        widen()
    return [[_joined_rows(builder, [own[number] for own in totals])] for number in range(len(tables))]


def _joined_rows(builder: Builder, totals: list[_Totals]) -> Value:
    """Emit the sums of the rows of one or four blocks, from four groups of 8 lanes a block."""
    both, odd = ([builder.load(place) for place in places] for places in list(zip(*totals, strict=True))[1:])
    for segment in (BLOCK // 2, BLOCK // 4):
        both, odd = _folded(builder, both, segment), _folded(builder, odd, segment)
    even = _even(builder, both[0], odd[0])
    return interleaved(builder, even, odd[0], 0, even.type.count)


def _sums_by_blocks(builder: Builder, blocks: list[Row], tables: list[_Tables], lanes: int) -> list[list[Value]]:
    """Emit the sums of the rows of some blocks, 16 bits each: for each query those of one block after another.

    A vector of ``lanes`` bytes has a column of as many blocks as fit.
    """
    together = lanes // _ROWS
    vectors = [blocks[start : start + together] for start in range(0, len(blocks), together)]
    totals = [[_new_totals(builder, lanes) for _ in tables] for _ in vectors]
    every = [total for own in totals for total in own]
    length, class_bytes = blocks[0].length, _CLASSES * _ROWS

    def add(offset: Value, ahead: bool) -> None:
        entries = [
            tuple(joined(builder, [load(builder, half, offset, None, _ROWS)] * together) for half in table)
            for table in tables
        ]
        for vector, own in zip(vectors, totals, strict=True):
            codes = joined(builder, [load(builder, block, offset, None, _ROWS) for block in vector])
            for block in vector if ahead else ():
                place = builder.add(offset, builder.mul(length, I64(len(blocks))))
                prefetch_address(builder, builder.gep(block.address, [place]))
            halves = low_halves(builder, codes), high_halves(builder, codes)
            for (low, high), total in zip(entries, own, strict=True):
                _add_found(builder, halves, (low, high), total)

    def widen() -> None:
        for total in every:
            _widen(builder, total)

    # An emulated shuffle is much code, so it is there once.
    whole = builder.and_(length, I64(-GROUP_COLUMNS * _ROWS)) if shuffled_at_once() else I64(0)
    with steps(builder, whole, GROUP_COLUMNS * _ROWS) as start:
        for number in range(_CLASSES):
            for column in range(number, GROUP_COLUMNS, _CLASSES):
                add(builder.add(start, I64(column * _ROWS)), number == 0)
            widen()
    with cgutils.for_range_slice(builder, whole, length, I64(GROUP_COLUMNS * _ROWS), I64) as (start, _):
        left, most = builder.sub(length, start), I64(GROUP_COLUMNS * _ROWS)
        stop = builder.add(start, builder.select(builder.icmp_signed("<", left, most), left, most))
        for number in range(_CLASSES):
            begin = builder.add(start, I64(number * _ROWS))
            with cgutils.for_range_slice(builder, begin, stop, I64(class_bytes), I64) as (place, _):
                add(place, False)
            widen()
    return [
        [
            interleaved(builder, _even(builder, both, odd), odd, 8 * place, 8)
            for _, both, odd in ([builder.load(part) for part in own[number]] for own in totals)
            for place in range(together)
        ]
        for number in range(len(tables))
    ]


def _shapes(n_queries: int) -> Sequence[tuple[int, int]]:
    """Give how blocks are taken, the most first: how many together, and the lanes of a vector."""
    lanes = shuffled_at_once()
    if lanes == BLOCK:
        return [(count, BLOCK) for count in sorted({1, _TOGETHER[n_queries]}, reverse=True)]
    if lanes == 0:
        return [(1, _ROWS)]
    return [(_VECTORS[n_queries] * lanes // _ROWS, lanes), (1, _ROWS)]


@intrinsic
def sum_nibbles(
    typingctx: Any,
    codes: Any,
    block: Any,
    count: Any,
    column: Any,
    tables: Any,
    queries: Any,
    table_column: Any,
    n_columns: Any,
    sums: Any,
) -> Any:
    """Write to ``sums`` what tables say of the codes of the rows of ``count`` blocks from ``block`` on.

    ``queries`` is a tuple of one number, or of :data:`TILE` consecutive ones; query i has ``sums[i]``. Row r of a
    block adds ``tables[query, 0, t, low] + tables[query, 1, t, high]`` for each of ``n_columns`` columns, where low and
    high are the halves of the byte ``codes[block, column + c, r]`` and t is ``table_column + c``.

    Parameters
    ----------
    codes : uint8[blocks, columns, 16]
    tables : uint8[q, 2, T, 16]
        Of each group of :data:`GROUP_COLUMNS` columns, those whose numbers are the same modulo 4 have entries that
        add up to 255 at most. T is a multiple of 4, and entries past the last column are 0.
    table_column : int
        A multiple of :data:`GROUP_COLUMNS`.
    n_columns : int
        At most :data:`MAX_COLUMNS`.
    sums : uint16[1 or TILE, m]
        m is at least 16 times ``count``.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        codes, block, count, column, tables, queries, table_column, n_columns, sums = args
        code_array = context.make_array(signature.args[0])(context, builder, codes)
        table_array = context.make_array(signature.args[4])(context, builder, tables)
        width = cgutils.unpack_tuple(builder, code_array.shape, 3)[1]
        table_width = cgutils.unpack_tuple(builder, table_array.shape, 4)[2]
        size = I64(_ROWS)
        length = builder.mul(n_columns, size)
        half = builder.mul(table_width, size)
        stride = builder.mul(width, size)
        origin = builder.gep(code_array.data, [builder.add(builder.mul(block, stride), builder.mul(column, size))])

        def table_row(query: Value, which: int) -> Row:
            line = builder.add(builder.mul(query, I64(2)), I64(which))
            start = builder.add(builder.mul(line, half), builder.mul(table_column, size))
            return Row(builder.gep(table_array.data, [start]), half, types.uint8)

        halves = [(table_row(q, 0), table_row(q, 1)) for q in cgutils.unpack_tuple(builder, queries)]
        lines = [row_of(context, builder, signature.args[8], sums, I64(number)) for number in range(len(halves))]

        def put(first: Value, together: int, lanes: int) -> None:
            """Emit the sums of some blocks at once."""
            starts = [builder.mul(builder.add(first, I64(number)), stride) for number in range(together)]
            rows = [Row(builder.gep(origin, [start]), length, types.uint8) for start in starts]
            if lanes == BLOCK:
                found = _sums_by_columns(builder, rows, halves)
            else:
                found = _sums_by_blocks(builder, rows, halves, lanes)
            for line, own in zip(lines, found, strict=True):
                place = builder.mul(first, size)
                for part in own:
                    pointer = builder.bitcast(builder.gep(line.address, [place]), part.type.as_pointer())
                    builder.store(part, pointer, align=2)
                    place = builder.add(place, I64(part.type.count))

        begin: Value = I64(0)
        for together, lanes in _shapes(len(halves)):
            end = builder.sub(count, builder.srem(builder.sub(count, begin), I64(together)))
            with cgutils.for_range_slice(builder, begin, end, I64(together), I64) as (first, _):
                put(first, together, lanes)
            begin = end
        return context.get_dummy_value()

    sizes = [types.intp] * 3
    return types.void(codes, *sizes, tables, queries, types.intp, types.intp, sums), emit
