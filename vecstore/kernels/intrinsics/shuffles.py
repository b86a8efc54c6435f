"""Bytes looked up in registers: tables of 16 entries, and the halves of bytes as places in them."""

from __future__ import annotations

from llvmlite import ir

from vecstore.kernels.intrinsics.emitting import I8, I16, I32, I64, Builder, Value, declare
from vecstore.kernels.loading import has_feature

#: Entries of a table.
ENTRIES = 16
#: Feature, LLVM's instruction that looks up bytes, each 16 in their own table, and how many it looks up.
_SHUFFLES = (
    ("avx512bw", "llvm.x86.avx512.pshuf.b.512", 64),
    ("avx2", "llvm.x86.avx2.pshuf.b", 32),
    ("ssse3", "llvm.x86.ssse3.pshuf.b.128", 16),
    ("neon", "llvm.aarch64.neon.tbl1.v16i8", 16),
)


def shuffled_at_once() -> int:
    """Give how many bytes an instruction looks up; 0 where there is none and it takes one step a byte."""
    return next((lanes for feature, _, lanes in _SHUFFLES if has_feature(feature)), 0)


def shuffle_bytes(builder: Builder, table: Value, index: Value) -> Value:
    """Emit the look-up of indices 0..15, each 16 in the 16 entries beside them; as many as one instruction takes."""
    for feature, name, lanes in _SHUFFLES:
        if has_feature(feature) and lanes <= table.type.count:
            kind = ir.VectorType(I8, lanes)
            shuffle = declare(builder, name, kind, kind, kind)
            parts = [
                builder.call(shuffle, [lanes_of(builder, table, start, lanes), lanes_of(builder, index, start, lanes)])
                for start in range(0, table.type.count, lanes)
            ]
            return joined(builder, parts)
    found = ir.Constant(table.type, ir.Undefined)
    for lane in range(table.type.count):
        place = builder.zext(builder.extract_element(index, I32(lane)), I32)
        entry = builder.extract_element(table, builder.add(place, I32(lane - lane % ENTRIES)))
        found = builder.insert_element(found, entry, I32(lane))
    return found


def lanes_of(builder: Builder, vector: Value, start: int, count: int) -> Value:
    """Emit the lanes start..start + count of a vector."""
    places = ir.Constant(ir.VectorType(I32, count), list(range(start, start + count)))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)


def joined(builder: Builder, parts: list[Value]) -> Value:
    """Emit one vector of as many as a power of two, side by side."""
    while len(parts) > 1:
        lanes = 2 * parts[0].type.count
        places = ir.Constant(ir.VectorType(I32, lanes), list(range(lanes)))
        parts = [builder.shuffle_vector(a, b, places) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def low_halves(builder: Builder, codes: Value) -> Value:
    """Emit the lower four bits of each byte."""
    return builder.and_(codes, ir.Constant(codes.type, [15] * codes.type.count))


def high_halves(builder: Builder, codes: Value) -> Value:
    """Emit the upper four bits of each byte."""
    lanes = codes.type.count
    if has_feature("gfni") and has_feature("avx512f") and lanes == 64:
        # A product of each byte with a matrix of bits: the four rows that move the upper bits down.
        words = ir.Constant(ir.VectorType(I64, lanes // 8), [0x1020_4080_0000_0000] * (lanes // 8))
        move = declare(builder, "llvm.x86.vgf2p8affineqb.512", codes.type, codes.type, codes.type, I8)
        return builder.call(move, [codes, builder.bitcast(words, codes.type), I8(0)])
    wide = ir.VectorType(I16, lanes // 2)
    shifted = builder.lshr(builder.bitcast(codes, wide), ir.Constant(wide, [4] * (lanes // 2)))
    return low_halves(builder, builder.bitcast(shifted, codes.type))


def interleaved(builder: Builder, even: Value, odd: Value, start: int, count: int) -> Value:
    """Emit the lanes start..start + count of two vectors, in turn."""
    order = [start + lane // 2 + lane % 2 * even.type.count for lane in range(2 * count)]
    return builder.shuffle_vector(even, odd, ir.Constant(ir.VectorType(I32, 2 * count), order))
