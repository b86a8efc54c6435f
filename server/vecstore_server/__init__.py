"""The vecstore server: one store, served over gRPC.

>>> from vecstore_server import serve
>>> serve("./store", port=7700)  # until SIGTERM or SIGINT
"""

from vecstore_server.lifecycle import serve
from vecstore_server.server import VecstoreServer
from vecstore_server.settings import ServerSettings, load_settings

__all__ = ["ServerSettings", "VecstoreServer", "load_settings", "serve"]
