"""Click data of any table with a label and categorical columns: what is learned of the values is of train only.

Vocabularies are of the values that occur in train: id 0 is a missing or unseen value, the others count from 1 in the
order of the values. Dense features are normalised with the mean and standard deviation of train; missing ones become
the mean, and features that are missing somewhere in train get a 0/1 column that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vecstore.errors import FormatError, InvalidArgumentError, NotFoundError
from vecstore.types import F32
from vecstore_bench.click_rows import SPLITS, ClickData, Rows
from vecstore_bench.synthetic import Split

__all__ = ["SUFFIXES", "Columns", "encoded", "load_files", "tenths"]

#: Files that are read.
SUFFIXES = (".parquet", ".csv")
#: Which of ten rows are for what.
_TENTHS: tuple[Split, ...] = ("train",) * 8 + ("valid", "test")
_CATEGORICAL, _DENSE, _SPLIT = "c_", "d_", "split"
_OTHER_NAMES = {"val": "valid", "validation": "valid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Which columns of a table are what.

    Attributes
    ----------
    label : str
        0 or 1, or false and true.
    categorical : tuple of str
        Any values; by default the columns whose names begin with ``c_``.
    dense : tuple of str
        Numbers; by default the columns whose names begin with ``d_``.
    order : str or None
        Rows are put in the order of this column, such as a time, and the first 80 % are for training, 10 % for
        validation and 10 % for testing. Without it a column ``split`` says what is for what, or, where there is none,
        the order of the rows in the file.
    min_count : int
        Values that occur fewer times in the training rows are like missing ones.
    """

    label: str = "label"
    categorical: tuple[str, ...] = ()
    dense: tuple[str, ...] = ()
    order: str | None = None
    min_count: int = 1

    def found_in(self, names: Sequence[str], source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Give the categorical and the dense columns of a table with columns ``names``.

        Raises
        ------
        FormatError
            A column is missing, or no categorical one is known.
        """
        given = (*self.categorical, *self.dense)
        beginning = {start: tuple(n for n in names if n.startswith(start)) for start in (_CATEGORICAL, _DENSE)}
        categorical = self.categorical or tuple(n for n in beginning[_CATEGORICAL] if n not in given)
        dense = self.dense or tuple(n for n in beginning[_DENSE] if n not in given)
        wanted = [self.label, *categorical, *dense, *([self.order] if self.order else [])]
        if missing := [name for name in wanted if name not in names]:
            raise FormatError(
                f"{source}: there is no column {', '.join(missing)}; it has: {', '.join(names)}; "
                "name others by --label, --categorical, --dense and --split-by"
            )
        if not categorical:
            raise FormatError(
                f"{source}: no column begins with {_CATEGORICAL!r}; name the categorical ones (--categorical); it has: "
                f"{', '.join(names)}"
            )
        if twice := {name for name in wanted[:-1] if wanted.count(name) > 1 and name != self.order}:
            raise FormatError(f"{source}: column {', '.join(sorted(twice))} cannot be two things at once")
        return categorical, dense


def load_files(name: str, paths: Sequence[Path], columns: Columns) -> ClickData:
    """Load parquet or CSV files with the same columns, one behind the other.

    Several files that are all called ``train``, ``valid`` or ``test`` are those splits, unless ``columns.order`` is
    given or there is a column ``split``. Where nothing is for validation, the last tenth of the training rows is.

    Raises
    ------
    FormatError
        A file cannot be read, a column is missing or has values of the wrong kind, or a split lacks rows of a label.
    """
    source = str(paths[0] if len(paths) == 1 else paths[0].parent)
    tables = [_read(path, columns) for path in paths]
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise FormatError(f"{source}: the files have different columns ({error})") from None
    categorical, dense = columns.found_in(table.column_names, source)
    owners = [_OTHER_NAMES.get(path.stem, path.stem) for path in paths]
    if columns.order is not None:
        table = table.take(pc.sort_indices(table[columns.order]))
        splits = tenths(np.arange(len(table)))
    elif _SPLIT in table.column_names:
        splits = _named_splits(table[_SPLIT], source)
    elif len(paths) > 1 and set(owners) <= set(SPLITS):
        splits = np.repeat(np.array(owners, object), [len(part) for part in tables])
    else:
        splits = tenths(np.arange(len(table)))
    _spare_validation(splits)
    label = _labels(table[columns.label], f"{source}: {columns.label}")
    kept = table.select([*categorical, *dense])
    return encoded(name, kept, label, splits, n_categorical=len(categorical), min_count=columns.min_count)


def tenths(places: NDArray[np.int64]) -> NDArray[np.object_]:
    """Give the split of each row by its place int64[n] among all: 80/10/10."""
    return np.array(_TENTHS, object)[places * len(_TENTHS) // max(len(places), 1)]


def encoded(
    name: str, table: pa.Table, label: F32, splits: NDArray[np.object_], *, n_categorical: int, min_count: int = 1
) -> ClickData:
    """Encode a table whose first ``n_categorical`` columns are categorical, and the others dense.

    Values that occur fewer than ``min_count`` times in the training rows are like missing ones.

    Raises
    ------
    FormatError
        A column has values of the wrong kind, or a split lacks rows of a label.
    """
    for split in SPLITS:
        if len(np.unique(label[splits == split])) < 2:
            raise FormatError(
                f"{name}: the split {split!r} needs rows of both labels, it has {np.sum(splits == split)}"
            )
    train = splits == "train"
    sizes, ids = {}, np.empty((len(table), n_categorical), np.int32)
    for number, column in enumerate(table.column_names[:n_categorical]):
        sizes[column.removeprefix(_CATEGORICAL)], ids[:, number] = _vocabulary(column, table[column], train, min_count)
    dense = _normalised(table.select(table.column_names[n_categorical:]), train)
    rows = {split: Rows(ids[splits == split], dense[splits == split], label[splits == split]) for split in SPLITS}
    return ClickData(name, sizes, rows)


def _read(path: Path, columns: Columns) -> pa.Table:
    """Read those columns of a file that are wanted; others may have types that cannot be read."""
    try:
        if path.suffix == ".csv":
            table = pyarrow.csv.read_csv(path)
            names = table.column_names
        else:
            names = pq.read_schema(path).names
        wanted = {
            columns.label,
            columns.order,
            _SPLIT,
            *(name for own in columns.found_in(names, str(path)) for name in own),
        }
        kept = [name for name in names if name in wanted]
        return table.select(kept) if path.suffix == ".csv" else pq.read_table(path, columns=kept)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: not there", field="data") from None
    except FormatError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path}: cannot be read ({error})") from None


def _named_splits(column: pa.ChunkedArray, source: str) -> NDArray[np.object_]:
    names = np.array([_OTHER_NAMES.get(name, name) for name in _plain(column).cast(pa.string()).to_pylist()], object)
    if unknown := set(names) - set(SPLITS):
        raise FormatError(f"{source}: split: expected {', '.join(SPLITS)}, found {sorted(map(str, unknown))}")
    return names


def _spare_validation(splits: NDArray[np.object_]) -> None:
    """Mark the last tenth of the training rows for validation, unless some are."""
    training = np.flatnonzero(splits == "train")
    if not (splits == "valid").any():
        splits[training[len(training) * 9 // 10 :]] = "valid"


def _labels(column: pa.ChunkedArray, source: str) -> F32:
    """Give float32[n] of 0 and 1."""
    values = _numbers(column, source).astype(np.float32)
    if not np.isin(values, (0, 1)).all():
        raise FormatError(f"{source}: expected 0 and 1, found {np.unique(values)[:5]}; --label names another column")
    return values


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give the values of a dictionary column; others as they are."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _vocabulary(
    name: str, column: pa.ChunkedArray, train: NDArray[np.bool_], min_count: int
) -> tuple[int, NDArray[np.int32]]:
    """Give the number of ids, and the ids int32[n] of a column; a float that is not a number is a missing value."""
    values = _plain(column)
    if pa.types.is_nested(values.type):
        raise FormatError(f"{name}: {values.type} cannot be categorical")
    if pa.types.is_boolean(values.type) or pa.types.is_null(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.string())
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    counted = pc.value_counts(values.filter(pa.array(train)))
    known = counted.field("values").filter(pc.greater_equal(counted.field("counts"), min_count)).drop_null()
    known = known.take(pc.sort_indices(known))
    places = pc.fill_null(pc.index_in(values, known), -1)
    return len(known) + 1, (places.to_numpy() + 1).astype(np.int32)


def _numbers(column: pa.ChunkedArray, source: str) -> NDArray[np.float64]:
    """Give float64[n], NaN where a value is missing."""
    try:
        values = _plain(column).cast(pa.float64())
    except pa.ArrowException:
        raise FormatError(f"{source}: expected numbers, found {column.type}") from None
    return np.asarray(pc.fill_null(values, np.nan).to_numpy())


def _normalised(table: pa.Table, train: NDArray[np.bool_]) -> F32:
    """Give the dense features float32[n, features + indicators]."""
    features, indicators = [], []
    for name in table.column_names:
        values = _numbers(table[name], name)
        missing = ~np.isfinite(values)
        known = values[train & ~missing]
        if not len(known):
            raise InvalidArgumentError(f"{name}: no value in train; leave the column out", field=name)
        # A constant feature becomes 0.
        features.append(np.where(missing, 0, (values - known.mean()) / (known.std() or 1)))
        if missing[train].any():
            indicators.append(missing)
    empty = np.empty((len(train), 0))
    return np.column_stack([empty, *features, *indicators]).astype(np.float32)
