"""The real data sets that the measurements use; they are not part of the repository.

A data set is a folder. ``vectors.npz`` has ``base`` (or ``corpus``) and perhaps ``queries``, which may be in
``queries.npz`` too. Beside it is ``groundtruth_<metric>.npz`` with ``neighbors``, or there are judgements of texts:
``corpus.parquet`` (``doc_id``), ``queries.parquet`` (``query_id``) and ``qrels.parquet`` (``query_id``, ``doc_id``,
perhaps ``relevance``); of these, the ``split`` named ``test`` where there is one. There may be ``filters.json`` (name
-> ``expression``) over columns of ``meta.parquet``, with the nearest rows that pass in ``groundtruth_filtered.npz``.

The folder of all data sets is named by an option, or by the environment variable ``VECSTORE_DATA``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vecstore.errors import FormatError, NotFoundError
from vecstore.kernels.lengths import unit_rows
from vecstore.types import F32, I64, Metric

__all__ = ["DataSet", "Filtered", "Relevant", "data_folder", "exact_neighbours", "folder_of", "load", "prepared"]

#: Rows that answer each query.
Relevant = tuple[frozenset[int], ...]

#: Neighbours a query, where they are computed.
NEIGHBOURS = 100
#: Distances computed at a time.
_BLOCK_CELLS = 1 << 24


@dataclass(frozen=True, slots=True)
class Filtered:
    """A filter, and the nearest rows int64[q, m] that pass it."""

    where: str
    neighbours: I64


@dataclass(frozen=True, slots=True)
class DataSet:
    """Vectors, queries, and what they should find.

    Attributes
    ----------
    base : float32[n, d]
        What is stored.
    queries : float32[q, d]
        What is asked.
    neighbours : int64[q, m]
        Rows of ``base``, nearest first; none (m = 0) where the folder has none.
    relevant : Relevant or None
        Rows that judges called relevant to each query; None where there are no judgements.
    metadata : pyarrow.Table or None
        The columns of all rows that the filters name.
    filters : mapping of str to Filtered
        By name.
    """

    name: str
    metric: Metric
    base: F32
    queries: F32
    neighbours: I64
    relevant: Relevant | None = None
    metadata: pa.Table | None = None
    filters: Mapping[str, Filtered] = field(default_factory=dict)


def data_folder(given: str | None = None) -> Path:
    """Give the folder of the data sets.

    Raises
    ------
    NotFoundError
        It is not there.
    """
    folder = Path(given or os.environ.get("VECSTORE_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no data sets there; pass their folder or set VECSTORE_DATA", field="folder")
    return folder


def folder_of(data: str, folder: str | None = None) -> Path:
    """Give the folder of a data set: a path, or a name in the folder of the data sets.

    Raises
    ------
    NotFoundError
        There is none.
    """
    path = Path(data) if (Path(data) / "vectors.npz").is_file() else data_folder(folder) / data
    if not (path / "vectors.npz").is_file():
        raise NotFoundError(f"{path}: no such data set; expected a folder with vectors.npz", field="data")
    return path


def load(name: str, folder: Path) -> DataSet:
    """Load the data set ``folder/name`` as it is stored.

    Raises
    ------
    NotFoundError
        The data set is not in the folder.
    FormatError
        It has neither neighbours nor judgements, or arrays are missing.
    """
    path = folder / name
    if not path.is_dir():
        raise NotFoundError(f"{path}: no such data set", field="data")
    arrays = _arrays(path / "vectors.npz") | (_arrays(path / "queries.npz") if (path / "queries.npz").exists() else {})
    base, queries = arrays.get("base", arrays.get("corpus")), arrays.get("queries")
    if base is None or queries is None:
        raise FormatError(f"{path}: expected arrays 'base' or 'corpus', and 'queries', in vectors.npz", field="data")
    none = np.empty((len(queries), 0), np.int64)
    truth = next(path.glob("groundtruth_[!f]*.npz"), None)
    if truth is not None:
        metric = Metric(truth.stem.removeprefix("groundtruth_"))
        metadata, filters = _filters(path)
        neighbours = _arrays(truth, np.int64)["neighbors"]
        return DataSet(name, metric, base, queries, neighbours, None, metadata, filters)
    if not (path / "qrels.parquet").is_file():
        raise FormatError(f"{path}: expected groundtruth_<metric>.npz or qrels.parquet", field="data")
    asked, relevant = _judgements(path)
    return DataSet(name, Metric.COSINE, base, queries[asked], none[asked], relevant)


def prepared(data: DataSet, *, rows: int | None = None, queries: int | None = None) -> DataSet:
    """Give a data set ready to be searched: at unit length for cosine, with neighbours, cut to its first rows.

    Parameters
    ----------
    data : DataSet
    rows, queries : int, optional
        How many are kept; all where None. Judgements and filters are of all rows, and are left out where rows are.
    """
    whole = rows is None or rows >= len(data.base)
    base, asked = data.base[:rows], data.queries[:queries]
    if data.metric is Metric.COSINE:
        base, asked = unit_rows(base), unit_rows(asked)
    relevant = data.relevant[:queries] if data.relevant is not None and whole else None
    neighbours = data.neighbours[:queries]
    if not whole or neighbours.shape[1] < NEIGHBOURS:
        neighbours = exact_neighbours(base, asked, data.metric, NEIGHBOURS)
    filters = {name: replace(one, neighbours=one.neighbours[:queries]) for name, one in data.filters.items() if whole}
    metadata = data.metadata if whole else None
    return replace(
        data, base=base, queries=asked, neighbours=neighbours, relevant=relevant, metadata=metadata, filters=filters
    )


def exact_neighbours(base: F32, queries: F32, metric: Metric, k: int) -> I64:
    """Give the k nearest rows int64[q, k] of unit rows for cosine, in float32, the lower row first among equals."""
    k = min(k, len(base))
    lengths = np.einsum("nd,nd->n", base, base) if metric is Metric.L2 else np.zeros(len(base), np.float32)
    step = max(1, _BLOCK_CELLS // len(base))
    found = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        # The length of the query changes nothing in the order.
        distances = lengths - (2 if metric is Metric.L2 else 1) * (part @ base.T)
        near = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(np.take_along_axis(distances, near, 1), axis=1, kind="stable")
        found[start : start + step] = np.take_along_axis(near, order, 1)
    return found


def _arrays(path: Path, kind: type[np.float32] | type[np.int64] = np.float32) -> dict[str, Any]:
    """Give the matrices of a file."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(kind) for name in arrays.files if arrays[name].ndim == 2}


