"""Instruction-level building blocks, written as LLVM vectors so that no C compiler is needed.

Lane rule
---------
Every float sum over a row follows one fixed order. Element i is added to accumulator (i // 16) mod 4, lane
i mod 16, in order of i, by one multiplication and one addition that are never fused. The accumulators are added
as (a0 + a1) + (a2 + a3), and the sixteen lanes by halves: lane j takes lane j + 8, then j + 4, j + 2, j + 1.
IEEE 754 fixes each step, so the result has the same bits on every processor, whatever its vector width, and for
every thread count. Missing elements of the last block count as +0, which changes no bit because an accumulator
that starts at +0 never becomes -0.

Integer sums are exact, so they may use whatever the processor does best: ``vpdpbusd`` where Numba compiles for
AVX-512 VNNI, ordinary vectors elsewhere.

These functions check nothing: callers hand in C-contiguous arrays and rows inside them.
They stay at module level because Numba's disk cache misses every function that closes over an intrinsic.
"""

# ruff: noqa: ARG001  (Numba fixes the parameters of intrinsics and of the functions that emit them)
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

LANES = 16
ACCUMULATORS = 4
BLOCK = LANES * ACCUMULATORS
CACHE_LINE = 64
#: Queries that the tile functions take together: their accumulators just fit the registers of AVX-512.
TILE = 4

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_F32 = ir.FloatType()
_F32_LANES = ir.VectorType(_F32, LANES)
_I32_LANES = ir.VectorType(_I32, LANES)

_Builder = Any
_Value = Any
#: Emits the IR of a term: (offset of its first element, mask or None) -> vector.
_Term = Callable[[_Value, _Value | None], _Value]


def has_feature(feature: str) -> bool:
    """Tell whether Numba compiles for a processor with ``feature``, an LLVM name such as ``"avx512vnni"``.

    ``NUMBA_CPU_FEATURES`` and ``NUMBA_CPU_NAME`` count as they do for Numba itself. When only another processor's
    name is given, nothing is known of its features and the answer is no.
    """
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    if config.CPU_NAME is not None and llvm.get_host_cpu_name() != config.CPU_NAME:
        return False
    return bool(llvm.get_host_cpu_features().get(feature, False))


# --------------------------------------------------------------------------- emitting IR


class _Row(NamedTuple):
    """A row of a two-dimensional array: the address of its first element, its length, and its element type."""

    address: _Value
    length: _Value
    dtype: Any


def _row_of(context: Any, builder: _Builder, array_type: Any, array: _Value, row: _Value) -> _Row:
    view = context.make_array(array_type)(context, builder, array)
    length = cgutils.unpack_tuple(builder, view.shape, 2)[1]
    return _Row(builder.gep(view.data, [builder.mul(row, length)]), length, array_type.dtype)


def _declare(builder: _Builder, name: str, result: Any, *arguments: Any) -> Any:
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


def _splat(builder: _Builder, scalar: _Value, lanes: int = LANES) -> _Value:
    vector = ir.VectorType(scalar.type, lanes)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, _I32(0))
    return builder.shuffle_vector(
        first, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(_I32, lanes), None)
    )


def _tail_mask(builder: _Builder, left: _Value, lanes: int = LANES) -> _Value:
    """Emit a mask of the first ``left`` lanes."""
    indices = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
    return builder.icmp_signed("<", indices, _splat(builder, builder.trunc(left, _I32), lanes))


def _load(builder: _Builder, row: _Row, offset: _Value, mask: _Value | None, lanes: int = LANES) -> _Value:
    """Emit the load of ``lanes`` elements; lanes outside the mask are zero and their memory is not touched."""
    element = row.address.type.pointee
    vector = ir.VectorType(element, lanes)
    size = element.get_abi_size(llvm.create_target_data("e"))
    pointer = builder.bitcast(builder.gep(row.address, [offset]), vector.as_pointer())
    if mask is None:
        return builder.load(pointer, align=size)
    kind = f"f{size * 8}" if isinstance(element, ir.FloatType) else f"i{size * 8}"
    load = _declare(
        builder, f"llvm.masked.load.v{lanes}{kind}.p0", vector, vector.as_pointer(), _I32, mask.type, vector
    )
    return builder.call(load, [pointer, _I32(size), mask, ir.Constant(vector, None)])


def _as_float(builder: _Builder, row: _Row, raw: _Value) -> _Value:
    """Emit the conversion of stored elements to float32, as many as ``raw`` has; exact for all stored types."""
    if row.dtype == types.float32:
        return raw
    lanes = raw.type.count
    integers, floats = ir.VectorType(_I32, lanes), ir.VectorType(_F32, lanes)
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


def _floats(builder: _Builder, row: _Row, offset: _Value, mask: _Value | None) -> _Value:
    return _as_float(builder, row, _load(builder, row, offset, mask))


