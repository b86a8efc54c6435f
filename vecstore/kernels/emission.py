"""Object code of kernels: what Numba compiled, with an entry that CPython calls and which takes the arguments apart.

The entry is a function of CPython's calling convention ``METH_VARARGS``. It checks that each argument has the type it
was compiled for, reads addresses, shapes and numbers straight from the objects, and runs the kernel without the GIL.
All it needs of the interpreter, functions and classes, it finds in a table of addresses (:class:`Slot`), so that the
code has no symbols but those of the C library and can be kept on disk. Numba's own entry is made for one process.

Only what compiles imports this module, because it imports Numba.

References
----------
CPython documentation, "Common Object Structures" (``METH_VARARGS``); see :mod:`vecstore.kernels.objects`.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config, typeof, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.np.arrayobj import populate_array

from vecstore.errors import InternalError, InvalidArgumentError
from vecstore.kernels import objects
from vecstore.kernels.arguments import members
from vecstore.kernels.loading import ENTRY, Slot, target_machine
from vecstore.kernels.runtime import emit_runtime

__all__ = ["object_code", "type_of_function"]

_I1, _I8, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
_POINTER = _I8.as_pointer()
_DOUBLE = ir.DoubleType()
_FOREIGN_ORDER = ord(">" if sys.byteorder == "little" else "<")


def type_of_function(function: Any) -> Any:
    """Give Numba's type of a function that was announced to it."""
    cpu_target.typing_context.refresh()
    return cpu_target.typing_context.resolve_value_type(function)


def object_code(dispatcher: Any, args: tuple[Any, ...]) -> bytes:
    """Compile a kernel for arguments like ``args``.

    Parameters
    ----------
    dispatcher : numba.core.dispatcher.Dispatcher
    args : tuple
        What :func:`~vecstore.kernels.arguments.form_of` can name.

    Returns
    -------
    bytes
        An object file that has the function :data:`~vecstore.kernels.loading.ENTRY`.

    Raises
    ------
    InternalError
        The kernel returns what is no number, or calls what is not in the C library, as growing lists do.
    InvalidArgumentError
        Numba was told not to compile.
    """
    if config.DISABLE_JIT:
        raise InvalidArgumentError(
            "NUMBA_DISABLE_JIT is set, but kernels run as machine code only; unset it", field="NUMBA_DISABLE_JIT"
        )
    signature = tuple(_numba_type(value) for value in args)
    dispatcher.compile(signature)
    compiled = dispatcher.overloads[signature]
    name = dispatcher.py_func.__qualname__
    module = ir.Module(name)
    module.triple = llvm.get_process_triple()
    emit_runtime(module)
    _Entry(module, compiled).emit(args)
    return _optimised(name, module, compiled)


def _optimised(name: str, module: ir.Module, compiled: Any) -> bytes:
    """Link the entry with the code it calls, and make machine code of what it reaches."""
    linked = llvm.parse_assembly(str(module))
    linked.link_in(llvm.parse_assembly(compiled.library.get_llvm_str()))
    for function in linked.functions:
        if not function.is_declaration and function.name != ENTRY:
            function.linkage = "internal"
    machine = target_machine()
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine, tuning)
    passes = builder.getModulePassManager()
    passes.run(linked, builder)
    needed = {f.name for f in linked.functions if f.is_declaration and not f.name.startswith("llvm.")}
    library = ctypes.CDLL(None)
    if missing := sorted(name for name in needed if not hasattr(library, name)):
        raise InternalError(f"kernel {name} cannot be kept, because it calls {', '.join(missing)}")
    return bytes(machine.emit_object(linked))


def _numba_type(value: Any) -> Any:
    """Give Numba's type of an argument; one for all layouts that are not contiguous."""
    if isinstance(value, tuple):
        cls = None if type(value) is tuple else type(value)
        return types.BaseTuple.from_types([_numba_type(member) for member in value], cls)
    if not isinstance(value, np.ndarray):
        return typeof(value)
    flags = value.flags
    layout = "C" if flags.c_contiguous else "A"
    dtype = typeof(value).dtype
    return types.Array(dtype, value.ndim, layout, readonly=not flags.writeable, aligned=flags.aligned)


