"""The embedded collection: edge checks, then storage, then search, then hits."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from vecstore import schemes
from vecstore.advice import MIN_ADVISED_ROWS
from vecstore.api import (
    MAX_K,
    MAX_SCAN_BATCH,
    SCAN_BATCH,
    CollectionStats,
    CompressReport,
    Funnel,
    as_batches,
)
from vecstore.auto import Auto, as_auto
from vecstore.background import Background
from vecstore.building import check_storable, sampled
from vecstore.commits import Commits
from vecstore.config import CollectionConfig, StoreConfig
from vecstore.effort import as_effort
from vecstore.errors import InvalidArgumentError, LimitError, ReadOnlyError, StoreClosed
from vecstore.filters import Filter, as_filter, check
from vecstore.funnel import check_funnel
from vecstore.hits import hits, hits_alone
from vecstore.kernels.lengths import unit_query, unit_rows
from vecstore.maintenance import Maintenance
from vecstore.metadata import as_metadata, schema_of
from vecstore.schemes import Scheme
from vecstore.schemes.base import TableShape
from vecstore.schemes.requested import requested
from vecstore.search import Found, joined, search_alone, search_view
from vecstore.segment import Segment
from vecstore.storage import delta
from vecstore.storage.catalog import CollectionStore
from vecstore.storage.environment import Environment, Transaction
from vecstore.types import (
    F32,
    Hits,
    Metadata,
    Metric,
    Point,
    as_count,
    as_ids,
    as_matrix,
    as_queries,
    refuse_duplicates,
)
from vecstore.view import SourceView, View, Views

#: Largest batch of one insert or upsert, in bytes of float32 vectors and metadata: it becomes one value of the catalog.
MAX_BATCH_BYTES = 1 << 30
#: Numbers (rows x dimensions) of the rows that the scheme "auto" is measured on.
_ADVISED_NUMBERS = 1 << 28
#: Queries below which a call is not split over threads.
_QUERIES_PER_THREAD = 4


class Lease:
    """Held by a database and its collections: the store is closed once nobody has any of them."""


class EmbeddedCollection:
    """A collection in this process; see :class:`vecstore.api.Collection` for what its methods promise."""

    def __init__(
        self,
        name: str,
        uid: int,
        *,
        environment: Environment,
        commits: Commits,
        folder: Path,
        settings: StoreConfig,
        pool: ThreadPoolExecutor | None,
        background: Background | None,
        readonly: bool,
        lease: Lease,
    ) -> None:
        self._name = name
        self._store = CollectionStore(name, uid)
        self._views = Views(environment, self._store, folder)
        self._commits = commits
        self._environment = environment
        self._settings = settings
        self._pool = pool
        self._background = background
        self._readonly = readonly
        self._lease = lease
        self.maintenance = Maintenance(self._store, self._views, commits, folder)
        self._unsealed = 0
        self._unsealed_lock = threading.Lock()
        if background is not None:
            # What the last process left undone: a seal asks for the merge behind it.
            ask = background.seal if self._delta_rows() >= settings.seal_rows else background.merge
            ask(self.maintenance)

    # -- about ------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """Give kind and name, without touching the store."""
        return f"<EmbeddedCollection {self._name!r}>"

    @property
    def name(self) -> str:
        """Name of the collection."""
        return self._name

    @property
    def uid(self) -> int:
        """The catalog's number of the collection."""
        return self._store.uid

    @property
    def config(self) -> CollectionConfig:
        """Dimensions, metric, scheme and index settings as they are now."""
        with self._environment.read() as transaction:
            return self._store.record(transaction).settings

    def stats(self) -> CollectionStats:
        """Give rows, bytes by part and segments."""
        view = self._views.current()
        segments = [_segment_stats(source) for source in view.segments]
        total: Counter[str] = Counter()
        for segment in segments:
            total.update(segment["bytes"])
        rows = sum(segment["rows"] for segment in segments)
        return CollectionStats(
            rows=view.head.rows,
            delta_rows=len(view.delta.source),
            deleted_rows=sum(segment["deleted"] for segment in segments),
            segments=segments,
            bytes_per_vector={part: count / rows for part, count in total.items()} if rows else {},
            generation=view.head.generation,
            id_type=view.record.id_type,
            columns=dict(view.record.columns),
        )

    # -- writing ----------------------------------------------------------------------------------------------

    def insert(self, ids: Any, vectors: Any, metadata: Metadata | None = None) -> int:
        """Add rows whose ids must be new; give their number."""
        return self._write(ids, vectors, metadata, replace=False)

    def upsert(self, ids: Any, vectors: Any, metadata: Metadata | None = None) -> int:
        """Add rows, replacing those whose ids exist; give their number."""
        return self._write(ids, vectors, metadata, replace=True)

    def insert_many(
        self,
        batches: Iterable[tuple[Any, Any, Metadata | None]],
        *,
        upsert: bool = True,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write a stream of batches (ids, vectors, metadata), each whole or not at all; give the rows written."""
        written = 0
        try:
            for ids, vectors, metadata in as_batches(batches):
                written += self._write(ids, vectors, metadata, replace=upsert)
                if on_progress is not None:
                    on_progress(written)
        except BaseException as error:  # whatever it is, the caller has to know where to go on
            error.add_note(f"{written} rows of the batches before it are stored")
            raise
        return written

    def _write(self, ids: Any, vectors: Any, metadata: Metadata | None, *, replace: bool) -> int:
        self._refuse_readonly()
        config = self.config
        keys = as_ids(ids)
        refuse_duplicates(keys)
        matrix = as_matrix(vectors, dim=config.dim)
        if len(matrix) != len(keys):
            raise InvalidArgumentError(f"vectors: {len(matrix)} rows for {len(keys)} ids", field="vectors")
        table = as_metadata(metadata, len(keys))
        if len(keys) == 0:
            return 0
        if (size := matrix.nbytes + table.nbytes) > MAX_BATCH_BYTES:
            raise LimitError(
                f"vectors: {size} bytes with metadata in one batch, the limit is {MAX_BATCH_BYTES}; split the batch",
                field="vectors",
            )
        if config.metric is Metric.COSINE:
            matrix = unit_rows(matrix)
        check_storable(config, matrix)
        batch = delta.Batch(keys, matrix, table)
        write = self._store.write(batch, delta.pack(batch), replace=replace)

        def operation(transaction: Transaction) -> Any:
            settings = self._store.record(transaction).settings
            if settings != config:
                # A compression was published since the check above.
                check_storable(settings, matrix)
            return write(transaction)

        written: int = self._commits.run(operation)
        self._count_unsealed(written)
        return written

    def delete(self, *, ids: Any = None, where: str | Filter | None = None) -> int:
        """Delete by ids or by filter (exactly one of them); give the number of rows that existed."""
        self._refuse_readonly()
        if (ids is None) == (where is None):
            raise InvalidArgumentError("delete: pass exactly one of ids and where", field="ids")
        if ids is not None:
            keys = as_ids(ids)
            return int(self._commits.run(self._store.delete(keys))) if len(keys) else 0
        view = self._views.current()
        condition = _checked(where, view)
        matched = [(s.source, s.rows(condition).rows) for s in view.sources if s.rows(condition).count]
        if not matched:
            return 0
        # One commit for all sources. Rows replaced since the view was taken keep their new version: it was
        # never matched.
        operation = self._store.delete(
            np.concatenate([source.ids(rows) for source, rows in matched]),
            np.concatenate([source.sequences(rows) for source, rows in matched]),
        )
        return int(self._commits.run(operation))

    def flush(self) -> None:
        """Make all writes durable and seal the delta into a segment."""
        self._refuse_readonly()
        self._environment.sync()
        self.maintenance.seal()
        if self._background is not None:
            self._background.merge(self.maintenance)

    def optimize(self) -> None:
        """Merge all segments into one with a fresh graph, dropping deleted rows."""
        self._refuse_readonly()
        self.maintenance.optimize()

    def compress(
        self,
        scheme: str | dict[str, Any],
        *,
        refine: str | dict[str, Any] | None = None,
        transform: str | None = None,
        queries: Any = None,
        budget: float | int | None = None,
    ) -> CompressReport:
        """Encode all rows again with another scheme, switching at once when all are ready."""
        self._refuse_readonly()
        auto = as_auto(scheme, refine=refine, transform=transform, queries=queries, budget=budget)
        if auto is not None:
            return self.maintenance.compress(self._decided(auto))
        dim, metric = self.config.dim, self.config.metric
        shape = TableShape(0 if budget is None else self.stats().rows, dim)
        walked = self.config.index is not None
        chosen = requested(scheme, transform=transform, queries=queries, budget=budget, walked=walked, shape=shape)
        changed = {
            "scheme": checked_scheme(chosen, dim, metric).to_dict(),
            "refine": None if refine is None else checked_scheme(schemes.from_config(refine), dim, metric).to_dict(),
        }
        return self.maintenance.compress(msgspec.structs.replace(self.config, **changed))

    def _decided(self, auto: Auto) -> CollectionConfig:
        """Give the settings that suit the rows there are."""
        view = self._views.current()
        rows = sampled(view.sources, view.settings.dim, max(_ADVISED_NUMBERS // view.settings.dim, MIN_ADVISED_ROWS))
        return auto.decided(view.settings, rows, view.head.rows)

    # -- reading ----------------------------------------------------------------------------------------------

    def get(self, ids: Any, *, columns: Sequence[str] | None = None, vectors: bool = True) -> list[Point | None]:
        """Give the points of ``ids`` in order, None for ids that do not exist."""
        keys = as_ids(ids)
        with self._views.snapshot() as (transaction, view):
            sequences = self._store.sequences(transaction, keys)
        kept = _columns(view, columns)
        points: list[Point | None] = [None] * len(keys)
        positions = np.array(list(sequences), np.int64)
        numbers = np.array(list(sequences.values()), np.uint64)
        for source in view.sources:
            rows = source.source
            inside = (numbers >= rows.first) & (numbers <= rows.last)
            if not inside.any():
                continue
            found = rows.positions(numbers[inside])
            table = rows.metadata(found, kept).to_pylist() if kept else [{} for _ in found]
            matrix = rows.lookup(found) if vectors else None
            for i, position in enumerate(positions[inside].tolist()):
                points[position] = Point(
                    keys[position : position + 1].tolist()[0], None if matrix is None else matrix[i], table[i]
                )
        return points

    def count(self, where: str | Filter | None = None) -> int:
        """Give the number of rows, or of those that match."""
        if where is None:
            with self._environment.read() as transaction:
                return self._store.head(transaction).rows
        view = self._views.current()
        condition = _checked(where, view)
        return sum(source.rows(condition).count for source in view.sources)

    def scan(
        self,
        *,
        where: str | Filter | None = None,
        batch_size: int = SCAN_BATCH,
        columns: Sequence[str] | None = None,
        vectors: bool = True,
    ) -> Iterator[pa.RecordBatch]:
        """Go through all rows in order of writing, as of the moment of the call."""
        batch_size = as_count(batch_size, name="batch_size", limit=MAX_SCAN_BATCH)
        view = self._views.current()
        condition, kept = _checked(where, view), _columns(view, columns)
        return _scan(view, condition, kept, batch_size=batch_size, vectors=vectors)

    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        where: str | Filter | None = None,
        ef: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        funnel: Funnel | None = None,
        columns: Sequence[str] | None = None,
    ) -> Hits:
        """Give the k nearest rows of each query."""
        k = as_count(k, name="k", limit=MAX_K)
        effort = as_effort(ef, recall, exact, funnel)
        view = self._views.current()
        if effort.funnel:
            check_funnel(effort.funnel, view.settings.dim)
        matrix = _asked(queries, view.settings)
        condition, kept = _checked(where, view), _columns(view, columns)
        if len(matrix) == 1 and not kept:
            found_alone = search_alone(view, matrix, k, where=condition, effort=effort)
            if found_alone is not None:
                return hits_alone(view, *found_alone)

        def search_part(part: F32) -> Found:
            return search_view(view, part, k, where=condition, effort=effort, together=len(matrix))

        found = self._split(search_part, matrix)
        return hits(view, found, kept)

    def _split(self, search_part: Callable[[F32], Found], queries: F32) -> Found:
        """Run a search over the queries, in as many threads as pay; queries do not influence each other."""
        threads = min(self._settings.threads, len(queries) // _QUERIES_PER_THREAD)
        if self._pool is None or threads < 2:
            return search_part(queries)
        try:
            parts = self._pool.map(search_part, np.array_split(queries, threads))
        except RuntimeError as error:
            if "after" not in str(error):  # "cannot schedule new futures after shutdown"
                raise
            raise StoreClosed("the store was closed while a search began; open it again") from None
        return joined(list(parts))

    # -- inside -----------------------------------------------------------------------------------------------

    def _refuse_readonly(self) -> None:
        if self._readonly:
            raise ReadOnlyError("the store was opened with mode='r'; open it with mode='w' to write")

    def _delta_rows(self) -> int:
        with self._environment.read() as transaction:
            return self._store.head(transaction).next_sequence - self._store.manifest(transaction).sealed

    def _count_unsealed(self, rows: int) -> None:
        """Ask for a seal once enough rows were written since the last time."""
        with self._unsealed_lock:
            self._unsealed += rows
            if self._background is None or self._unsealed < self._settings.seal_rows:
                return
            self._unsealed = 0
        self._background.seal(self.maintenance)


def checked_scheme(chosen: Scheme, dim: int, metric: Metric) -> Scheme:
    """Give ``chosen``, if vectors of a collection can be encoded with it.

    Raises
    ------
    InvalidArgumentError
        It is learned in training, or does not fit the dimensions or the metric.
    """
    if not chosen.capabilities.posthoc:
        raise InvalidArgumentError(
            f"scheme {chosen.name!r} is learned in training and cannot encode a collection; "
            f"use one of {', '.join(name for name in schemes.names() if schemes.get(name).capabilities.posthoc)}",
            field="scheme",
        )
    chosen.check_collection(dim, metric)
    return chosen


@lru_cache(maxsize=256)
def _parsed(where: str, columns: tuple[tuple[str, str], ...]) -> Filter | None:
    """Parse a filter and check it against the columns.

    Only texts are remembered: filters that are equal, as of 1 and True, may not fit the same columns.
    """
    condition = as_filter(where)
    if condition is not None:
        check(condition, schema_of(dict(columns)))
    return condition


def _asked(queries: Any, settings: CollectionConfig) -> F32:
    """Give queries float32[q, dim] as searches want them: unit rows for cosine."""
    if settings.metric is not Metric.COSINE:
        return as_queries(queries, dim=settings.dim)
    query = unit_query(queries, settings.dim)
    return unit_rows(as_queries(queries, dim=settings.dim), name="queries") if query is None else query


def _checked(where: str | Filter | None, view: View) -> Filter | None:
    """Give a filter that fits the columns; what was found of the latest texts is kept."""
    if where is None:
        return None
    columns = view.record.columns
    if isinstance(where, str):
        return _parsed(where, tuple(columns.items()))
    condition = as_filter(where)
    if condition is not None:
        check(condition, schema_of(columns))
    return condition


def _columns(view: View, columns: Sequence[str] | None) -> dict[str, str]:
    """Give the asked metadata columns and their types."""
    known = view.record.columns
    if columns is None:
        return dict(known)
    if isinstance(columns, list | tuple) and not columns:
        return {}
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise InvalidArgumentError(f"columns: expected a list of names, got {columns!r}", field="columns")
    for name in columns:
        if name not in known:
            raise InvalidArgumentError(
                f"columns: there is no column {name!r}; there are: {', '.join(known) or 'none'}", field="columns"
            )
    return {name: known[name] for name in columns}


def _segment_stats(view: SourceView) -> dict[str, Any]:
    segment = view.source
    if not isinstance(segment, Segment):
        raise TypeError("only sealed segments have figures")
    description = segment.description
    return {
        "segment": segment.name,
        "rows": description.rows,
        "deleted": description.rows - view.live.count,
        "scheme": description.scheme["scheme"],
        "refine": description.refine["scheme"] if description.refine else None,
        "graph": description.graph is not None,
        "calibration": description.calibration,
        "bytes": dict(description.bytes),
    }


def _scan(
    view: View, where: Filter | None, columns: dict[str, str], *, batch_size: int, vectors: bool
) -> Iterator[pa.RecordBatch]:
    for source in view.sources:
        rows = source.rows(where).rows
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            data = {"id": delta.ids_to_arrow(source.source.ids(part))}
            if vectors:
                data["vector"] = delta.vectors_to_arrow(source.source.lookup(part))
            metadata = source.source.metadata(part, columns).combine_chunks() if columns else pa.table({})
            data.update({name: metadata.column(name).combine_chunks() for name in columns})
            yield pa.RecordBatch.from_pydict(data)