@contextmanager
def _steps(builder: _Builder, stop: _Value, step: int) -> Iterator[_Value]:
    """Emit a loop over 0, step, 2 step, ... below ``stop``; gives the offset."""
    with cgutils.for_range_slice(builder, _I64(0), stop, _I64(step), _I64) as (offset, _):
        yield offset


def _in_pieces(builder: _Builder, length: _Value, put: Callable[[_Value, int], None]) -> None:
    """Emit ``put(offset, lanes)`` for pieces of sixteen lanes and fewer that make up ``length`` elements.

    What is left after blocks of sixteen are pieces of half the size each, one for each bit: quicker than masked stores.
    """
    with _steps(builder, builder.and_(length, _I64(-LANES)), LANES) as offset:
        put(offset, LANES)
    lanes = LANES // 2
    while lanes:
        with builder.if_then(builder.icmp_signed("!=", builder.and_(length, _I64(lanes)), _I64(0))):
            put(builder.and_(length, _I64(-2 * lanes)), lanes)
        lanes //= 2


def _add_term(builder: _Builder, total: _Value, term: _Value) -> None:
    add = builder.fadd if term.type == _F32_LANES else builder.add
    builder.store(add(builder.load(total), term), total)


def _accumulate(builder: _Builder, length: _Value, terms: list[_Term], zero: _Value) -> list[list[_Value]]:
    """Emit the sums of each of ``terms`` over ``length`` elements by the lane rule; gives each one's accumulators.

    What terms have in common, such as loading a row, LLVM emits once.
    """
    totals = [[cgutils.alloca_once_value(builder, zero) for _ in range(ACCUMULATORS)] for _ in terms]

    def add(number: int, offset: _Value, mask: _Value | None) -> None:
        for term, sums in zip(terms, totals, strict=True):
            _add_term(builder, sums[number], term(offset, mask))

    whole = builder.and_(length, _I64(-BLOCK))
    with _steps(builder, whole, BLOCK) as offset:
        for number in range(ACCUMULATORS):
            add(number, builder.add(offset, _I64(number * LANES)), None)
    with builder.if_then(builder.icmp_signed("<", whole, length), likely=False):
        for number in range(ACCUMULATORS):
            offset = builder.add(whole, _I64(number * LANES))
            left = builder.sub(length, offset)
            with builder.if_else(builder.icmp_signed(">=", left, _I64(LANES))) as (full, partial):
                with full:
                    add(number, offset, None)
                with partial, builder.if_then(builder.icmp_signed(">", left, _I64(0))):
                    add(number, offset, _tail_mask(builder, left))
    return [[builder.load(total) for total in sums] for sums in totals]


def _horizontal_sum(builder: _Builder, totals: list[_Value]) -> _Value:
    """Emit the fixed reduction tree of the lane rule."""
    add = builder.fadd if totals[0].type == _F32_LANES else builder.add
    vector = add(add(totals[0], totals[1]), add(totals[2], totals[3]))
    lanes = LANES
    while lanes > 1:
        lanes //= 2
        places = ir.VectorType(_I32, lanes)
        undefined = ir.Constant(vector.type, ir.Undefined)
        low = builder.shuffle_vector(vector, undefined, ir.Constant(places, list(range(lanes))))
        high = builder.shuffle_vector(vector, undefined, ir.Constant(places, list(range(lanes, 2 * lanes))))
        vector = add(low, high)
    return builder.extract_element(vector, _I32(0))


def _float_sums(builder: _Builder, length: _Value, terms: list[_Term]) -> list[_Value]:
    totals = _accumulate(builder, length, terms, ir.Constant(_F32_LANES, None))
    return [_horizontal_sum(builder, sums) for sums in totals]


# --------------------------------------------------------------------------- float sums


def _products(context: Any, builder: _Builder, signature: Any, args: Any, count: int) -> list[_Value]:
    """Emit the inner products of a row with ``count`` queries."""
    rows, row, queries, first = args
    x = _row_of(context, builder, signature.args[0], rows, row)

    def with_query(number: int) -> _Term:
        q = _row_of(context, builder, signature.args[2], queries, builder.add(first, _I64(number)))
        return lambda offset, mask: builder.fmul(_floats(builder, q, offset, mask), _floats(builder, x, offset, mask))

    return _float_sums(builder, x.length, [with_query(number) for number in range(count)])


def _squares(context: Any, builder: _Builder, signature: Any, args: Any, count: int) -> list[_Value]:
    """Emit the squared distances of a row, decoded if there is a scale, to ``count`` queries."""
    rows, row, scale, queries, first = args
    x = _row_of(context, builder, signature.args[0], rows, row)
    factor = _splat(builder, scale)

    def stored(offset: _Value, mask: _Value | None) -> _Value:
        values = _floats(builder, x, offset, mask)
        return builder.fmul(values, factor) if x.dtype in (types.int8, types.int16) else values

    def with_query(number: int) -> _Term:
        q = _row_of(context, builder, signature.args[3], queries, builder.add(first, _I64(number)))

        def square(offset: _Value, mask: _Value | None) -> _Value:
            difference = builder.fsub(_floats(builder, q, offset, mask), stored(offset, mask))
            return builder.fmul(difference, difference)

        return square

    return _float_sums(builder, x.length, [with_query(number) for number in range(count)])


