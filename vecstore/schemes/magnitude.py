"""``magpq`` and ``magsvd``: product quantisation and truncated SVD in tiers by the length of rows."""

from __future__ import annotations

from typing import ClassVar

from vecstore.schemes.base import Capabilities, Family, Fitting, Scheme
from vecstore.schemes.mde import Mde
from vecstore.schemes.pq import Pq
from vecstore.schemes.tiered import Tiered

__all__ = ["MagPq", "MagSvd"]

_PAPER = "Zhang et al., Experimental Analysis of Large-scale Learnable Vector Storage Compression, VLDB 2024"


class MagPq(Tiered, frozen=True, kw_only=True, tag="magpq"):
    """Product quantisation (``pq``) with codebooks of their own, and more parts, for longer rows.

    Attributes
    ----------
    tiers : tuple of Tier
        Shortest rows first; a size is the parts of a row.
    groups : int
        Tiers that rows are cut into where their lengths differ.
    inner : dict
        Settings of ``pq`` in all tiers, such as ``bits``.
    alpha : float
        How much fewer rows have more parts: parts are proportional to ``n ** -alpha`` in a tier of n rows.
    version : int
        Version of this config.

    References
    ----------
    Magnitude-tiered product quantisation of Zhang et al., "Experimental Analysis of Large-scale Learnable Vector
    Storage Compression", VLDB 2024. There tiers have the same parts and bits that are given, such as 9 and 8; here
    they have the same bits, for which there are kernels, and parts by the rule of ``magsvd``.
    """

    name: ClassVar[str] = "magpq"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = _PAPER
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=True
    )
    inner_scheme: ClassVar[type[Scheme]] = Pq
    sized_by: ClassVar[str] = "parts"

    @classmethod
    def sizes(cls, dim: int) -> list[int]:
        """Give the numbers of parts that a width in whole numbers gives."""
        return sorted({-(-dim // width) for width in range(1, dim + 1)})


class MagSvd(Tiered, frozen=True, kw_only=True, tag="magsvd"):
    """A truncated SVD (``mde``) of each tier, with more dimensions for longer rows.

    Attributes
    ----------
    tiers : tuple of Tier
        Shortest rows first; a size is the dimensions that are kept.
    groups : int
        Tiers that rows are cut into where their lengths differ.
    inner : dict
        Settings of ``mde`` in all tiers.
    alpha : float
        How much fewer rows have more dimensions: ``n ** -alpha`` times as many in a tier of n rows. This is the rule of
        ``mde`` for fields, if how much a tier matters is the mean length of its rows.
    version : int
        Version of this config.

    References
    ----------
    Magnitude-tiered SVD of Zhang et al., "Experimental Analysis of Large-scale Learnable Vector Storage Compression",
    VLDB 2024, with its exponent of 0.3.
    """

    name: ClassVar[str] = "magsvd"
    family: ClassVar[Family] = Family.DIMENSION
    paper: ClassVar[str] = _PAPER
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CLOSED_FORM, appendable=False, exact=False, graph=True
    )
    inner_scheme: ClassVar[type[Scheme]] = Mde
    sized_by: ClassVar[str] = "width"

    @classmethod
    def sizes(cls, dim: int) -> list[int]:
        """Give all numbers of dimensions."""
        return list(range(1, dim + 1))
