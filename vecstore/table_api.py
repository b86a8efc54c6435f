"""What an embedding table is, embedded and remote alike; part of :mod:`vecstore.api`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from vecstore.errors import InvalidArgumentError
from vecstore.types import F32, Hits, Metric, as_name

__all__ = ["KEEP_VERSIONS", "MAX_KEEP", "OnUnknown", "Table", "TableStats", "TableVersion", "as_field", "as_lookups"]

#: Versions of a table that are kept when the caller does not say, and at most.
KEEP_VERSIONS = 3
MAX_KEEP = 1_000
#: What a look-up does about ids past the end of a field.
OnUnknown: TypeAlias = Literal["error", "hash"]


@dataclass(frozen=True, slots=True)
class TableVersion:
    """One version of a table.

    Attributes
    ----------
    number : int
        Counts from 1; never given twice.
    created : str
        When it was stored: ISO 8601, UTC.
    nbytes : int
        Bytes of its arrays.
    current : bool
        Whether it is the one that is served.
    """

    number: int
    created: str
    nbytes: int
    current: bool


@dataclass(frozen=True, slots=True)
class TableStats:
    """Figures of the current version of a table.

    Attributes
    ----------
    version : int
        Its number.
    rows, dim : int
        Ids of all fields, and dimensions.
    nbytes : int
        Bytes of all arrays.
    overhead_bytes : int
        Further bytes on disk: checksums, file structure and description. With ``nbytes`` it is what the files take,
        which is what a budget covers.
    ratio : float
        Bytes of the float32 table over ``nbytes``.
    parts : list of dict
        Per part: ``scheme`` (JSON config), ``fields`` (names), ``rows``, ``bytes`` and ``ratio``.
    """

    version: int
    rows: int
    dim: int
    nbytes: int
    overhead_bytes: int
    ratio: float
    parts: list[dict[str, Any]]


@runtime_checkable
class Table(Protocol):
    """Embedding vectors of the ids of several fields, in compressed form.

    Each call works on the version that is current when it starts, and finishes on it.
    """

    @property
    def name(self) -> str:
        """Name of the table."""
        ...

    @property
    def fields(self) -> dict[str, int]:
        """Number of ids of each field, in order; the ids of a field are 0 to that number less 1."""
        ...

    @property
    def dim(self) -> int:
        """Dimensions of every vector."""
        ...

    def lookup(self, ids: Any, *, field: str | None = None, on_unknown: OnUnknown = "error") -> F32:
        """Give the vectors of ids.

        Parameters
        ----------
        ids : array_like
            int64[n, fields], one column a field in order; with ``field``, int64[n] of that field.
        field : str, optional
            The field of all ids.
        on_unknown : {"error", "hash"}
            What to do about ids past the end of their field: refuse them, or compute their vectors as the scheme does
            for all ids. Schemes that are not computed from ids refuse them in any case; negative ids always are.

        Returns
        -------
        float32[n, fields, dim], or float32[n, dim] with ``field``.

        Raises
        ------
        NotFoundError
            No such field, or an id outside its field.
        InvalidArgumentError
            Other shapes, or not integers.
        """
        ...

    def search(self, queries: Any, k: int = 10, *, field: str | None = None, metric: Metric | str = "ip") -> Hits:
        """Give the k nearest ids of a field for each query, by comparing with all of them on the stored form.

        Parameters
        ----------
        queries : array_like
            float32[q, dim], or one vector [dim].
        k : int
            Hits a query; fewer come back only when the field has fewer ids.
        field : str, optional
            May be left out where the table has one field only.
        metric : {"ip", "l2", "cosine"}
            See :class:`vecstore.types.Metric`. A vector of zeros has the cosine distance 1 to everything.

        Raises
        ------
        NotFoundError
            No such field.
        InvalidArgumentError
            Wrong dim, NaN, k < 1, no field given.
        """
        ...

    def versions(self) -> list[TableVersion]:
        """Give the versions that are kept, oldest first."""
        ...

    def roll_back(self, version: int) -> None:
        """Serve another version that is kept; nothing is removed, so that a later one can be returned to.

        Raises
        ------
        NotFoundError
            It is not kept.
        """
        ...

    def stats(self) -> TableStats:
        """Give bytes by part, ratio and schemes of the current version."""
        ...


class TablesDatabase(Protocol):
    """The part of :class:`vecstore.api.Database` that has to do with tables."""

    def put_table(self, name: str, frozen: Any, *, keep: int = KEEP_VERSIONS) -> Table:
        """Store a compressed table, as a new version where the name is taken, and serve it from now on.

        Parameters
        ----------
        name : str
            As for collections; tables and collections may have the same names.
        frozen : CompressedTable
            What ``layer.freeze()`` or ``scheme.fit(...)`` gave. A table without fields gets one, called ``row``.
        keep : int
            Versions to keep, this one included; older ones are removed.

        Raises
        ------
        InvalidArgumentError
            Not a compressed table, or one that cannot be stored; nothing was written.
        """
        ...

    def table(self, name: str) -> Table:
        """Give an existing table.

        Raises
        ------
        NotFoundError
            There is none of that name.
        """
        ...

    def list_tables(self) -> list[str]:
        """Give the names, sorted."""
        ...

    def drop_table(self, name: str) -> None:
        """Delete a table with all its versions.

        Raises
        ------
        NotFoundError
            There is none of that name.
        """
        ...

    def lookup_many(
        self, requests: Sequence[tuple[str, str | None, Any]], *, on_unknown: OnUnknown = "error"
    ) -> list[F32]:
        """Look up in several tables and fields at once (one round trip to a server).

        Parameters
        ----------
        requests : sequence of (table, field, ids)
            As for :meth:`Table.lookup`; ``field`` is None for all fields.
        on_unknown : {"error", "hash"}
            For all of them.

        Returns
        -------
        list of float32
            What each look-up gives. All requests of one table are answered from one version of it.
        """
        ...


def as_field(field: Any) -> str | None:
    """Give the name of a field, or None.

    Raises
    ------
    InvalidArgumentError
        Neither.
    """
    if field is not None and not isinstance(field, str):
        raise InvalidArgumentError(f"field: expected the name of a field, got {field!r}", field="field")
    return field


def as_lookups(requests: Any) -> list[tuple[str, str | None, Any]]:
    """Give (table, field, ids) of each request, names checked.

    Raises
    ------
    InvalidArgumentError
        One is none.
    """
    if not isinstance(requests, Sequence) or any(not isinstance(one, tuple) or len(one) != 3 for one in requests):
        raise InvalidArgumentError(
            "requests: expected a list of (table, field, ids), with None for all fields", field="requests"
        )
    return [(as_name(table), as_field(field), ids) for table, field, ids in requests]
