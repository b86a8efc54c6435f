"""Settings of stores, collections and indexes: frozen, validated, JSON on disk."""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

import msgspec
import numpy as np

from vecstore.errors import InvalidArgumentError
from vecstore.query_sketch import sketch_of
from vecstore.types import MAX_DIM, Metric, as_count, as_metric, as_recall

__all__ = [
    "CollectionConfig",
    "Config",
    "HnswConfig",
    "StoreConfig",
    "as_index",
    "decode_json",
    "encode_json",
    "with_transform",
]


#: The setting at fault, in the messages of msgspec.
_NAMED = re.compile(r"(?:field `|at `\$\.)(?P<field>\w+)")


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all settings: checks its fields on construction and on reading, and round-trips through JSON."""

    def __post_init__(self) -> None:
        """Check every field against its annotation.

        ``msgspec`` validates only what it decodes, so a constructor call would slip through.

        Raises
        ------
        InvalidArgumentError
            Names the setting, what was expected and what was given.
        """
        hints = _hints(type(self))
        for name in self.__struct_fields__:
            value = getattr(self, name)
            plain = value.item() if isinstance(value, np.generic) else value  # sizes often come out of numpy
            try:
                converted = msgspec.convert(plain, hints[name])
            except msgspec.ValidationError as error:
                raise InvalidArgumentError(
                    f"{type(self).__name__}.{name}: {error}{_choices(hints[name])} (got {value!r})", field=name
                ) from None
            if converted is not value:
                msgspec.structs.force_setattr(self, name, converted)

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as plain JSON types."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Build from plain JSON types.

        Raises
        ------
        InvalidArgumentError
            Unknown setting, missing setting or wrong value, with its place.
        """
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise InvalidArgumentError(f"{cls.__name__}: {error}", field=_field_at_fault(error)) from None


def _field_at_fault(error: msgspec.ValidationError) -> str:
    """Give the setting that a check of ours, or the message of msgspec, names."""
    if isinstance(error.__cause__, InvalidArgumentError):
        return error.__cause__.field
    named = _NAMED.search(str(error))
    return named.group("field") if named else ""


@cache
def _hints(settings: type[Config]) -> dict[str, Any]:
    """Give the annotations of a class of settings; resolving them takes longer than all other checks."""
    return get_type_hints(settings, include_extras=True)


def _choices(hint: Any) -> str:
    """Give the values of a setting that has few, for a message."""
    if get_origin(hint) is Literal:
        values = list(get_args(hint))
    elif isinstance(hint, type) and issubclass(hint, Enum):
        values = [member.value for member in hint]
    else:
        return ""
    return f"; pass one of {', '.join(map(repr, values))}"


def _between(config: Config, name: str, low: int, high: int) -> None:
    value = getattr(config, name)
    if not low <= value <= high:
        raise InvalidArgumentError(f"{type(config).__name__}.{name}: expected {low} to {high}, got {value}", field=name)


class HnswConfig(Config, frozen=True, kw_only=True):
    """Settings of the graph index (names as in the HNSW paper, Malkov & Yashunin 2018).

    Attributes
    ----------
    M : int
        Links a row on the upper levels; level 0 has 2 M.
    ef_construction : int
        Candidates kept while building.
    ef : int
        Candidates kept while searching, when a search does not say; at least 2 k and 24 then.
    min_rows : int
        Segments with fewer rows get no graph: an exact scan is faster there.
    seed : int
        Seed of the level draw.
    builder : {"codes", "hnswlib"}
        What builds graphs from now on: our kernels on the codes, or hnswlib on the float32 vectors. Both give graphs of
        the same form and quality, so graphs that exist stay as they are.
    """

    M: int = msgspec.field(default=16)
    ef_construction: int = 200
    ef: int = 64
    min_rows: int = 8_192
    seed: int = 100
    builder: Literal["codes", "hnswlib"] = "codes"

    def __post_init__(self) -> None:
        """Check types and ranges."""
        super().__post_init__()
        _between(self, "M", 2, 128)
        _between(self, "ef_construction", self.M, 10_000)
        _between(self, "ef", 1, 100_000)
        _between(self, "min_rows", 2, 2**31)
        _between(self, "seed", 0, 2**31 - 1)


