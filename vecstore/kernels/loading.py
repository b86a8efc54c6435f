"""Object code as functions that Python calls: llvmlite puts it into memory, and CPython makes a builtin of it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

import llvmlite.binding as llvm

__all__ = ["ENTRY", "Processor", "Slot", "has_feature", "load", "processor", "target_machine"]

#: Name of the function in object code.
ENTRY = "vecstore_entry"
_METH_VARARGS = 1


class Slot(IntEnum):
    """Places in the table of addresses that an entry gets, as ``bytes``; the classes of its arguments follow."""

    NONE = 0
    TRUE = 1
    NOT_IMPLEMENTED = 2
    ADD_REFERENCE = 3
    SAVE_THREAD = 4
    RESTORE_THREAD = 5
    NO_MEMORY = 6
    AS_INTEGER = 7
    FROM_SIGNED = 8
    FROM_UNSIGNED = 9
    FROM_BOOL = 10
    FROM_FLOAT = 11


_OBJECTS = {Slot.NONE: None, Slot.TRUE: True, Slot.NOT_IMPLEMENTED: NotImplemented}
_FUNCTIONS = {
    Slot.ADD_REFERENCE: "Py_IncRef",
    Slot.SAVE_THREAD: "PyEval_SaveThread",
    Slot.RESTORE_THREAD: "PyEval_RestoreThread",
    Slot.NO_MEMORY: "PyErr_NoMemory",
    Slot.AS_INTEGER: "PyLong_AsLongLongAndOverflow",
    Slot.FROM_SIGNED: "PyLong_FromLongLong",
    Slot.FROM_UNSIGNED: "PyLong_FromUnsignedLongLong",
    Slot.FROM_BOOL: "PyBool_FromLong",
    Slot.FROM_FLOAT: "PyFloat_FromDouble",
}


class Processor(NamedTuple):
    """What code is made for.

    Attributes
    ----------
    name : str
        LLVM's name of the processor.
    features : str
        Its features as LLVM takes them, ``+avx2,-avx512f,...``.
    """

    name: str
    features: str


@cache
def processor() -> Processor:
    """Give this machine's processor, or the one that ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` name."""
    host = llvm.get_host_cpu_name()
    name = os.environ.get("NUMBA_CPU_NAME") or host
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = llvm.get_host_cpu_features().flatten() if name == host else ""
    return Processor(name, features)


def has_feature(feature: str) -> bool:
    """Tell whether code is made for a processor with ``feature``, an LLVM name such as ``"avx512vnni"``.

    When ``NUMBA_CPU_NAME`` names another processor than this, nothing is known of its features and the answer is no.
    """
    return f"+{feature}" in processor().features.split(",")


@cache
def target_machine() -> Any:
    """Give LLVM's maker of code for :func:`processor`, in the form that can be put anywhere in memory."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=processor().name,
        features=processor().features,
        opt=3,
        reloc="static" if target.name.startswith("x86") else "default",
        codemodel="jitdefault",
        jit=True,
    )


class _MethodDef(ctypes.Structure):
    """CPython's description of a builtin function."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_new_builtin = ctypes.pythonapi.PyCFunction_NewEx
_new_builtin.restype = ctypes.py_object
_new_builtin.argtypes = (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
#: What loaded code consists of, which has to stay where it is for as long as the process runs.
_kept: list[Any] = []
_lock = Lock()


def load(name: str, code: bytes, classes: Sequence[type]) -> Callable[..., Any]:
    """Give the function in an object file.

    Parameters
    ----------
    name : str
        What it calls itself.
    code : bytes
        As :func:`vecstore.kernels.emission.object_code` makes it.
    classes : sequence of type
        Of the arguments, in the order of :func:`~vecstore.kernels.arguments.classes_of`.
    """
    with _lock:
        # An engine for each: names inside one object file mean nothing in another.
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _engine_machine())
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        described = _MethodDef(name.encode(), engine.get_function_address(ENTRY), _METH_VARARGS, None)
        _kept.append((engine, described, classes))
    table = [*_interpreter(), *map(id, classes)]
    function: Callable[..., Any] = _new_builtin(
        ctypes.addressof(described), bytes((ctypes.c_void_p * len(table))(*table)), None
    )
    return function


def _engine_machine() -> Any:
    target_machine()
    return llvm.Target.from_default_triple().create_target_machine(jit=True)


@cache
def _interpreter() -> tuple[int, ...]:
    """Give the addresses of :class:`Slot`."""
    addresses = {slot: id(value) for slot, value in _OBJECTS.items()}
    for slot, name in _FUNCTIONS.items():
        addresses[slot] = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
    return tuple(addresses[slot] for slot in Slot)
