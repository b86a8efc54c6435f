"""``int8`` in low-precision training: integers of 8 bits with one scale a table."""

from __future__ import annotations

from vecstore.training.rounding import IntegerPart

__all__ = ["Int8Part"]


class Int8Part(IntegerPart):
    """Rows of 8 bits; see :class:`~vecstore.training.rounding.IntegerPart`."""
