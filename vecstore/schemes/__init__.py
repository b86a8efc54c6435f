"""The registry of compression schemes.

Schemes are known by the ``tag`` of their config, and a module is imported when its scheme is first asked for, because a
store needs two or three of them. Other distributions add theirs through the entry-point group ``vecstore.schemes``,
whose entries name :class:`~vecstore.schemes.base.Scheme` subclasses.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from threading import Lock
from types import MappingProxyType
from typing import Any, TypeVar

from vecstore.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from vecstore.schemes.base import Scheme

__all__ = ["ENTRY_POINTS", "Registry", "Scheme", "from_config", "get", "names", "register"]

#: Group in which other distributions announce their schemes.
ENTRY_POINTS = "vecstore.schemes"

_SchemeType = TypeVar("_SchemeType", bound=type[Scheme])


class Registry:
    """Schemes by name; those of other distributions are loaded when one is first asked for.

    Parameters
    ----------
    built_in : type[Scheme]
        What is known from the start.
    homes : mapping of str to str
        Further ones that are known by name: ``module:class`` in ``vecstore.schemes``, imported when asked for.
    """

    def __init__(self, *built_in: type[Scheme], homes: Mapping[str, str] = MappingProxyType({})) -> None:
        self._schemes: dict[str, type[Scheme]] = {}
        self._homes = homes
        self._lock = Lock()
        self._loaded = False
        for scheme in built_in:
            self.register(scheme)

    def register(self, scheme: _SchemeType) -> _SchemeType:
        """Add a scheme; usable as a decorator. Adding the same class again changes nothing.

        Raises
        ------
        AlreadyExistsError
            Another class has the name.
        """
        self._import(scheme.name)
        known = self._schemes.setdefault(scheme.name, scheme)
        if known is not scheme:
            raise AlreadyExistsError(
                f"scheme {scheme.name!r} is {known.__module__}.{known.__qualname__} already; choose another name",
                field="scheme",
            )
        return scheme

    def get(self, name: str) -> type[Scheme]:
        """Give the scheme of that name.

        Raises
        ------
        NotFoundError
            There is none; the message lists those there are.
        """
        self._import(name)
        if name not in self._schemes:
            self._load()
        if name not in self._schemes:
            raise NotFoundError(f"there is no scheme {name!r}; there are: {', '.join(self.names())}", field="scheme")
        return self._schemes[name]

    def names(self) -> list[str]:
        """Give the names of all schemes, sorted."""
        self._load()
        return sorted({*self._schemes, *self._homes})

    def _import(self, name: str) -> None:
        """Import the module of a scheme of ours that was not asked for before."""
        if name in self._homes and name not in self._schemes:
            module, _, scheme = self._homes[name].partition(":")
            found = getattr(importlib.import_module(f"vecstore.schemes.{module}"), scheme)
            self._schemes.setdefault(name, found)

    def _load(self) -> None:
        with self._lock:
            if self._loaded:
                return
            # Reading what all installed distributions announce takes longer than opening a store.
            from importlib.metadata import entry_points

            for entry in entry_points(group=ENTRY_POINTS):
                self.register(entry.load())
            self._loaded = True


_registry = Registry(
    homes={
        "adapt": "adapt:Adapt",
        "adapt+int8": "hybrids:AdaptInt8",
        "alpt": "alpt:Alpt",
        "autodim": "autodim:Autodim",
        "autosrh": "autosrh:AutoSrh",
        "binary": "binary:Binary",
        "compo": "compo:Compo",
        "dedup": "dedup:Dedup",
        "dedup+int8": "hybrids:DedupInt8",
        "deeplight": "deeplight:DeepLight",
        "dhe": "dhe:Dhe",
        "float16": "float16:Float16",
        "full": "full:Full",
        "hash": "hash:Hash",
        "int16": "int16:Int16",
        "int4": "int4:Int4",
        "int8": "int8:Int8",
        "magpq": "magnitude:MagPq",
        "magsvd": "magnitude:MagSvd",
        "mde": "mde:Mde",
        "mde+alpt": "hybrids:MdeAlpt",
        "mgqe": "mgqe:Mgqe",
        "opq": "opq:Opq",
        "optembed": "optembed:OptEmbed",
        "pca+pq": "pca_pq:PcaPq",
        "pq": "pq:Pq",
        "rabitq": "rabitq:Rabitq",
        "robe": "robe:Robe",
        "transformed": "transformed:Transformed",
        "ttrec": "ttrec:Ttrec",
        "unified": "unified:Unified",
    }
)
register = _registry.register
get = _registry.get
names = _registry.names


def from_config(config: str | dict[str, Any]) -> Scheme:
    """Make a scheme from its name, or from the JSON form of its config, whose field ``scheme`` is the name.

    Raises
    ------
    InvalidArgumentError
        Not a name or config, unknown scheme, unknown setting or wrong value.
    """
    data = {"scheme": config} if isinstance(config, str) else config
    if not isinstance(data, dict) or not isinstance(data.get("scheme"), str):
        raise InvalidArgumentError(
            f"scheme: expected a name or a config such as {{'scheme': 'int8'}}, got {config!r}", field="scheme"
        )
    try:
        cls = get(data["scheme"])
    except NotFoundError as error:
        raise InvalidArgumentError(error.message, field="scheme") from None
    return cls.from_dict(data)
