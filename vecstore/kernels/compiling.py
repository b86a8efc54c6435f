"""How kernels are compiled, called and kept, and the form that arrays take on their way in.

A kernel is a plain function that Numba compiles to machine code, once for each mix of argument types. The code is kept
on disk (:mod:`vecstore.kernels.code_cache`), and a process that finds it there does without Numba, whose import takes
longer than all else that a first search does. So nothing here, and nothing that modules of kernels import, may import
Numba before something has to be compiled: what Numba has to know of is announced here and handed over then.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cached_property, partial
from threading import RLock
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InternalError
from vecstore.kernels import code_cache, objects
from vecstore.kernels.arguments import classes_of, form_of
from vecstore.kernels.loading import load

#: Integers inside kernels: Python's from arguments, numpy's from arrays and casts.
Int: TypeAlias = int | np.integer[Any]

_Scalar = TypeVar("_Scalar", bound=np.generic)
_Function = TypeVar("_Function", bound=Callable[..., Any])
_Result = TypeVar("_Result")

#: What is to be announced to Numba before it compiles anything.
_announcements: list[Callable[[], None]] = []
_compiling = RLock()
if hasattr(os, "register_at_fork"):
    # A child has only the thread that forked, and nobody in it would release what another thread held.
    os.register_at_fork(
        before=_compiling.acquire, after_in_parent=_compiling.release, after_in_child=_compiling.release
    )


class Kernel:
    """A function that runs as machine code, without the GIL.

    Parameters
    ----------
    function : callable
        Takes arrays, numbers and (named) tuples of them, by position; returns nothing or one number.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.__doc__ = function.__doc__
        #: How many mixes of argument types this process compiled, because they were not found on disk.
        self.compiled = 0
        self._entries: dict[tuple[str, tuple[type, ...]], Callable[..., Any]] = {}
        self._tried: tuple[Callable[..., Any], ...] = ()

    def __repr__(self) -> str:
        """Give the name of the function."""
        return f"<Kernel {self.name}>"

    def __call__(self, *args: Any) -> Any:
        """Run the code for arguments of these types, which is made first where there is none yet.

        Each entry checks the types itself and gives NotImplemented where they are not its own: quicker than telling
        from here which entry is the right one.
        """
        for entry in self._tried:
            result = entry(*args)
            if result is not NotImplemented:
                return result
        result = self.entry(args)(*args)
        if result is NotImplemented:
            raise InternalError(f"{self!r} does not run for {form_of(args)}, which its code was made for")
        return result

    def entry(self, args: tuple[Any, ...]) -> Callable[..., Any]:
        """Give the code for arguments of these types, which is made first where there is none yet."""
        # Two classes may have one name, as when a module was loaded again.
        key = form_of(args), tuple(classes_of(args))
        with _compiling:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._made(*key, args) if objects.are_known() else self._of_numba()
                self._entries[key] = entry
                self._tried = tuple(self._entries.values())
        return entry

    def _made(self, form: str, classes: tuple[type, ...], args: tuple[Any, ...]) -> Callable[..., Any]:
        """Give the function that runs kept code, or new code."""
        code = code_cache.read(self.function, form)
        if code is None:
            code = self._compile(args)
            self.compiled += 1
            code_cache.write(self.function, form, code)
        return load(self.name, code, classes)

    def _of_numba(self) -> Callable[..., Any]:
        """Give Numba's own function, for interpreters whose objects are not known; it is compiled in each process."""
        announce_all()
        function: Callable[..., Any] = self.dispatcher
        return function

    def _compile(self, args: tuple[Any, ...]) -> bytes:
        """Give the object code for arguments of these types."""
        from vecstore.kernels.emission import object_code

        announce_all()
        return object_code(self.dispatcher, args)

    @cached_property
    def dispatcher(self) -> Any:
        """What Numba makes of the function: IEEE arithmetic as written (no ``fastmath``), division by zero allowed."""
        from numba import njit

        return njit(nogil=True, error_model="numpy")(self.function)

    @property
    def _numba_type_(self) -> Any:
        """What other kernels, while they are compiled, take this one for."""
        return self.dispatcher._numba_type_


def bound(function: Callable[..., _Result], *args: Any) -> Callable[[], _Result]:
    """Give what runs a kernel for these arguments, whose arrays may hold something else each time.

    For many calls that differ in nothing but what is in the arrays: the code for the types of the arguments is looked
    for once.
    """
    return partial(function.entry(args) if isinstance(function, Kernel) else function, *args)


class Inlined(Kernel):
    """A kernel that becomes a part of every other that calls it."""

    #: Where Numba looks whether to inline.
    targetoptions: ClassVar = {"inline": "always"}

    @property
    def py_func(self) -> Callable[..., Any]:
        """What Numba inlines."""
        return self.function

    @cached_property
    def dispatcher(self) -> Any:
        """What Numba makes of the function; see :attr:`Kernel.dispatcher`."""
        from numba import njit

        return njit(nogil=True, error_model="numpy", inline="always")(self.function)


class Intrinsic:
    """A function that emits LLVM instructions, by its name; only compiled code may call it.

    Parameters
    ----------
    home : str
        The module that defines it, which imports Numba.
    name : str
    """

    def __init__(self, home: str, name: str) -> None:
        self._home = home
        self._name = name

    @cached_property
    def _numba_type_(self) -> Any:
        from vecstore.kernels.emission import type_of_function

        return type_of_function(getattr(importlib.import_module(self._home), self._name))


def intrinsic(home: str, name: str) -> Any:
    """Give the function ``name`` of the module ``home`` to kernels that call it; see :class:`Intrinsic`."""
    return Intrinsic(home, name)


def kernel(function: _Function) -> _Function:
    """Compile ``function`` to machine code without the GIL, which is kept on disk; see :class:`Kernel`.

    IEEE arithmetic is left as written, which is what makes results the same on every processor.
    """
    return cast("_Function", Kernel(function))


def inlined(function: _Function) -> _Function:
    """Compile ``function`` as a part of every kernel that calls it.

    For small functions that take operands: a call would pass a dozen array fields on the stack.
    """
    return cast("_Function", Inlined(function))


def overload(
    function: Callable[..., Any], *, inline: Literal["always", "never"] = "never"
) -> Callable[[_Function], _Function]:
    """Announce to Numba what to compile for calls of ``function``, as ``numba.extending.overload`` does."""

    def decorate(choose: _Function) -> _Function:
        def announce() -> None:
            from numba.extending import overload

            overload(function, inline=inline)(choose)

        _announcements.append(announce)
        return choose

    return decorate


def announce_all() -> None:
    """Hand over to Numba what was announced since the last time."""
    while _announcements:
        _announcements.pop(0)()


def class_of(numba_type: Any) -> Any:
    """Give the named tuple behind a Numba type, None where it is none; for functions that choose an overload."""
    return getattr(numba_type, "instance_class", None)


def frozen(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Give a read-only plain C-contiguous view of ``array``, copied only where it is not contiguous.

    Kernels are compiled anew for every mix of writable and read-only arguments, and know no memory maps;
    with one form for all there is one compilation.
    """
    flags = array.flags
    if type(array) is np.ndarray and flags.c_contiguous and not flags.writeable:
        return array
    view = np.ascontiguousarray(array).view(np.ndarray)
    view.setflags(write=False)
    return view


def sealed(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Give a plain C-contiguous array that nobody else has, read-only from now on; quicker than :func:`frozen`."""
    array.setflags(write=False)
    return array
