"""Single bits and words, and asking for memory ahead of its use."""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vecstore.kernels.intrinsics.emitting import (
    F32,
    I8,
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
    store,
    tail_mask,
    vector_row,
)
from vecstore.kernels.intrinsics.sizes import CACHE_LINE, GLANCE, PLANES
from vecstore.kernels.loading import has_feature

#: Words of 64 bits in a vector.
_WORDS = 8


@intrinsic
def count_ones(typingctx: Any, word: Any) -> Any:
    """Give the number of set bits of a uint64."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), emit


@intrinsic
def count_differing(typingctx: Any, words: Any, block: Any, queries: Any, query: Any, counts: Any) -> Any:
    """Write how many bits of each of 64 rows differ from those of a query into ``counts`` int32[64].

    Parameters
    ----------
    words : uint64[blocks, w, 64]
        Word by word, those of 64 rows side by side.
    queries : uint64[q, w]
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        asked = row_of(context, builder, signature.args[2], args[2], args[3])
        length = builder.mul(asked.length, I64(CACHE_LINE))
        line = Row(builder.gep(view.data, [builder.mul(args[1], length)]), length, types.uint64)
        target = vector_row(context, builder, signature.args[4], args[4])
        vector = ir.VectorType(I64, _WORDS)
        ones = declare(builder, f"llvm.ctpop.v{_WORDS}i64", vector, vector)
        totals = [cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(CACHE_LINE // _WORDS)]
        with steps(builder, asked.length, 1) as place:
            bits = splat(builder, builder.load(builder.gep(asked.address, [place])), _WORDS)
            start = builder.mul(place, I64(CACHE_LINE))
            for number, total in enumerate(totals):
                stored = load(builder, line, builder.add(start, I64(number * _WORDS)), None, _WORDS)
                found = builder.call(ones, [builder.xor(stored, bits)])
                builder.store(builder.add(builder.load(total), found), total)
        for number, total in enumerate(totals):
            found = builder.trunc(builder.load(total), ir.VectorType(I32, _WORDS))
            store(builder, target, I64(number * _WORDS), None, found)
        return context.get_dummy_value()

    return types.void(words, types.intp, queries, types.intp, counts), emit


@intrinsic
def weighted_differing(typingctx: Any, codes: Any, row: Any, planes: Any, query: Any, width: Any) -> Any:
    """Give the sum of 2^(a + b) times the bits that differ between plane a of a row and plane b of a query.

    Parameters
    ----------
    codes : uint64[n, A width + 1]
        A planes of ``width`` words, and one word that does not matter.
    row : int
        Of ``codes``.
    planes : uint64[q, B width]
        B is a multiple of :data:`PLANES`.
    query : int
        Of ``planes``.
    width : int
        Words of a plane.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        own = row_of(context, builder, signature.args[0], args[0], args[1])
        asked = row_of(context, builder, signature.args[2], args[2], args[3])
        width, one = args[4], I64(1)
        lanes = _WORDS if has_feature("avx512vpopcntdq") else 1
        kind = I64 if lanes == 1 else ir.VectorType(I64, lanes)
        zero = ir.Constant(kind, 0 if lanes == 1 else None)
        total, shift, power = (cgutils.alloca_once_value(builder, I64(0)) for _ in range(3))
        counts = [cgutils.alloca_once_value(builder, zero) for _ in range(PLANES)]
        groups = builder.mul(width, I64(PLANES))
        builder.store(I64(0), total)
        builder.store(I64(0), shift)
        with cgutils.for_range_slice(builder, I64(0), builder.sub(own.length, one), width, I64) as (start, _):
            builder.store(builder.load(shift), power)
            with cgutils.for_range_slice(builder, I64(0), asked.length, groups, I64) as (first, _):
                for count in counts:
                    builder.store(zero, count)
                with steps(builder, width, lanes) as word:
                    mask = None if lanes == 1 else tail_mask(builder, builder.sub(width, word), lanes)
                    bits = _load_words(builder, own, builder.add(start, word), mask, lanes)
                    for number, count in enumerate(counts):
                        place = builder.add(builder.add(first, builder.mul(width, I64(number))), word)
                        differing = builder.xor(bits, _load_words(builder, asked, place, mask, lanes))
                        builder.store(builder.add(builder.load(count), _ones(builder, differing)), count)
                weighted = builder.load(counts[0])
                for number in range(1, PLANES):
                    power_of = ir.Constant(kind, number if lanes == 1 else [number] * lanes)
                    weighted = builder.add(weighted, builder.shl(builder.load(counts[number]), power_of))
                summed = builder.shl(_summed(builder, weighted, lanes), builder.load(power))
                builder.store(builder.add(builder.load(total), summed), total)
                builder.store(builder.add(builder.load(power), I64(PLANES)), power)
            builder.store(builder.add(builder.load(shift), one), shift)
        return builder.load(total)

    return types.intp(codes, types.intp, planes, types.intp, types.intp), emit


def _load_words(builder: Builder, row: Row, offset: Value, mask: Value | None, lanes: int) -> Value:
    """Emit the load of one word, or of a vector of those inside the mask."""
    if lanes == 1:
        return builder.load(builder.gep(row.address, [offset]))
    return load(builder, row, offset, mask, lanes)


def _ones(builder: Builder, bits: Value) -> Value:
    """Emit the number of set bits of a word, or of each word of a vector."""
    kind = bits.type
    name = f"llvm.ctpop.v{kind.count}i64" if isinstance(kind, ir.VectorType) else "llvm.ctpop.i64"
    return builder.call(declare(builder, name, kind, kind), [bits])


def _summed(builder: Builder, value: Value, lanes: int) -> Value:
    """Emit the sum of the lanes of a vector of words."""
    if lanes == 1:
        return value
    return builder.call(declare(builder, f"llvm.vector.reduce.add.v{lanes}i64", I64, value.type), [value])


@intrinsic
def count_below(typingctx: Any, values: Any, start: Any, stop: Any, bound: Any) -> Any:
    """Give how many of ``values[start:stop]``, uint8[n] or uint16[n], are below ``bound``, which their type can hold.

    Comparing 64 bytes at once is quicker than bisecting them, whose branches no processor predicts.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        row = vector_row(context, builder, signature.args[0], args[0])
        element = row.address.type.pointee
        lanes = CACHE_LINE * 8 // element.width if has_feature("avx512bw") else 1
        total = cgutils.alloca_once_value(builder, I64(0))
        bound = builder.trunc(args[3], element)
        with cgutils.for_range_slice(builder, args[1], args[2], I64(lanes), I64) as (offset, _):
            if lanes == 1:
                below = builder.icmp_unsigned("<", builder.load(builder.gep(row.address, [offset])), bound)
                found = builder.zext(below, I64)
            else:
                vector = ir.VectorType(element, lanes)
                left = builder.sub(args[2], offset)
                most = builder.select(builder.icmp_signed("<", left, I64(lanes)), left, I64(lanes))
                indices = ir.Constant(vector, list(range(lanes)))
                inside = builder.icmp_unsigned("<", indices, splat(builder, builder.trunc(most, element), lanes))
                loaded = load(builder, row, offset, inside, lanes)
                below = builder.and_(inside, builder.icmp_unsigned("<", loaded, splat(builder, bound, lanes)))
                found = builder.zext(builder.ctpop(builder.bitcast(below, ir.IntType(lanes))), I64)
            builder.store(builder.add(builder.load(total), found), total)
        return builder.load(total)

    return types.intp(values, types.intp, types.intp, types.intp), emit


@intrinsic
def not_above(typingctx: Any, values: Any, line: Any, place: Any, limit: Any) -> Any:
    """Tell which of the :data:`GLANCE` numbers ``values[line, place:]`` are not above the limit.

    Bit i of the uint64 is set for number i. ``values`` is float32[q, m], int32[q, m] or uint16[q, m], the limit of the
    same type; NaN is not above anything, and nothing is above NaN.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        row = row_of(context, builder, signature.args[0], args[0], args[1])
        numbers = load(builder, row, args[2], None, GLANCE)
        if row.dtype == types.float32:
            compare = builder.fcmp_unordered
        else:
            compare = builder.icmp_signed if row.dtype.signed else builder.icmp_unsigned
        return builder.bitcast(compare("<=", numbers, splat(builder, args[3], GLANCE)), I64)

    return types.uint64(values, types.intp, types.intp, values.dtype), emit


@intrinsic
def load_word(typingctx: Any, data: Any, offset: Any) -> Any:
    """Give the eight bytes of ``data`` uint8[n] from ``offset`` on as a little-endian uint64; all are inside."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        pointer = builder.bitcast(builder.gep(view.data, [args[1]]), I64.as_pointer())
        return builder.load(pointer, align=1)

    return types.uint64(data, types.intp), emit


@intrinsic
def float_bits(typingctx: Any, value: Any) -> Any:
    """Give the 32 bits of a float32 as uint32."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return builder.bitcast(args[0], I32)

    return types.uint32(types.float32), emit


@intrinsic
def bits_float(typingctx: Any, bits: Any) -> Any:
    """Give the float32 that has these 32 bits."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return builder.bitcast(args[0], F32)

    return types.float32(types.uint32), emit


@intrinsic
def prefetch_row(typingctx: Any, rows: Any, row: Any) -> Any:
    """Ask for all cache lines of ``rows[row]`` of a two-dimensional array ahead of their use."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        target = row_of(context, builder, signature.args[0], args[0], args[1])
        size = context.get_abi_sizeof(target.address.type.pointee)
        start = builder.bitcast(target.address, I8.as_pointer())
        length = builder.mul(target.length, I64(size))
        with steps(builder, length, CACHE_LINE) as offset:
            prefetch_address(builder, builder.gep(start, [offset]))
        # Rows need not start with a line, so the last byte may be in one more.
        prefetch_address(builder, builder.gep(start, [builder.sub(length, I64(1))]))
        return context.get_dummy_value()

    return types.void(rows, types.intp), emit


@intrinsic
def prefetch_element(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of ``array[index]`` of a one-dimensional array ahead of its use."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        prefetch_address(builder, builder.bitcast(builder.gep(view.data, [args[1]]), I8.as_pointer()))
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


def prefetch_address(builder: Builder, address: Value) -> None:
    """Emit a prefetch for reading, into every cache level."""
    call = declare(builder, "llvm.prefetch.p0", ir.VoidType(), address.type, I32, I32, I32)
    builder.call(call, [address, I32(0), I32(3), I32(1)])
