"""The real data sets that the measurements use; they are not part of the repository.

The folder is named by ``--data`` or by the environment variable ``VECSTORE_DATA``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vecstore.errors import NotFoundError
from vecstore.types import F32, I64, IdArray, Metric


@dataclass(frozen=True, slots=True)
class DataSet:
    """Vectors, queries and exact neighbours.

    Attributes
    ----------
    base : float32[n, d]
        What is stored.
    queries : float32[q, d]
        What is asked.
    neighbours : int64[q, 100]
        Rows of ``base``, nearest first.
    """

    name: str
    metric: Metric
    base: F32
    queries: F32
    neighbours: I64


def data_folder(given: str | None = None) -> Path:
    """Give the folder of the data sets.

    Raises
    ------
    NotFoundError
        It is not there.
    """
    folder = Path(given or os.environ.get("VECSTORE_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not folder.is_dir():
        raise NotFoundError(f"{folder}: no data sets there; pass --data FOLDER or set VECSTORE_DATA", field="data")
    return folder


def load(name: str, folder: Path) -> DataSet:
    """Load ``mlanthology``, ``glove100`` or ``mnist784``.

    Raises
    ------
    NotFoundError
        The data set is not in the folder.
    """
    path = folder / name
    if not path.is_dir():
        raise NotFoundError(f"{path}: no such data set", field="data")
    with np.load(path / "vectors.npz", allow_pickle=False) as arrays:
        base = arrays["base"].astype(np.float32)
        queries = arrays["queries"].astype(np.float32) if "queries" in arrays else None
    if queries is None:
        with np.load(path / "queries.npz", allow_pickle=False) as arrays:
            queries = arrays["queries"].astype(np.float32)
    truth = next(path.glob("groundtruth_[!f]*.npz"))
    metric = Metric(truth.stem.removeprefix("groundtruth_"))
    with np.load(truth, allow_pickle=False) as arrays:
        neighbours = arrays["neighbors"].astype(np.int64)
    return DataSet(name, metric, base, queries, neighbours)


def recall(found: IdArray, neighbours: I64, k: int) -> float:
    """Give the share of the true k nearest that are among the first k found, over all queries."""
    hits = (found[:, :k, None] == neighbours[:, None, :k]).any(axis=1)
    return float(hits.mean())
