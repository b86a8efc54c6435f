"""What queries look like, in a few kilobytes of text: for projections that keep what queries ask for.

A sketch goes where configs of schemes go, which are JSON: into requests, the catalog and segments. So whatever merges
rows later on can fit transforms to the same queries again.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NamedTuple

import numpy as np

from vecstore.errors import InvalidArgumentError
from vecstore.types import F64, as_queries

__all__ = ["Sketch", "opened_sketch", "sketch_of"]

#: Directions that are kept; what queries have beyond them is taken to lie in all directions alike.
KEPT = 32
#: Queries that are looked at; of more, so many are taken evenly.
_MOST_QUERIES = 4096
#: Separates the number of dimensions from the numbers.
_SEPARATOR = ":"


class Sketch(NamedTuple):
    """The second moments of queries of unit mean square length, nearly: directions^T directions + rest identity.

    Attributes
    ----------
    directions : float64[m, d]
    rest : float
        What queries have beyond them, in each dimension.
    """

    directions: F64
    rest: float

    @property
    def moments(self) -> F64:
        """The moments, float64[d, d]."""
        moments: F64 = self.directions.T @ self.directions + self.rest * np.eye(self.directions.shape[1])
        return moments


def sketch_of(queries: Any) -> str:
    """Give the sketch of queries: the directions that hold most of their squared lengths.

    Each direction is as long as the root of its share of all squared lengths. The text is the number of dimensions, a
    colon, and the directions as base64 of little-endian float16 numbers.

    Parameters
    ----------
    queries : array_like
        float32[q, d], of the kind that will be asked; some hundreds are enough.

    Raises
    ------
    InvalidArgumentError
        Not such a matrix, or all are zeros.
    """
    try:
        width = np.shape(queries)[-1]
    except (ValueError, IndexError):
        width = 1  # Neither a matrix nor a vector, as the check says.
    rows = as_queries(queries, dim=width).astype(np.float64)
    rows = rows[:: -(-len(rows) // _MOST_QUERIES)]
    largest = np.abs(rows).max()
    if largest == 0:
        raise InvalidArgumentError("queries: all are zeros; pass some that will be asked", field="queries")
    _, values, vectors = np.linalg.svd(rows / largest, full_matrices=False)
    kept = (values / np.linalg.norm(values))[:KEPT, None] * vectors[:KEPT]
    data = base64.b64encode(np.ascontiguousarray(kept.astype("<f2")).tobytes()).decode("ascii")
    return f"{rows.shape[1]}{_SEPARATOR}{data}"


def opened_sketch(text: str) -> Sketch:
    """Give the sketch that a text says.

    Raises
    ------
    InvalidArgumentError
        It is none.
    """
    number, _, data = text.partition(_SEPARATOR)
    try:
        raw = base64.b64decode(data, validate=True)
    except binascii.Error:
        raw = b""
    dim = int(number) if number.isascii() and number.isdigit() and len(number) < 8 else 0
    if dim == 0 or not raw or len(raw) % (2 * dim) or len(raw) > 2 * dim * KEPT:
        raise InvalidArgumentError(
            "queries: expected the text that vecstore.query_sketch.sketch_of gives; pass queries= to compress instead",
            field="queries",
        )
    directions: F64 = np.frombuffer(raw, "<f2").reshape(-1, dim).astype(np.float64)
    if not np.isfinite(directions).all():
        raise InvalidArgumentError("queries: the sketch holds NaN or infinity", field="queries")
    return Sketch(directions, max(0.0, 1.0 - float((directions**2).sum())) / dim)
