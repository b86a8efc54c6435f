"""What queries look like, in a few kilobytes of text: for projections that keep what queries ask for.

A sketch goes where configs of schemes go, which are JSON: into requests, the catalog and segments. So whatever merges
rows later on can fit transforms to the same queries again.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np

from vecstore.errors import InvalidArgumentError
from vecstore.types import F64, as_queries

__all__ = ["moments_of", "sketch_of", "sketched_rows"]

#: Directions that are kept; what queries have beyond them is taken to lie in all directions alike.
KEPT = 32
#: Separates the number of dimensions from the numbers.
_SEPARATOR = ":"


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
    shape = np.shape(queries)
    rows = as_queries(queries, dim=shape[-1] if shape else 1).astype(np.float64)
    moments = rows.T @ rows
    total = float(np.trace(moments))
    if total == 0:
        raise InvalidArgumentError("queries: all are zeros; pass some that will be asked", field="queries")
    values, vectors = np.linalg.eigh(moments / total)
    kept = (vectors * np.sqrt(np.maximum(values, 0))).T[::-1][:KEPT]
    data = base64.b64encode(np.ascontiguousarray(kept.astype("<f2")).tobytes()).decode("ascii")
    return f"{rows.shape[1]}{_SEPARATOR}{data}"


def sketched_rows(sketch: str) -> F64:
    """Give the directions float64[m, d] of a sketch.

    Raises
    ------
    InvalidArgumentError
        It is none.
    """
    number, _, data = sketch.partition(_SEPARATOR)
    try:
        raw = base64.b64decode(data, validate=True)
    except binascii.Error:
        raw = b""
    dim = int(number) if number.isascii() and number.isdigit() and len(number) < 8 else 0
    if dim == 0 or not raw or len(raw) % (2 * dim):
        raise InvalidArgumentError(
            "queries: expected the text that vecstore.query_sketch.sketch_of gives; pass queries= to compress instead",
            field="queries",
        )
    rows: F64 = np.frombuffer(raw, "<f2").reshape(-1, dim).astype(np.float64)
    if not np.isfinite(rows).all():
        raise InvalidArgumentError("queries: the sketch holds NaN or infinity", field="queries")
    return rows


def moments_of(directions: F64) -> F64:
    """Give the second moments float64[d, d] of queries of those directions float64[m, d]; their trace is about 1.

    What the directions do not hold of the squared lengths is spread over all dimensions.
    """
    held = directions.T @ directions
    rest = max(0.0, 1.0 - float(np.trace(held))) / len(held)
    moments: F64 = held + rest * np.eye(len(held))
    return moments
