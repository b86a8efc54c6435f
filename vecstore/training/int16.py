"""``int16`` in low-precision training: integers of 16 bits with one scale a table."""

from __future__ import annotations

from vecstore.training.rounding import IntegerPart

__all__ = ["Int16Part"]


class Int16Part(IntegerPart):
    """Rows of 16 bits; see :class:`~vecstore.training.rounding.IntegerPart`."""
