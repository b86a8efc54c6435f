"""The builders of graphs, called alike."""

from __future__ import annotations

from vecstore import schemes
from vecstore.index import hnsw


def grown(vectors, metric, config, *, scheme="int8", **options):
    """Build a graph by our kernels, on the codes of a scheme."""
    table = schemes.from_config(scheme).fit(vectors)
    return hnsw.grow(table.pairs(metric), len(vectors), config, **options)


BUILDERS = {"codes": grown, "hnswlib": hnsw.build}
