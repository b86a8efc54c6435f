"""What the tables of all schemes share: bytes, the checks around a look-up, and the refusal of further rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.checks import output_buffer
from vecstore.schemes.scorer import check_rows
from vecstore.types import F32, I64

__all__ = ["ArrayTable"]


class ArrayTable(ABC):
    """A compressed table that is its arrays: subclasses say which they are and how rows are made of them.

    They have ``scheme`` and ``shape``, :meth:`arrays`, :meth:`take` and a ``scorer``; and an ``encode`` of their own
    where the scheme is appendable. It has no place for attributes, so that subclasses can be dataclasses with slots.

    Attributes
    ----------
    refusal : str
        Why a table cannot take further rows, and what to do instead; unless it has an ``encode`` of its own.
    """

    __slots__ = ()

    scheme: Scheme
    shape: TableShape
    refusal: ClassVar[str] = "train or fit a new table"

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def lookup(self, rows: I64, out: F32 | None = None) -> F32:
        """Give float32[n, dim] of ``rows`` int64[n], written into ``out`` where given.

        Raises
        ------
        NotFoundError
            A row outside the table.
        InvalidArgumentError
            ``rows`` are not integers, or ``out`` cannot hold the result.
        """
        checked = check_rows(rows, self.shape.rows)
        out = output_buffer(out, len(checked), self.shape.dim)
        self.take(checked, out)
        return out

    @abstractmethod
    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; rows are frozen and inside the table."""

    @abstractmethod
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give every array that :meth:`Scheme.open` needs, by name."""

    def encode(self, vectors: F32) -> Mapping[str, NDArray[Any]]:
        """Refuse; see ``refusal``.

        Raises
        ------
        InvalidArgumentError
            Always.
        """
        raise InvalidArgumentError(
            f"scheme {self.scheme.name!r} cannot take {len(vectors)} more rows: {self.refusal}", field="scheme"
        )
