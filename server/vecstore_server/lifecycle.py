"""A server as a process: open the store, serve, end on a signal, close the store."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vecstore_server.server import VecstoreServer
from vecstore_server.settings import ServerSettings

if TYPE_CHECKING:
    import os

    from vecstore.config import StoreConfig

logger = logging.getLogger("vecstore.server")


def serve(
    path: str | os.PathLike[str],
    *,
    host: str | None = None,
    port: int | None = None,
    settings: ServerSettings | None = None,
    store: StoreConfig | None = None,
    on_listening: Callable[[str, int], None] | None = None,
) -> None:
    """Serve the store at ``path`` until SIGTERM or SIGINT; call it from the main thread.

    On the first signal no new calls are taken and running ones may finish within ``settings.grace_seconds``;
    a second one ends the process at once, which loses nothing that was acknowledged.

    Parameters
    ----------
    path : path
        Folder of the store; created where there is none.
    host, port : str, int, optional
        Instead of those of ``settings``.
    settings : ServerSettings, optional
        Address (127.0.0.1:7700 by default), limits, tokens, TLS.
    store : StoreConfig, optional
        Durability, threads and background work of the store.
    on_listening : callable, optional
        Called once with host and port when calls are taken.

    Raises
    ------
    StoreLocked
        Another process writes to the store.
    UnavailableError
        The address is taken.
    InvalidArgumentError
        A setting cannot be used.
    """
    import vecstore

    arguments = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    chosen = ServerSettings.from_dict((settings or ServerSettings()).to_dict() | arguments)
    with vecstore.open(path, settings=store) as database, _stop_signal() as stopped:
        server = VecstoreServer(database, chosen)
        bound = server.start()
        try:
            if on_listening is not None:
                on_listening(chosen.host, bound)
            stopped.wait()
            logger.info("stopping")
        finally:
            server.stop()


@contextmanager
def _stop_signal() -> Iterator[threading.Event]:
    """Give an event that SIGTERM or SIGINT sets; from then on signals have their former meaning again."""
    stopped = threading.Event()
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def on_signal(number: int, frame: object) -> None:  # noqa: ARG001 - the signature that signal calls
        restore()
        stopped.set()

    for number in former:
        signal.signal(number, on_signal)
    try:
        yield stopped
    finally:
        restore()
