"""Read names and one-line summaries from the standard library of the running interpreter.

The corpus is made of what this module finds, and the demo reads its summaries back through the same
functions, so that no documentation text has to be shipped.

An object is listed once, under the name by which programs import it: the module that defines it, or the
parent package that re-exports it (``asyncio.gather``, not ``asyncio.tasks.gather``), or the public module in
front of a private one (``os.getcwd``, not ``posix.getcwd``). Builtins go by their bare name (``str.split``).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from types import ModuleType

__all__ = ["Entry", "find_entries", "read_summary", "summarise"]

#: Modules left out with all below them.
SKIPPED_MODULES = frozenset(
    {
        # Tests, programs, tables, and modules that do something when imported.
        *("antigravity", "encodings", "idlelib", "pydoc_data", "readline", "rlcompleter", "test", "this"),
        *("tkinter", "turtle", "turtledemo"),
        # Not on every platform, or only the platform's half of a public module.
        *("asyncio.windows_events", "asyncio.windows_utils", "ctypes.macholib", "ctypes.wintypes", "curses"),
        *("genericpath", "grp", "msilib", "msvcrt", "multiprocessing.popen_spawn_win32", "nt", "ntpath"),
        *("nturl2path", "posix", "posixpath", "pwd", "pyexpat", "syslog", "winreg", "winsound"),
        # Deprecated, and gone from later releases of Python.
        *("aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp"),
        *("lib2to3", "mailcap", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sre_compile"),
        *("sre_constants", "sre_parse", "sunau", "telnetlib", "uu", "xdrlib", "xml.etree.cElementTree"),
    }
)
#: Modules known under another name than their ``__name__``.
PUBLIC_NAMES = {"posixpath": "os.path", "genericpath": "os.path", "posix": "os"}

#: Characters of a summary: enough for two sentences, few enough for the 128 word pieces of the model.
SUMMARY_CHARS = 300

#: A line that C docstrings begin with: a call, perhaps assigned, then nothing, what it gives, or a remark.
_SIGNATURE = re.compile(
    r"^(?:\(.*?\) = )?[\w.<>\[\]]*\(.*\)[\])]*(?P<more>$|\s*\[.*| *-+> *(?P<gives>.*)| *(?:--?|:) +(?P<remark>.*))"
)
#: Words after ``->`` that make a description rather than the name of a type.
_DESCRIPTION_WORDS = 5
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z(`'\"])")


@dataclass(frozen=True, slots=True)
class Entry:
    """One documented object: its qualified name, module, kind and summary.

    ``kind`` is ``module``, ``class``, ``function`` or ``method``.
    """

    name: str
    module: str
    kind: str
    summary: str


def summarise(doc: object) -> str:
    """Give the first one or two sentences of a docstring on one line; empty where it has none.

    Signatures that docstrings of C functions begin with are left out.
    """
    if not isinstance(doc, str):
        return ""
    text = _first_paragraph(inspect.cleandoc(doc).splitlines())
    if len(text.split()) < 2:
        return ""
    summary = " ".join(_SENTENCE_END.split(text)[:2])
    if len(summary) > SUMMARY_CHARS:
        summary = summary[:SUMMARY_CHARS].rsplit(" ", 1)[0] + " …"
    return summary


def _first_paragraph(lines: list[str]) -> str:
    """Give the first paragraph that is no signature or heading; what a signature gives, where there is no other."""
    fallback = ""
    underlined = {number - 1 for number, line in enumerate(lines) if line and not line.strip("=~-")}
    for number, line in enumerate(lines):
        found = _SIGNATURE.match(line)
        if not line.strip(" =~-") or number in underlined or (found and not (found["gives"] or found["remark"])):
            continue
        if found and found["gives"] and len(found["gives"].split()) < _DESCRIPTION_WORDS:
            fallback = fallback or found["gives"]
            continue
        first = (found["gives"] or found["remark"]) if found else line
        rest = takewhile(lambda other: other.strip() and not other.lstrip().startswith(">>>"), lines[number + 1 :])
        return fallback if line.startswith(">>>") else " ".join(" ".join([first, *rest]).split())
    return fallback


def read_summary(name: str, module: str) -> str | None:
    """Give the summary of ``name`` as the running interpreter has it, or None where it lacks that name."""
    try:
        target: object = _import(module)
        if name != module:
            for part in name.removeprefix(f"{module}.").split("."):
                target = getattr(target, part)
    except (ImportError, AttributeError):
        return None
    return summarise(getattr(target, "__doc__", None)) or None


def find_entries() -> list[Entry]:
    """List every public documented module, class, function and method, sorted by name."""
    modules = dict(_public_modules())
    entries = {
        name: Entry(name, name, "module", summary)
        for name, module in modules.items()
        if (summary := summarise(module.__doc__))
    }
    seen: set[int] = set()
    classes: list[tuple[str, str, type]] = []
    for module_name, attribute, target in _best_places(modules):
        seen.add(id(_underlying(target)))
        name = attribute if module_name == "builtins" else f"{module_name}.{attribute}"
        if isinstance(target, type):
            classes.append((name, module_name, target))
        kind = "class" if isinstance(target, type) else "function"
        if summary := _own_summary(target):
            entries.setdefault(name, Entry(name, module_name, kind, summary))
    for class_name, module_name, cls in classes:
        for entry in _methods(class_name, module_name, cls, seen):
            entries.setdefault(entry.name, entry)
    return [entries[name] for name in sorted(entries)]


def _import(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def _public_modules() -> Iterator[tuple[str, ModuleType]]:
    """Go through importable public modules in order of name, parents before children."""
    pending = sorted((name for name in sys.stdlib_module_names if _is_public(name)), reverse=True)
    while pending:
        name = pending.pop()
        module = _import_if_present(name)
        if module is None:
            continue
        yield name, module
        children = {f"{name}.{child.name}" for child in pkgutil.iter_modules(getattr(module, "__path__", ()))}
        if name == "os":
            children = {"os.path"}
        pending.extend(sorted((child for child in children if _is_public(child)), reverse=True))


def _is_public(name: str) -> bool:
    parts = name.split(".")
    return name not in SKIPPED_MODULES and not any(part.startswith("_") or part in ("test", "tests") for part in parts)


def _import_if_present(name: str) -> ModuleType | None:
    try:
        return _import(name)
    except ImportError:  # optional parts of CPython, such as dbm.gnu
        return None


def _best_places(modules: dict[str, ModuleType]) -> list[tuple[str, str, object]]:
    """Choose for every public class and function the one (module, attribute) under which to list it."""
    places: dict[int, tuple[tuple[object, ...], str, str, object]] = {}
    for module_name, module in modules.items():
        exported = getattr(module, "__all__", None)
        for attribute in exported or sorted(vars(module)):
            target = getattr(module, attribute, None)
            if attribute.startswith("_") or not (isinstance(target, type) or inspect.isroutine(target)):
                continue
            if not _belongs(target, module_name, modules, is_exported=exported is not None):
                continue
            is_alias = getattr(target, "__name__", attribute) != attribute
            rank = (
                module_name != "builtins",
                module_name.count("."),
                is_alias,
                len(module_name),
                module_name,
                attribute,
            )
            key = id(_underlying(target))
            if key not in places or rank < places[key][0]:
                places[key] = (rank, module_name, attribute, target)
    return sorted((place[1:] for place in places.values()), key=lambda place: place[:2])


def _underlying(target: object) -> object:
    """Give the function behind a bound method: ``random.randint`` is ``random.Random.randint``."""
    return target.__func__ if inspect.ismethod(target) else target


def _belongs(target: object, module_name: str, modules: dict[str, ModuleType], *, is_exported: bool) -> bool:
    """Tell whether a module may list an object: it, its child or a private module behind it defines it.

    What is built in belongs to ``builtins``, whoever defines it (``open`` is made in ``io``).
    """
    home = getattr(target, "__module__", None) or module_name
    home = PUBLIC_NAMES.get(home, home)
    if module_name in (home, "builtins") or home.startswith(f"{module_name}."):
        return True
    if home in modules:
        return False
    return is_exported or home.lstrip("_") == module_name


def _own_summary(target: object) -> str:
    doc = vars(target).get("__doc__") if isinstance(target, type) else getattr(target, "__doc__", None)
    return summarise(doc)


def _methods(class_name: str, module_name: str, cls: type, seen: set[int]) -> Iterator[Entry]:
    """Go through the public methods that a class defines itself, but for those that repeat a base's text."""
    if issubclass(cls, BaseException):
        return
    for attribute, raw in sorted(vars(cls).items()):
        target = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
        if attribute.startswith("_") or not inspect.isroutine(target) or id(target) in seen:
            continue
        summary = summarise(target.__doc__)
        inherited = {summarise(getattr(getattr(base, attribute, None), "__doc__", None)) for base in cls.__mro__[1:]}
        if summary and summary not in inherited:
            seen.add(id(target))
            yield Entry(f"{class_name}.{attribute}", module_name, "method", summary)