@intrinsic
def dot(typingctx: Any, rows: Any, row: Any, queries: Any, query: Any) -> Any:
    """Give the inner product of ``rows[row]`` and ``queries[query]`` as float32, by the lane rule.

    ``rows`` is float32, int8 or int16 (the codes, not scaled) or uint16 (the bits of IEEE halves); ``queries`` is
    float32.
    """

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return _products(context, builder, signature, args, 1)[0]

    return types.float32(rows, types.intp, queries, types.intp), emit


@intrinsic
def dot_tile(typingctx: Any, rows: Any, row: Any, queries: Any, first: Any) -> Any:
    """Give :func:`dot` for the queries first, ..., first + 3 as a tuple; the row is read and converted once."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
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

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return _squares(context, builder, signature, args, 1)[0]

    return types.float32(rows, types.intp, types.float32, queries, types.intp), emit


@intrinsic
def squared_distance_tile(typingctx: Any, rows: Any, row: Any, scale: Any, queries: Any, first: Any) -> Any:
    """Give :func:`squared_distance` for the queries first, ..., first + 3 as a tuple; the row is read once."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        sums = _squares(context, builder, signature, args, TILE)
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(types.float32, TILE)(rows, types.intp, types.float32, queries, types.intp), emit


@intrinsic
def decode_row(typingctx: Any, rows: Any, row: Any, scale: Any, out: Any, place: Any) -> Any:
    """Write ``scale * rows[row]`` into ``out[place]`` (float32); ``rows`` as for :func:`dot`."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        x = _row_of(context, builder, signature.args[0], args[0], args[1])
        target = _row_of(context, builder, signature.args[3], args[3], args[4])

        def put(offset: _Value, lanes: int) -> None:
            values = _as_float(builder, x, _load(builder, x, offset, None, lanes))
            pointer = builder.bitcast(builder.gep(target.address, [offset]), values.type.as_pointer())
            builder.store(builder.fmul(values, _splat(builder, args[2], lanes)), pointer, align=4)

        _in_pieces(builder, x.length, put)
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.float32, out, types.intp), emit


def _half_values(builder: _Builder, x: _Row, offset: _Value, step: _Value, shift: int) -> _Term:
    """Give the term of the numbers offset + step * code in the low (``shift`` 0) or high (4) halves of bytes."""
    offsets, steps = _splat(builder, offset), _splat(builder, step)

    def values(place: _Value, mask: _Value | None) -> _Value:
        wide = builder.zext(_load(builder, x, place, mask), _I32_LANES)
        moved = builder.lshr(wide, ir.Constant(_I32_LANES, [shift] * LANES))
        codes = builder.and_(moved, ir.Constant(_I32_LANES, [15] * LANES))
        return builder.fadd(offsets, builder.fmul(steps, builder.sitofp(codes, _F32_LANES)))

    return values


def _half_sums(
    context: Any, builder: _Builder, signature: Any, args: Any, combine: Callable[[_Value, _Value], _Value]
) -> _Value:
    """Emit the sum of ``combine(query, value)`` over the numbers in low halves, plus that over those in high halves."""
    codes, row, offset, step, queries, query = args
    x = _row_of(context, builder, signature.args[0], codes, row)
    q = _row_of(context, builder, signature.args[4], queries, query)
    sums = []
    for shift, start, length in ((0, _I64(0), x.length), (4, x.length, builder.sub(q.length, x.length))):
        value = _half_values(builder, x, offset, step, shift)
        part = _Row(builder.gep(q.address, [start]), length, q.dtype)

        def term(place: _Value, mask: _Value | None, part: _Row = part, value: _Term = value) -> _Value:
            combined = combine(_floats(builder, part, place, mask), value(place, mask))
            if mask is None:
                return combined
            return builder.select(mask, combined, ir.Constant(_F32_LANES, None))

        sums.append(_float_sums(builder, length, [term])[0])
    return builder.fadd(*sums)


@intrinsic
def halves_dot(typingctx: Any, codes: Any, row: Any, offset: Any, step: Any, queries: Any, query: Any) -> Any:
    """Give the inner product of ``queries[query]`` float32[d] and the row ``offset + step * code`` of 4-bit codes.

    ``codes[row]`` uint8[ceil(d / 2)] has number j in the low half of byte j and number ceil(d / 2) + j in its high
    half. Each half is summed by the lane rule, then both are added.
    """

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return _half_sums(context, builder, signature, args, lambda q, x: builder.fmul(q, x))

    return types.float32(codes, types.intp, types.float32, types.float32, queries, types.intp), emit


@intrinsic
def halves_squared_distance(
    typingctx: Any, codes: Any, row: Any, offset: Any, step: Any, queries: Any, query: Any
) -> Any:
    """Give the squared Euclidean distance of ``queries[query]`` and a row of 4-bit codes, as :func:`halves_dot`."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        def square(q: _Value, x: _Value) -> _Value:
            difference = builder.fsub(q, x)
            return builder.fmul(difference, difference)

        return _half_sums(context, builder, signature, args, square)

    return types.float32(codes, types.intp, types.float32, types.float32, queries, types.intp), emit


