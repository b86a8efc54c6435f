"""The public click logs as their users download them: Criteo's two, and Avazu.

Preprocessing and splits are those of Zhang et al., VLDB 2024: every value of a categorical column is an id, counts x
become log(1 + x), the last day is halved into test (first) and validation (second), and all before it is for training.
What differs is what may be known: vocabularies are of the training rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from vecstore.errors import FormatError
from vecstore_bench.click_csv import (
    Delimited,
    dense_counts,
    first_line,
    hex_keys,
    integer_keys,
    labels_of,
    whole_numbers,
)
from vecstore_bench.click_streams import Block, ClickStream, Spans

__all__ = ["Avazu", "Criteo", "public_stream"]

_AVAZU_FILES = ("train.csv", "train.gz", "train.csv.gz", "train")


def public_stream(path: Path) -> ClickStream | None:
    """Give the stream of a file or folder of one of the logs; None where it is something else.

    Folders: ``train.txt`` (Criteo Kaggle, 2014), ``day_0`` to ``day_23``, perhaps ``.gz`` (Criteo Terabyte), or
    ``train.csv``, ``train.gz`` or ``train`` (Avazu, 2014). A file is known by its first line.
    """
    if path.is_file():
        line = first_line(path)
        if line == ",".join(Avazu.columns):
            return Avazu(path)
        return Criteo([path]) if len(line.split("\t")) == len(Criteo.columns) else None
    if (path / "train.txt").is_file():
        return Criteo([path / "train.txt"])
    if days := [file for file in path.glob("day_*") if file.name.removesuffix(".gz")[4:].isdigit()]:
        return Criteo(sorted(days, key=lambda file: int(file.name.removesuffix(".gz")[4:])))
    found = [path / name for name in _AVAZU_FILES if (path / name).is_file()]
    return public_stream(found[0]) if found else None


class Criteo(ClickStream):
    """Lines of a label, 13 counts and 26 categories, separated by tabs, in order of time.

    Parameters
    ----------
    paths : sequence of Path
        One file is the Kaggle log of seven days, whose parts of equal size stand for days. Several are the Terabyte
        log's days, in order.
    """

    columns: ClassVar[dict[str, pa.DataType]] = {
        "label": pa.int8(),
        **{f"I{number}": pa.int64() for number in range(1, 14)},
        **{f"C{number}": pa.string() for number in range(1, 27)},
    }
    fields = tuple(name for name in columns if name.startswith("C"))
    n_dense = 13

    def __init__(self, paths: Sequence[Path]) -> None:
        self.name = "criteo" if len(paths) == 1 else "criteo-tb"
        self._files = [Delimited(path, self.columns, "\t", header=False) for path in paths]

    def spans(self) -> Spans:
        """Give the days before the last, and the halves of the last."""
        sizes = [sum(batch.num_rows for _, batch in file.batches(["label"])) for file in self._files]
        if len(sizes) == 1:
            ends = [sizes[0] * day // 7 for day in range(8)]
            sizes = [stop - start for start, stop in pairwise(ends)]
        return _last_day_halved(list(accumulate(sizes)))

    def blocks(self) -> Iterator[Block]:
        """Give all rows in order."""
        for file in self._files:
            for line, batch in file.batches(list(self.columns)):
                keys = [hex_keys(batch[name], name, file.path, line) for name in self.fields]
                dense = [dense_counts(batch[f"I{number}"]) for number in range(1, 14)]
                labels = labels_of(batch["label"], file.path, line)
                yield Block(labels, np.stack(keys, axis=1), np.stack(dense, axis=1))


class Avazu(ClickStream):
    """Lines with a heading, separated by commas, in order of time.

    The column ``id`` is left out. ``hour`` is the hour of the day: dates do not come again, so their ids would be those
    of nothing but the training days.

    Parameters
    ----------
    path : Path
    """

    _hexadecimal: ClassVar[tuple[str, ...]] = (
        *("site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"),
        *("device_id", "device_ip", "device_model"),
    )
    columns: ClassVar[dict[str, pa.DataType]] = {
        "id": pa.string(),
        "click": pa.int8(),
        **dict.fromkeys(("hour", "C1", "banner_pos"), pa.int64()),
        **dict.fromkeys(_hexadecimal, pa.string()),
        **dict.fromkeys(("device_type", "device_conn_type", *(f"C{number}" for number in range(14, 22))), pa.int64()),
    }
    fields = tuple(columns)[2:]
    n_dense = 0
    name = "avazu"

    def __init__(self, path: Path) -> None:
        self._file = Delimited(path, self.columns, ",", header=True)

    def spans(self) -> Spans:
        """Give the days before the last, and the halves of the last.

        Raises
        ------
        FormatError
            The rows are not in order of days.
        """
        ends: dict[int, int] = {}
        for line, batch in self._file.batches(["hour"]):
            days = whole_numbers(batch["hour"], "hour", self._file.path, line) // 100
            falls = np.flatnonzero(np.diff(days, prepend=max(ends, default=0)) < 0)
            if len(falls):
                raise FormatError(f"{self._file.path}: line {line + falls[0]}, column hour: days are not in order")
            found, counts = np.unique(days, return_counts=True)
            for day, count in zip(found.tolist(), counts.tolist(), strict=True):
                ends[day] = ends.get(day, max(ends.values(), default=0)) + count
        return _last_day_halved(list(ends.values()))

    def blocks(self) -> Iterator[Block]:
        """Give all rows in order."""
        for line, batch in self._file.batches(["click", *self.fields]):
            keys = [
                hex_keys(batch[name], name, self._file.path, line)
                if name in self._hexadecimal
                else integer_keys(batch[name])
                for name in self.fields
            ]
            matrix = np.stack(keys, axis=1)
            hour = self.fields.index("hour")
            matrix[:, hour] = 1 + whole_numbers(batch["hour"], "hour", self._file.path, line) % 100
            labels = labels_of(batch["click"], self._file.path, line)
            yield Block(labels, matrix, np.empty((len(labels), 0), np.float32))


def _last_day_halved(ends: list[int]) -> Spans:
    """Give the splits of rows whose days end at ``ends``.

    Raises
    ------
    FormatError
        There are fewer than two days, or the last has fewer than two rows.
    """
    if len(ends) < 2 or ends[-1] - ends[-2] < 2:
        raise FormatError(f"expected two days or more, and rows of the last, found days that end at rows {ends}")
    middle = (ends[-2] + ends[-1]) // 2
    return {"train": (0, ends[-2]), "valid": (middle, ends[-1]), "test": (ends[-2], middle)}
