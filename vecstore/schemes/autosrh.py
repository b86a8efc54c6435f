"""``autosrh``: each group of ids of like frequency learns which dimensions matter, before the table is pruned."""

from __future__ import annotations

from typing import ClassVar, Literal

from vecstore.schemes.base import Capabilities, Family, Fitting
from vecstore.schemes.sparse import SparseScheme

__all__ = ["AutoSrh"]


class AutoSrh(SparseScheme, frozen=True, kw_only=True, tag="autosrh"):
    """Keep the ``values`` numbers of largest magnitude over all fields, after learned factors were multiplied in.

    The factors, one for each of 6 frequency groups and each dimension, exist in training only. The final cut is one
    shot: the method has no fine-tuning after it. Fitted to an existing matrix there is nothing to learn the factors
    from, and the result is that of ``deeplight``'s cut by magnitude, with its error.

    Attributes
    ----------
    values : int
        Numbers that are stored.
    places : {"bitmap", "uint8", "uint16"}
        How their places are coded.
    version : int
        Version of this config.

    References
    ----------
    Kong et al., "AutoSrh: An Embedding Dimensionality Search Framework for Tabular Data Prediction", TKDE 2022.
    """

    name: ClassVar[str] = "autosrh"
    family: ClassVar[Family] = Family.PRUNING
    paper: ClassVar[str] = "Kong et al., AutoSrh: An Embedding Dimensionality Search Framework, TKDE 2022"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=False, fitting=Fitting.CLOSED_FORM, appendable=False, exact=False, graph=False, joint=True, trained=True
    )

    version: Literal[1] = 1
