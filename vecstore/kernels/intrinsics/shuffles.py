"""Sums over 4-bit codes that are looked up in registers, for blocks of 16 rows."""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

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
    declare,
    load,
    row_of,
    splat,
    steps,
    tail_mask,
)
from vecstore.kernels.intrinsics.memory import prefetch_address
from vecstore.kernels.intrinsics.sizes import GROUP_COLUMNS, TILE
from vecstore.kernels.loading import has_feature

_SHUFFLED = 16
#: Number of queries -> blocks whose sums are in registers at once, with those of AVX-512.
_TOGETHER = {1: 4, TILE: 1}


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


def _high_halves(builder: Builder, codes: Value) -> Value:
    """Emit the upper four bits of each of 64 bytes."""
    bytes_type = codes.type
    if has_feature("gfni") and has_feature("avx512f"):
        # A product of each byte with a matrix of bits: the four rows that move the upper bits down.
        words = ir.Constant(ir.VectorType(I64, BLOCK // 8), [0x1020_4080_0000_0000] * (BLOCK // 8))
        move = declare(builder, "llvm.x86.vgf2p8affineqb.512", bytes_type, bytes_type, bytes_type, I8)
        return builder.call(move, [codes, builder.bitcast(words, bytes_type), I8(0)])
    wide = ir.VectorType(I16, BLOCK // 2)
    shifted = builder.lshr(builder.bitcast(codes, wide), ir.Constant(wide, [4] * (BLOCK // 2)))
    return builder.and_(builder.bitcast(shifted, bytes_type), ir.Constant(bytes_type, [15] * BLOCK))


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


class _Totals(NamedTuple):
    """Where the sums of one block for one query grow."""

    #: Sums of a few columns, in bytes.
    few: Value
    #: Sums in 16 bits: of the odd rows times 256 and the even ones together, and of the odd ones.
    both: Value
    odd: Value


def _block_sums(builder: Builder, blocks: list[Row], tables: list[tuple[Row, Row]]) -> list[list[tuple[Value, Value]]]:
    """Emit the sums over the columns of each block, for each query: both and odd, as :func:`_row_sums` wants them."""
    bytes_type, wide = ir.VectorType(I8, BLOCK), ir.VectorType(I16, BLOCK // 2)
    totals = [[_Totals(*(cgutils.alloca_once(builder, kind) for kind in (bytes_type, wide, wide))) for _ in tables]
              for _ in blocks]  # fmt: skip
    every = [(own, table) for block in totals for own, table in zip(block, tables, strict=True)]
    nibble = ir.Constant(bytes_type, [15] * BLOCK)
    length = blocks[0].length

    def clear(*names: str) -> None:
        for own, _ in every:
            for name in names:
                place = getattr(own, name)
                builder.store(ir.Constant(place.type.pointee, None), place)

    def add(offset: Value, mask: Value | None) -> None:
        entries = [[load(builder, half, offset, None, BLOCK) for half in table] for table in tables]
        for block, own in zip(blocks, totals, strict=True):
            codes = load(builder, block, offset, mask, BLOCK)
            if mask is None:
                # The next blocks, if there are any: processors ignore what they are asked for in vain.
                ahead = builder.add(offset, builder.mul(length, I64(len(blocks))))
                prefetch_address(builder, builder.gep(block.address, [ahead]))
            low, high = builder.and_(codes, nibble), _high_halves(builder, codes)
            for (low_table, high_table), total in zip(entries, own, strict=True):
                found = builder.add(_shuffle_bytes(builder, low_table, low), _shuffle_bytes(builder, high_table, high))
                builder.store(builder.add(builder.load(total.few), found), total.few)

    def widen() -> None:
        for own, _ in every:
            pairs = builder.bitcast(builder.load(own.few), wide)
            upper = builder.lshr(pairs, ir.Constant(wide, [8] * (BLOCK // 2)))
            builder.store(builder.add(builder.load(own.both), pairs), own.both)
            builder.store(builder.add(builder.load(own.odd), upper), own.odd)
        clear("few")

    clear("few", "both", "odd")
    if not any(has_feature(name) for name in ("avx512bw", "avx2", "ssse3", "neon")):
        # An emulated shuffle is much code, so it is there once.
        with steps(builder, length, BLOCK) as offset:
            add(offset, tail_mask(builder, builder.sub(length, offset), BLOCK))
            widen()
        return [[(builder.load(total.both), builder.load(total.odd)) for total in own] for own in totals]
    grouped = builder.and_(length, I64(-GROUP_COLUMNS * _SHUFFLED))
    with steps(builder, grouped, GROUP_COLUMNS * _SHUFFLED) as start:
        if has_feature("avx512bw"):
            for offset in range(0, GROUP_COLUMNS * _SHUFFLED, BLOCK):
                add(builder.add(start, I64(offset)), None)
        else:
            with steps(builder, I64(GROUP_COLUMNS * _SHUFFLED), BLOCK) as offset:
                add(builder.add(start, offset), None)
        widen()
    whole = builder.and_(length, I64(-BLOCK))
    with builder.if_then(builder.icmp_signed("<", grouped, length)):
        with cgutils.for_range_slice(builder, grouped, whole, I64(BLOCK), I64) as (offset, _):
            add(offset, None)
        with builder.if_then(builder.icmp_signed("<", whole, length)):
            add(whole, tail_mask(builder, builder.sub(length, whole), BLOCK))
        widen()
    return [[(builder.load(total.both), builder.load(total.odd)) for total in own] for own in totals]


@intrinsic
def add_nibble_sums(
    typingctx: Any,
    codes: Any,
    block: Any,
    count: Any,
    column: Any,
    tables: Any,
    queries: Any,
    table_column: Any,
    n_columns: Any,
    shift: Any,
    sums: Any,
) -> Any:
    """Add to ``sums``, or write there, what tables say of the codes of rows, times ``2^shift``.

    The rows are those of ``count`` blocks from ``block`` on.
    ``queries`` is a tuple of one number, or of :data:`TILE` consecutive ones; query i adds to ``sums[i]``. Row r of a
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
    shift : tuple of int
        Empty to write the sums instead, times 1.
    sums : int32[1 or TILE, m]
        m is at least 16 times ``count``.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        codes, block, count, column, tables, queries, table_column, n_columns, shift, sums = args
        code_array = context.make_array(signature.args[0])(context, builder, codes)
        table_array = context.make_array(signature.args[4])(context, builder, tables)
        width = cgutils.unpack_tuple(builder, code_array.shape, 3)[1]
        table_width = cgutils.unpack_tuple(builder, table_array.shape, 4)[2]
        size = I64(_SHUFFLED)
        length = builder.mul(n_columns, size)
        half = builder.mul(table_width, size)
        stride = builder.mul(width, size)
        origin = builder.gep(code_array.data, [builder.add(builder.mul(block, stride), builder.mul(column, size))])

        def table_row(query: Value, which: int) -> Row:
            line = builder.add(builder.mul(query, I64(2)), I64(which))
            start = builder.add(builder.mul(line, half), builder.mul(table_column, size))
            return Row(builder.gep(table_array.data, [start]), half, types.uint8)

        halves = [(table_row(q, 0), table_row(q, 1)) for q in cgutils.unpack_tuple(builder, queries)]
        lines = [row_of(context, builder, signature.args[9], sums, I64(number)) for number in range(len(halves))]
        shifts = [splat(builder, builder.trunc(n, I32), _SHUFFLED) for n in cgutils.unpack_tuple(builder, shift)]

        def add(first: Value, together: int) -> None:
            """Emit the sums of some blocks at once."""
            starts = [builder.mul(builder.add(first, I64(number)), stride) for number in range(together)]
            rows = [Row(builder.gep(origin, [start]), length, types.uint8) for start in starts]
            parts = _block_sums(builder, rows, halves)
            place = builder.mul(first, size)
            for number, line in enumerate(lines):
                found = _row_sums(builder, *([own[number][which] for own in parts] for which in (0, 1)))
                for row in range(together):
                    own = _lanes(builder, found, _SHUFFLED * row, _SHUFFLED)
                    address = builder.gep(line.address, [builder.add(place, I64(_SHUFFLED * row))])
                    pointer = builder.bitcast(address, own.type.as_pointer())
                    for amount in shifts:
                        own = builder.add(builder.load(pointer, align=4), builder.shl(own, amount))
                    builder.store(own, pointer, align=4)

        # Where shuffles are emulated, more than one block at once is more code than compilers can bear.
        together = _TOGETHER[len(halves)] if has_feature("avx512bw") else 1
        whole = builder.sub(count, builder.srem(count, I64(together)))
        with steps(builder, whole, together) as first:
            add(first, together)
        if together > 1:
            with cgutils.for_range_slice(builder, whole, count, I64(1), I64) as (first, _):
                add(first, 1)
        return context.get_dummy_value()

    sizes = [types.intp] * 3
    return types.void(codes, *sizes, tables, queries, types.intp, types.intp, shift, sums), emit
