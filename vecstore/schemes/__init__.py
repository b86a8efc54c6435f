"""The registry of compression schemes.

A scheme registers itself under the ``tag`` of its config. Other distributions add theirs through the entry-point
group ``vecstore.schemes``, whose entries name :class:`~vecstore.schemes.base.Scheme` subclasses.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from threading import Lock
from typing import Any, TypeVar

from vecstore.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError
from vecstore.schemes.adapt import Adapt
from vecstore.schemes.alpt import Alpt
from vecstore.schemes.autodim import Autodim
from vecstore.schemes.autosrh import AutoSrh
from vecstore.schemes.base import Scheme
from vecstore.schemes.binary import Binary
from vecstore.schemes.compo import Compo
from vecstore.schemes.dedup import Dedup
from vecstore.schemes.deeplight import DeepLight
from vecstore.schemes.dhe import Dhe
from vecstore.schemes.float16 import Float16
from vecstore.schemes.full import Full
from vecstore.schemes.hash import Hash
from vecstore.schemes.hybrids import AdaptInt8, DedupInt8, MdeAlpt
from vecstore.schemes.int4 import Int4
from vecstore.schemes.int8 import Int8
from vecstore.schemes.int16 import Int16
from vecstore.schemes.mde import Mde
from vecstore.schemes.mgqe import Mgqe
from vecstore.schemes.opq import Opq
from vecstore.schemes.optembed import OptEmbed
from vecstore.schemes.pq import Pq
from vecstore.schemes.rabitq import Rabitq
from vecstore.schemes.robe import Robe
from vecstore.schemes.transformed import Transformed
from vecstore.schemes.ttrec import Ttrec
from vecstore.schemes.unified import Unified

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
    """

    def __init__(self, *built_in: type[Scheme]) -> None:
        self._schemes: dict[str, type[Scheme]] = {}
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
        self._load()
        if name not in self._schemes:
            raise NotFoundError(f"there is no scheme {name!r}; there are: {', '.join(self.names())}", field="scheme")
        return self._schemes[name]

    def names(self) -> list[str]:
        """Give the names of all schemes, sorted."""
        self._load()
        return sorted(self._schemes)

    def _load(self) -> None:
        with self._lock:
            if self._loaded:
                return
            for entry in entry_points(group=ENTRY_POINTS):
                self.register(entry.load())
            self._loaded = True


_registry = Registry(
    Full,
    Float16,
    Hash,
    Int8,
    Adapt,
    Dedup,
    Compo,
    Robe,
    Ttrec,
    Dhe,
    Unified,
    Mgqe,
    AutoSrh,
    DeepLight,
    OptEmbed,
    Int16,
    Alpt,
    Mde,
    Autodim,
    Transformed,
    Rabitq,
    Pq,
    Opq,
    Binary,
    Int4,
    AdaptInt8,
    DedupInt8,
    MdeAlpt,
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
