"""Filters on metadata: text or Python -> a tree of conditions -> a mask of rows.

``parse("lang = 'de' AND year >= 2015")`` and ``(col("lang") == "de") & (col("year") >= 2015)`` give the same
:class:`Filter`. :func:`check` holds it against the columns of a collection, :func:`mask` evaluates it on a table,
and :func:`to_text` writes it out again, which is how filters travel to a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vecstore.filters.ast import Filter, columns_of
from vecstore.filters.builder import Column, col
from vecstore.filters.columns import check
from vecstore.filters.text import as_filter, parse, to_text

if TYPE_CHECKING:
    import pyarrow as pa

    from vecstore.types import Mask

__all__ = ["Column", "Filter", "as_filter", "check", "col", "columns_of", "mask", "parse", "to_text"]


def mask(condition: Filter, table: pa.Table | pa.RecordBatch) -> Mask:
    """Tell which rows of ``table`` pass; see :func:`vecstore.filters.evaluate.mask`.

    What evaluates filters is imported with the first one, because it takes Arrow's functions along.
    """
    from vecstore.filters import evaluate

    return evaluate.mask(condition, table)
