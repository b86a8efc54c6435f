"""Products of rows with panels of sixteen queries, compared with limits while they are in registers."""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vecstore.kernels.intrinsics.emitting import (
    BLOCK,
    F32_LANES,
    I8,
    I32,
    I32_LANES,
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
    vector_row,
)
from vecstore.kernels.intrinsics.sizes import LANES, PANEL_ROWS

#: Codes that are multiplied and added at once.
_GROUP = 4


def _float_sums(builder: Builder, rows: list[Row], panel: Row, totals: list[Value]) -> None:
    fused = declare(builder, "llvm.fmuladd.v16f32", F32_LANES, F32_LANES, F32_LANES, F32_LANES)
    with steps(builder, rows[0].length, 1) as place:
        queries = load(builder, panel, builder.mul(place, I64(LANES)), None)
        for row, total in zip(rows, totals, strict=True):
            number = splat(builder, builder.load(builder.gep(row.address, [place])))
            builder.store(builder.call(fused, [number, queries, builder.load(total)]), total)


def _integer_sums(builder: Builder, rows: list[Row], panel: Row, totals: list[Value]) -> None:
    bytes_type = ir.VectorType(I8, BLOCK)
    multiply_add = declare(builder, "llvm.x86.avx512.vpdpbusd.512", I32_LANES, I32_LANES, bytes_type, bytes_type)
    length = rows[0].length

    def add(place: Value, mask: Value | None) -> None:
        queries = load(builder, panel, builder.mul(place, I64(LANES)), None, BLOCK)
        for row, total in zip(rows, totals, strict=True):
            group = builder.bitcast(load(builder, row, place, mask, _GROUP), I32)
            codes = builder.bitcast(splat(builder, group), bytes_type)
            builder.store(builder.call(multiply_add, [builder.load(total), queries, codes]), total)

    whole = builder.and_(length, I64(-_GROUP))
    with steps(builder, whole, _GROUP) as place:
        add(place, None)
    with builder.if_then(builder.icmp_signed("<", whole, length)):
        add(whole, tail_mask(builder, builder.sub(length, whole), _GROUP))


@intrinsic
def panel_hits(
    typingctx: Any,
    rows: Any,
    first: Any,
    panels: Any,
    panel: Any,
    starts: Any,
    lines: Any,
    place: Any,
    limits: Any,
    masks: Any,
) -> Any:
    """Find which of sixteen queries come near to which of :data:`PANEL_ROWS` rows, and tell whether any does.

    Bit q of ``masks[r]`` is set where ``a p + b s + c t`` is not below the limit: p is the product of row ``first + r``
    with query q of the panel; a, b and c are ``lines[:, place + r]``; s, t and the limit ``limits[:, 16 panel + q]``.
    All of it is in float32, rounded and fused as the processor likes best, so it differs between processors. NaN counts
    as near.

    Parameters
    ----------
    rows : float32[n, d] or int8[n, d]
        int8 only where Numba compiles for AVX-512 VNNI.
    panels : float32[p, d, 16], or uint8[p, ceil(d / 4), 16, 4] for int8
        Queries side by side; codes of queries plus 128, four of a query side by side.
    starts : int32[m]
        What products of codes begin with: -128 times the sum of the row's codes takes off what the 128 add.
    lines : float32[3, m]
    limits : float32[3, 16 p]
    masks : uint32[PANEL_ROWS]
    """

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        types_ = signature.args
        own = [row_of(context, builder, types_[0], args[0], builder.add(args[1], I64(r))) for r in range(PANEL_ROWS)]
        view = context.make_array(types_[2])(context, builder, args[2])
        whole = builder.sdiv(view.nitems, cgutils.unpack_tuple(builder, view.shape, types_[2].ndim)[0])
        queries = Row(builder.gep(view.data, [builder.mul(args[3], whole)]), whole, types_[2].dtype)
        places = [builder.add(args[6], I64(r)) for r in range(PANEL_ROWS)]
        if types_[0].dtype == types.float32:
            begin = [ir.Constant(F32_LANES, None)] * PANEL_ROWS
            add = _float_sums
        else:
            row_starts = vector_row(context, builder, types_[4], args[4])
            begin = [splat(builder, builder.load(builder.gep(row_starts.address, [place]))) for place in places]
            add = _integer_sums
        totals = [cgutils.alloca_once_value(builder, start) for start in begin]
        add(builder, own, queries, totals)
        factors = [row_of(context, builder, types_[5], args[5], I64(line)) for line in range(3)]
        column = builder.mul(args[3], I64(LANES))
        weights, slopes, least = (
            load(builder, row_of(context, builder, types_[7], args[7], I64(line)), column, None) for line in range(3)
        )
        target = vector_row(context, builder, types_[8], args[8])
        fused = declare(builder, "llvm.fmuladd.v16f32", F32_LANES, F32_LANES, F32_LANES, F32_LANES)
        found = I32(0)
        for number, (place, total) in enumerate(zip(places, totals, strict=True)):
            a, b, c = (splat(builder, builder.load(builder.gep(line.address, [place]))) for line in factors)
            product = builder.load(total)
            if product.type != F32_LANES:
                product = builder.sitofp(product, F32_LANES)
            value = builder.call(fused, [c, slopes, builder.call(fused, [b, weights, builder.fmul(a, product)])])
            near = builder.fcmp_unordered(">=", value, least)
            mask = builder.zext(builder.bitcast(near, ir.IntType(LANES)), I32)
            builder.store(mask, builder.gep(target.address, [I64(number)]))
            found = builder.or_(found, mask)
        return builder.icmp_unsigned("!=", found, I32(0))

    return types.boolean(rows, types.intp, panels, types.intp, starts, lines, types.intp, limits, masks), emit
