"""Sums over rows of 4-bit codes, two a byte: of floats by the lane rule, and of integers."""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vecstore.kernels.intrinsics.emitting import (
    BLOCK,
    F32_LANES,
    I8,
    I16,
    I32,
    I32_LANES,
    I64,
    Builder,
    Row,
    Term,
    Value,
    declare,
    floats,
    in_pieces,
    in_vectors,
    load,
    row_of,
    splat,
    steps,
    tail_mask,
)
from vecstore.kernels.intrinsics.sizes import LANES
from vecstore.kernels.intrinsics.sums import float_sums, lane_sum
from vecstore.kernels.loading import has_feature


def _half_values(builder: Builder, x: Row, offset: Value, step: Value, shift: int) -> Term:
    """Give the term of the numbers offset + step * code in the low (``shift`` 0) or high (4) halves of bytes."""
    offsets, steps = splat(builder, offset), splat(builder, step)

    def values(place: Value, mask: Value | None) -> Value:
        wide = builder.zext(load(builder, x, place, mask), I32_LANES)
        moved = builder.lshr(wide, ir.Constant(I32_LANES, [shift] * LANES))
        codes = builder.and_(moved, ir.Constant(I32_LANES, [15] * LANES))
        return builder.fadd(offsets, builder.fmul(steps, builder.sitofp(codes, F32_LANES)))

    return values


def _half_sums(
    context: Any, builder: Builder, signature: Any, args: Any, combine: Callable[[Value, Value], Value]
) -> Value:
    """Emit the sum of ``combine(query, value)`` over the numbers in low halves, plus that over those in high halves."""
    codes, row, offset, step, queries, query = args
    x = row_of(context, builder, signature.args[0], codes, row)
    q = row_of(context, builder, signature.args[4], queries, query)
    sums = []
    for shift, start, length in ((0, I64(0), x.length), (4, x.length, builder.sub(q.length, x.length))):
        value = _half_values(builder, x, offset, step, shift)
        part = Row(builder.gep(q.address, [start]), length, q.dtype)

        def term(place: Value, mask: Value | None, part: Row = part, value: Term = value) -> Value:
            combined = combine(floats(builder, part, place, mask), value(place, mask))
            if mask is None:
                return combined
            return builder.select(mask, combined, ir.Constant(F32_LANES, None))

        sums.append(float_sums(builder, length, [term])[0])
    return builder.fadd(*sums)


@intrinsic
def halves_dot(typingctx: Any, codes: Any, row: Any, offset: Any, step: Any, queries: Any, query: Any) -> Any:
    """Give the inner product of ``queries[query]`` float32[d] and the row ``offset + step * code`` of 4-bit codes.

    ``codes[row]`` uint8[ceil(d / 2)] has number j in the low half of byte j and number ceil(d / 2) + j in its high
    half. Each half is summed by the lane rule, then both are added.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return _half_sums(context, builder, signature, args, lambda q, x: builder.fmul(q, x))

    return types.float32(codes, types.intp, types.float32, types.float32, queries, types.intp), emit


@intrinsic
def halves_squared_distance(
    typingctx: Any, codes: Any, row: Any, offset: Any, step: Any, queries: Any, query: Any
) -> Any:
    """Give the squared Euclidean distance of ``queries[query]`` and a row of 4-bit codes, as :func:`halves_dot`."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        def square(q: Value, x: Value) -> Value:
            difference = builder.fsub(q, x)
            return builder.fmul(difference, difference)

        return _half_sums(context, builder, signature, args, square)

    return types.float32(codes, types.intp, types.float32, types.float32, queries, types.intp), emit


def _both_halves(builder: Builder, packed: Value) -> tuple[Value, Value]:
    """Emit the codes in the low and in the high halves of bytes."""
    lanes = packed.type.count
    low = builder.and_(packed, ir.Constant(packed.type, [15] * lanes))
    return low, builder.lshr(packed, ir.Constant(packed.type, [4] * lanes))


