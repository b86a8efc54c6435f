"""Inner products of int8 codes, which are exact whatever the processor does best.

AVX-512 VNNI and AVX2 multiply unsigned by signed bytes, so one side has to be made unsigned. AVX2 adds the products of
two pairs in 16 bits, where they have to fit: codes of up to 127 fit if the other side is their magnitude, and codes
plus 128 fit if the other side is :data:`NARROW` at most, which saves an instruction in five.
"""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vecstore.kernels.intrinsics.emitting import (
    BLOCK,
    I1,
    I8,
    I16,
    I32,
    I32_LANES,
    I64,
    Builder,
    Row,
    Value,
    declare,
    in_vectors,
    load,
    row_of,
    steps,
    tail_mask,
)
from vecstore.kernels.intrinsics.sums import accumulate, horizontal_sum, lane_sum
from vecstore.kernels.loading import has_feature

#: Bytes of a vector of AVX2.
_BYTES = 32

_CODES, _SHORTS, _INTEGERS = ir.VectorType(I8, _BYTES), ir.VectorType(I16, _BYTES // 2), ir.VectorType(I32, _BYTES // 4)

#: Emits two sides, the first unsigned, whose products are those of codes and a query, or differ by what is known.
_Sides: TypeAlias = Callable[[Builder, Value, Value], tuple[Value, Value]]


def _plus_128(builder: Builder, codes: Value) -> Value:
    """Emit ``code ^ 0x80``, which is the code plus 128 as an unsigned byte."""
    return builder.xor(codes, ir.Constant(codes.type, [-128] * codes.type.count))


def _vnni_dot(builder: Builder, x: Row, q: Row) -> Value:
    """Emit the product of codes plus 128 with ``vpdpbusd``."""
    bytes_type = ir.VectorType(I8, BLOCK)
    multiply_add = declare(builder, "llvm.x86.avx512.vpdpbusd.512", I32_LANES, I32_LANES, bytes_type, bytes_type)
    total = cgutils.alloca_once_value(builder, ir.Constant(I32_LANES, None))
    whole = builder.and_(x.length, I64(-BLOCK))

    def add(offset: Value, mask: Value | None) -> None:
        codes = _plus_128(builder, load(builder, x, offset, mask, BLOCK))
        query = load(builder, q, offset, mask, BLOCK)
        builder.store(builder.call(multiply_add, [builder.load(total), codes, query]), total)

    with steps(builder, whole, BLOCK) as offset:
        add(offset, None)
    with builder.if_then(builder.icmp_signed("<", whole, x.length), likely=False):
        add(whole, tail_mask(builder, builder.sub(x.length, whole), BLOCK))
    return lane_sum(builder, builder.load(total))


def _wide(builder: Builder, codes: Value, query: Value) -> tuple[Value, Value]:
    """Emit the magnitudes of the query, and the codes with its signs; codes are not -128."""
    magnitudes = declare(builder, "llvm.abs.v32i8", _CODES, _CODES, I1)
    signed = declare(builder, "llvm.x86.avx2.psign.b", _CODES, _CODES, _CODES)
    return builder.call(magnitudes, [query, ir.Constant(I1, 0)]), builder.call(signed, [codes, query])


def _narrow(builder: Builder, codes: Value, query: Value) -> tuple[Value, Value]:
    """Emit the codes plus 128, and the query."""
    return _plus_128(builder, codes), query


def _avx2_dot(builder: Builder, x: Row, q: Row, sides: _Sides) -> Value:
    """Emit the product with ``vpmaddubsw`` and ``vpmaddwd``."""
    multiply_bytes = declare(builder, "llvm.x86.avx2.pmadd.ub.sw", _SHORTS, _CODES, _CODES)
    add_pairs = declare(builder, "llvm.x86.avx2.pmadd.wd", _INTEGERS, _SHORTS, _SHORTS)
    totals = [cgutils.alloca_once_value(builder, ir.Constant(_INTEGERS, None)) for _ in range(2)]

    def add(number: int, vectors: list[Value]) -> None:
        query, codes = vectors
        products = builder.call(multiply_bytes, sides(builder, codes, query))
        pairs = builder.call(add_pairs, [products, ir.Constant(_SHORTS, [1] * _SHORTS.count)])
        builder.store(builder.add(builder.load(totals[number]), pairs), totals[number])

    in_vectors(builder, (q, x), _BYTES, add)
    return lane_sum(builder, builder.add(*(builder.load(total) for total in totals)))


def _plain_dot(builder: Builder, x: Row, q: Row) -> Value:
    """Emit the product with ordinary vectors; LLVM finds what the processor has by itself."""

    def product(offset: Value, mask: Value | None) -> Value:
        left, right = (builder.sext(load(builder, side, offset, mask), I32_LANES) for side in (x, q))
        return builder.mul(left, right)

    return horizontal_sum(builder, accumulate(builder, x.length, [product], ir.Constant(I32_LANES, None))[0])


def _emit_dot(context: Any, builder: Builder, signature: Any, args: Any, *, narrow: bool) -> Value:
    codes, row, queries, query, correction = args
    x = row_of(context, builder, signature.args[0], codes, row)
    q = row_of(context, builder, signature.args[2], queries, query)
    if has_feature("avx512vnni"):
        return builder.sub(_vnni_dot(builder, x, q), correction)
    if not has_feature("avx2"):
        return _plain_dot(builder, x, q)
    if narrow:
        return builder.sub(_avx2_dot(builder, x, q, _narrow), correction)
    return _avx2_dot(builder, x, q, _wide)


@intrinsic
def integer_dot(typingctx: Any, codes: Any, row: Any, queries: Any, query: Any, correction: Any) -> Any:
    """Give the exact inner product of ``codes[row]`` and ``queries[query]``, both int8 from -127 to 127, as int32.

    ``correction`` is 128 times the sum of the query's codes. Up to 65 536 dimensions cannot overflow.
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return _emit_dot(context, builder, signature, args, narrow=False)

    return types.int32(codes, types.intp, queries, types.intp, types.int32), emit


@intrinsic
def narrow_dot(typingctx: Any, codes: Any, row: Any, queries: Any, query: Any, correction: Any) -> Any:
    """Give :func:`integer_dot` for queries whose codes are from -:data:`NARROW` to :data:`NARROW`."""

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        return _emit_dot(context, builder, signature, args, narrow=True)

    return types.int32(codes, types.intp, queries, types.intp, types.int32), emit
