"""Inner products with rows that are made of a *part* and an *inner* row, without decoding them.

Row ``i`` has the part ``i // m`` and the inner row ``i % m``. Where <query, row> = <p(query, part), inner row> for some
p, the queries are prepared once for all rows of a part. ``prepare`` is resolved when a kernel is compiled, by the class
of the parts, as ``distance`` of :mod:`vecstore.kernels.distance` is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from vecstore.kernels.compiling import Int, kernel
from vecstore.kernels.distance import ROWS_AHEAD
from vecstore.kernels.intrinsics import TILE, dot, dot_tile, multiply_rows, prefetch_row
from vecstore.kernels.ttrec import fill_tail
from vecstore.types import F32, I64

#: Queries prepared together: each inner row is read once for all of them.
QUERIES_TOGETHER = 64


class ProductParts(NamedTuple):
    """Parts that multiply the inner row number by number: <q, a * b> = <q * a, b>.

    Attributes
    ----------
    rows : float32[k, d]
        One row a part.
    queries : float32[q, d]
    """

    rows: F32
    queries: F32


class TailParts(NamedTuple):
    """Parts that are the tails of tensor trains: <q, G T> = <q T^t, G>.

    Attributes
    ----------
    middle : float32[n2, R, d2, R]
    last : float32[n3, R, d3]
    queries : float32[q d1, d2 d3]
        Each query as d1 rows.
    """

    middle: F32
    last: F32
    queries: F32


Parts = ProductParts | TailParts


def prepare(parts: Parts, part: Int, first: Int, last: Int, scratch: F32, prepared: F32) -> None:
    """Write queries first..last, prepared for one part, into ``prepared``; only compiled code may call it."""
    raise NotImplementedError("prepare() exists in compiled kernels only")


def _prepare_products(parts: Any, part: Any, first: Any, last: Any, scratch: Any, prepared: Any) -> Any:  # noqa: ARG001
    for query in range(first, last):
        multiply_rows(parts.queries, query, parts.rows, part, prepared, query - first)


def _prepare_tails(parts: Any, part: Any, first: Any, last: Any, scratch: Any, prepared: Any) -> Any:
    fill_tail(parts.middle, parts.last, part, scratch)
    rank = len(scratch)
    d_first = prepared.shape[1] // rank
    for query in range(first, last):
        for column in range(d_first):
            for above in range(rank):
                value = dot(scratch, above, parts.queries, query * d_first + column)
                prepared[query - first, column * rank + above] = value


_PREPARATIONS = {ProductParts: _prepare_products, TailParts: _prepare_tails}


@overload(prepare)
def _choose_prepare(parts: Any, part: Any, first: Any, last: Any, scratch: Any, prepared: Any) -> Any:  # noqa: ARG001
    return _PREPARATIONS.get(parts.instance_class) if isinstance(parts, types.BaseNamedTuple) else None


@kernel
def gather(
    parts: Parts, inner: F32, bias: np.float32, rows: I64, order: I64, scratch: F32, prepared: F32, out: F32
) -> None:
    """Write ``bias - <query, row>`` of ``rows`` int64[n], all inside the table, into ``out`` float32[q, n].

    ``order`` int64[n] is the order in which rows are visited. Queries are prepared anew where the part changes from one
    row to the next, so one that ascends by part is fastest. ``scratch`` and ``prepared``
    float32[QUERIES_TOGETHER, width of inner] are overwritten.
    """
    size = len(inner)
    n_queries = out.shape[0]
    for first in range(0, n_queries, QUERIES_TOGETHER):
        count = min(QUERIES_TOGETHER, n_queries - first)
        start = -size
        for step in range(len(order)):
            place = order[step]
            row = rows[place]
            if not start <= row < start + size:
                part = row // size
                start = part * size
                prepare(parts, part, first, first + count, scratch, prepared)
            if step + ROWS_AHEAD < len(order):
                ahead = rows[order[step + ROWS_AHEAD]]
                if start <= ahead < start + size:
                    prefetch_row(inner, ahead - start)
            query = 0
            while query + TILE <= count:
                a, b, c, d = dot_tile(inner, row - start, prepared, query)
                out[first + query, place], out[first + query + 1, place] = bias - a, bias - b
                out[first + query + 2, place], out[first + query + 3, place] = bias - c, bias - d
                query += TILE
            while query < count:
                out[first + query, place] = bias - dot(inner, row - start, prepared, query)
                query += 1


@kernel
def rerank(
    parts: Parts, inner: F32, bias: np.float32, rows: I64, n_rows: int, scratch: F32, prepared: F32, out: F32
) -> None:
    """Write ``bias - <query, row>`` of ``rows`` int64[q, m], each query its own, into ``out`` float32[q, m].

    Rows outside 0..n_rows get ``inf``; otherwise as :func:`gather`.
    """
    size = len(inner)
    for query in range(out.shape[0]):
        start = -size
        for place in range(out.shape[1]):
            row = rows[query, place]
            if not 0 <= row < n_rows:
                out[query, place] = np.float32(np.inf)
                continue
            if not start <= row < start + size:
                part = row // size
                start = part * size
                prepare(parts, part, query, query + 1, scratch, prepared)
            out[query, place] = bias - dot(inner, row - start, prepared, 0)
