"""Products of rows with a matrix, in tiles of registers."""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from vecstore.kernels.intrinsics.emitting import (
    I64,
    Builder,
    Value,
    load,
    row_of,
    splat,
    steps,
    store,
    tail_mask,
    vector_row,
)
from vecstore.kernels.intrinsics.sizes import LANES
from vecstore.kernels.loading import has_feature


@intrinsic
def multiply_matrix(
    typingctx: Any, left: Any, rows: Any, right: Any, first: Any, bias: Any, column: Any, out: Any, place: Any
) -> Any:
    """Write ``bias + left[rows] @ right[first:]`` into ``out``; all are float32.

    ``rows`` is a tuple of r numbers, ``left`` [n, k], ``right`` [m, w] of which the k rows from ``first`` on are used.
    Rows ``place`` to ``place + r`` of ``out`` get the columns from ``column`` on, w of them or as many as there are,
    and ``bias`` [columns of out] those of their start. Each number begins at its bias and adds its k products in order,
    by one multiplication and one addition that are never fused: it does not matter how numbers are grouped into tiles.
    With AVX-512 tiles have four vectors a row, so that six rows fill the registers, and one elsewhere.
    """
    count = len(rows)

    def emit(context: Any, builder: Builder, signature: Any, args: Any) -> Value:
        types_ = signature.args
        numbers = cgutils.unpack_tuple(builder, args[1], count)
        lefts = [row_of(context, builder, types_[0], args[0], number) for number in numbers]
        outs = [
            row_of(context, builder, types_[6], args[6], builder.add(args[7], I64(number))) for number in range(count)
        ]
        outs = [own._replace(address=builder.gep(own.address, [args[5]])) for own in outs]
        begins = vector_row(context, builder, types_[4], args[4])
        begins = begins._replace(address=builder.gep(begins.address, [args[5]]))
        weights = row_of(context, builder, types_[2], args[2], args[3])
        left_over = builder.sub(outs[0].length, args[5])
        width = builder.select(builder.icmp_signed("<", left_over, weights.length), left_over, weights.length)

        def tile(offset: Value, vectors: int, mask: Value | None) -> None:
            offsets = [builder.add(offset, I64(number * LANES)) for number in range(vectors)]
            starts = [load(builder, begins, own, mask) for own in offsets]
            totals = [[cgutils.alloca_once_value(builder, start) for start in starts] for _ in range(count)]
            with steps(builder, lefts[0].length, 1) as step:
                line = weights._replace(address=builder.gep(weights.address, [builder.mul(step, weights.length)]))
                factors = [load(builder, line, own, mask) for own in offsets]
                for own, sums in zip(lefts, totals, strict=True):
                    value = splat(builder, builder.load(builder.gep(own.address, [step])))
                    for total, factor in zip(sums, factors, strict=True):
                        builder.store(builder.fadd(builder.load(total), builder.fmul(value, factor)), total)
            for target, sums in zip(outs, totals, strict=True):
                for own, total in zip(offsets, sums, strict=True):
                    store(builder, target, own, mask, builder.load(total))

        wide = 4 if has_feature("avx512f") else 1
        done = builder.and_(width, I64(-LANES * wide))
        with steps(builder, done, LANES * wide) as offset:
            tile(offset, wide, None)
        whole = builder.and_(width, I64(-LANES))
        with cgutils.for_range_slice(builder, done, whole, I64(LANES), I64) as (offset, _):
            tile(offset, 1, None)
        with builder.if_then(builder.icmp_signed("<", whole, width)):
            tile(whole, 1, tail_mask(builder, builder.sub(width, whole)))
        return context.get_dummy_value()

    return types.void(left, rows, right, types.intp, bias, types.intp, out, types.intp), emit
