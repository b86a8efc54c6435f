"""Directions that hold most of rows, or of what queries ask of them.

References
----------
Pearson, "On Lines and Planes of Closest Fit to Systems of Points in Space", 1901; for queries Tepper et al., "LeanVec:
Searching Vectors Faster by Making Them Fit", TMLR 2024, section 3 (eigenvectors of a mixture of the second moments of
rows and queries).
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import frozen
from vecstore.query_sketch import Sketch
from vecstore.types import F32, F64

__all__ = ["principal_directions", "second_moments"]

#: Rows whose products are added at a time in float64.
_BLOCK_ROWS = 8192
#: Parts that queries have in the mixtures that are tried; without any it is the usual analysis of the rows.
_PARTS = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)


def principal_directions(rows: F32, count: int, sketch: Sketch | None = None) -> F32:
    """Give ``count`` orthonormal directions of ``rows`` float32[n, d], frozen, the most important first.

    Without queries, those that hold most of the squared lengths (of the variance, behind ``centre``): the leading
    eigenvectors of the second moments. With a sketch of queries, the leading eigenvectors of a mixture of the moments
    of rows and queries, both of trace 1; of the mixtures tried it is the one with which inner products lose least. With
    R what a projection takes away, that loss is the mean square of <q, R x> = tr(Q R X R), for moments Q of queries and
    X of rows. So for queries as sketched it is never more than without.

    Parameters
    ----------
    rows : float32[n, d]
    count : int
    sketch : Sketch, optional
        Of queries.
    """
    moments = second_moments(rows)
    total = float(np.trace(moments))
    if sketch is None or total == 0:
        return _leading(moments, count)
    held, wanted = moments / total, sketch.moments
    wanted /= np.trace(wanted) or 1.0
    tried = [_leading((1 - part) * held + part * wanted, count) for part in _PARTS]
    return min(tried, key=lambda directions: _loss(directions, held, wanted))


def _leading(moments: F64, count: int) -> F32:
    """Give the leading eigenvectors float32[count, d], with signs such that the number of largest size is positive."""
    vectors = np.linalg.eigh(moments)[1][:, ::-1][:, :count].T
    largest = np.abs(vectors).argmax(axis=1)
    signs = np.where(vectors[np.arange(count), largest] < 0, -1, 1)
    return frozen((vectors * signs[:, None]).astype(np.float32))


def _loss(directions: F32, held: F64, wanted: F64) -> float:
    """Give the mean square of what inner products lose in a projection."""
    kept = directions.astype(np.float64)
    rest = np.eye(len(held)) - kept.T @ kept
    return float(((rest @ wanted @ rest) * held).sum())


def second_moments(rows: F32) -> F64:
    """Give the sum of the outer products of float32[n, d] with themselves, float64[d, d]."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS].astype(np.float64)
        total += block.T @ block
    return total