# --------------------------------------------------------------------------- integer sums


def _vnni_dot(builder: _Builder, x: _Row, q: _Row, correction: _Value) -> _Value:
    """Emit the int8 product with ``vpdpbusd``, which wants one unsigned side: 128 is added to every code.

    ``code ^ 0x80`` is the code plus 128 as an unsigned byte; ``correction`` (128 times the query's sum) takes it
    off again.
    """
    bytes_type = ir.VectorType(_I8, BLOCK)
    multiply_add = _declare(builder, "llvm.x86.avx512.vpdpbusd.512", _I32_LANES, _I32_LANES, bytes_type, bytes_type)
    flip = ir.Constant(bytes_type, [-128] * BLOCK)
    total = cgutils.alloca_once_value(builder, ir.Constant(_I32_LANES, None))
    whole = builder.and_(x.length, _I64(-BLOCK))

    def add(offset: _Value, mask: _Value | None) -> None:
        codes = builder.xor(_load(builder, x, offset, mask, BLOCK), flip)
        query = _load(builder, q, offset, mask, BLOCK)
        builder.store(builder.call(multiply_add, [builder.load(total), codes, query]), total)

    with _steps(builder, whole, BLOCK) as offset:
        add(offset, None)
    with builder.if_then(builder.icmp_signed("<", whole, x.length), likely=False):
        add(whole, _tail_mask(builder, builder.sub(x.length, whole), BLOCK))
    zero = ir.Constant(_I32_LANES, None)
    return builder.sub(_horizontal_sum(builder, [builder.load(total), zero, zero, zero]), correction)


def _plain_dot(builder: _Builder, x: _Row, q: _Row) -> _Value:
    """Emit the int8 product with ordinary vectors; LLVM finds ``vpmaddwd`` or its like by itself."""

    def product(offset: _Value, mask: _Value | None) -> _Value:
        left, right = (builder.sext(_load(builder, side, offset, mask), _I32_LANES) for side in (x, q))
        return builder.mul(left, right)

    return _horizontal_sum(builder, _accumulate(builder, x.length, [product], ir.Constant(_I32_LANES, None))[0])


@intrinsic
def integer_dot(typingctx: Any, codes: Any, row: Any, queries: Any, query: Any, correction: Any) -> Any:
    """Give the exact inner product of ``codes[row]`` and ``queries[query]`` (both int8) as int32.

    ``correction`` is 128 times the sum of the query's codes. Up to 65 536 dimensions cannot overflow.
    """

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        x = _row_of(context, builder, signature.args[0], args[0], args[1])
        q = _row_of(context, builder, signature.args[2], args[2], args[3])
        if has_feature("avx512vnni"):
            return _vnni_dot(builder, x, q, args[4])
        return _plain_dot(builder, x, q)

    return types.int32(codes, types.intp, queries, types.intp, types.int32), emit


# --------------------------------------------------------------------------- sums over 4-bit codes

_SHUFFLED = 16
#: Columns that :func:`add_nibble_sums` may take at once: 64 additions of at most 254 in four lanes stay below 2^16.
MAX_COLUMNS = 256
#: Entries of its tables are at most this, so that two of them fit a byte.
LARGEST_ENTRY = 127


def _shuffle_bytes(builder: _Builder, table: _Value, index: _Value) -> _Value:
    """Emit the look-up of 64 indices 0..15 in four tables of 16 bytes, each group of 16 in its own."""
    for feature, name, lanes in (
        ("avx512bw", "llvm.x86.avx512.pshuf.b.512", 64),
        ("avx2", "llvm.x86.avx2.pshuf.b", 32),
        ("ssse3", "llvm.x86.ssse3.pshuf.b.128", 16),
        ("neon", "llvm.aarch64.neon.tbl1.v16i8", 16),
    ):
        if has_feature(feature):
            part = ir.VectorType(_I8, lanes)
            shuffle = _declare(builder, name, part, part, part)
            parts = [
                builder.call(shuffle, [_lanes(builder, table, start, lanes), _lanes(builder, index, start, lanes)])
                for start in range(0, BLOCK, lanes)
            ]
            return _joined(builder, parts)
    found = ir.Constant(table.type, ir.Undefined)
    for lane in range(BLOCK):
        place = builder.zext(builder.extract_element(index, _I32(lane)), _I32)
        entry = builder.extract_element(table, builder.add(place, _I32(lane - lane % _SHUFFLED)))
        found = builder.insert_element(found, entry, _I32(lane))
    return found


