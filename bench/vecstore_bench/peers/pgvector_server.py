"""pgvector: an HNSW graph in a PostgreSQL server, where one is named in the environment.

``VECSTORE_PGVECTOR`` is a connection string, such as ``postgresql://postgres@localhost/bench``, of a role that may
create the extension and tables. Each data set gets a table, ``vecstore_bench_...``, which stays in the server.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vecstore.schemes.base import TableShape
from vecstore.types import F32, I64, Metric
from vecstore_bench.data_sets import DataSet
from vecstore_bench.peers.base import EF_CONSTRUCTION, WIDTHS, M, Peer, Setting, Unavailable, ladder

__all__ = ["PEERS", "SERVER", "Pgvector"]

#: Environment variable with the connection string.
SERVER = "VECSTORE_PGVECTOR"
_FILE = "pgvector.json"
#: Operator and operator class of a metric; rows have unit length for cosine, so that it is the inner product.
_OPERATORS = {
    Metric.L2: ("<->", "vector_l2_ops"),
    Metric.IP: ("<#>", "vector_ip_ops"),
    Metric.COSINE: ("<#>", "vector_ip_ops"),
}
#: Memory in which a graph is built, which is much slower where it does not fit.
_BUILD_MEMORY = "2GB"


class _Opened:
    def __init__(self, connection: Any, table: str, operator: str) -> None:
        self._connection = connection
        # One statement for any number of queries: each finds its rows by the index.
        self._statement = (
            f"SELECT q.number, near.row FROM unnest(%s::text[]) WITH ORDINALITY AS q(given, number) "
            f"CROSS JOIN LATERAL (SELECT row, vector {operator} q.given::vector AS distance FROM {table} "
            f"ORDER BY distance LIMIT %s) AS near ORDER BY q.number, near.distance"
        )
        connection.execute("SET enable_seqscan = off")

    def use(self, threads: int) -> None:
        """Change nothing: a connection is served by one process of the server."""

    def search(self, queries: F32, k: int, setting: Setting) -> I64:
        self._connection.execute(f"SET hnsw.ef_search = {int(setting['ef'])}")
        found = self._connection.execute(self._statement, ([_literal(query) for query in queries], k)).fetchall()
        rows = np.full((len(queries), k), -1, np.int64)
        numbers, nearest = np.array(found, np.int64).reshape(-1, 2).T
        numbers = numbers - 1
        rows[numbers, np.arange(len(numbers)) - np.searchsorted(numbers, numbers)] = nearest
        return rows

    def close(self) -> None:
        self._connection.close()


class Pgvector(Peer):
    """See the module."""

    name = "pgvector"
    package = "psycopg"
    served = True

    @property
    def version(self) -> str:
        """Give the version of the server's extension.

        Raises
        ------
        Unavailable
            There is no psycopg, no server, or no extension.
        """
        super().version  # noqa: B018  # says whether psycopg is installed
        with _connected() as connection:
            found = connection.execute(
                "SELECT coalesce(installed_version, default_version) FROM pg_available_extensions WHERE name = 'vector'"
            ).fetchone()
        if found is None:
            raise Unavailable(f"the server of {SERVER} has no extension 'vector'")
        return str(found[0])

    def ladders(self, shape: TableShape) -> Sequence[Sequence[Setting]]:  # noqa: ARG002
        """Give values of hnsw.ef_search."""
        return [ladder("ef", WIDTHS)]

    def build(self, data: DataSet, threads: int, folder: Path) -> None:
        """Copy all rows into a new table, and make its index."""
        table = f"vecstore_bench_{zlib.crc32(data.base.tobytes()):08x}_{data.metric}"
        with _connected() as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.execute(f"CREATE TABLE {table} (row integer, vector vector({data.base.shape[1]}))")
            with connection.cursor().copy(f"COPY {table} FROM STDIN") as rows:
                for row, vector in enumerate(data.base):
                    rows.write_row((row, _literal(vector)))
            connection.execute(f"SET maintenance_work_mem = '{_BUILD_MEMORY}'")
            connection.execute(f"SET max_parallel_maintenance_workers = {threads - 1}")
            connection.execute(
                f"CREATE INDEX {table}_hnsw ON {table} USING hnsw (vector {_OPERATORS[data.metric][1]}) "
                f"WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
            )
            connection.execute(f"ANALYZE {table}")
            sizes = connection.execute(
                "SELECT pg_relation_size(%s::regclass), pg_relation_size(%s::regclass), "
                "pg_total_relation_size(%s::regclass)",
                (f"{table}_hnsw", table, table),
            ).fetchone()
        index, rows_bytes, whole = map(int, sizes)
        kept = {"table": table, "memory_bytes": index + rows_bytes, "disk_bytes": whole}
        (folder / _FILE).write_text(json.dumps(kept), encoding="utf-8")

    def open(self, folder: Path, shape: TableShape, metric: Metric) -> _Opened:  # noqa: ARG002
        """Connect to the server that has the table."""
        connection = _connected()
        return _Opened(connection, _kept(folder)["table"], _OPERATORS[metric][0])

    def memory_bytes(self, folder: Path) -> int:
        """Give the bytes of the index, which has copies of the vectors, and of the rows that it points to."""
        return int(_kept(folder)["memory_bytes"])

    def disk_bytes(self, folder: Path) -> int:
        """Give the bytes of the table with all that belongs to it, as the server says."""
        return int(_kept(folder)["disk_bytes"])


def _kept(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return found


def _connected() -> Any:
    """Give a connection whose statements count at once.

    Raises
    ------
    Unavailable
        No server is named, or it does not answer.
    """
    import psycopg

    if not os.environ.get(SERVER):
        raise Unavailable(f"{SERVER} names no server")
    try:
        return psycopg.connect(os.environ[SERVER], autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        raise Unavailable(f"the server of {SERVER} does not answer: {str(error).splitlines()[0]}") from None


def _literal(vector: F32) -> str:
    """Give a vector as the server reads it; nine digits are all of a float32."""
    return "[" + ",".join(f"{value:.9g}" for value in vector.tolist()) + "]"


PEERS = (Pgvector(),)
