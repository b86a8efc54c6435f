"""What a database, a collection and a table are, embedded and remote alike.

``vecstore.open`` and ``vecstore.connect`` both give a :class:`Database`. Code written against these
protocols runs unchanged on either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, runtime_checkable

from vecstore.config import CollectionConfig, HnswConfig
from vecstore.errors import InvalidArgumentError
from vecstore.table_api import KEEP_VERSIONS, OnUnknown, Table, TablesDatabase, TableStats, TableVersion
from vecstore.types import Hits, Metadata, Metric, Point

if TYPE_CHECKING:
    from types import TracebackType

    import pyarrow as pa

    from vecstore.filters import Filter

__all__ = [
    "KEEP_VERSIONS",
    "MAX_EF",
    "MAX_K",
    "MAX_SCAN_BATCH",
    "SCAN_BATCH",
    "Collection",
    "CollectionStats",
    "CompressReport",
    "Database",
    "Funnel",
    "OnUnknown",
    "Table",
    "TableStats",
    "TableVersion",
    "as_batches",
]

#: Rows in one batch of ``scan`` when the caller does not say.
SCAN_BATCH = 1_000
#: Largest k and ef of a search; a server may have a smaller k.
MAX_K = 10_000
MAX_EF = 100_000
#: Largest batch of a scan, in rows.
MAX_SCAN_BATCH = 1 << 30

#: Stages of a funnel search: dimensions, or dimensions and the rows that go on; see :meth:`Collection.search`.
Funnel: TypeAlias = Sequence[int] | Mapping[int, int | None]


@dataclass(frozen=True, slots=True)
class CollectionStats:
    """Figures of one collection.

    Attributes
    ----------
    rows : int
        Live rows.
    delta_rows : int
        Rows not yet sealed (deleted ones included until they are dropped).
    deleted_rows : int
        Rows in sealed segments that are deleted but not yet purged.
    segments : list of dict
        Per segment: ``segment`` (uuid), ``rows``, ``deleted``, ``scheme``, ``refine``, ``graph`` (bool),
        ``calibration`` (recall by effort as measured, as a dict of :class:`vecstore.calibration.Calibration`, or None)
        and ``bytes`` (part -> bytes on disk: ``codes``, ``refine``, ``graph``, ``ids``, ``metadata``, ``overhead``).
    bytes_per_vector : dict of str to float
        Bytes on disk a sealed row, by part, over all segments.
    generation : int
        Number of the current manifest.
    id_type : {"int64", "string", ""}
        Type of the ids; empty before the first write.
    columns : dict of str to str
        Metadata columns and their types.
    """

    rows: int
    delta_rows: int
    deleted_rows: int
    segments: list[dict[str, Any]]
    bytes_per_vector: dict[str, float]
    generation: int
    id_type: str
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompressReport:
    """What ``compress`` did.

    Attributes
    ----------
    rows : int
        Rows encoded again.
    bytes_before, bytes_after : int
        Bytes of codes, shared arrays and refine copies on disk.
    relative_error : float
        Sum of squared differences to the rows before, over their sum of squares, on a fixed sample.
    seconds : float
        Wall time.
    cosine : float or None
        Mean cosine of the angle between a row before and after, over rows that are not 0, on the same sample; None from
        a server that is too old to say.
    """

    rows: int
    bytes_before: int
    bytes_after: int
    relative_error: float
    seconds: float
    cosine: float | None = None


@runtime_checkable
class Collection(Protocol):
    """Rows of (id, vector, metadata), searched by nearness and filtered by metadata."""

    @property
    def name(self) -> str:
        """Name of the collection."""
        ...

    @property
    def config(self) -> CollectionConfig:
        """Dimensions, metric, scheme and index settings as they are now."""
        ...

    def insert(self, ids: Any, vectors: Any, metadata: Metadata | None = None) -> int:
        """Add rows whose ids must be new; give their number. All or nothing, durable on return.

        Parameters
        ----------
        ids : int64[n] or sequence of str
            Unique within the batch; one type for the whole collection.
        vectors : array_like
            float32[n, dim]; float16, float64, integers and lists are converted. Cosine collections store
            unit vectors.
        metadata : dict of columns, list of dicts, pyarrow.Table or RecordBatch, optional
            n values a column. Missing columns are null.

        Raises
        ------
        InvalidArgumentError
            Wrong shapes, types, NaN, duplicate ids. Nothing was written.
        AlreadyExistsError
            An id exists. Nothing was written.
        """
        ...

    def upsert(self, ids: Any, vectors: Any, metadata: Metadata | None = None) -> int:
        """Add rows, replacing those whose ids exist; give their number. All or nothing, durable on return.

        A row is replaced whole: its vector and all its metadata, so columns that are not passed become null.
        Takes and raises what :meth:`insert` does, except that ids may exist.
        """
        ...

    def insert_many(
        self,
        batches: Iterable[tuple[Any, Any, Metadata | None]],
        *,
        upsert: bool = True,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Write a stream of batches (ids, vectors, metadata), each as :meth:`upsert` would; give the rows written.

        Each batch is durable before the next is taken (a server takes chunks of a large batch one by one,
        each whole). After an error, also one that ``batches`` itself raises, the batches before it stay; a note
        on the exception says how many rows they hold.

        Parameters
        ----------
        batches : iterable of (ids, vectors, metadata)
            Read as fast as they are stored; metadata may be None.
        upsert : bool
            Replace rows whose ids exist, instead of refusing them.
        on_progress : callable, optional
            Called with the number of rows that are durable so far.
        """
        ...

    def get(self, ids: Any, *, columns: Sequence[str] | None = None, vectors: bool = True) -> list[Point | None]:
        """Give the points of ``ids`` in order, None for ids that do not exist.

        ``columns`` are the metadata columns to read: None for all, an empty list for none.
        """
        ...

    def delete(self, *, ids: Any = None, where: str | Filter | None = None) -> int:
        """Delete by ids or by filter (exactly one of them); give the number of rows that existed."""
        ...

    def count(self, where: str | Filter | None = None) -> int:
        """Give the number of rows, or of those that match."""
        ...

    def scan(
        self,
        *,
        where: str | Filter | None = None,
        batch_size: int = SCAN_BATCH,
        columns: Sequence[str] | None = None,
        vectors: bool = True,
    ) -> Iterator[pa.RecordBatch]:
        """Go through all rows in order of writing, as of the moment of the call.

        Batches have the columns ``id``, ``vector`` (fixed-size list of float32; absent with
        ``vectors=False``) and the metadata.
        """
        ...

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
        """Give the k nearest rows of each query.

        Parameters
        ----------
        queries : array_like
            float32[q, dim], or one vector [dim].
        k : int
            Hits a query, at most 10,000; fewer come back only when fewer rows match.
        where : str or Filter, optional
            Only rows that match, e.g. ``"lang = 'de' AND year >= 2015"``.
        ef : int, optional
            Candidates kept by the graph search, at most 100,000; more is slower and finds more. At least k, and where
            rows are left out (a filter, deleted rows) at least 2 k and 24. Default: the index's, and at least that.
        recall : float, optional
            Share of the true ``k`` nearest to find, above 0 and at most 1, instead of ``ef`` or ``exact``: each segment
            goes as far as it was measured to need, on the safe side. What is not measured for that recall (rows that no
            ``optimize`` or merge has seen, recalls that its sample cannot vouch for) is scanned exactly, as with 1.
            True are the nearest on the finest copy stored.
        exact : bool
            Compare with every row, on the finest copy stored.
        funnel : sequence of int, or dict of int to int, optional
            Numbers of first dimensions that ascend, at most 4, such as ``(64, 128)``, for vectors whose first
            dimensions say the most (Matryoshka-trained ones): all rows are compared by the first 64, the best by the
            first 128, the best of those by all, on the finest copy. ``{64: 1000, 128: 200}`` also says how many rows
            each stage leaves; else the last leaves 10 k and at least 100, and each one before 4 times as many as the
            next. Under ``cosine``, first dimensions are compared at length 1. Instead of ``ef``, ``recall``
            or ``exact``. The first such search copies those dimensions into memory, at a byte each.
        columns : sequence of str, optional
            Metadata columns to return: None for all, an empty list for none.

        Raises
        ------
        InvalidArgumentError
            Wrong dim, NaN, k, ef or recall out of range, recall or funnel beside another, unknown column; ``funnel``
            does not ascend below dim.
        FilterError
            The filter cannot be parsed or does not fit the columns.
        LimitError
            A server takes fewer queries or a smaller k in one call.

        Notes
        -----
        Distances are those to the stored form: with a lossy scheme a row is not exactly at distance 0 from the
        vector that was inserted, and a cosine distance may be slightly below 0.
        """
        ...

    def flush(self) -> None:
        """Make all writes durable and seal the delta into a segment; return when done."""
        ...

    def optimize(self) -> None:
        """Merge all segments into one with a fresh graph, dropping deleted rows; return when done."""
        ...

    def compress(
        self,
        scheme: str | dict[str, Any],
        *,
        refine: str | dict[str, Any] | None = None,
        transform: str | None = None,
        queries: Any = None,
        budget: float | int | None = None,
    ) -> CompressReport:
        """Encode all rows again with another scheme, switching at once when all are ready.

        Parameters
        ----------
        scheme : str or dict
            A name (``"int8"``) or a JSON config; with a budget, without what the budget decides. ``"auto"`` as for
            ``create_collection``: from the rows there are, on their finest copy.
        refine : str or dict or None
            Scheme of the finer second copy used to re-rank; None for none.
        transform : str or None
            Transforms in front of the scheme, such as ``"centre|pca:192"``: short for the scheme ``transformed``.
        queries : array_like, optional
            float32[q, dim] of the kind that will be asked, some hundreds: ``pca`` then keeps what loses least of their
            products with the rows, now and in later merges. Worth it where queries are unlike the rows; not for ``l2``.
        budget : float or int or None
            What all rows may take without the refine: a fraction of the float32 rows where it is a float in (0, 1],
            bytes where it is an int. What a segment has beside its rows, such as codebooks, is counted once, as for
            one segment; ``optimize`` first where there are many.

        Raises
        ------
        InvalidArgumentError
            A setting is wrong; nothing has changed.
        BudgetInfeasible
            Not even the smallest form fits; carries the floor in bytes.
        """
        ...

    def stats(self) -> CollectionStats:
        """Give rows, bytes by part and segments."""
        ...


