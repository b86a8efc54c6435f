"""``int16``: two bytes a number, and a scale a row or one a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np

from vecstore.schemes.base import Capabilities, Family, Fitting
from vecstore.schemes.coded import IntegerScheme

__all__ = ["Int16"]


class Int16(IntegerScheme, frozen=True, kw_only=True, tag="int16"):
    """As ``int8``, with codes from -32767 to 32767: 2 dim + 4 bytes a row, or 2 dim and one scale.

    Attributes
    ----------
    scales : {"row", "table"}
        A scale for each row, or one for the table.
    version : int
        Version of this config.

    References
    ----------
    As for :class:`~vecstore.schemes.int8.Int8`.
    """

    name: ClassVar[str] = "int16"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = (
        "Li et al., Adaptive Low-Precision Training for Embeddings in Click-Through Rate Prediction, AAAI 2023 (LPT)"
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=True, exact=False, graph=True, trained=True
    )
    kind: ClassVar[type[np.int8 | np.int16]] = np.int16
    #: Not tried: the size of float16, which is quicker.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    version: Literal[1] = 1
