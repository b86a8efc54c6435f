"""Inner products with rows that are products of a *part* and an *inner* row, without decoding them.

Row ``i`` has the part ``i // m`` and the inner row ``i % m``. Because <q, a * b> = <q * a, b>, queries are multiplied
with a part once for all of its rows.
"""

from __future__ import annotations

import numpy as np

from vecstore.kernels.compiling import kernel
from vecstore.kernels.distance import ROWS_AHEAD
from vecstore.kernels.intrinsics import TILE, dot, dot_tile, multiply_rows, prefetch_row
from vecstore.types import F32, I64

#: Queries prepared together: each inner row is read once for all of them.
QUERIES_TOGETHER = 64


@kernel
def gather(
    parts: F32, queries: F32, inner: F32, bias: np.float32, rows: I64, order: I64, prepared: F32, out: F32
) -> None:
    """Write ``bias - <query, row>`` of ``rows`` int64[n], all inside the table, into ``out`` float32[q, n].

    Parameters
    ----------
    parts, queries, inner : float32[k, d], float32[q, d], float32[m, d]
    bias : float32
    rows : int64[n]
    order : int64[n]
        Places in the order in which they are visited. Queries are prepared anew where the part changes from one row to
        the next, so an order that ascends by part is fastest.
    prepared : float32[QUERIES_TOGETHER, d]
        Overwritten.
    out : float32[q, n]
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
                for query in range(count):
                    multiply_rows(queries, first + query, parts, part, prepared, query)
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
    parts: F32, queries: F32, inner: F32, bias: np.float32, rows: I64, n_rows: int, prepared: F32, out: F32
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
                multiply_rows(queries, query, parts, part, prepared, 0)
            out[query, place] = bias - dot(inner, row - start, prepared, 0)