def _in_fours(builder: Builder, x: Row, parts: tuple[Row, Row]) -> Value:
    """Emit the sum with ``vpdpbusd``, which multiplies and adds four pairs of bytes at a time."""
    bytes_type = ir.VectorType(I8, BLOCK)
    multiply_add = declare(builder, "llvm.x86.avx512.vpdpbusd.512", I32_LANES, I32_LANES, bytes_type, bytes_type)
    totals = [cgutils.alloca_once_value(builder, ir.Constant(I32_LANES, None)) for _ in parts]

    def add(offset: Value, mask: Value | None) -> None:
        halves = _both_halves(builder, load(builder, x, offset, mask, BLOCK))
        for codes, part, total in zip(halves, parts, totals, strict=True):
            asked = load(builder, part, offset, mask, BLOCK)
            builder.store(builder.call(multiply_add, [builder.load(total), codes, asked]), total)

    whole = builder.and_(x.length, I64(-BLOCK))
    with steps(builder, whole, BLOCK) as offset:
        add(offset, None)
    with builder.if_then(builder.icmp_signed("<", whole, x.length), likely=False):
        add(whole, tail_mask(builder, builder.sub(x.length, whole), BLOCK))
    return lane_sum(builder, builder.add(*(builder.load(total) for total in totals)))


def _in_pairs(builder: Builder, x: Row, parts: tuple[Row, Row]) -> Value:
    """Emit the sum with ``vpmaddubsw`` and ``vpmaddwd``: two pairs of products of at most 15 x 128 fit 16 bits."""
    lanes = 2 * LANES
    bytes_type, shorts, integers = (ir.VectorType(kind, n) for kind, n in ((I8, 32), (I16, 16), (I32, 8)))
    multiply_bytes = declare(builder, "llvm.x86.avx2.pmadd.ub.sw", shorts, bytes_type, bytes_type)
    add_pairs = declare(builder, "llvm.x86.avx2.pmadd.wd", integers, shorts, shorts)
    totals = [cgutils.alloca_once_value(builder, ir.Constant(integers, None)) for _ in parts]

    def add(number: int, vectors: list[Value]) -> None:
        packed, *asked = vectors
        halves = zip(_both_halves(builder, packed), asked, strict=True)
        products = [builder.call(multiply_bytes, pair) for pair in halves]
        sums = builder.call(add_pairs, [builder.add(*products), ir.Constant(shorts, [1] * LANES)])
        builder.store(builder.add(builder.load(totals[number]), sums), totals[number])

    in_vectors(builder, (x, *parts), lanes, add)
    return lane_sum(builder, builder.add(*(builder.load(total) for total in totals)))


def _one_by_one(builder: Builder, x: Row, parts: tuple[Row, Row]) -> Value:
    """Emit the sum with ordinary vectors, sixteen bytes at a time."""
    total = cgutils.alloca_once_value(builder, I32(0))

    def add(offset: Value, lanes: int) -> None:
        wide = ir.VectorType(I32, lanes)
        products = [
            builder.mul(builder.zext(codes, wide), builder.sext(load(builder, part, offset, None, lanes), wide))
            for codes, part in zip(_both_halves(builder, load(builder, x, offset, None, lanes)), parts, strict=True)
        ]
        builder.store(builder.add(builder.load(total), lane_sum(builder, builder.add(*products))), total)

    in_pieces(builder, x.length, add)
    return builder.load(total)


@intrinsic
def halves_integer_dot(typingctx: Any, codes: Any, row: Any, queries: Any, query: Any) -> Any:
    """Give the exact inner product of a row of 4-bit codes and ``queries[query]`` int8[2 h] as int32.

    ``codes[row]`` uint8[h] has number j in the low half of byte j and number h + j in its high half.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        x = row_of(context, builder, signature.args[0], args[0], args[1])
        q = row_of(context, builder, signature.args[2], args[2], args[3])
        parts = q._replace(length=x.length), Row(builder.gep(q.address, [x.length]), x.length, q.dtype)
        if has_feature("avx512vnni"):
            return _in_fours(builder, x, parts)
        return (_in_pairs if has_feature("avx2") else _one_by_one)(builder, x, parts)

    return types.int32(codes, types.intp, queries, types.intp), emit