def _filters(path: Path) -> tuple[pa.Table | None, dict[str, Filtered]]:
    """Give the columns that filters name, and the filters."""
    if not (path / "filters.json").is_file():
        return None, {}
    described = json.loads((path / "filters.json").read_text(encoding="utf-8"))
    truth = _arrays(path / "groundtruth_filtered.npz", np.int64)
    found = {name: Filtered(one["expression"].replace("==", "="), truth[name]) for name, one in described.items()}
    named = pq.read_schema(path / "meta.parquet").names
    used = [column for column in named if any(column in one.where for one in found.values())]
    return pq.read_table(path / "meta.parquet", columns=used), found


def _judgements(path: Path) -> tuple[list[int], Relevant]:
    """Give the numbers of the queries that are judged, and the rows that are relevant to each."""
    documents = pq.read_table(path / "corpus.parquet", columns=["doc_id"]).column("doc_id").to_pylist()
    rows = {document: row for row, document in enumerate(documents)}
    numbers = {line["query_id"]: number for number, line in _lines(path / "queries.parquet")}
    found: dict[int, set[int]] = {}
    for _, line in _lines(path / "qrels.parquet"):
        if line.get("relevance", 1) > 0 and line["query_id"] in numbers:
            found.setdefault(numbers[line["query_id"]], set()).add(rows[line["doc_id"]])
    asked = sorted(found)
    return asked, tuple(frozenset(found[number]) for number in asked)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the lines of a table with their numbers; of its split ``test`` only, where it has one."""
    lines = pq.read_table(path).to_pylist()
    test = any(line.get("split") == "test" for line in lines)
    return ((number, line) for number, line in enumerate(lines) if not test or line["split"] == "test")
