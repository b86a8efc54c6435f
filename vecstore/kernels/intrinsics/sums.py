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
    load,
    row_of,
    splat,
    steps,
    tail_mask,
)
from vecstore.kernels.intrinsics.sizes import LANES, TILE
from vecstore.kernels.loading import has_feature


def _add_term(builder: Builder, total: Value, term: Value) -> None:
    add = builder.fadd if term.type == F32_LANES else builder.add
    builder.store(add(builder.load(total), term), total)


def _accumulate(builder: Builder, length: Value, terms: list[Term], zero: Value) -> list[list[Value]]:
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


def _horizontal_sum(builder: Builder, totals: list[Value]) -> Value:
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
    totals = _accumulate(builder, length, terms, ir.Constant(F32_LANES, None))
    return [_horizontal_sum(builder, sums) for sums in totals]


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


def _vnni_dot(builder: Builder, x: Row, q: Row, correction: Value) -> Value:
    """Emit the int8 product with ``vpdpbusd``, which wants one unsigned side: 128 is added to every code.

    ``code ^ 0x80`` is the code plus 128 as an unsigned byte; ``correction`` (128 times the query's sum) takes it
    off again.
    """
    bytes_type = ir.VectorType(I8, BLOCK)
    multiply_add = declare(builder, "llvm.x86.avx512.vpdpbusd.512", I32_LANES, I32_LANES, bytes_type, bytes_type)
    flip = ir.Constant(bytes_type, [-128] * BLOCK)
    total = cgutils.alloca_once_value(builder, ir.Constant(I32_LANES, None))
    whole = builder.and_(x.length, I64(-BLOCK))

    def add(offset: Value, mask: Value | None) -> None:
        codes = builder.xor(load(builder, x, offset, mask, BLOCK), flip)
        query = load(builder, q, offset, mask, BLOCK)
        builder.store(builder.call(multiply_add, [builder.load(total), codes, query]), total)

    with steps(builder, whole, BLOCK) as offset:
        add(offset, None)
    with builder.if_then(builder.icmp_signed("<", whole, x.length), likely=False):
        add(whole, tail_mask(builder, builder.sub(x.length, whole), BLOCK))
    zero = ir.Constant(I32_LANES, None)
    return builder.sub(_horizontal_sum(builder, [builder.load(total), zero, zero, zero]), correction)


def _paired_dot(builder: Builder, x: Row, q: Row) -> Value:
    """Emit the int8 product with ``vpmaddwd``: codes become 16-bit numbers, whose products are added in pairs.

    LLVM does not find it: it widens codes to 32 bits, which takes twice the instructions. What is left after blocks of
    sixteen are pieces of half the size each, because AVX2 has no masked loads of bytes.
    """
    wide, half = ir.VectorType(I16, LANES), ir.VectorType(I32, LANES // 2)
    multiply_add = declare(builder, "llvm.x86.avx2.pmadd.wd", half, wide, wide)
    totals = [cgutils.alloca_once_value(builder, ir.Constant(half, None)) for _ in range(ACCUMULATORS)]

    def widened(row: Row, offset: Value, lanes: int) -> Value:
        codes = builder.sext(load(builder, row, offset, None, lanes), ir.VectorType(I16, lanes))
        if lanes == LANES:
            return codes
        zeros = ir.Constant(codes.type, None)
        places = [min(place, lanes) for place in range(LANES)]
        return builder.shuffle_vector(codes, zeros, ir.Constant(ir.VectorType(I32, LANES), places))

    def add(total: Value, offset: Value, lanes: int) -> None:
        products = builder.call(multiply_add, [widened(x, offset, lanes), widened(q, offset, lanes)])
        builder.store(builder.add(builder.load(total), products), total)

    whole = builder.and_(x.length, I64(-BLOCK))
    with steps(builder, whole, BLOCK) as offset:
        for number, total in enumerate(totals):
            add(total, builder.add(offset, I64(number * LANES)), LANES)
    with builder.if_then(builder.icmp_signed("<", whole, x.length), likely=False):
        left = builder.sub(x.length, whole)
        in_pieces(builder, left, lambda offset, lanes: add(totals[0], builder.add(whole, offset), lanes))
    return _horizontal_sum(builder, [builder.load(total) for total in totals])


def _plain_dot(builder: Builder, x: Row, q: Row) -> Value:
    """Emit the int8 product with ordinary vectors; LLVM finds ``vpmaddwd`` or its like by itself."""

    def product(offset: Value, mask: Value | None) -> Value:
        left, right = (builder.sext(load(builder, side, offset, mask), I32_LANES) for side in (x, q))
        return builder.mul(left, right)

    return _horizontal_sum(builder, _accumulate(builder, x.length, [product], ir.Constant(I32_LANES, None))[0])


@intrinsic
def integer_dot(typingctx: Any, codes: Any, row: Any, queries: Any, query: Any, correction: Any) -> Any:
    """Give the exact inner product of ``codes[row]`` and ``queries[query]`` (both int8) as int32.

    ``correction`` is 128 times the sum of the query's codes. Up to 65 536 dimensions cannot overflow.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        x = row_of(context, builder, signature.args[0], args[0], args[1])
        q = row_of(context, builder, signature.args[2], args[2], args[3])
        if has_feature("avx512vnni"):
            return _vnni_dot(builder, x, q, args[4])
        return _paired_dot(builder, x, q) if has_feature("avx2") else _plain_dot(builder, x, q)

    return types.int32(codes, types.intp, queries, types.intp, types.int32), emit
