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
    I32_LANES,
    I64,
    Builder,
    Row,
    Value,
    declare,
    has_feature,
    load,
    row_of,
    splat,
    steps,
    tail_mask,
)
from vecstore.kernels.intrinsics.sizes import TILE

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


def _row_sums(builder: Builder, both: Value, odd: Value) -> Value:
    """Emit the sums int32 of 16 rows from four groups of 8 lanes of 16 bits.

    ``both`` has the even rows, and the odd ones 256 times over; ``odd`` has the odd rows.
    """
    even = builder.sub(both, builder.shl(odd, ir.Constant(odd.type, [8] * odd.type.count)))
    halves = []
    for vector in (even, odd):
        while vector.type.count > _SHUFFLED // 2:
            half = vector.type.count // 2
            vector = builder.add(_lanes(builder, vector, 0, half), _lanes(builder, vector, half, half))
        halves.append(builder.zext(vector, ir.VectorType(I32, _SHUFFLED // 2)))
    order = [lane // 2 + lane % 2 * (_SHUFFLED // 2) for lane in range(_SHUFFLED)]
    return builder.shuffle_vector(*halves, ir.Constant(ir.VectorType(I32, _SHUFFLED), order))


def _add_nibble_sums(context: Any, builder: Builder, signature: Any, args: Any, count: int) -> Value:
    """Emit what :func:`add_nibble_sums` does, for ``count`` queries."""
    codes, block, column, tables, query, table_column, n_columns, shift, sums, place = args
    code_array = context.make_array(signature.args[0])(context, builder, codes)
    table_array = context.make_array(signature.args[3])(context, builder, tables)
    width = cgutils.unpack_tuple(builder, code_array.shape, 3)[1]
    table_width = cgutils.unpack_tuple(builder, table_array.shape, 4)[2]
    size = I64(_SHUFFLED)
    first = builder.mul(builder.add(builder.mul(block, width), column), size)
    length = builder.mul(n_columns, size)
    x = Row(builder.gep(code_array.data, [first]), length, types.uint8)
    half = builder.mul(table_width, size)

    def table_row(number: int, which: int) -> Row:
        line = builder.add(builder.mul(builder.add(query, I64(number)), I64(2)), I64(which))
        start = builder.add(builder.mul(line, half), builder.mul(table_column, size))
        return Row(builder.gep(table_array.data, [start]), half, types.uint8)

    table_rows = [(table_row(number, 0), table_row(number, 1)) for number in range(count)]
    wide = ir.VectorType(I16, BLOCK // 2)
    zero = ir.Constant(wide, None)
    totals = [[cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in range(count)]
    nibble = ir.Constant(ir.VectorType(I8, BLOCK), [15] * BLOCK)

    def add(offset: Value, mask: Value | None) -> None:
        both = load(builder, x, offset, mask, BLOCK)
        low = builder.and_(both, nibble)
        shifted = builder.lshr(builder.bitcast(both, wide), ir.Constant(wide, [4] * (BLOCK // 2)))
        high = builder.and_(builder.bitcast(shifted, both.type), nibble)
        for (low_table, high_table), (total, odd) in zip(table_rows, totals, strict=True):
            entries = builder.add(
                _shuffle_bytes(builder, load(builder, low_table, offset, None, BLOCK), low),
                _shuffle_bytes(builder, load(builder, high_table, offset, None, BLOCK), high),
            )
            pairs = builder.bitcast(entries, wide)
            builder.store(builder.add(builder.load(total), pairs), total)
            upper = builder.lshr(pairs, ir.Constant(wide, [8] * (BLOCK // 2)))
            builder.store(builder.add(builder.load(odd), upper), odd)

    whole = builder.and_(length, I64(-BLOCK))
    with steps(builder, whole, BLOCK) as offset:
        add(offset, None)
    with builder.if_then(builder.icmp_signed("<", whole, length), likely=False):
        add(whole, tail_mask(builder, builder.sub(length, whole), BLOCK))
    for number, (total, odd) in enumerate(totals):
        line = row_of(context, builder, signature.args[8], sums, I64(number))
        pointer = builder.bitcast(builder.gep(line.address, [place]), I32_LANES.as_pointer())
        found = _row_sums(builder, builder.load(total), builder.load(odd))
        found = builder.shl(found, splat(builder, builder.trunc(shift, I32)))
        builder.store(builder.add(builder.load(pointer, align=4), found), pointer, align=4)
    return context.get_dummy_value()


@intrinsic
def add_nibble_sums(
    typingctx: Any,
    codes: Any,
    block: Any,
    column: Any,
    tables: Any,
    query: Any,
    table_column: Any,
    n_columns: Any,
    shift: Any,
    sums: Any,
    place: Any,
) -> Any:
    """Add to ``sums[0, place:place + 16]`` what tables say of the codes of 16 rows, times ``2^shift``.

    Row r of a block adds ``tables[query, 0, t, low] + tables[query, 1, t, high]`` for each of ``n_columns`` columns,
    where low and high are the halves of the byte ``codes[block, column + c, r]`` and t is ``table_column + c``.

    Parameters
    ----------
    codes : uint8[blocks, columns, 16]
    tables : uint8[q, 2, T, 16]
        At most :data:`LARGEST_ENTRY`; T is a multiple of 4, and entries past the last column are 0.
    table_column : int
        A multiple of 4.
    n_columns : int
        At most :data:`MAX_COLUMNS`.
    sums : int32[1, m]
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return _add_nibble_sums(context, builder, signature, args, 1)

    sizes = [types.intp] * 3
    return types.void(codes, types.intp, types.intp, tables, types.intp, *sizes, sums, types.intp), emit


@intrinsic
def add_nibble_sums_tile(
    typingctx: Any,
    codes: Any,
    block: Any,
    column: Any,
    tables: Any,
    query: Any,
    table_column: Any,
    n_columns: Any,
    shift: Any,
    sums: Any,
    place: Any,
) -> Any:
    """Do :func:`add_nibble_sums` for the queries query, ..., query + 3, each into its own row of ``sums``."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return _add_nibble_sums(context, builder, signature, args, TILE)

    sizes = [types.intp] * 3
    return types.void(codes, types.intp, types.intp, tables, types.intp, *sizes, sums, types.intp), emit
