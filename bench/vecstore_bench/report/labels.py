"""Names of what is composed of several schemes, as ``transform|codec+refine``."""

from __future__ import annotations

from vecstore.schemes import names

__all__ = ["codec_of", "is_composed"]


def codec_of(name: str) -> str:
    """Give the scheme of the codes; hybrids, whose own names have a plus, are schemes."""
    behind = name.rsplit("|", 1)[-1]
    codec, _, _ = behind.rpartition("+")
    return behind if behind in names() or not codec else codec


def is_composed(name: str) -> bool:
    """Say whether there is a transform in front or a finer copy behind."""
    return codec_of(name) != name