def as_index(index: Any) -> HnswConfig | None:
    """Give the settings of a graph from themselves or their JSON form; None for exact search only.

    Raises
    ------
    InvalidArgumentError
        Neither, or a setting is unknown or out of range.
    """
    if index is None or isinstance(index, HnswConfig):
        return index
    if not isinstance(index, dict):
        raise InvalidArgumentError(f"index: expected HnswConfig or None, got {type(index).__name__}", field="index")
    return HnswConfig.from_dict(index)


def with_transform(scheme: str | dict[str, Any], transform: str | None, queries: Any = None) -> str | dict[str, Any]:
    """Give the JSON config of a scheme with transforms in front of it; the scheme itself where there are none.

    Parameters
    ----------
    scheme : str or dict
    transform : str or None
    queries : array_like, optional
        float32[q, dim] that the transforms are to suit.

    Raises
    ------
    InvalidArgumentError
        There are queries and no transforms, or they are no queries.
    """
    if transform is None:
        if queries is not None:
            raise InvalidArgumentError(
                "queries: they shape the transform 'pca:K' in front of a scheme; pass transform= too", field="queries"
            )
        return scheme
    inner = {"scheme": scheme} if isinstance(scheme, str) else scheme
    sketch = {} if queries is None else {"queries": sketch_of(queries)}
    return {"scheme": "transformed", "transform": transform, "inner": inner, **sketch}


class CollectionConfig(Config, frozen=True, kw_only=True):
    """What defines a collection.

    Attributes
    ----------
    dim : int
        Dimensions of every vector.
    metric : Metric
        ``l2`` (squared Euclidean), ``ip`` or ``cosine`` (vectors are stored at unit length).
    scheme : dict
        JSON form of the scheme of sealed segments, e.g. ``{"scheme": "int8", "version": 1}``.
    refine : dict or None
        JSON form of the scheme of the finer second copy used to re-rank; None for none.
    index : HnswConfig or None
        Graph settings; None for exact search only.
    recall : float or None
        Recall that searches aim for which say neither ``ef`` nor ``recall`` nor ``exact``; None for the index's ef.
    version : int
        Version of this record.
    """

    dim: int
    metric: Metric = Metric.COSINE
    scheme: dict[str, Any]
    refine: dict[str, Any] | None = None
    index: HnswConfig | None = HnswConfig()
    recall: float | None = None
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check types and ranges, in the words that a remote database uses too."""
        msgspec.structs.force_setattr(self, "dim", as_count(self.dim, name="dim", limit=MAX_DIM))
        msgspec.structs.force_setattr(self, "metric", as_metric(self.metric))
        msgspec.structs.force_setattr(self, "index", as_index(self.index))
        if self.recall is not None:
            msgspec.structs.force_setattr(self, "recall", as_recall(self.recall, name="recall"))
        super().__post_init__()


class StoreConfig(Config, frozen=True, kw_only=True):
    """How a process works with a store; nothing here changes what is stored.

    Attributes
    ----------
    durability : {"commit", "relaxed"}
        ``commit``: a write that returned survives power loss. ``relaxed``: it survives the death of the
        process; the last commits before a power loss may be missing, whole.
    threads : int
        Threads that one search call may use; 0 means one per CPU.
    seal_rows : int
        Rows in the delta that start a background seal.
    background : bool
        Whether to seal and merge in the background at all (``flush`` and ``optimize`` always work).
    map_gib : int
        Address space first reserved for the catalog, in GiB; it grows by itself.
    """

    durability: Literal["commit", "relaxed"] = "commit"
    threads: int = 0
    seal_rows: int = 16_384
    background: bool = True
    map_gib: int = 64

    def __post_init__(self) -> None:
        """Check types and ranges."""
        super().__post_init__()
        _between(self, "threads", 0, 1024)
        _between(self, "seal_rows", 1, 2**31)
        _between(self, "map_gib", 1, 2**17)


def encode_json(value: Any) -> bytes:
    """Encode plain types or a :class:`Config` as compact JSON with sorted keys (the same bytes every time)."""
    return msgspec.json.encode(value, order="sorted")


def decode_json(data: bytes) -> Any:
    """Decode JSON into plain types.

    Raises
    ------
    InvalidArgumentError
        The bytes are not JSON.
    """
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"not valid JSON: {error}") from None
