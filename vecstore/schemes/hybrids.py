"""The hybrids that come with the library: a further one is a class like these (:mod:`vecstore.schemes.composed`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vecstore.schemes.adapt import Adapt
from vecstore.schemes.alpt import Alpt
from vecstore.schemes.base import Capabilities, Family, Fitting, Scheme
from vecstore.schemes.composed import Composed
from vecstore.schemes.dedup import Dedup
from vecstore.schemes.int8 import Int8
from vecstore.schemes.layouts import LaidOut
from vecstore.schemes.mde import Mde

__all__ = ["AdaptInt8", "DedupInt8", "MdeAlpt"]


class AdaptInt8(Composed, frozen=True, kw_only=True, tag="adapt+int8"):
    """Rows of frequent ids and rows that the others share (``adapt``), all in codes of 8 bits with a scale a row.

    At equal bytes there are some three times as many rows as with float32.

    Attributes
    ----------
    outer : dict
        Config of ``adapt``.
    codec : dict
        Config of ``int8``.
    version : int
        Version of this config.

    References
    ----------
    Hybrids of families are a direction that Zhang et al., "Experimental Analysis of Large-scale Learnable Vector
    Storage Compression", VLDB 2024, leave open. Parts: :class:`~vecstore.schemes.adapt.Adapt` and
    :class:`~vecstore.schemes.int8.Int8`.
    """

    name: ClassVar[str] = "adapt+int8"
    family: ClassVar[Family] = Family.SHARING
    paper: ClassVar[str] = f"{Adapt.paper}; {Int8.paper}"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False, fitting=Fitting.CLOSED_FORM, appendable=False, exact=False, graph=False, trained=True
    )
    outer_scheme: ClassVar[type[LaidOut]] = Adapt
    codec_scheme: ClassVar[type[Scheme]] = Int8


class DedupInt8(Composed, frozen=True, kw_only=True, tag="dedup+int8"):
    """Blocks of rows that are nearly equal are kept once (``dedup``), in codes of 8 bits with a scale a row.

    Attributes
    ----------
    outer : dict
        Config of ``dedup``.
    codec : dict
        Config of ``int8``.
    version : int
        Version of this config.

    References
    ----------
    As for ``adapt+int8``. Parts: :class:`~vecstore.schemes.dedup.Dedup` and :class:`~vecstore.schemes.int8.Int8`.
    """

    name: ClassVar[str] = "dedup+int8"
    family: ClassVar[Family] = Family.SHARING
    paper: ClassVar[str] = f"{Dedup.paper}; {Int8.paper}"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=False, trained=True
    )
    outer_scheme: ClassVar[type[LaidOut]] = Dedup
    codec_scheme: ClassVar[type[Scheme]] = Int8


class MdeAlpt(Composed, frozen=True, kw_only=True, tag="mde+alpt"):
    """Rows of fewer dimensions for less popular fields (``mde``), in codes of 8 bits with a step a row (``alpt``).

    The step is the one with the smallest squared error of its row, found anew whenever the row is read in training: the
    frozen rows lie in another basis than the trained ones, so steps that were learned would not be theirs.

    Attributes
    ----------
    outer : dict
        Config of ``mde``.
    codec : dict
        Config of ``alpt``.
    version : int
        Version of this config.

    References
    ----------
    As for ``adapt+int8``. Parts: :class:`~vecstore.schemes.mde.Mde` and :class:`~vecstore.schemes.alpt.Alpt`.
    """

    name: ClassVar[str] = "mde+alpt"
    family: ClassVar[Family] = Family.DIMENSION
    paper: ClassVar[str] = f"{Mde.paper}; {Alpt.paper}"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=True, trained=True
    )
    outer_scheme: ClassVar[type[LaidOut]] = Mde
    codec_scheme: ClassVar[type[Scheme]] = Alpt
    codec_settings: ClassVar[Mapping[str, Any]] = {"bits": 8}