class _Entry:
    """Emits the entry of one compiled kernel.

    Parameters
    ----------
    module : ir.Module
    compiled : numba.core.compiler.CompileResult
    """

    def __init__(self, module: ir.Module, compiled: Any) -> None:
        self._compiled = compiled
        self._context = compiled.target_context
        self._function = ir.Function(module, ir.FunctionType(_POINTER, [_POINTER, _POINTER]), ENTRY)
        self._builder = ir.IRBuilder(self._function.append_basic_block())
        self._other = self._function.append_basic_block("other")
        self._classes = iter(range(len(Slot), 1 << 30))

    def emit(self, args: tuple[Any, ...]) -> None:
        """Emit the whole entry."""
        builder, signature = self._builder, self._compiled.signature
        self._check_class(self._function.args[1])
        self._check_length(self._function.args[1], len(args))
        values = [
            self._unpack(item, value, kind)
            for item, value, kind in zip(
                self._items(self._function.args[1], len(args)), args, signature.args, strict=True
            )
        ]
        convention = self._context.call_conv
        kind = convention.get_function_type(signature.return_type, signature.args)
        kernel = cgutils.get_or_insert_function(builder.module, kind, self._compiled.fndesc.llvm_func_name)
        state = self._call(Slot.SAVE_THREAD, _POINTER)
        status, result = convention.call_function(builder, kernel, signature.return_type, signature.args, values)
        self._call(Slot.RESTORE_THREAD, ir.VoidType(), state)
        with builder.if_then(status.is_error, likely=False):
            # Kernels raise nothing themselves; what can fail inside is the allocation of an array.
            builder.ret(self._call(Slot.NO_MEMORY, _POINTER))
        builder.ret(self._boxed(signature.return_type, result))
        builder.position_at_end(self._other)
        builder.ret(self._object(Slot.NOT_IMPLEMENTED))

    def _unpack(self, address: Any, value: Any, kind: Any) -> Any:
        """Emit the check of one argument and give it as Numba passes it on."""
        self._check_class(address)
        if isinstance(value, tuple):
            self._check_length(address, len(value))
            items = self._items(address, len(value))
            parts = [
                self._unpack(item, member, part) for item, member, part in zip(items, members(value), kind, strict=True)
            ]
            return self._context.make_tuple(self._builder, kind, parts)
        if isinstance(value, np.ndarray):
            return self._array(address, value, kind)
        if type(value) is bool:
            # The two objects differ in nothing but their address.
            is_true = self._builder.icmp_unsigned("==", address, self._slot(Slot.TRUE))
            return self._context.cast(self._builder, is_true, types.boolean, kind)
        if type(value) is int:
            return self._integer(address)
        plain = self._context.get_data_type(kind)
        return self._context.data_model_manager[kind].load_from_data_pointer(
            self._builder, self._field(address, objects.HEADER, plain)
        )

    def _integer(self, address: Any) -> Any:
        overflow = cgutils.alloca_once_value(self._builder, _I32(0))
        value = self._call(Slot.AS_INTEGER, _I64, address, overflow)
        self._require(self._builder.icmp_signed("==", self._builder.load(overflow), _I32(0)))
        return value

    def _array(self, address: Any, value: Any, kind: Any) -> Any:
        builder = self._builder
        dtype = self._load(address, objects.DTYPE, _POINTER)
        flags = self._load(address, objects.FLAGS, _I32)
        expected = (objects.CONTIGUOUS if kind.layout == "C" else 0) | (objects.ALIGNED if kind.aligned else 0)
        expected |= objects.WRITEABLE if kind.mutable else 0
        for found, wanted in (
            (self._load(address, objects.NDIM, _I32), _I32(kind.ndim)),
            (builder.and_(flags, _I32(objects.CONTIGUOUS | objects.ALIGNED | objects.WRITEABLE)), _I32(expected)),
            (self._load(dtype, objects.TYPE_NUMBER, _I32), _I32(value.dtype.num)),
        ):
            self._require(builder.icmp_signed("==", found, wanted))
        self._require(builder.icmp_signed("!=", self._load(dtype, objects.BYTE_ORDER, _I8), _I8(_FOREIGN_ORDER)))
        sizes = [self._load(self._load(address, field, _POINTER), objects.WORD * axis, _I64)
                 for field in (objects.SHAPE, objects.STRIDES) for axis in range(kind.ndim)]  # fmt: skip
        array = self._context.make_array(kind)(self._context, builder)
        populate_array(
            array,
            data=builder.bitcast(self._load(address, objects.DATA, _POINTER), array.data.type),
            shape=sizes[: kind.ndim],
            strides=sizes[kind.ndim :],
            itemsize=value.dtype.itemsize,
            meminfo=None,
        )
        return array._getvalue()

    def _boxed(self, kind: Any, result: Any) -> Any:
        """Emit the object that the interpreter gets."""
        if kind in (types.none, types.void):
            return self._object(Slot.NONE)
        if kind == types.boolean:
            return self._call(Slot.FROM_BOOL, _POINTER, self._context.cast(self._builder, result, kind, types.int64))
        if isinstance(kind, types.Integer):
            wide, slot = (types.int64, Slot.FROM_SIGNED) if kind.signed else (types.uint64, Slot.FROM_UNSIGNED)
            return self._call(slot, _POINTER, self._context.cast(self._builder, result, kind, wide))
        if isinstance(kind, types.Float):
            return self._call(Slot.FROM_FLOAT, _POINTER, self._context.cast(self._builder, result, kind, types.float64))
        raise InternalError(f"a kernel returns {kind}; only numbers can be returned to Python")

    # -- memory -----------------------------------------------------------------------------------------------

    def _field(self, address: Any, offset: int, kind: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(address, [_I64(offset)]), kind.as_pointer())

    def _load(self, address: Any, offset: int, kind: Any) -> Any:
        return self._builder.load(self._field(address, offset, kind))

    def _items(self, address: Any, count: int) -> Iterator[Any]:
        return (self._load(address, objects.ITEMS + objects.WORD * place, _POINTER) for place in range(count))

    def _slot(self, number: int) -> Any:
        return self._load(self._function.args[0], objects.BYTES + objects.WORD * number, _POINTER)

    def _require(self, condition: Any) -> None:
        """Emit the end of the attempt where the condition does not hold: the arguments are of another form."""
        following = self._function.append_basic_block()
        branch = self._builder.cbranch(condition, following, self._other)
        branch.set_weights([99, 1])
        self._builder.position_at_end(following)

    def _check_class(self, address: Any) -> None:
        expected = self._slot(next(self._classes))
        self._require(self._builder.icmp_unsigned("==", self._load(address, objects.CLASS, _POINTER), expected))

    def _check_length(self, address: Any, count: int) -> None:
        self._require(self._builder.icmp_signed("==", self._load(address, objects.LENGTH, _I64), _I64(count)))

    def _call(self, slot: Slot, result: Any, *args: Any) -> Any:
        kind = ir.FunctionType(result, [argument.type for argument in args])
        return self._builder.call(self._builder.bitcast(self._slot(slot), kind.as_pointer()), args)

    def _object(self, slot: Slot) -> Any:
        """Give an object of the table as a new reference."""
        address = self._slot(slot)
        self._call(Slot.ADD_REFERENCE, ir.VoidType(), address)
        return address