def _lanes(builder: _Builder, vector: _Value, start: int, count: int) -> _Value:
    places = ir.Constant(ir.VectorType(_I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def _joined(builder: _Builder, parts: list[_Value]) -> _Value:
    while len(parts) > 1:
        lanes = 2 * parts[0].type.count
        places = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
        parts = [builder.shuffle_vector(a, b, places) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _row_sums(builder: _Builder, both: _Value, odd: _Value) -> _Value:
    """Emit the sums int32 of 16 rows from four groups of 8 lanes of 16 bits.

    ``both`` has the even rows, and the odd ones 256 times over; ``odd`` has the odd rows.
    """
    even = builder.sub(both, builder.shl(odd, ir.Constant(odd.type, [8] * odd.type.count)))
    halves = []
    for vector in (even, odd):
        while vector.type.count > _SHUFFLED // 2:
            half = vector.type.count // 2
            vector = builder.add(_lanes(builder, vector, 0, half), _lanes(builder, vector, half, half))
        halves.append(builder.zext(vector, ir.VectorType(_I32, _SHUFFLED // 2)))
    order = [lane // 2 + lane % 2 * (_SHUFFLED // 2) for lane in range(_SHUFFLED)]
    return builder.shuffle_vector(*halves, ir.Constant(ir.VectorType(_I32, _SHUFFLED), order))


def _add_nibble_sums(context: Any, builder: _Builder, signature: Any, args: Any, count: int) -> _Value:
    """Emit what :func:`add_nibble_sums` does, for ``count`` queries."""
    codes, block, column, tables, query, table_column, n_columns, shift, sums, place = args
    code_array = context.make_array(signature.args[0])(context, builder, codes)
    table_array = context.make_array(signature.args[3])(context, builder, tables)
    width = cgutils.unpack_tuple(builder, code_array.shape, 3)[1]
    table_width = cgutils.unpack_tuple(builder, table_array.shape, 4)[2]
    size = _I64(_SHUFFLED)
    first = builder.mul(builder.add(builder.mul(block, width), column), size)
    length = builder.mul(n_columns, size)
    x = _Row(builder.gep(code_array.data, [first]), length, types.uint8)
    half = builder.mul(table_width, size)

    def table_row(number: int, which: int) -> _Row:
        line = builder.add(builder.mul(builder.add(query, _I64(number)), _I64(2)), _I64(which))
        start = builder.add(builder.mul(line, half), builder.mul(table_column, size))
        return _Row(builder.gep(table_array.data, [start]), half, types.uint8)

    table_rows = [(table_row(number, 0), table_row(number, 1)) for number in range(count)]
    wide = ir.VectorType(_I16, BLOCK // 2)
    zero = ir.Constant(wide, None)
    totals = [[cgutils.alloca_once_value(builder, zero) for _ in range(2)] for _ in range(count)]
    nibble = ir.Constant(ir.VectorType(_I8, BLOCK), [15] * BLOCK)

    def add(offset: _Value, mask: _Value | None) -> None:
        both = _load(builder, x, offset, mask, BLOCK)
        low = builder.and_(both, nibble)
        shifted = builder.lshr(builder.bitcast(both, wide), ir.Constant(wide, [4] * (BLOCK // 2)))
        high = builder.and_(builder.bitcast(shifted, both.type), nibble)
        for (low_table, high_table), (total, odd) in zip(table_rows, totals, strict=True):
            entries = builder.add(
                _shuffle_bytes(builder, _load(builder, low_table, offset, None, BLOCK), low),
                _shuffle_bytes(builder, _load(builder, high_table, offset, None, BLOCK), high),
            )
            pairs = builder.bitcast(entries, wide)
            builder.store(builder.add(builder.load(total), pairs), total)
            upper = builder.lshr(pairs, ir.Constant(wide, [8] * (BLOCK // 2)))
            builder.store(builder.add(builder.load(odd), upper), odd)

    whole = builder.and_(length, _I64(-BLOCK))
    with _steps(builder, whole, BLOCK) as offset:
        add(offset, None)
    with builder.if_then(builder.icmp_signed("<", whole, length), likely=False):
        add(whole, _tail_mask(builder, builder.sub(length, whole), BLOCK))
    for number, (total, odd) in enumerate(totals):
        line = _row_of(context, builder, signature.args[8], sums, _I64(number))
        pointer = builder.bitcast(builder.gep(line.address, [place]), _I32_LANES.as_pointer())
        found = _row_sums(builder, builder.load(total), builder.load(odd))
        found = builder.shl(found, _splat(builder, builder.trunc(shift, _I32)))
        builder.store(builder.add(builder.load(pointer, align=4), found), pointer, align=4)
    return context.get_dummy_value()


@intrinsic
def add_nibble_sums(
    typingctx: Any,
    codes: Any,
    block: Any,
    column: Any,
    tables: Any,
    query: Any,
    table_column: Any,
    n_columns: Any,
    shift: Any,
    sums: Any,
    place: Any,
) -> Any:
    """Add to ``sums[0, place:place + 16]`` what tables say of the codes of 16 rows, times ``2^shift``.

    Row r of a block adds ``tables[query, 0, t, low] + tables[query, 1, t, high]`` for each of ``n_columns`` columns,
    where low and high are the halves of the byte ``codes[block, column + c, r]`` and t is ``table_column + c``.

    Parameters
    ----------
    codes : uint8[blocks, columns, 16]
    tables : uint8[q, 2, T, 16]
        At most :data:`LARGEST_ENTRY`; T is a multiple of 4, and entries past the last column are 0.
    table_column : int
        A multiple of 4.
    n_columns : int
        At most :data:`MAX_COLUMNS`.
    sums : int32[1, m]
    """

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return _add_nibble_sums(context, builder, signature, args, 1)

    sizes = [types.intp] * 3
    return types.void(codes, types.intp, types.intp, tables, types.intp, *sizes, sums, types.intp), emit


@intrinsic
def add_nibble_sums_tile(
    typingctx: Any,
    codes: Any,
    block: Any,
    column: Any,
    tables: Any,
    query: Any,
    table_column: Any,
    n_columns: Any,
    shift: Any,
    sums: Any,
    place: Any,
) -> Any:
    """Do :func:`add_nibble_sums` for the queries query, ..., query + 3, each into its own row of ``sums``."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return _add_nibble_sums(context, builder, signature, args, TILE)

    sizes = [types.intp] * 3
    return types.void(codes, types.intp, types.intp, tables, types.intp, *sizes, sums, types.intp), emit


# --------------------------------------------------------------------------- bits and memory


@intrinsic
def count_ones(typingctx: Any, word: Any) -> Any:
    """Give the number of set bits of a uint64."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), emit


@intrinsic
def float_bits(typingctx: Any, value: Any) -> Any:
    """Give the 32 bits of a float32 as uint32."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return builder.bitcast(args[0], _I32)

    return types.uint32(types.float32), emit


@intrinsic
def bits_float(typingctx: Any, bits: Any) -> Any:
    """Give the float32 that has these 32 bits."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return builder.bitcast(args[0], _F32)

    return types.float32(types.uint32), emit


@intrinsic
def prefetch_row(typingctx: Any, rows: Any, row: Any) -> Any:
    """Ask for all cache lines of ``rows[row]`` of a two-dimensional array ahead of their use."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        target = _row_of(context, builder, signature.args[0], args[0], args[1])
        size = context.get_abi_sizeof(target.address.type.pointee)
        start = builder.bitcast(target.address, _I8.as_pointer())
        length = builder.mul(target.length, _I64(size))
        with _steps(builder, length, CACHE_LINE) as offset:
            _prefetch(builder, builder.gep(start, [offset]))
        # Rows need not start with a line, so the last byte may be in one more.
        _prefetch(builder, builder.gep(start, [builder.sub(length, _I64(1))]))
        return context.get_dummy_value()

    return types.void(rows, types.intp), emit


@intrinsic
def prefetch_element(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of ``array[index]`` of a one-dimensional array ahead of its use."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        _prefetch(builder, builder.bitcast(builder.gep(view.data, [args[1]]), _I8.as_pointer()))
        return context.get_dummy_value()

    return types.void(array, types.intp), emit


def _prefetch(builder: _Builder, address: _Value) -> None:
    """Emit a prefetch for reading, into every cache level."""
    call = _declare(builder, "llvm.prefetch.p0", ir.VoidType(), address.type, _I32, _I32, _I32)
    builder.call(call, [address, _I32(0), _I32(3), _I32(1)])


# --------------------------------------------------------------------------- products of matrices


def _put(builder: _Builder, row: _Row, offset: _Value, mask: _Value | None, value: _Value) -> None:
    """Emit the store of sixteen float32; lanes outside the mask are not touched."""
    pointer = builder.bitcast(builder.gep(row.address, [offset]), _F32_LANES.as_pointer())
    if mask is None:
        builder.store(value, pointer, align=4)
        return
    store = _declare(builder, "llvm.masked.store.v16f32.p0", ir.VoidType(), _F32_LANES, pointer.type, _I32, mask.type)
    builder.call(store, [value, pointer, _I32(4), mask])


def _vector_row(context: Any, builder: _Builder, array_type: Any, array: _Value) -> _Row:
    """Give a one-dimensional array as a row."""
    view = context.make_array(array_type)(context, builder, array)
    return _Row(view.data, cgutils.unpack_tuple(builder, view.shape, 1)[0], array_type.dtype)


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

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        types_ = signature.args
        numbers = cgutils.unpack_tuple(builder, args[1], count)
        lefts = [_row_of(context, builder, types_[0], args[0], number) for number in numbers]
        outs = [
            _row_of(context, builder, types_[6], args[6], builder.add(args[7], _I64(number))) for number in range(count)
        ]
        outs = [own._replace(address=builder.gep(own.address, [args[5]])) for own in outs]
        begins = _vector_row(context, builder, types_[4], args[4])
        begins = begins._replace(address=builder.gep(begins.address, [args[5]]))
        weights = _row_of(context, builder, types_[2], args[2], args[3])
        left_over = builder.sub(outs[0].length, args[5])
        width = builder.select(builder.icmp_signed("<", left_over, weights.length), left_over, weights.length)

        def tile(offset: _Value, vectors: int, mask: _Value | None) -> None:
            offsets = [builder.add(offset, _I64(number * LANES)) for number in range(vectors)]
            starts = [_load(builder, begins, own, mask) for own in offsets]
            totals = [[cgutils.alloca_once_value(builder, start) for start in starts] for _ in range(count)]
            with _steps(builder, lefts[0].length, 1) as step:
                line = weights._replace(address=builder.gep(weights.address, [builder.mul(step, weights.length)]))
                factors = [_load(builder, line, own, mask) for own in offsets]
                for own, sums in zip(lefts, totals, strict=True):
                    value = _splat(builder, builder.load(builder.gep(own.address, [step])))
                    for total, factor in zip(sums, factors, strict=True):
                        builder.store(builder.fadd(builder.load(total), builder.fmul(value, factor)), total)
            for target, sums in zip(outs, totals, strict=True):
                for own, total in zip(offsets, sums, strict=True):
                    _put(builder, target, own, mask, builder.load(total))

        wide = 4 if has_feature("avx512f") else 1
        done = builder.and_(width, _I64(-LANES * wide))
        with _steps(builder, done, LANES * wide) as offset:
            tile(offset, wide, None)
        whole = builder.and_(width, _I64(-LANES))
        with cgutils.for_range_slice(builder, done, whole, _I64(LANES), _I64) as (offset, _):
            tile(offset, 1, None)
        with builder.if_then(builder.icmp_signed("<", whole, width)):
            tile(whole, 1, _tail_mask(builder, builder.sub(width, whole)))
        return context.get_dummy_value()

    return types.void(left, rows, right, types.intp, bias, types.intp, out, types.intp), emit


# --------------------------------------------------------------------------- rows from pieces


@intrinsic
def copy_span(
    typingctx: Any, array: Any, source: Any, count: Any, out: Any, place: Any, column: Any, width: Any
) -> Any:
    """Write ``width`` numbers of ``out[place]`` from ``column`` on: ``count`` from ``array`` at ``source``, then zeros.

    ``array`` is float32[m], ``out`` float32[n, d]; neither memory outside the ``count`` numbers nor outside the span is
    touched.
    """

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        types_ = signature.args
        origin = _vector_row(context, builder, types_[0], args[0])
        origin = origin._replace(address=builder.gep(origin.address, [args[1]]))
        target = _row_of(context, builder, types_[3], args[3], args[4])
        target = target._replace(address=builder.gep(target.address, [args[5]]))
        with _steps(builder, args[6], LANES) as offset:
            end = builder.add(offset, _I64(LANES))
            both = builder.select(builder.icmp_signed("<", args[2], args[6]), args[2], args[6])
            with builder.if_else(builder.icmp_signed("<=", end, both)) as (full, partial):
                with full:
                    _put(builder, target, offset, None, _load(builder, origin, offset, None))
                with partial:
                    left = _tail_mask(builder, builder.sub(args[2], offset))
                    value = _load(builder, origin, offset, left)
                    _put(builder, target, offset, _tail_mask(builder, builder.sub(args[6], offset)), value)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, out, types.intp, types.intp, types.intp), emit


@intrinsic
def expand_lanes(typingctx: Any, values: Any, first: Any, bits: Any, out: Any, place: Any, column: Any) -> Any:
    """Write sixteen numbers of ``out[place]`` from ``column`` on, or as many as there are.

    Where bit i of ``bits`` (uint64, the lowest first) is set, number i is the next of ``values`` float32[m] from
    ``first`` on, and 0 elsewhere. One instruction with AVX-512; LLVM makes a chain of loads for other processors.
    """

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        origin = _vector_row(context, builder, signature.args[0], args[0])
        target = _row_of(context, builder, signature.args[3], args[3], args[4])
        lanes = ir.VectorType(_I1, LANES)
        mask = builder.bitcast(builder.trunc(args[2], _I16), lanes)
        pointer = builder.gep(origin.address, [args[1]])
        load = _declare(builder, "llvm.masked.expandload.v16f32", _F32_LANES, pointer.type, lanes, _F32_LANES)
        value = builder.call(load, [pointer, mask, ir.Constant(_F32_LANES, None)])
        left = builder.sub(target.length, args[5])
        with builder.if_else(builder.icmp_signed(">=", left, _I64(LANES))) as (full, partial):
            with full:
                _put(builder, target, args[5], None, value)
            with partial:
                _put(builder, target, args[5], _tail_mask(builder, left), value)
        return context.get_dummy_value()

    return types.void(values, types.intp, types.uint64, out, types.intp, types.intp), emit


@intrinsic
def count_below(typingctx: Any, values: Any, start: Any, stop: Any, bound: Any) -> Any:
    """Give how many of ``values[start:stop]``, uint8[n] or uint16[n], are below ``bound``, which their type can hold.

    Comparing 64 bytes at once is quicker than bisecting them, whose branches no processor predicts.
    """

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        row = _vector_row(context, builder, signature.args[0], args[0])
        element = row.address.type.pointee
        lanes = CACHE_LINE * 8 // element.width if has_feature("avx512bw") else 1
        total = cgutils.alloca_once_value(builder, _I64(0))
        bound = builder.trunc(args[3], element)
        with cgutils.for_range_slice(builder, args[1], args[2], _I64(lanes), _I64) as (offset, _):
            if lanes == 1:
                below = builder.icmp_unsigned("<", builder.load(builder.gep(row.address, [offset])), bound)
                found = builder.zext(below, _I64)
            else:
                vector = ir.VectorType(element, lanes)
                left = builder.sub(args[2], offset)
                most = builder.select(builder.icmp_signed("<", left, _I64(lanes)), left, _I64(lanes))
                indices = ir.Constant(vector, list(range(lanes)))
                inside = builder.icmp_unsigned("<", indices, _splat(builder, builder.trunc(most, element), lanes))
                loaded = _load(builder, row, offset, inside, lanes)
                below = builder.and_(inside, builder.icmp_unsigned("<", loaded, _splat(builder, bound, lanes)))
                found = builder.zext(builder.ctpop(builder.bitcast(below, ir.IntType(lanes))), _I64)
            builder.store(builder.add(builder.load(total), found), total)
        return builder.load(total)

    return types.intp(values, types.intp, types.intp, types.intp), emit


def _combine(context: Any, builder: _Builder, signature: Any, args: Any, combine: Callable[..., _Value]) -> _Value:
    """Emit ``out[place] = combine(first[i], second[j])`` for float32 rows."""
    first, second, target = (_row_of(context, builder, signature.args[n], args[n], args[n + 1]) for n in (0, 2, 4))

    def put(offset: _Value, lanes: int) -> None:
        values = combine(*(_load(builder, row, offset, None, lanes) for row in (first, second)))
        pointer = builder.bitcast(builder.gep(target.address, [offset]), values.type.as_pointer())
        builder.store(values, pointer, align=4)

    _in_pieces(builder, target.length, put)
    return context.get_dummy_value()


@intrinsic
def multiply_rows(typingctx: Any, first: Any, i: Any, second: Any, j: Any, out: Any, place: Any) -> Any:
    """Write ``first[i] * second[j]`` into ``out[place]``; all are float32, and of one width."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return _combine(context, builder, signature, args, builder.fmul)

    return types.void(first, types.intp, second, types.intp, out, types.intp), emit


@intrinsic
def add_rows(typingctx: Any, first: Any, i: Any, second: Any, j: Any, out: Any, place: Any) -> Any:
    """Write ``first[i] + second[j]`` into ``out[place]``; all are float32, and of one width."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        return _combine(context, builder, signature, args, builder.fadd)

    return types.void(first, types.intp, second, types.intp, out, types.intp), emit


@intrinsic
def copy_row(typingctx: Any, rows: Any, row: Any, out: Any, place: Any) -> Any:
    """Copy ``rows[row]`` to ``out[place]``, two-dimensional arrays of one type."""

    def emit(context: Any, builder: _Builder, signature: Any, args: Any) -> _Value:
        source = _row_of(context, builder, signature.args[0], args[0], args[1])
        target = _row_of(context, builder, signature.args[2], args[2], args[3])

        def put(offset: _Value, lanes: int) -> None:
            values = _load(builder, source, offset, None, lanes)
            pointer = builder.bitcast(builder.gep(target.address, [offset]), values.type.as_pointer())
            builder.store(values, pointer, align=4)

        _in_pieces(builder, source.length, put)
        return context.get_dummy_value()

    return types.void(rows, types.intp, out, types.intp), emit
