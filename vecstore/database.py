"""The embedded database: a store folder opened in this process."""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from vecstore import schemes, verification
from vecstore.auto import as_auto
from vecstore.background import THREADS, Background
from vecstore.collection import EmbeddedCollection, Lease, checked_scheme
from vecstore.commits import Commits
from vecstore.config import CollectionConfig, HnswConfig, StoreConfig
from vecstore.errors import AlreadyExistsError, InvalidArgumentError, ReadOnlyError
from vecstore.schemes.base import TableShape
from vecstore.schemes.requested import requested
from vecstore.storage import catalog
from vecstore.storage.atomic import remove_folder
from vecstore.storage.store import Store
from vecstore.table import EmbeddedTable, Tables
from vecstore.table_api import KEEP_VERSIONS, OnUnknown
from vecstore.types import F32, Metric, as_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


_SEARCH_THREADS = "vecstore-search"
#: Name prefixes of the threads that closing waits for.
_OWN_THREADS = (_SEARCH_THREADS, *THREADS)


class EmbeddedDatabase:
    """A store opened in this process; see :class:`vecstore.api.Database` for what its methods promise.

    Parameters
    ----------
    path : str or PathLike
        Folder of the store; created by ``mode="w"`` where there is none.
    mode : {"w", "r"}
        ``"w"``: read and write, one process at a time. ``"r"``: read only, any number of processes.
    settings : StoreConfig, optional
        Durability, threads and background work.

    Raises
    ------
    StoreLocked
        Another process writes.
    NotFoundError, FormatError
        There is no store to read, or it cannot be read.
    InvalidArgumentError
        An argument has the wrong type, or nothing can be created at ``path``.
    """

    def __init__(
        self, path: str | os.PathLike[str], mode: Literal["w", "r"] = "w", settings: StoreConfig | None = None
    ) -> None:
        if mode not in ("w", "r"):
            raise InvalidArgumentError(f"mode: expected 'w' or 'r', got {mode!r}", field="mode")
        folder = _as_folder(path)
        settings = _as_settings(settings)
        threads = settings.threads or os.cpu_count() or 1
        self._settings = StoreConfig.from_dict(settings.to_dict() | {"threads": threads})
        self._readonly = mode == "r"
        self._store = Store(folder, readonly=self._readonly, settings=self._settings)
        self._commits = Commits(self._store.environment)
        self._pool = ThreadPoolExecutor(threads, _SEARCH_THREADS) if threads > 1 else None
        self._background = Background() if settings.background and not self._readonly else None
        self._collections: dict[str, EmbeddedCollection] = {}
        self._lock = threading.Lock()
        self._lease = Lease()
        self._tables = Tables(
            self._store.environment, self._commits, self._store.tables, readonly=self._readonly, lease=self._lease
        )
        self._close = weakref.finalize(self._lease, _shut_down, os.getpid(), self._background, self._pool, self._store)

    def __repr__(self) -> str:
        """Give the folder and how it was opened."""
        return f"<EmbeddedDatabase {str(self._store.path)!r} mode={'r' if self._readonly else 'w'!r}>"

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return self._store.path

    def create_collection(
        self,
        name: str,
        *,
        dim: int,
        metric: Metric | str = Metric.COSINE,
        scheme: str | dict[str, Any] = "full",
        refine: str | dict[str, Any] | None = None,
        transform: str | None = None,
        index: HnswConfig | None = HnswConfig(),  # noqa: B008 - frozen
        recall: float | None = None,
        exist_ok: bool = False,
    ) -> EmbeddedCollection:
        """Create a collection."""
        if self._readonly:
            raise ReadOnlyError("the store was opened with mode='r'; open it with mode='w' to create collections")
        as_name(name)
        auto = as_auto(scheme, refine=refine, transform=transform)
        chosen = requested("full" if auto else scheme, transform=transform, shape=TableShape(0, 1))
        finer = None if refine is None else schemes.from_config(refine)
        config = CollectionConfig(
            dim=dim,
            metric=metric,  # type: ignore[arg-type]  # checked and converted by the config
            scheme=(auto or chosen).to_dict(),
            refine=None if finer is None else finer.to_dict(),
            index=index,
            recall=recall,
        )
        for part in (chosen, finer):
            if part is not None:
                checked_scheme(part, config.dim, config.metric)
        try:
            self._commits.run(lambda transaction: catalog.create_collection(transaction, name, config))
        except AlreadyExistsError:
            existing = self.collection(name)
            known = existing.config
            if exist_ok and (known.dim, known.metric) == (config.dim, config.metric):
                return existing
            raise
        return self.collection(name)

    def collection(self, name: str) -> EmbeddedCollection:
        """Give an existing collection."""
        as_name(name)
        with self._store.environment.read() as transaction:
            uid = catalog.read_record(transaction, name).uid
        with self._lock:
            known = self._collections.get(name)
            if known is None or known.uid != uid:
                known = EmbeddedCollection(
                    name,
                    uid,
                    environment=self._store.environment,
                    commits=self._commits,
                    folder=self._store.segments,
                    settings=self._settings,
                    pool=self._pool,
                    background=self._background,
                    readonly=self._readonly,
                    lease=self._lease,
                )
                self._collections[name] = known
            return known

    def list_collections(self) -> list[str]:
        """Give the names, sorted."""
        with self._store.environment.read() as transaction:
            return catalog.list_names(transaction)

    def drop_collection(self, name: str) -> None:
        """Delete a collection with all its rows."""
        if self._readonly:
            raise ReadOnlyError("the store was opened with mode='r'; open it with mode='w' to drop collections")
        as_name(name)
        dropped: set[str] = self._commits.run(lambda transaction: catalog.drop_collection(transaction, name))
        with self._lock:
            known = self._collections.pop(name, None)
        if known is not None:
            known.maintenance.stop()
        self._commits.sync()
        for segment in dropped:
            remove_folder(self._store.segments / segment)

    def put_table(self, name: str, frozen: Any, *, keep: int = KEEP_VERSIONS) -> EmbeddedTable:
        """Store a compressed table, as a new version where the name is taken, and serve it from now on."""
        return self._tables.put(as_name(name), frozen, keep)

    def table(self, name: str) -> EmbeddedTable:
        """Give an existing table."""
        return self._tables.get(as_name(name))

    def list_tables(self) -> list[str]:
        """Give the names, sorted."""
        return self._tables.names()

    def drop_table(self, name: str) -> None:
        """Delete a table with all its versions."""
        self._tables.drop(as_name(name))

    def lookup_many(
        self, requests: Sequence[tuple[str, str | None, Any]], *, on_unknown: OnUnknown = "error"
    ) -> list[F32]:
        """Look up in several tables and fields at once."""
        return self._tables.lookup_many(requests, on_unknown)

    def verify(self) -> list[str]:
        """Check every checksum; give one line per problem, an empty list when all is well."""
        return verification.verify(self._store.environment, self._store.segments, self._store.tables)

    def close(self) -> None:
        """Stop background work and let go of everything; closing twice is fine."""
        with self._lock:
            for known in self._collections.values():
                known.maintenance.stop()
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _as_folder(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).absolute()
    except TypeError:
        raise InvalidArgumentError(
            f"path: expected str or PathLike, got {type(path).__name__}; give the folder of the store", field="path"
        ) from None


def _as_settings(settings: StoreConfig | None) -> StoreConfig:
    if settings is None:
        return StoreConfig()
    if not isinstance(settings, StoreConfig):
        raise InvalidArgumentError(
            f"settings: expected a StoreConfig, got {type(settings).__name__}; write StoreConfig(threads=4), say",
            field="settings",
        )
    return settings


def _shut_down(owner: int, background: Background | None, pool: ThreadPoolExecutor | None, store: Store) -> None:
    """Close in order: work that writes, then searches, then the files under them.

    A forked child does nothing: threads, transactions and the lock are those of process ``owner``.
    """
    if os.getpid() != owner:
        return
    if threading.current_thread().name.startswith(_OWN_THREADS):
        # The garbage collector may find an unused database in any thread, also in one that closing has to wait
        # for, and in the middle of a transaction: then closing waits elsewhere.
        threading.Thread(target=_close_in_order, args=(background, pool, store), name="vecstore-close").start()
    else:
        _close_in_order(background, pool, store)


def _close_in_order(background: Background | None, pool: ThreadPoolExecutor | None, store: Store) -> None:
    if background is not None:
        background.close()
    if pool is not None:
        pool.shutdown()
    store.close()
