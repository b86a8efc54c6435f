"""What code that Numba compiled expects of Numba's runtime, so that it runs in a process without Numba.

That is little: memory for the arrays that kernels make, the count of references to them, and the strides of arrays that
they reshape. Names and forms are Numba's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba.core import cgutils

__all__ = ["emit_runtime"]

_I32, _WORD = ir.IntType(32), ir.IntType(64)
_POINTER = ir.IntType(8).as_pointer()
_WORDS = _WORD.as_pointer()
_NOTHING = ir.VoidType()

#: A block of memory: references, destructor, what it is told, address of the data, size, owner. The data are behind.
_BLOCK_BYTES = 48
_DESTRUCTOR, _DATA, _SIZE = 1, 3, 4
_ALIGNMENT = 16


def emit_runtime(module: ir.Module) -> None:
    """Emit all of it; what a kernel does not need goes away when the code is optimised."""
    malloc = ir.Function(module, ir.FunctionType(_POINTER, [_WORD]), "malloc")
    free = ir.Function(module, ir.FunctionType(_NOTHING, [_POINTER]), "free")
    _emit_other_name(module, "NRT_Allocate", malloc)
    _emit_other_name(module, "NRT_Free", free)
    _emit_new(module, malloc, "NRT_MemInfo_alloc", None, lambda _builder, _none: (_WORD(_ALIGNMENT), _WORD(0)))
    _emit_new(
        module,
        malloc,
        "NRT_MemInfo_alloc_aligned",
        _I32,
        lambda builder, align: (builder.zext(align, _WORD), _WORD(0)),
    )
    _emit_new(
        module,
        malloc,
        "NRT_MemInfo_new_varsize_dtor",
        _POINTER,
        lambda builder, destructor: (_WORD(_ALIGNMENT), builder.ptrtoint(destructor, _WORD)),
    )
    _emit_counts(module, _emit_end(module, free))
    _emit_reshape(module)


def _emit_other_name(module: ir.Module, name: str, original: Any) -> None:
    """Emit a function that is one of the C library's."""
    function = ir.Function(module, original.function_type, name)
    builder = ir.IRBuilder(function.append_basic_block())
    result = builder.call(original, function.args)
    if original.function_type.return_type == _NOTHING:
        builder.ret_void()
    else:
        builder.ret(result)


def _place(builder: Any, block: Any, word: int) -> Any:
    return builder.gep(builder.bitcast(block, _WORDS), [_WORD(word)])


def _emit_new(
    module: ir.Module, malloc: Any, name: str, kind: Any, settings: Callable[[Any, Any], tuple[Any, Any]]
) -> None:
    """Emit a function that gives a block with one reference, or null.

    ``settings`` gives alignment and destructor, as words, from the second argument, which is of ``kind``, if any.
    """
    kinds = [_WORD] if kind is None else [_WORD, kind]
    function = ir.Function(module, ir.FunctionType(_POINTER, kinds), name)
    builder = ir.IRBuilder(function.append_basic_block())
    size, *more = function.args
    align, destructor = settings(builder, more[0] if more else None)
    block = builder.call(malloc, [builder.add(builder.add(size, align), _WORD(_BLOCK_BYTES))])
    with builder.if_then(cgutils.is_null(builder, block), likely=False):
        builder.ret(block)
    end = builder.add(builder.ptrtoint(block, _WORD), builder.add(align, _WORD(_BLOCK_BYTES - 1)))
    data = builder.and_(end, builder.neg(align))
    for word, value in ((0, _WORD(1)), (_DESTRUCTOR, destructor), (_DATA, data), (_SIZE, size)):
        builder.store(value, _place(builder, block, word))
    builder.ret(block)


