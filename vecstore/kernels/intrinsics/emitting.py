"""What all intrinsics are emitted with: rows of arrays, vectors, masks and loops as LLVM IR."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils

from vecstore.kernels.intrinsics.sizes import LANES
from vecstore.kernels.loading import has_feature

ACCUMULATORS = 4


BLOCK = LANES * ACCUMULATORS


I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))


F32 = ir.FloatType()


F32_LANES = ir.VectorType(F32, LANES)


I32_LANES = ir.VectorType(I32, LANES)


Builder = Any


Value = Any


#: Emits the IR of a term: (offset of its first element, mask or None) -> vector.
Term = Callable[[Value, Value | None], Value]


class Row(NamedTuple):
    """A row of a two-dimensional array: the address of its first element, its length, and its element type."""

    address: Value
    length: Value
    dtype: Any


def row_of(context: Any, builder: Builder, array_type: Any, array: Value, row: Value) -> Row:
    """Give row number ``row`` of a two-dimensional array."""
    view = context.make_array(array_type)(context, builder, array)
    length = cgutils.unpack_tuple(builder, view.shape, 2)[1]
    return Row(builder.gep(view.data, [builder.mul(row, length)]), length, array_type.dtype)


def vector_row(context: Any, builder: Builder, array_type: Any, array: Value) -> Row:
    """Give a one-dimensional array as a row."""
    view = context.make_array(array_type)(context, builder, array)
    return Row(view.data, cgutils.unpack_tuple(builder, view.shape, 1)[0], array_type.dtype)


def declare(builder: Builder, name: str, result: Any, *arguments: Any) -> Any:
    """Give the function of that name, declared where it was not yet; for LLVM's own."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def splat(builder: Builder, scalar: Value, lanes: int = LANES) -> Value:
    """Emit a vector whose lanes all hold ``scalar``."""
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, I32(0))
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(I32, lanes), None)
    )


def tail_mask(builder: Builder, left: Value, lanes: int = LANES) -> Value:
    """Emit a mask of the first ``left`` lanes."""
    indices = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", indices, splat(builder, builder.trunc(left, I32), lanes))


def load(builder: Builder, row: Row, offset: Value, mask: Value | None, lanes: int = LANES) -> Value:
    """Emit the load of ``lanes`` elements; lanes outside the mask are zero and their memory is not touched."""
    element = row.address.type.pointee
    vector = ir.VectorType(element, lanes)
    size = element.get_abi_size(llvm.create_target_data("e"))
    pointer = builder.bitcast(builder.gep(row.address, [offset]), vector.as_pointer())
    if mask is None:
        return builder.load(pointer, align=size)
    kind = f"f{size * 8}" if isinstance(element, ir.FloatType) else f"i{size * 8}"
    load = declare(builder, f"llvm.masked.load.v{lanes}{kind}.p0", vector, vector.as_pointer(), I32, mask.type, vector)
    return builder.call(load, [pointer, I32(size), mask, ir.Constant(vector, None)])


def store(builder: Builder, row: Row, offset: Value, mask: Value | None, value: Value) -> None:
    """Emit the store of a vector; a mask is for sixteen float32, whose lanes outside it are not touched."""
    pointer = builder.bitcast(builder.gep(row.address, [offset]), value.type.as_pointer())
    if mask is None:
        builder.store(value, pointer, align=4)
        return
    masked = declare(builder, "llvm.masked.store.v16f32.p0", ir.VoidType(), F32_LANES, pointer.type, I32, mask.type)
    builder.call(masked, [value, pointer, I32(4), mask])


