"""Criteo and Avazu as they are downloaded, on made samples of their formats."""

from __future__ import annotations

import gzip
import random

import numpy as np
import pytest

from vecstore.errors import FormatError
from vecstore_bench.click_columns import Columns
from vecstore_bench.click_csv import Delimited
from vecstore_bench.click_public import Avazu, Criteo, public_stream
from vecstore_bench.click_rows import open_clicks
from vecstore_bench.click_streams import ValueCounts, write_stream
from vecstore_bench.ctr_data import load_clicks, prepare_clicks

COUNTS = [f"I{number}" for number in range(1, 14)]


def criteo_rows(rows, seed=0):
    """Give rows of a label, 13 counts and 26 categories as text; some are missing."""
    draws = random.Random(seed)
    vocabulary = [f"{draws.getrandbits(32):08x}" for _ in range(12)]

    def maybe(text):
        return text if draws.random() < 0.9 else ""

    return [
        [
            str(row % 2),
            *(maybe(str(draws.randint(-2, 50))) for _ in range(13)),
            *(maybe(draws.choice(vocabulary)) for _ in range(26)),
        ]
        for row in range(rows)
    ]


def write_criteo(path, rows):
    text = "".join("\t".join(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def avazu_rows(rows=24, days=(21, 22, 23)):
    """Give rows as text, spread over days in order; id is larger than an int64 can be."""
    draws = random.Random(1)
    found = []
    for row in range(rows):
        day = days[row * len(days) // rows]
        line = {"id": str(10**19 + row), "click": str(row % 2), "hour": f"1410{day}{draws.randint(0, 23):02d}"}
        for name in Avazu.columns:
            if name in Avazu._hexadecimal:
                line[name] = f"{draws.choice([0x1FBE01FE, 0xF3845767, 0x28905EBD]):08x}"
            elif name not in line:
                line[name] = str(draws.choice([-1, 0, 1005, 320]))
        found.append([line[name] for name in Avazu.columns])
    return found


def write_avazu(path, rows):
    lines = [",".join(row) for row in [list(Avazu.columns), *rows]]
    path.write_bytes(gzip.compress("\n".join(lines).encode()) if path.suffix == ".gz" else "\n".join(lines).encode())
    return path


def by_hand(rows, train, min_count=1):
    """Give (sizes, ids) of rows of values, '' for missing ones: the ids count from 1 in the order of the values."""
    ids = np.zeros((len(rows), len(rows[0])), int)
    sizes = []
    for column in range(len(rows[0])):
        values = [row[column] for row in rows]
        known = sorted({value for value in values[:train] if value != "" and values[:train].count(value) >= min_count})
        ids[:, column] = [known.index(value) + 1 if value in known else 0 for value in values]
        sizes.append(len(known) + 1)
    return sizes, ids


@pytest.mark.parametrize("min_count", [1, 3])
def test_criteo_kaggle(tmp_path, min_count):
    rows = criteo_rows(70)
    write_criteo(tmp_path / "train.txt", rows)
    (tmp_path / "test.txt").write_text("no labels here\n")
    data = load_clicks(str(tmp_path), columns=Columns(min_count=min_count))
    assert data.name == "criteo"
    assert [len(data.splits[split].labels) for split in ("train", "test", "valid")] == [60, 5, 5]
    sizes, ids = by_hand([row[14:] for row in rows], 60, min_count)
    assert list(data.sizes) == [f"C{number}" for number in range(1, 27)]
    assert list(data.sizes.values()) == sizes
    in_order = np.concatenate([data.splits[split].ids for split in ("train", "test", "valid")])
    np.testing.assert_array_equal(in_order, ids)
    dense = [[np.log(1 + max(int(text or 0), 0)) for text in row[1:14]] for row in rows]
    found = np.concatenate([data.splits[split].dense for split in ("train", "test", "valid")])
    np.testing.assert_allclose(found, dense, rtol=1e-6)
    np.testing.assert_array_equal(data.splits["train"].labels, [row % 2 for row in range(60)])
    assert data.splits["train"].ids.dtype == np.int32


def test_criteo_terabyte_is_a_file_a_day(tmp_path):
    days = [criteo_rows(size, seed) for seed, size in enumerate((11, 12, 8))]
    write_criteo(tmp_path / "day_0.gz", days[0])
    write_criteo(tmp_path / "day_2", days[1])
    # Days count as numbers: 10 comes behind 2.
    write_criteo(tmp_path / "day_10.gz", days[2])
    data = load_clicks(str(tmp_path))
    assert data.name == "criteo-tb"
    assert [len(data.splits[split].labels) for split in ("train", "test", "valid")] == [23, 4, 4]
    _, ids = by_hand([row[14:] for day in days for row in day], 23)
    np.testing.assert_array_equal(data.splits["valid"].ids, ids[27:])


@pytest.mark.parametrize("name", ["train.csv", "train.gz", "train"])
def test_avazu(tmp_path, name):
    rows = avazu_rows()
    write_avazu(tmp_path / name, rows)
    data = load_clicks(str(tmp_path))
    assert (data.name, data.n_dense, len(data.sizes)) == ("avazu", 0, 22)
    assert [len(data.splits[split].labels) for split in ("train", "test", "valid")] == [16, 4, 4]
    hours = [int(row[2]) % 100 for row in rows]
    columns = list(Avazu.columns)
    own = [
        [
            hours[line],
            *(row[place] if columns[place] in Avazu._hexadecimal else int(row[place]) for place in range(3, 24)),
        ]
        for line, row in enumerate(rows)
    ]
    sizes, ids = by_hand(own, 16)
    assert list(data.sizes.values()) == sizes
    np.testing.assert_array_equal(data.splits["test"].ids, ids[16:20])
    np.testing.assert_array_equal(data.splits["train"].labels, [row % 2 for row in range(16)])


def broken(rows, line, column, text):
    changed = [list(row) for row in rows]
    changed[line][column] = text
    return changed


@pytest.mark.parametrize(
    ("line", "column", "text", "says"),
    [
        (6, 3, "many", "train.txt: line 7, column I3: .*invalid value 'many'"),
        (4, 20, "xyz12345", "train.txt: line 5, column C7: expected 8 hexadecimal digits, got 'xyz12345'"),
        (4, 20, "12345", "train.txt: line 5, column C7: expected 8 hexadecimal digits, got '12345'"),
        (9, 0, "2", "train.txt: line 10, label: expected 0 or 1, got 2"),
        (9, 0, "", "train.txt: line 10, label: expected 0 or 1, got None"),
        (3, 39, "0a0a0a0a\t7", "train.txt: line 4: Expected 40 columns, got 41"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, column, text, says):
    write_criteo(tmp_path / "train.txt", broken(criteo_rows(30), line, column, text))
    with pytest.raises(FormatError, match=says):
        load_clicks(str(tmp_path))


def test_nothing_is_prepared_of_damaged_data(tmp_path):
    write_criteo(tmp_path / "train.txt", broken(criteo_rows(30), 28, 20, "x"))
    with pytest.raises(FormatError):
        prepare_clicks(tmp_path / "data", str(tmp_path))
    assert not (tmp_path / "data").exists()
    write_criteo(tmp_path / "train.txt", criteo_rows(30))
    prepare_clicks(tmp_path / "data", str(tmp_path))
    assert len(open_clicks(tmp_path / "data").splits["train"]) == 25


def test_a_damaged_line_behind_a_heading_is_named(tmp_path):
    write_avazu(tmp_path / "train.csv", broken(avazu_rows(), 4, 3, "x"))
    with pytest.raises(FormatError, match=r"train\.csv: line 6, column C1: .*invalid value 'x'"):
        load_clicks(str(tmp_path))
    write_avazu(tmp_path / "train.csv", broken(avazu_rows(), 20, 2, "14102101"))
    with pytest.raises(FormatError, match=r"train\.csv: line 22, column hour: days are not in order"):
        load_clicks(str(tmp_path))


def test_one_day_cannot_be_split(tmp_path):
    write_avazu(tmp_path / "train.csv", avazu_rows(days=(21,)))
    with pytest.raises(FormatError, match="two days or more"):
        load_clicks(str(tmp_path))


def test_files_are_known_by_their_first_line(tmp_path):
    assert isinstance(public_stream(write_criteo(tmp_path / "any.tsv", criteo_rows(3))), Criteo)
    assert isinstance(public_stream(write_avazu(tmp_path / "any.gz", avazu_rows(3))), Avazu)
    (tmp_path / "other.csv").write_text("label,c_a\n1,x\n")
    assert public_stream(tmp_path / "other.csv") is None
    (tmp_path / "other.parquet").write_bytes(bytes(range(256)))
    assert public_stream(tmp_path / "other.parquet") is None


def test_small_blocks_give_the_same(tmp_path, monkeypatch):
    path = write_criteo(tmp_path / "train.txt", criteo_rows(200))
    write_stream(Criteo([path]), tmp_path / "whole")
    # A block has a few lines, so splits begin and end within blocks.
    monkeypatch.setattr("vecstore_bench.click_csv._BLOCK_BYTES", 1_000)
    assert len(list(Delimited(path, Criteo.columns, "\t", header=False).batches(["label"]))) > 20
    write_stream(Criteo([path]), tmp_path / "parts")
    assert open_clicks(tmp_path / "whole").digest() == open_clicks(tmp_path / "parts").digest()


def test_counts_are_merged():
    draws = np.random.default_rng(0)
    keys = draws.zipf(1.3, 5_000) % 300
    counts = ValueCounts()
    for part in np.split(keys, [7, 7, 500, 2_500, 2_600]):
        counts.add(part)
    found, times = np.unique(keys[keys > 0], return_counts=True)
    np.testing.assert_array_equal(counts.frequent(1), found)
    empty = ValueCounts()
    assert len(empty.frequent(1)) == 0
    counts.add(keys)
    np.testing.assert_array_equal(counts.frequent(10), found[2 * times >= 10])