@runtime_checkable
class Database(TablesDatabase, Protocol):
    """A set of collections and tables."""

    def create_collection(
        self,
        name: str,
        *,
        dim: int,
        metric: Metric | str = Metric.COSINE,
        scheme: str | dict[str, Any] = "full",
        refine: str | dict[str, Any] | None = None,
        transform: str | None = None,
        index: HnswConfig | None = ...,
        recall: float | None = None,
        exist_ok: bool = False,
    ) -> Collection:
        """Create a collection.

        Parameters
        ----------
        name : str
            1 to 128 letters, digits, ``_``, ``-`` or ``.``, not starting with ``.``.
        dim : int
            Dimensions of every vector.
        metric : {"cosine", "l2", "ip"}
            See :class:`vecstore.types.Metric`.
        scheme, refine : str or dict
            Scheme of sealed segments, and of their finer second copy: a name (``"int8"``) or a JSON config.
            ``"auto"``, or ``{"scheme": "auto", "target_recall": 0.95, "k": 10, "max_bytes": ...}``, lets
            :func:`vecstore.advise` choose both, and the index and the recall that searches aim for, when a segment of
            at least 1,000 rows is sealed or merged; until then rows are stored as they are.
        transform : str or None
            Transforms in front of the scheme, such as ``"centre|pca:192"``: short for the scheme ``transformed``.
        index : HnswConfig or None
            Graph settings; None for exact search only.
        recall : float or None
            What searches aim for that say neither ``ef`` nor ``recall`` nor ``exact``; see :meth:`Collection.search`.
        exist_ok : bool
            Give the existing collection if it has the same dim and metric. Only these two are compared: scheme,
            refine and index of an existing collection stay as they are (``collection.config`` shows them, and
            ``compress`` changes the first two).

        Raises
        ------
        AlreadyExistsError
            The name is taken; with ``exist_ok``, by a collection of another dim or metric.
        InvalidArgumentError
            A setting is wrong; nothing was created.
        """
        ...

    def collection(self, name: str) -> Collection:
        """Give an existing collection.

        Raises
        ------
        NotFoundError
            There is none of that name.
        """
        ...

    def list_collections(self) -> list[str]:
        """Give the names, sorted."""
        ...

    def drop_collection(self, name: str) -> None:
        """Delete a collection with all its rows.

        Raises
        ------
        NotFoundError
            There is none of that name.
        """
        ...

    def verify(self) -> list[str]:
        """Check every checksum; give one line per problem, an empty list when all is well."""
        ...

    def close(self) -> None:
        """Stop background work and let go of everything; closing twice is fine."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def as_batches(batches: Any) -> Iterator[tuple[Any, Any, Metadata | None]]:
    """Go through the batches of ``insert_many``, making sure that each has its three parts.

    Raises
    ------
    InvalidArgumentError
        Nothing that can be gone through, or a batch that is not (ids, vectors, metadata).
    """
    if not isinstance(batches, Iterable):
        raise InvalidArgumentError(
            f"batches: expected an iterable of (ids, vectors, metadata), got {type(batches).__name__}", field="batches"
        )
    for number, batch in enumerate(batches):
        if not isinstance(batch, tuple | list) or len(batch) != 3:
            given = f"{len(batch)} values" if isinstance(batch, tuple | list) else type(batch).__name__
            raise InvalidArgumentError(
                f"batches: number {number} (counting from 0) is not (ids, vectors, metadata) but {given}; "
                "pass None where there is no metadata",
                field="batches",
            )
        ids, vectors, metadata = batch
        yield ids, vectors, metadata
