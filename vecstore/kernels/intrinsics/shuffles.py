"""Sums over 4-bit codes that are looked up in registers, for blocks of 16 rows."""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from typing import Any

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
    declare,
    load,
    row_of,
    splat,
    steps,
    tail_mask,
)
from vecstore.kernels.intrinsics.memory import prefetch_address
from vecstore.kernels.intrinsics.sizes import TILE
from vecstore.kernels.loading import has_feature

_SHUFFLED = 16


def _shuffle_bytes(builder: Builder, table: Value, index: Value) -> Value:
    """Emit the look-up of 64 indices 0..15 in four tables of 16 bytes, each group of 16 in its own."""
    for feature, name, lanes in (
        ("avx512bw", "llvm.x86.avx512.pshuf.b.512", 64),
        ("avx2", "llvm.x86.avx2.pshuf.b", 32),
        ("ssse3", "llvm.x86.ssse3.pshuf.b.128", 16),
        ("neon", "llvm.aarch64.neon.tbl1.v16i8", 16),
    ):
        if has_feature(feature):
            part = ir.VectorType(I8, lanes)
            shuffle = declare(builder, name, part, part, part)
            parts = [
                builder.call(shuffle, [_lanes(builder, table, start, lanes), _lanes(builder, index, start, lanes)])
                for start in range(0, BLOCK, lanes)
            ]
            return _joined(builder, parts)
    found = ir.Constant(table.type, ir.Undefined)
    for lane in range(BLOCK):
        place = builder.zext(builder.extract_element(index, I32(lane)), I32)
        entry = builder.extract_element(table, builder.add(place, I32(lane - lane % _SHUFFLED)))
        found = builder.insert_element(found, entry, I32(lane))
    return found


