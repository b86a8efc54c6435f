"""Search systems that vecstore is compared with, and vecstore's own configurations, behind one protocol.

``base`` has the protocol. One module a library; each imports its library where it is used, so that a missing one is a
line in the results and not an error. A further peer is a :class:`~vecstore_bench.peers.base.Peer` in the tuple
``PEERS`` of its module, and one name in :data:`_MODULES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from vecstore.errors import InvalidArgumentError
from vecstore_bench.peers.base import Peer

__all__ = ["OURS", "all_systems", "chosen"]

#: Module of vecstore's own configurations.
OURS = "vecstore_bench.peers.ours"
_MODULES = (
    OURS,
    "vecstore_bench.peers.hnswlib_graph",
    "vecstore_bench.peers.faiss_indexes",
    "vecstore_bench.peers.usearch_graph",
    "vecstore_bench.peers.rabitq_graph",
    "vecstore_bench.peers.svs_graph",
    "vecstore_bench.peers.scann_tree",
    "vecstore_bench.peers.lance_database",
    "vecstore_bench.peers.chroma_database",
    "vecstore_bench.peers.pgvector_server",
)


def all_systems() -> dict[str, Peer]:
    """Give every system by name, vecstore's own first."""
    return {peer.name: peer for module in _MODULES for peer in import_module(module).PEERS}


def chosen(names: Sequence[str], *, ours: bool) -> list[Peer]:
    """Give the systems of some names, vecstore's own or others'; ``all`` is all of them.

    Raises
    ------
    InvalidArgumentError
        There is none of that name.
    """
    there = {name: peer for name, peer in all_systems().items() if (type(peer).__module__ == OURS) == ours}
    wanted = list(there) if "all" in names else list(dict.fromkeys(names))
    unknown = [name for name in wanted if name not in there]
    if unknown:
        raise InvalidArgumentError(
            f"{', '.join(unknown)}: no such system; choose of {', '.join(there)}", field="ours" if ours else "peers"
        )
    return [there[name] for name in wanted]
