"""The arrays of fields as they are stored: those of all small parts behind one another in one array of bytes.

A stored array costs some 300 bytes of framing and description, and a part has up to 13 arrays, which would be most of
the bytes of a small field. What is where in the pack follows from the configs (:meth:`Scheme.array_forms`): arrays are
ordered by the size of their elements, largest first, so that all are aligned without gaps, then by part, then as their
scheme lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.schemes.base import TableShape
from vecstore.schemes.checks import stored_array
from vecstore.schemes.fields import Fields, FieldsTable
from vecstore.types import ArrayForm

__all__ = ["PACK", "packed", "packed_arrays", "unpacked"]

#: Name of the array of packed bytes.
PACK = "pack"
#: Parts with fewer bytes are packed.
_SMALL_BYTES = 1 << 18


def packed(forms: Mapping[str, ArrayForm]) -> bool:
    """Tell whether a part of these arrays is packed: it depends on their bytes alone, so more bytes never cost less."""
    return sum(form.nbytes for form in forms.values()) < _SMALL_BYTES


def packed_arrays(table: FieldsTable) -> dict[str, NDArray[Any]]:
    """Give the arrays that are stored of a table: ``pack`` uint8[bytes] first, then ``<part>.<array>`` of large parts.

    The arrays are those that the config says (see :func:`vecstore.schemes.single_field.reopened`).
    """
    arrays = table.arrays()
    small = dict(_small(table.scheme, table.shape.dim))
    large = {name: array for name, array in arrays.items() if name not in small}
    if not small:
        return large
    pieces = [np.ascontiguousarray(arrays[name]).reshape(-1).view(np.uint8) for name in small]
    return {PACK: np.concatenate(pieces), **large}


def unpacked(scheme: Fields, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Give the arrays of all parts, named ``<part>.<array>``, of stored ones, without copying.

    Stores of before there were packs have every array under its own name; they are given as they are.

    Raises
    ------
    CorruptionError
        The pack is missing or has another length.
    """
    small = dict(_small(scheme, shape.dim))
    if not small or (PACK not in arrays and arrays.keys() >= small.keys()):
        return dict(arrays)
    pack = stored_array(arrays, PACK, np.uint8, (sum(form.nbytes for form in small.values()),))
    found = {name: array for name, array in arrays.items() if name != PACK}
    start = 0
    for name, form in small.items():
        found[name] = pack[start : start + form.nbytes].view(form.dtype).reshape(form.shape)
        start += form.nbytes
    return found


def _small(scheme: Fields, dim: int) -> Iterator[tuple[str, ArrayForm]]:
    """Give the packed arrays in their order."""
    parts = [(number, forms) for number, forms in enumerate(scheme.part_forms(dim)) if packed(forms)]
    named = [(f"{number}.{name}", form) for number, forms in parts for name, form in forms.items()]
    # Sorting is stable: within a size of elements the order stays.
    yield from sorted(named, key=lambda entry: -np.dtype(entry[1].dtype).itemsize)
