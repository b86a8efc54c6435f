"""Filters on metadata: text or Python -> a tree of conditions -> a mask of rows.

``parse("lang = 'de' AND year >= 2015")`` and ``(col("lang") == "de") & (col("year") >= 2015)`` give the same
:class:`Filter`. :func:`check` holds it against the columns of a collection, :func:`mask` evaluates it on a table,
and :func:`to_text` writes it out again, which is how filters travel to a server.
"""

from vecstore.filters.ast import Filter, columns_of
from vecstore.filters.builder import Column, col
from vecstore.filters.columns import check
from vecstore.filters.evaluate import mask
from vecstore.filters.text import as_filter, parse, to_text

__all__ = ["Column", "Filter", "as_filter", "check", "col", "columns_of", "mask", "parse", "to_text"]
