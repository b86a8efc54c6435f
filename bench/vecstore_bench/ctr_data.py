"""Click data for training: ids, dense features and labels in three splits; what is learned of them is of train only.

Vocabularies are of the values that occur in train: id 0 is a missing or unseen value, the others count from 1 in the
order of the values. Dense features are normalised with the mean and standard deviation of train; missing ones become
the mean, and features that are missing somewhere in train get a 0/1 column that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vecstore.errors import FormatError, InvalidArgumentError, NotFoundError
from vecstore.types import F32, I64
from vecstore_bench.data_sets import data_folder
from vecstore_bench.synthetic import Split, SyntheticClicks

__all__ = ["ClickData", "Rows", "load_clicks", "load_movielens", "load_parquet", "synthetic"]

_SPLITS: tuple[Split, ...] = get_args(Split)


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


def load_clicks(data: str, folder: str | None = None) -> ClickData:
    """Load a data set by what names it.

    Parameters
    ----------
    data : str
        ``synthetic`` or ``synthetic:ROWS``; a parquet file (see :func:`load_parquet`); a folder with such a file or
        with the files of MovieLens-1M (see :func:`load_movielens`); or the name of such a folder in ``folder``.
    folder : str, optional
        Where the data sets are; see :func:`vecstore_bench.data_sets.data_folder`.

    Raises
    ------
    NotFoundError
        It is not there.
    FormatError
        It is there, and is none of these.
    """
    if data.split(":")[0] == "synthetic":
        return synthetic(int(data.partition(":")[2] or 200_000))
    path = Path(data) if Path(data).exists() else data_folder(folder) / data
    if path.is_file():
        return load_parquet(path)
    if not path.is_dir():
        raise NotFoundError(f"{path}: no such data set", field="data")
    if (path / "ratings.dat").exists():
        return load_movielens(path)
    files = sorted(path.glob("*.parquet"))
    if len(files) != 1:
        raise FormatError(f"{path}: expected one .parquet file or ratings.dat, found {len(files)} parquet files")
    return load_parquet(files[0])


def synthetic(rows: int, *, seed: int = 0) -> ClickData:
    """Make planted clicks of five fields with 31,124 ids."""
    sizes = {"user": 20_000, "item": 10_000, "site": 1_000, "category": 100, "hour": 24}
    clicks = SyntheticClicks(sizes=sizes, rows=rows, seed=seed, interactions=(("user", "category"),))
    splits = {}
    for split in _SPLITS:
        own = clicks.all(split)
        splits[split] = Rows(own.ids.astype(np.int32), own.dense, own.labels)
    return ClickData(f"synthetic:{rows}", sizes, splits)


def load_parquet(path: Path) -> ClickData:
    """Load a file with the columns ``label`` (0 or 1), ``c_*`` (any values), ``d_*`` (numbers) and ``split``.

    Raises
    ------
    FormatError
        A column is missing, or has other values.
    """
    table = pq.read_table(path)
    if missing := {"label", "split"} - set(table.column_names):
        raise FormatError(f"{path}: there is no column {', '.join(sorted(missing))}")
    splits = table["split"].cast(pa.string()).to_numpy()
    if unknown := set(splits) - set(_SPLITS):
        raise FormatError(f"{path}: split: expected {', '.join(_SPLITS)}, found {sorted(map(str, unknown))}")
    return _click_data(path.stem, table, splits, str(path))


#: Columns of ratings.dat and users.dat, which have no headings.
_RATINGS = ("user_id", "movie_id", "rating", "time")
_USERS = ("user_id", "gender", "age", "occupation", "zip_code")
#: Which of ten rows are for what.
_TENTHS: tuple[Split, ...] = ("train",) * 8 + ("valid", "test")


def load_movielens(folder: Path, *, seed: int = 0) -> ClickData:
    """Load MovieLens-1M as its users download it: ``ratings.dat`` and ``users.dat``.

    Ratings of 1 and 2 are negative, 4 and 5 positive, and 3s are left out. The six fields are user, movie, gender, age,
    occupation and zip code. The rows are split at random, 80/10/10.

    Parameters
    ----------
    folder : Path
    seed : int
        Of the random split.

    Raises
    ------
    NotFoundError
        A file is missing.
    FormatError
        A file has other columns.

    References
    ----------
    Coleman et al., "Unified Embedding: Battle-Tested Feature Representations for Web-Scale ML Systems", NeurIPS 2023,
    for the rule of the labels and the fields.
    """
    ratings = _separated(folder / "ratings.dat", _RATINGS)
    rating = ratings["rating"].cast(pa.int64())
    told = pc.not_equal(rating, 3)
    ratings = ratings.filter(told).append_column("label", pc.greater(rating.filter(told), 3).cast(pa.float32()))
    users = _separated(folder / "users.dat", _USERS)
    # A join may change the order of rows, on which the split depends.
    place = pc.index_in(ratings["user_id"], users["user_id"].combine_chunks())
    columns = {name: ratings[name] for name in ("user_id", "movie_id")}
    columns |= {name: users[name].take(place) for name in _USERS[1:]}
    table = pa.table({"label": ratings["label"], **{f"c_{name}": column for name, column in columns.items()}})
    drawn = np.random.default_rng(seed).permutation(len(table)) * len(_TENTHS) // max(len(table), 1)
    return _click_data("ml-1m", table, np.array(_TENTHS, object)[drawn], str(folder))


def _separated(path: Path, names: tuple[str, ...]) -> pa.Table:
    """Read text columns that are separated by ``::``, which no csv reader takes."""
    if not path.is_file():
        raise NotFoundError(f"{path}: not there; unpack ml-1m.zip of grouplens.org/datasets/movielens", field="data")
    lines = path.read_text(encoding="latin-1").splitlines()
    rows = [line.split("::") for line in lines if line]
    if any(len(row) != len(names) for row in rows):
        raise FormatError(f"{path}: expected lines of {len(names)} columns ({'::'.join(names)})")
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(names, columns, strict=True)})


def _click_data(name: str, table: pa.Table, splits: NDArray[np.object_], source: str) -> ClickData:
    """Encode the columns ``label``, ``c_*`` and ``d_*`` of rows with given splits."""
    train = splits == "train"
    fields = [column for column in table.column_names if column.startswith("c_")]
    if not fields or not train.any():
        raise FormatError(f"{source}: expected columns c_* and rows of the split 'train'")
    labels = table["label"].cast(pa.float32()).to_numpy()
    if not np.isin(labels, (0, 1)).all():
        raise FormatError(f"{source}: label: expected 0 and 1, found {np.unique(labels)[:5]}")
    sizes, columns = {}, []
    for column in fields:
        sizes[column.removeprefix("c_")], ids = _encoded(table[column], train)
        columns.append(ids)
    ids = np.stack(columns, axis=1)
    dense = _normalised([column for column in table.column_names if column.startswith("d_")], table, train)
    rows = {split: Rows(ids[splits == split], dense[splits == split], labels[splits == split]) for split in _SPLITS}
    return ClickData(name, sizes, rows)


def _encoded(column: pa.ChunkedArray, train: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Give the number of ids, and the ids int32[n] of a column."""
    vocabulary = pc.unique(column.filter(pa.array(train))).drop_null()
    vocabulary = vocabulary.take(pc.sort_indices(vocabulary))
    places = pc.fill_null(pc.index_in(column, vocabulary), -1)
    return len(vocabulary) + 1, (places.to_numpy() + 1).astype(np.int32)


def _normalised(names: list[str], table: pa.Table, train: NDArray[np.bool_]) -> F32:
    """Give the dense features float32[n, features + indicators]."""
    features, indicators = [], []
    for name in names:
        values = pc.fill_null(table[name].cast(pa.float64()), np.nan).to_numpy()
        missing = ~np.isfinite(values)
        known = values[train & ~missing]
        if not len(known):
            raise InvalidArgumentError(f"{name}: no value in train; leave the column out", field=name)
        # A constant feature becomes 0.
        features.append(np.where(missing, 0, (values - known.mean()) / (known.std() or 1)))
        if missing[train].any():
            indicators.append(missing)
    empty = np.empty((len(table), 0))
    return np.column_stack([empty, *features, *indicators]).astype(np.float32)
