"""Rows written from stored ones: decoded, copied, combined, or put together from pieces."""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from vecstore.kernels.intrinsics.emitting import (
    F32_LANES,
    I1,
    I16,
    I32,
    I64,
    Builder,
    Value,
    as_float,
    declare,
    in_pieces,
    load,
    row_of,
    splat,
    steps,
    store,
    tail_mask,
    vector_row,
)
from vecstore.kernels.intrinsics.sizes import LANES


@intrinsic
def decode_row(typingctx: Any, rows: Any, row: Any, scale: Any, out: Any, place: Any) -> Any:
    """Write ``scale * rows[row]`` into ``out[place]`` (float32); ``rows`` as for :func:`dot`."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        x = row_of(context, builder, signature.args[0], args[0], args[1])
        target = row_of(context, builder, signature.args[3], args[3], args[4])

        def put(offset: Value, lanes: int) -> None:
            values = as_float(builder, x, load(builder, x, offset, None, lanes))
            store(builder, target, offset, None, builder.fmul(values, splat(builder, args[2], lanes)))

        in_pieces(builder, x.length, put)
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.float32, out, types.intp), emit


@intrinsic
def copy_row(typingctx: Any, rows: Any, row: Any, out: Any, place: Any) -> Any:
    """Copy ``rows[row]`` to ``out[place]``, two-dimensional arrays of one type."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        source = row_of(context, builder, signature.args[0], args[0], args[1])
        target = row_of(context, builder, signature.args[2], args[2], args[3])

        def put(offset: Value, lanes: int) -> None:
            store(builder, target, offset, None, load(builder, source, offset, None, lanes))

        in_pieces(builder, source.length, put)
        return context.get_dummy_value()

    return types.void(rows, types.intp, out, types.intp), emit


def _combine(context: Any, builder: Builder, signature: Any, args: Any, combine: Callable[..., Value]) -> Value:
    """Emit ``out[place] = combine(first[i], second[j])`` for float32 rows."""
    first, second, target = (row_of(context, builder, signature.args[n], args[n], args[n + 1]) for n in (0, 2, 4))

    def put(offset: Value, lanes: int) -> None:
        values = (load(builder, row, offset, None, lanes) for row in (first, second))
        store(builder, target, offset, None, combine(*values))

    in_pieces(builder, target.length, put)
    return context.get_dummy_value()


@intrinsic
def multiply_rows(typingctx: Any, first: Any, i: Any, second: Any, j: Any, out: Any, place: Any) -> Any:
    """Write ``first[i] * second[j]`` into ``out[place]``; all are float32, and of one width."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return _combine(context, builder, signature, args, builder.fmul)

    return types.void(first, types.intp, second, types.intp, out, types.intp), emit


@intrinsic
def add_rows(typingctx: Any, first: Any, i: Any, second: Any, j: Any, out: Any, place: Any) -> Any:
    """Write ``first[i] + second[j]`` into ``out[place]``; all are float32, and of one width."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return _combine(context, builder, signature, args, builder.fadd)

    return types.void(first, types.intp, second, types.intp, out, types.intp), emit


@intrinsic
def copy_span(
    typingctx: Any, array: Any, source: Any, count: Any, out: Any, place: Any, column: Any, width: Any
) -> Any:
    """Write ``width`` numbers of ``out[place]`` from ``column`` on: ``count`` from ``array`` at ``source``, then zeros.

    ``array`` is float32[m], ``out`` float32[n, d]; neither memory outside the ``count`` numbers nor outside the span is
    touched.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        types_ = signature.args
        origin = vector_row(context, builder, types_[0], args[0])
        origin = origin._replace(address=builder.gep(origin.address, [args[1]]))
        target = row_of(context, builder, types_[3], args[3], args[4])
        target = target._replace(address=builder.gep(target.address, [args[5]]))
        with steps(builder, args[6], LANES) as offset:
            end = builder.add(offset, I64(LANES))
            both = builder.select(builder.icmp_signed("<", args[2], args[6]), args[2], args[6])
            with builder.if_else(builder.icmp_signed("<=", end, both)) as (full, partial):
                with full:
                    store(builder, target, offset, None, load(builder, origin, offset, None))
                with partial:
                    left = tail_mask(builder, builder.sub(args[2], offset))
                    value = load(builder, origin, offset, left)
                    store(builder, target, offset, tail_mask(builder, builder.sub(args[6], offset)), value)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, out, types.intp, types.intp, types.intp), emit


@intrinsic
def expand_lanes(typingctx: Any, values: Any, first: Any, bits: Any, out: Any, place: Any, column: Any) -> Any:
    """Write sixteen numbers of ``out[place]`` from ``column`` on, or as many as there are.

    Where bit i of ``bits`` (uint64, the lowest first) is set, number i is the next of ``values`` float32[m] from
    ``first`` on, and 0 elsewhere. One instruction with AVX-512; LLVM makes a chain of loads for other processors.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        origin = vector_row(context, builder, signature.args[0], args[0])
        target = row_of(context, builder, signature.args[3], args[3], args[4])
        lanes = ir.VectorType(I1, LANES)
        mask = builder.bitcast(builder.trunc(args[2], I16), lanes)
        pointer = builder.gep(origin.address, [args[1]])
        load = declare(builder, "llvm.masked.expandload.v16f32", F32_LANES, pointer.type, lanes, F32_LANES)
        value = builder.call(load, [pointer, mask, ir.Constant(F32_LANES, None)])
        left = builder.sub(target.length, args[5])
        with builder.if_else(builder.icmp_signed(">=", left, I64(LANES))) as (full, partial):
            with full:
                store(builder, target, args[5], None, value)
            with partial:
                store(builder, target, args[5], tail_mask(builder, left), value)
        return context.get_dummy_value()

    return types.void(values, types.intp, types.uint64, out, types.intp, types.intp), emit


@intrinsic
def mix_lanes(typingctx: Any, values: Any, place: Any) -> Any:
    """Apply the first four steps of the Walsh-Hadamard transform to sixteen of ``values`` float32[m] from ``place`` on.

    A step puts a + b and a - b in the places of a and b, which are 1, 2, 4 or 8 apart.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        row = vector_row(context, builder, signature.args[0], args[0])
        mixed = load(builder, row, args[1], None)
        undefined = ir.Constant(F32_LANES, ir.Undefined)
        for apart in (1, 2, 4, 8):
            order = ir.Constant(ir.VectorType(I32, LANES), [lane ^ apart for lane in range(LANES)])
            signs = ir.Constant(F32_LANES, [-1.0 if lane & apart else 1.0 for lane in range(LANES)])
            others = builder.shuffle_vector(mixed, undefined, order)
            mixed = builder.fadd(others, builder.fmul(mixed, signs))
        store(builder, row, args[1], None, mixed)
        return context.get_dummy_value()

    return types.void(values, types.intp), emit


@intrinsic
def mix_spans(typingctx: Any, values: Any, first: Any, second: Any) -> Any:
    """Put a + b and a - b in the places of a and b, sixteen of ``values`` float32[m] from each of two places on."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        row = vector_row(context, builder, signature.args[0], args[0])
        a, b = (load(builder, row, place, None) for place in args[1:])
        store(builder, row, args[1], None, builder.fadd(a, b))
        store(builder, row, args[2], None, builder.fsub(a, b))
        return context.get_dummy_value()

    return types.void(values, types.intp, types.intp), emit