def as_float(builder: Builder, row: Row, raw: Value) -> Value:
    """Emit the conversion of stored elements to float32, as many as ``raw`` has; exact for all stored types."""
    if row.dtype == types.float32:
        return raw
    lanes = raw.type.count
    integers, floats = ir.VectorType(I32, lanes), ir.VectorType(F32, lanes)
    if row.dtype == types.uint16 and has_feature("f16c"):
        return builder.fpext(builder.bitcast(raw, ir.VectorType(ir.HalfType(), lanes)), floats)
    wide = builder.sext(raw, integers)
    if row.dtype in (types.int8, types.int16):
        return builder.sitofp(wide, floats)
    # IEEE half without an instruction for it, where LLVM would call a library that is not there. Sign, exponent and
    # fraction move into the places they have in a float32, which then is the value times 2^-112, because the
    # exponents' biases differ by 112. That holds for subnormal halves too.
    placed = builder.and_(
        builder.shl(wide, ir.Constant(integers, [13] * lanes)), ir.Constant(integers, [-0x70002000] * lanes)
    )
    return builder.fmul(builder.bitcast(placed, floats), ir.Constant(floats, [2.0**112] * lanes))


def floats(builder: Builder, row: Row, offset: Value, mask: Value | None) -> Value:
    """Emit the load of sixteen elements as float32; see :func:`load`."""
    return as_float(builder, row, load(builder, row, offset, mask))


@contextmanager
def steps(builder: Builder, stop: Value, step: int) -> Iterator[Value]:
    """Emit a loop over 0, step, 2 step, ... below ``stop``; gives the offset."""
    with cgutils.for_range_slice(builder, I64(0), stop, I64(step), I64) as (offset, _):
        yield offset


def in_pieces(builder: Builder, length: Value, put: Callable[[Value, int], None]) -> None:
    """Emit ``put(offset, lanes)`` for pieces of sixteen lanes and fewer that make up ``length`` elements.

    What is left after blocks of sixteen are pieces of half the size each, one for each bit: quicker than masked stores.
    """
    with steps(builder, builder.and_(length, I64(-LANES)), LANES) as offset:
        put(offset, LANES)
    lanes = LANES // 2
    while lanes:
        with builder.if_then(builder.icmp_signed("!=", builder.and_(length, I64(lanes)), I64(0))):
            put(builder.and_(length, I64(-2 * lanes)), lanes)
        lanes //= 2


def in_vectors(builder: Builder, sides: Sequence[Row], lanes: int, put: Callable[[int, list[Value]], None]) -> None:
    """Emit ``put(number, vectors)`` for the bytes of rows of one length, so many lanes at a time, by number 0 and 1.

    What is left after whole vectors is taken with the last bytes of the rows, where the first of ``sides`` is zero for
    those that were taken before: AVX2 has no masked loads of bytes. Rows shorter than a vector come in pieces that are
    filled up with zeros.
    """
    first = sides[0]
    length, size = first.length, I64(lanes)

    def loaded(offset: Value) -> list[Value]:
        return [load(builder, side, offset, None, lanes) for side in sides]

    def filled(side: Row, offset: Value, count: int) -> Value:
        part = load(builder, side, offset, None, count)
        places = ir.Constant(ir.VectorType(I32, lanes), [min(place, count) for place in range(lanes)])
        return builder.shuffle_vector(part, ir.Constant(part.type, None), places)

    whole = builder.and_(length, I64(-2 * lanes))
    with steps(builder, whole, 2 * lanes) as offset:
        for number in range(2):
            put(number, loaded(builder.add(offset, I64(number * lanes))))
    left = builder.sub(length, whole)
    with builder.if_then(builder.icmp_signed(">=", left, size)):
        put(0, loaded(whole))
    rest = builder.and_(left, I64(lanes - 1))
    is_some, is_long = builder.icmp_signed(">", rest, I64(0)), builder.icmp_signed(">=", length, size)
    with builder.if_then(builder.and_(is_some, is_long)):
        last, *others = loaded(builder.sub(length, size))
        taken = splat(builder, builder.trunc(builder.sub(size, rest), I8), lanes)
        is_left = builder.icmp_signed(">=", ir.Constant(taken.type, list(range(lanes))), taken)
        put(0, [builder.select(is_left, last, ir.Constant(last.type, None)), *others])
    with builder.if_then(builder.icmp_signed("<", length, size), likely=False):
        in_pieces(builder, rest, lambda place, count: put(0, [filled(side, place, count) for side in sides]))
