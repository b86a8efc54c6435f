"""Loaders: vocabularies, frequencies and normalisation know nothing but the training split."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vecstore.errors import FormatError, InvalidArgumentError, NotFoundError
from vecstore_bench.click_columns import Columns
from vecstore_bench.click_rows import open_clicks, save_clicks
from vecstore_bench.ctr_data import load_clicks, load_movielens

TABLE = {
    "label": pa.array([0, 1, 0, 1, 1, 0, 0], pa.int8()),
    "c_site": pa.array(["b", None, "a", "c", "b", "a", "a"]),
    "c_shop": pa.array([30, 10, 10, 30, 99, 10, 10], pa.int64()),
    "d_age": pa.array([1.0, None, 3.0, 5.0, np.nan, 1.0, 1.0], pa.float32()),
    "d_size": pa.array([2, 2, 2, 4, 2, 2, 2], pa.int32()),
    "split": pa.array(["train", "train", "train", "valid", "test", "valid", "test"]),
    "ts": pa.array([1, 2, 3, 4, 5, 6, 7]),
}


def load_parquet(path, columns=None):
    return load_clicks(str(path), columns=columns)


def write(path, **changes):
    table = {name: column for name, column in {**TABLE, **changes}.items() if column is not None}
    pq.write_table(pa.table(table), path)
    return path


def test_parquet(tmp_path):
    data = load_parquet(write(tmp_path / "shop.parquet"))
    assert data.name == "shop"
    assert dict(data.sizes) == {"site": 3, "shop": 3}
    train, valid, test = (data.splits[name] for name in ("train", "valid", "test"))
    np.testing.assert_array_equal(train.ids, [[2, 2], [0, 1], [1, 1]])
    np.testing.assert_array_equal(valid.ids, [[0, 2], [1, 1]])
    np.testing.assert_array_equal(test.ids, [[2, 0], [1, 1]])
    assert train.ids.dtype == np.int32
    # Age in train is 1 and 3: mean 2, deviation 1. Size is constant there. Ages are missing, sizes are not.
    np.testing.assert_array_equal(train.dense, [[-1, 0, 0], [0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(valid.dense, [[3, 2, 0], [-1, 0, 0]])
    np.testing.assert_array_equal(test.dense, [[0, 0, 1], [-1, 0, 0]])
    assert (train.dense.dtype, train.labels.dtype, data.n_dense) == (np.float32, np.float32, 3)
    np.testing.assert_array_equal(train.labels, [0, 1, 0])
    frequency = data.frequency()
    np.testing.assert_array_equal(frequency["site"], [1, 1, 1])
    np.testing.assert_array_equal(frequency["shop"], [0, 2, 1])
    assert frequency["shop"].dtype == np.int64


VALUES = ["x", None, "y", "x", "z"] * 8


@pytest.mark.parametrize(
    ("column", "size"),
    [
        (pa.array(VALUES).dictionary_encode(), 4),
        (pa.array(VALUES, pa.large_string()), 4),
        (pa.array([1.5, None, np.nan, 1.5, 2.0] * 8), 3),
        (pa.array([True, None, False, True, True] * 8), 3),
        (pa.nulls(40), 1),
        (pa.array(np.arange(40) // 10, pa.timestamp("us")), 5),
    ],
    ids=["dictionary", "large_string", "nan", "bool", "null", "timestamp"],
)
def test_any_table_works_by_naming_its_columns(tmp_path, column, size):
    table = pa.table({"clicked": pa.array([True, False] * 20), "site": column, "age": pa.array(np.arange(40.0))})
    table = table.append_column("when", pa.array(np.arange(40)[::-1].copy(), pa.timestamp("s")))
    pq.write_table(table, tmp_path / "x.parquet")
    columns = Columns(label="clicked", categorical=("site",), dense=("age",), order="when")
    data = load_parquet(tmp_path / "x.parquet", columns)
    assert [len(rows) for rows in data.splits.values()] == [32, 4, 4]
    assert list(data.sizes) == ["site"]
    assert data.sizes["site"] == size
    # In the order of time the last rows come first.
    assert (np.diff(data.splits["train"].dense[:, 0]) < 0).all()
    in_file_order = load_parquet(
        tmp_path / "x.parquet", Columns(label="clicked", categorical=("site",), dense=("age",))
    )
    assert (np.diff(in_file_order.splits["train"].dense[:, 0]) > 0).all()
    with pytest.raises(FormatError, match="--categorical"):
        load_parquet(tmp_path / "x.parquet", Columns(label="clicked"))
    with pytest.raises(FormatError, match="two things"):
        load_parquet(tmp_path / "x.parquet", Columns(label="clicked", categorical=("site", "clicked")))


def test_folders_and_csv(tmp_path):
    rows = [f"{n % 2},s{n % 3}" for n in range(40)]
    for name, own in (("train", rows[:30]), ("test", rows[30:])):
        (tmp_path / f"{name}.csv").write_text("label,c_site\n" + "\n".join(own) + "\n")
    data = load_clicks(str(tmp_path))
    # The last tenth of the training rows is for validation, for which there is no file.
    assert {split: len(rows) for split, rows in data.splits.items()} == {"train": 27, "valid": 3, "test": 10}
    assert dict(data.sizes) == {"site": 4}


def test_prepared_data_are_the_same(tmp_path):
    data = load_clicks("synthetic:1000")
    save_clicks(data, tmp_path)
    again = open_clicks(tmp_path)
    assert (again.name, dict(again.sizes), again.digest()) == (data.name, dict(data.sizes), data.digest())
    assert load_clicks("synthetic:1001").digest() != data.digest()


def test_parquet_without_dense_features(tmp_path):
    data = load_clicks(str(write(tmp_path / "x.parquet", d_age=None, d_size=None)))
    assert data.n_dense == 0
    assert data.splits["train"].dense.shape == (3, 0)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"label": None}, "column label"),
        ({"split": pa.array(["train", "test", "dev", "valid", "test", "test", "test"])}, "dev"),
        ({"label": pa.array([0, 1, 2, 0, 1, 0, 1])}, "label"),
        ({"label": pa.array(list("abcdefg"))}, "label: expected numbers"),
        ({"label": pa.array([0] * 7)}, "both labels"),
        ({"c_site": pa.array([[1]] * 7)}, "c_site: .*cannot be categorical"),
        ({"d_age": pa.array(list("abcdefg"))}, "d_age: expected numbers"),
        ({"c_site": None, "c_shop": None}, "c_"),
        ({"split": pa.array(["valid"] * 7)}, "train"),
    ],
)
def test_wrong_files(tmp_path, changes, what):
    with pytest.raises(FormatError, match=what):
        load_parquet(write(tmp_path / "x.parquet", **changes))


def test_a_feature_without_values(tmp_path):
    with pytest.raises(InvalidArgumentError, match="d_age"):
        load_parquet(write(tmp_path / "x.parquet", d_age=pa.nulls(7, pa.float32())))


RATINGS = "".join(f"{1 + n % 4}::{10 + n % 7}::{1 + n % 5}::9783{n:05}\n" for n in range(100))
USERS = "3::M::25::4::55117\n1::F::1::10::48067\n2::M::56::16::70072\n4::F::25::7::02460-1234\n"


def movielens(folder, ratings=RATINGS):
    (folder / "ratings.dat").write_text(ratings, encoding="latin-1")
    (folder / "users.dat").write_text(USERS, encoding="latin-1")
    (folder / "movies.dat").write_text("10::Caf\xe9 (1990)::Drama\n", encoding="latin-1")
    return folder


def test_movielens(tmp_path):
    data = load_clicks(str(movielens(tmp_path)))
    assert data.name == "ml-1m"
    assert list(data.sizes) == ["user_id", "movie_id", "gender", "age", "occupation", "zip_code"]
    # Values that all occur in train, and id 0; ages 1, 25 and 56 are text.
    assert list(data.sizes.values()) == [5, 8, 3, 4, 5, 5]
    sizes = {split: len(rows) for split, rows in data.splits.items()}
    assert sizes == {"train": 64, "valid": 8, "test": 8}
    # Ids are in the order of the values: users 1 to 4; the row of a user in users.dat does not matter.
    gender, age = {1: 1, 2: 2, 3: 2, 4: 1}, {1: 1, 2: 3, 3: 2, 4: 2}
    seen = set()
    for rows in data.splits.values():
        for (user, movie, *about), label in zip(rows.ids.tolist(), rows.labels.tolist(), strict=True):
            assert about[:2] == [gender[user], age[user]]
            seen.add((user, movie, label))
    # 20 ratings each of 1 to 5, of which the 3s are left out.
    assert sum(rows.labels.sum() for rows in data.splits.values()) == 40
    assert len(seen) == len({(n % 4, n % 7, n % 5 > 2) for n in range(100) if n % 5 != 2})


def test_the_split_of_movielens_is_random_and_of_its_seed(tmp_path):
    movielens(tmp_path)
    first, again, other = (load_movielens(tmp_path, seed=seed).splits["train"].ids for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_wrong_movielens(tmp_path):
    movielens(tmp_path, "1::2::3\n")
    with pytest.raises(FormatError, match=r"ratings\.dat"):
        load_movielens(tmp_path)
    (tmp_path / "users.dat").unlink()
    movielens_without_users = tmp_path
    (tmp_path / "ratings.dat").write_text(RATINGS)
    with pytest.raises(NotFoundError, match="grouplens"):
        load_movielens(movielens_without_users)


def test_names_and_folders(tmp_path):
    (tmp_path / "shop").mkdir()
    with pytest.raises(FormatError, match="expected files"):
        load_clicks("shop", str(tmp_path))
    write(tmp_path / "shop" / "clicks.parquet")
    assert load_clicks("shop", str(tmp_path)).name == "clicks"
    with pytest.raises(NotFoundError, match="no such data set"):
        load_clicks("shoes", str(tmp_path))
    planted = load_clicks("synthetic:1000")
    assert [len(rows) for rows in planted.splits.values()] == [800, 100, 100]
    assert sum(count.sum() for count in planted.frequency().values()) == 800 * len(planted.sizes)


@pytest.mark.realdata
def test_nycflights(data_set):
    data = load_clicks(str(data_set("nycflights13")))
    assert sum(len(rows) for rows in data.splits.values()) == 327_346
    assert data.splits["train"].labels.mean() == pytest.approx(0.238, abs=5e-4)
    assert data.splits["test"].labels.mean() == pytest.approx(0.303, abs=5e-4)
    assert (len(data.sizes), data.n_dense) == (13, 20)
    assert data.splits["train"].dense[:, :11].mean(axis=0) == pytest.approx(0, abs=1e-3)
    assert all(np.isfinite(rows.dense).all() for rows in data.splits.values())
    for column, size in enumerate(data.sizes.values()):
        assert data.splits["train"].ids[:, column].max() == size - 1
