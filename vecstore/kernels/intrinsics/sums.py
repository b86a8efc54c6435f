"""Sums over rows by the lane rule: inner products and squared distances."""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vecstore.kernels.intrinsics.emitting import (
    ACCUMULATORS,
    BLOCK,
    F32_LANES,
    I32,
    I64,
    Builder,
    Term,
    Value,
    floats,
    row_of,
    splat,
    steps,
    tail_mask,
)
from vecstore.kernels.intrinsics.sizes import LANES, TILE


def _add_term(builder: Builder, total: Value, term: Value) -> None:
    add = builder.fadd if term.type == F32_LANES else builder.add
    builder.store(add(builder.load(total), term), total)


def accumulate(builder: Builder, length: Value, terms: list[Term], zero: Value) -> list[list[Value]]:
    """Emit the sums of each of ``terms`` over ``length`` elements by the lane rule; gives each one's accumulators.

    What terms have in common, such as loading a row, LLVM emits once.
    """
    totals = [[cgutils.alloca_once_value(builder, zero) for _ in range(ACCUMULATORS)] for _ in terms]

    def add(number: int, offset: Value, mask: Value | None) -> None:
        for term, sums in zip(terms, totals, strict=True):
            _add_term(builder, sums[number], term(offset, mask))

    whole = builder.and_(length, I64(-BLOCK))
    with steps(builder, whole, BLOCK) as offset:
        for number in range(ACCUMULATORS):
            add(number, builder.add(offset, I64(number * LANES)), None)
    with builder.if_then(builder.icmp_signed("<", whole, length), likely=False):
        for number in range(ACCUMULATORS):
            offset = builder.add(whole, I64(number * LANES))
            left = builder.sub(length, offset)
            with builder.if_else(builder.icmp_signed(">=", left, I64(LANES))) as (full, partial):
                with full:
                    add(number, offset, None)
                with partial, builder.if_then(builder.icmp_signed(">", left, I64(0))):
                    add(number, offset, tail_mask(builder, left))
    return [[builder.load(total) for total in sums] for sums in totals]


def horizontal_sum(builder: Builder, totals: list[Value]) -> Value:
    """Emit the fixed reduction tree of the lane rule."""
    add = builder.fadd if totals[0].type == F32_LANES else builder.add
    return lane_sum(builder, add(add(totals[0], totals[1]), add(totals[2], totals[3])))


def lane_sum(builder: Builder, vector: Value) -> Value:
    """Emit the sum of all lanes, the upper half added to the lower until one is left."""
    add = builder.fadd if isinstance(vector.type.element, ir.FloatType) else builder.add
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        places = ir.VectorType(I32, lanes)
        undefined = ir.Constant(vector.type, ir.Undefined)
        low = builder.shuffle_vector(vector, undefined, ir.Constant(places, list(range(lanes))))
        high = builder.shuffle_vector(vector, undefined, ir.Constant(places, list(range(lanes, 2 * lanes))))
        vector = add(low, high)
    return builder.extract_element(vector, I32(0))


def float_sums(builder: Builder, length: Value, terms: list[Term]) -> list[Value]:
    """Emit the sum of each of ``terms`` over ``length`` elements by the lane rule."""
    totals = accumulate(builder, length, terms, ir.Constant(F32_LANES, None))
    return [horizontal_sum(builder, sums) for sums in totals]


def _products(context: Any, builder: Builder, signature: Any, args: Any, count: int) -> list[Value]:
    """Emit the inner products of a row with ``count`` queries."""
    rows, row, queries, first = args
    x = row_of(context, builder, signature.args[0], rows, row)

    def with_query(number: int) -> Term:
        q = row_of(context, builder, signature.args[2], queries, builder.add(first, I64(number)))
        return lambda offset, mask: builder.fmul(floats(builder, q, offset, mask), floats(builder, x, offset, mask))

    return float_sums(builder, x.length, [with_query(number) for number in range(count)])


def _squares(context: Any, builder: Builder, signature: Any, args: Any, count: int) -> list[Value]:
    """Emit the squared distances of a row, decoded if there is a scale, to ``count`` queries."""
    rows, row, scale, queries, first = args
    x = row_of(context, builder, signature.args[0], rows, row)
    factor = splat(builder, scale)

    def stored(offset: Value, mask: Value | None) -> Value:
        values = floats(builder, x, offset, mask)
        return builder.fmul(values, factor) if x.dtype in (types.int8, types.int16) else values

    def with_query(number: int) -> Term:
        q = row_of(context, builder, signature.args[3], queries, builder.add(first, I64(number)))

        def square(offset: Value, mask: Value | None) -> Value:
            difference = builder.fsub(floats(builder, q, offset, mask), stored(offset, mask))
            return builder.fmul(difference, difference)

        return square

    return float_sums(builder, x.length, [with_query(number) for number in range(count)])


@intrinsic
def dot(typingctx: Any, rows: Any, row: Any, queries: Any, query: Any) -> Any:
    """Give the inner product of ``rows[row]`` and ``queries[query]`` as float32, by the lane rule.

    ``rows`` is float32, int8 or int16 (the codes, not scaled) or uint16 (the bits of IEEE halves); ``queries`` is
    float32.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return _products(context, builder, signature, args, 1)[0]

    return types.float32(rows, types.intp, queries, types.intp), emit


@intrinsic
def dot_tile(typingctx: Any, rows: Any, row: Any, queries: Any, first: Any) -> Any:
    """Give :func:`dot` for the queries first, ..., first + 3 as a tuple; the row is read and converted once."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        sums = _products(context, builder, signature, args, TILE)
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float32, TILE)(rows, types.intp, queries, types.intp), emit


@intrinsic
def squared_distance(typingctx: Any, rows: Any, row: Any, scale: Any, queries: Any, query: Any) -> Any:
    """Give the squared Euclidean distance of ``rows[row]`` and ``queries[query]`` as float32, by the lane rule.

    ``rows`` is float32, uint16 (the bits of IEEE halves), or int8 or int16, which are multiplied by ``scale``; others
    are not.
    The differences themselves are squared, so near neighbours lose no digits.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return _squares(context, builder, signature, args, 1)[0]

    return types.float32(rows, types.intp, types.float32, queries, types.intp), emit


@intrinsic
def squared_distance_tile(typingctx: Any, rows: Any, row: Any, scale: Any, queries: Any, first: Any) -> Any:
    """Give :func:`squared_distance` for the queries first, ..., first + 3 as a tuple; the row is read once."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        sums = _squares(context, builder, signature, args, TILE)
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float32, TILE)(rows, types.intp, types.float32, queries, types.intp), emit
