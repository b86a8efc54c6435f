"""Names of what is composed of several schemes, as ``transform|codec/refine``."""

from __future__ import annotations

__all__ = ["codec_of", "is_composed"]


def codec_of(name: str) -> str:
    """Give the scheme of the codes."""
    return name.rsplit("|", 1)[-1].partition("/")[0]


def is_composed(name: str) -> bool:
    """Say whether there is a transform in front or a finer copy behind."""
    return codec_of(name) != name
