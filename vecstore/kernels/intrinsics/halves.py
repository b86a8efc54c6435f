"""Sums over rows of 4-bit codes, two a byte, by the lane rule."""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vecstore.kernels.intrinsics.emitting import (
    F32_LANES,
    I32_LANES,
    I64,
    Builder,
    Row,
    Term,
    Value,
    floats,
    load,
    row_of,
    splat,
)
from vecstore.kernels.intrinsics.sizes import LANES
from vecstore.kernels.intrinsics.sums import float_sums


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