def _emit_end(module: ir.Module, free: Any) -> Any:
    """Emit and give what happens to a block that nobody refers to any more."""
    function = ir.Function(module, ir.FunctionType(_NOTHING, [_POINTER]), "NRT_MemInfo_call_dtor")
    builder = ir.IRBuilder(function.append_basic_block())
    destructor, data, size = (
        builder.load(_place(builder, function.args[0], word)) for word in (_DESTRUCTOR, _DATA, _SIZE)
    )
    with builder.if_then(builder.icmp_unsigned("!=", destructor, _WORD(0)), likely=False):
        kind = ir.FunctionType(_NOTHING, [_POINTER, _WORD, _POINTER])
        call = builder.inttoptr(destructor, kind.as_pointer())
        builder.call(call, [builder.inttoptr(data, _POINTER), size, ir.Constant(_POINTER, None)])
    builder.call(free, [function.args[0]])
    builder.ret_void()
    return function


def _emit_counts(module: ir.Module, end: Any) -> None:
    """Emit how references to blocks come and go.

    Numba adds its own to each kernel, which are replaced by these: those are never inlined, so that a walk calls them
    hundreds of times for arguments that have no block, and count for several threads, where a block of a kernel is one
    thread's.
    """
    for name, change in (("NRT_incref", 1), ("NRT_decref", -1)):
        function = ir.Function(module, ir.FunctionType(_NOTHING, [_POINTER]), name)
        builder = ir.IRBuilder(function.append_basic_block())
        (block,) = function.args
        with builder.if_then(cgutils.is_null(builder, block)):
            builder.ret_void()
        place = _place(builder, block, 0)
        count = builder.add(builder.load(place), _WORD(change))
        builder.store(count, place)
        if change < 0:
            with builder.if_then(builder.icmp_signed("==", count, _WORD(0)), likely=False):
                builder.call(end, [block])
        builder.ret_void()


def _emit_reshape(module: ir.Module) -> None:
    """Emit the strides of a C-contiguous array under another shape; arrays of other layouts are refused."""
    kind = ir.FunctionType(_I32, [_WORD, _WORDS, _WORDS, _WORD, _WORDS, _WORDS, _WORD, _I32])
    function = ir.Function(module, kind, "numba_attempt_nocopy_reshape")
    builder = ir.IRBuilder(function.append_basic_block())
    ndim, shape, strides, new_ndim, new_shape, new_strides, item_size, by_columns = function.args
    with builder.if_then(builder.icmp_signed("!=", by_columns, _I32(0)), likely=False):
        builder.ret(_I32(0))
    size = cgutils.alloca_once_value(builder, _WORD(1))
    with cgutils.for_range(builder, ndim) as loop:
        builder.store(builder.mul(builder.load(size), builder.load(builder.gep(shape, [loop.index]))), size)
    has_items = builder.icmp_signed("!=", builder.load(size), _WORD(0))
    with _axes_from_the_last(builder, ndim, shape, item_size) as (axis, step):
        length = builder.load(builder.gep(shape, [axis]))
        stride = builder.load(builder.gep(strides, [axis]))
        # Strides of empty arrays, and of axes of length 1, mean nothing.
        counts = builder.and_(builder.icmp_signed(">", length, _WORD(1)), has_items)
        is_other = builder.and_(builder.icmp_signed("!=", stride, step), counts)
        with builder.if_then(is_other, likely=False):
            builder.ret(_I32(0))
    with _axes_from_the_last(builder, new_ndim, new_shape, item_size) as (axis, step):
        builder.store(step, builder.gep(new_strides, [axis]))
    builder.ret(_I32(1))


@contextmanager
def _axes_from_the_last(builder: Any, ndim: Any, shape: Any, item_size: Any) -> Iterator[tuple[Any, Any]]:
    """Emit a loop over axes from the last to the first; gives the axis and its stride in a contiguous array."""
    step = cgutils.alloca_once_value(builder, item_size)
    with cgutils.for_range(builder, ndim) as loop:
        axis = builder.sub(builder.sub(ndim, _WORD(1)), loop.index)
        now = builder.load(step)
        yield axis, now
        builder.store(builder.mul(now, builder.load(builder.gep(shape, [axis]))), step)
