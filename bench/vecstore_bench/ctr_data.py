"""The click data sets that the training benchmark knows: planted ones, public ones, and files with columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vecstore.errors import FormatError, InvalidArgumentError, NotFoundError
from vecstore_bench.click_columns import SUFFIXES, Columns, encoded, load_files, tenths
from vecstore_bench.click_public import public_stream
from vecstore_bench.click_rows import SPLITS, ClickData, Rows, in_memory, open_clicks, save_clicks
from vecstore_bench.click_streams import write_stream
from vecstore_bench.click_variants import vary
from vecstore_bench.data_sets import data_folder
from vecstore_bench.synthetic import SyntheticClicks

__all__ = ["PLANTED", "ClickData", "Rows", "load_clicks", "load_movielens", "planted", "prepare_clicks"]

#: Planted data sets: the fields, and those that interact.
PLANTED: Mapping[str, tuple[Mapping[str, int], tuple[str, str]]] = {
    # 31,124 ids.
    "synthetic": (
        {"user": 20_000, "item": 10_000, "site": 1_000, "category": 100, "hour": 24},
        ("user", "category"),
    ),
    # 10,000,000 ids.
    "synthetic-10m": (
        {"user": 7_000_000, "item": 2_900_000, "site": 90_000, "city": 9_000, "category": 976, "hour": 24},
        ("city", "category"),
    ),
}
_PLANTED_ROWS = 200_000


def load_clicks(
    data: str, folder: str | None = None, columns: Columns | None = None, variant: str | None = None
) -> ClickData:
    """Load a data set into memory; the arguments and errors are those of :func:`prepare_clicks`."""
    with TemporaryDirectory() as place:
        into = Path(place) / "data"
        prepare_clicks(into, data, folder, columns, variant)
        return in_memory(open_clicks(into))


def prepare_clicks(
    into: Path, data: str, folder: str | None = None, columns: Columns | None = None, variant: str | None = None
) -> None:
    """Load a data set by what names it, and write it for :func:`~vecstore_bench.click_rows.open_clicks`.

    The public logs of :mod:`vecstore_bench.click_public` are never in memory as a whole. A crash leaves nothing.

    Parameters
    ----------
    into : Path
        A folder that is made.
    data : str
        ``synthetic`` or ``synthetic-10m``, perhaps with ``:ROWS``; a parquet or CSV file (see
        :func:`vecstore_bench.click_columns.load_files`); a folder with such files or with the files of MovieLens-1M
        (see :func:`load_movielens`); a file or folder of Criteo or Avazu (see
        :func:`vecstore_bench.click_public.public_stream`); or the name of such a file or folder in ``folder``.
    folder : str, optional
        Where the data sets are; see :func:`vecstore_bench.data_sets.data_folder`.
    columns : Columns, optional
        What the columns of files are, and which values are too rare.
    variant : str, optional
        See :mod:`vecstore_bench.click_variants`.

    Raises
    ------
    NotFoundError
        It is not there.
    FormatError
        It is there, and is none of these, or is damaged.
    """
    unfinished = into.with_name(f"{into.name}.tmp")
    rmtree(unfinished, ignore_errors=True)
    try:
        _prepare(unfinished, data, folder, columns or Columns())
        if variant is not None:
            vary(unfinished, variant)
        unfinished.rename(into)
    finally:
        rmtree(unfinished, ignore_errors=True)


def _prepare(into: Path, data: str, folder: str | None, columns: Columns) -> None:
    """Write the data set of that name."""
    kind, _, rows = data.partition(":")
    if kind in PLANTED:
        if rows and not rows.isdigit():
            raise InvalidArgumentError(f"data: {data!r}: expected a number of rows behind the colon", field="data")
        save_clicks(planted(kind, int(rows or _PLANTED_ROWS)), into)
    else:
        path = Path(data) if Path(data).exists() else data_folder(folder) / data
        _prepare_files(path, columns, into)


def _prepare_files(path: Path, columns: Columns, into: Path) -> None:
    """Write the data set of a file or folder."""
    if not path.exists():
        raise NotFoundError(
            f"{path}: no such data set; give a file, a folder, a name in the folder of the data sets (--folder, or "
            f"VECSTORE_DATA), or one of {', '.join(PLANTED)}",
            field="data",
        )
    if (stream := public_stream(path)) is not None:
        write_stream(stream, into, min_count=columns.min_count)
    elif (path / "ratings.dat").exists():
        save_clicks(load_movielens(path), into)
    else:
        files = [path] if path.is_file() else _columnar(path)
        save_clicks(load_files(files[0].stem if len(files) == 1 else path.name, files, columns), into)


def _columnar(folder: Path) -> list[Path]:
    """Give the files of the first suffix that a folder has any of."""
    for suffix in SUFFIXES:
        if files := sorted(folder.glob(f"*{suffix}")):
            return files
    raise FormatError(
        f"{folder}: expected files {', '.join('*' + suffix for suffix in SUFFIXES)}, or ratings.dat (MovieLens), "
        "train.txt or day_0 (Criteo), or train.gz (Avazu)"
    )


def planted(kind: str, rows: int, *, seed: int = 0) -> ClickData:
    """Make the planted clicks of :data:`PLANTED`."""
    sizes, interaction = PLANTED[kind]
    clicks = SyntheticClicks(sizes=sizes, rows=rows, seed=seed, interactions=(interaction,))
    splits = {}
    for split in SPLITS:
        own = clicks.all(split)
        splits[split] = Rows(own.ids.astype(np.int32), own.dense, own.labels)
    return ClickData(f"{kind}:{rows}", sizes, splits)


#: Columns of ratings.dat and users.dat, which have no headings.
_RATINGS = ("user_id", "movie_id", "rating", "time")
_USERS = ("user_id", "gender", "age", "occupation", "zip_code")


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
    ratings = ratings.filter(told)
    label = pc.greater(rating.filter(told), 3).cast(pa.float32()).to_numpy()
    users = _separated(folder / "users.dat", _USERS)
    # A join may change the order of rows, on which the split depends.
    place = pc.index_in(ratings["user_id"], users["user_id"].combine_chunks())
    columns = {name: ratings[name] for name in ("user_id", "movie_id")}
    columns |= {name: users[name].take(place) for name in _USERS[1:]}
    table = pa.table(columns)
    splits = tenths(np.random.default_rng(seed).permutation(len(table)))
    return encoded("ml-1m", table, label, splits, n_categorical=len(columns))


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
