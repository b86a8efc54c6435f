"""Click data in memory, and in files that many processes can map at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vecstore.types import F32, I64
from vecstore_bench.synthetic import Split

__all__ = ["SPLITS", "ClickData", "Rows", "finish_saved", "in_memory", "open_clicks", "save_clicks", "saved_path"]

SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one split.

    Attributes
    ----------
    ids : int32[n, fields]
    dense : float32[n, dense]
    labels : float32[n]
        0 or 1.
    """

    ids: NDArray[np.int32]
    dense: F32
    labels: F32

    def __len__(self) -> int:
        """Give the number of rows."""
        return int(self.labels.size)


@dataclass(frozen=True, slots=True)
class ClickData:
    """A data set in memory.

    Attributes
    ----------
    name : str
    sizes : mapping of str to int
        Field -> number of ids, in the order of the columns of ``ids``.
    splits : mapping of {"train", "valid", "test"} to Rows
    """

    name: str
    sizes: Mapping[str, int]
    splits: Mapping[Split, Rows]

    @property
    def n_dense(self) -> int:
        """Number of dense features, indicators included."""
        return int(self.splits["train"].dense.shape[1])

    def frequency(self) -> dict[str, I64]:
        """Count the ids of the training split: field -> int64[size]."""
        ids = self.splits["train"].ids
        return {
            name: np.bincount(ids[:, column], minlength=size).astype(np.int64)
            for column, (name, size) in enumerate(self.sizes.items())
        }

    def digest(self) -> str:
        """Give a hash of all that a run sees: fields, and the rows of every split."""
        found = hashlib.sha1(json.dumps(dict(self.sizes)).encode(), usedforsecurity=False)
        for split in SPLITS:
            for array in _arrays(self.splits[split]).values():
                found.update(f"{split}{array.dtype}{array.shape}".encode())
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()


def save_clicks(data: ClickData, folder: Path) -> None:
    """Write a data set as one ``.npy`` file an array, and what names it as JSON, which comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in data.splits.items():
        for name, array in _arrays(rows).items():
            np.save(saved_path(folder, split, name), array)
    finish_saved(folder, data.name, data.sizes)


def saved_path(folder: Path, split: Split, name: str) -> Path:
    """Give the file of an array of :class:`Rows` in a folder of :func:`save_clicks`."""
    return folder / f"{split}-{name}.npy"


def finish_saved(folder: Path, name: str, sizes: Mapping[str, int]) -> None:
    """Write what names the data set whose arrays are in a folder: from now on it is there."""
    temporary = folder / "about.tmp"
    temporary.write_text(json.dumps({"name": name, "sizes": dict(sizes)}), encoding="utf-8")
    temporary.replace(folder / "about.json")


def open_clicks(folder: Path, mode: Literal["r", "r+"] = "r") -> ClickData:
    """Give a data set of :func:`save_clicks` without reading it: its arrays are memory maps.

    With the mode ``r+`` what is written into the arrays is written into the files.
    """
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    splits = {
        split: Rows(*(np.load(saved_path(folder, split, field.name), mmap_mode=mode) for field in fields(Rows)))
        for split in SPLITS
    }
    return ClickData(about["name"], about["sizes"], splits)


def in_memory(data: ClickData) -> ClickData:
    """Give a data set whose arrays are no memory maps."""
    splits = {
        split: Rows(np.array(rows.ids), np.array(rows.dense), np.array(rows.labels))
        for split, rows in data.splits.items()
    }
    return ClickData(data.name, data.sizes, splits)


def _arrays(rows: Rows) -> dict[str, NDArray[np.int32] | F32]:
    return {field.name: getattr(rows, field.name) for field in fields(rows)}