def _lanes(builder: Builder, vector: Value, start: int, count: int) -> Value:
    places = ir.Constant(ir.VectorType(I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def _joined(builder: Builder, parts: list[Value]) -> Value:
    while len(parts) > 1:
        lanes = 2 * parts[0].type.count
        places = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
        parts = [builder.shuffle_vector(a, b, places) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


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


def _row_sums(builder: Builder, both: list[Value], odd: list[Value]) -> Value:
    """Emit the sums int32 of the rows of one or four blocks, from four groups of 8 lanes of 16 bits a block.

    ``both`` has the even rows, and the odd ones 256 times over; ``odd`` has the odd rows.
    """
    for segment in (BLOCK // 2, BLOCK // 4):
        both, odd = _folded(builder, both, segment), _folded(builder, odd, segment)
    even = builder.sub(both[0], builder.shl(odd[0], ir.Constant(odd[0].type, [8] * odd[0].type.count)))
    count = even.type.count
    order = [lane // 2 + lane % 2 * count for lane in range(2 * count)]
    rows = builder.shuffle_vector(even, odd[0], ir.Constant(ir.VectorType(I32, 2 * count), order))
    return builder.zext(rows, ir.VectorType(I32, 2 * count))


def _block_sums(builder: Builder, blocks: list[Row], tables: list[tuple[Row, Row]]) -> list[list[tuple[Value, Value]]]:
    """Emit the sums over the columns of each block, for each query: both and odd, as :func:`_row_sums` wants them."""
    wide = ir.VectorType(I16, BLOCK // 2)
    zero = ir.Constant(wide, None)
    totals = [[[cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in tables] for _ in blocks]
    nibble = ir.Constant(ir.VectorType(I8, BLOCK), [15] * BLOCK)
    length = blocks[0].length

    def add(offset: Value, mask: Value | None) -> None:
        entries = [[load(builder, half, offset, None, BLOCK) for half in table] for table in tables]
        for block, own in zip(blocks, totals, strict=True):
            codes = load(builder, block, offset, mask, BLOCK)
            if mask is None:
                # The next blocks, if there are any: processors ignore what they are asked for in vain.
                ahead = builder.add(offset, builder.mul(length, I64(len(blocks))))
                prefetch_address(builder, builder.gep(block.address, [ahead]))
            low = builder.and_(codes, nibble)
            shifted = builder.lshr(builder.bitcast(codes, wide), ir.Constant(wide, [4] * (BLOCK // 2)))
            high = builder.and_(builder.bitcast(shifted, codes.type), nibble)
            for (low_table, high_table), (total, odd) in zip(entries, own, strict=True):
                found = builder.add(_shuffle_bytes(builder, low_table, low), _shuffle_bytes(builder, high_table, high))
                pairs = builder.bitcast(found, wide)
                builder.store(builder.add(builder.load(total), pairs), total)
                upper = builder.lshr(pairs, ir.Constant(wide, [8] * (BLOCK // 2)))
                builder.store(builder.add(builder.load(odd), upper), odd)

    whole = builder.and_(length, I64(-BLOCK))
    with steps(builder, whole, BLOCK) as offset:
        add(offset, None)
    with builder.if_then(builder.icmp_signed("<", whole, length), likely=False):
        add(whole, tail_mask(builder, builder.sub(length, whole), BLOCK))
    return [[(builder.load(total), builder.load(odd)) for total, odd in own] for own in totals]


@intrinsic
def add_nibble_sums(
    typingctx: Any,
    codes: Any,
    blocks: Any,
    column: Any,
    tables: Any,
    queries: Any,
    table_column: Any,
    n_columns: Any,
    shift: Any,
    sums: Any,
    place: Any,
) -> Any:
    """Add to ``sums[q, place:]`` what tables say of the codes of the rows of blocks, times ``2^shift``.

    ``blocks`` and ``queries`` are tuples of one number, or of :data:`TILE` consecutive ones; query i adds to
    ``sums[i]``, and four blocks to 64 places. Row r of a block adds ``tables[query, 0, t, low] + tables[query, 1, t,
    high]`` for each of ``n_columns`` columns, where low and high are the halves of the byte ``codes[block, column + c,
    r]`` and t is ``table_column + c``.

    Parameters
    ----------
    codes : uint8[blocks, columns, 16]
    tables : uint8[q, 2, T, 16]
        At most :data:`LARGEST_ENTRY`; T is a multiple of 4, and entries past the last column are 0.
    table_column : int
        A multiple of 4.
    n_columns : int
        At most :data:`MAX_COLUMNS`.
    sums : int32[1 or TILE, m]
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        codes, blocks, column, tables, queries, table_column, n_columns, shift, sums, place = args
        code_array = context.make_array(signature.args[0])(context, builder, codes)
        table_array = context.make_array(signature.args[3])(context, builder, tables)
        width = cgutils.unpack_tuple(builder, code_array.shape, 3)[1]
        table_width = cgutils.unpack_tuple(builder, table_array.shape, 4)[2]
        size = I64(_SHUFFLED)
        length = builder.mul(n_columns, size)
        half = builder.mul(table_width, size)

        def block_row(block: Value) -> Row:
            start = builder.mul(builder.add(builder.mul(block, width), column), size)
            return Row(builder.gep(code_array.data, [start]), length, types.uint8)

        def table_row(query: Value, which: int) -> Row:
            line = builder.add(builder.mul(query, I64(2)), I64(which))
            start = builder.add(builder.mul(line, half), builder.mul(table_column, size))
            return Row(builder.gep(table_array.data, [start]), half, types.uint8)

        asked = cgutils.unpack_tuple(builder, queries)
        halves = [(table_row(query, 0), table_row(query, 1)) for query in asked]

        def add(rows: list[Row], together: int, start: Value) -> None:
            parts = [
                own
                for first in range(0, len(rows), together)
                for own in _block_sums(builder, rows[first : first + together], halves)
            ]
            for number in range(len(halves)):
                line = row_of(context, builder, signature.args[8], sums, I64(number))
                found = _row_sums(builder, *([own[number][which] for own in parts] for which in (0, 1)))
                found = builder.shl(found, splat(builder, builder.trunc(shift, I32), found.type.count))
                pointer = builder.bitcast(builder.gep(line.address, [start]), found.type.as_pointer())
                builder.store(builder.add(builder.load(pointer, align=4), found), pointer, align=4)

        numbers = cgutils.unpack_tuple(builder, blocks)
        if has_feature("avx512bw"):
            # Sums of one query over four blocks, or of four queries over one, fit the registers.
            add([block_row(block) for block in numbers], TILE // len(halves), place)
        else:
            # One after the other: where shuffles are emulated, four of them are more code than compilers can bear.
            with cgutils.for_range(builder, I64(len(numbers))) as loop:
                start = builder.add(place, builder.mul(loop.index, size))
                add([block_row(builder.add(numbers[0], loop.index))], 1, start)
        return context.get_dummy_value()

    sizes = [types.intp] * 3
    return types.void(codes, blocks, types.intp, tables, queries, *sizes, sums, types.intp), emit
