"""Import files, sound and broken."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vecstore.cli.readers import open_source, read_queries
from vecstore.cli.source import ReadOptions
from vecstore.errors import FormatError, InvalidArgumentError

VECTORS = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def read(path, **options):
    """Open a file and give (ids, vectors, metadata rows, source)."""
    source = open_source(path, "auto", ReadOptions(**options))
    batches = list(source.batches)
    ids = [i for batch in batches for i in batch[0].tolist()]
    vectors = np.concatenate([batch[1] for batch in batches])
    rows = [row for batch in batches if batch[2] is not None for row in batch[2].to_pylist()]
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(ids), source.dim)
    return ids, vectors.tolist(), rows, source


@pytest.fixture
def parquet(tmp_path):
    def write(**columns):
        pq.write_table(pa.table(columns), tmp_path / "data.parquet", row_group_size=2)
        return tmp_path / "data.parquet"

    return write


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return write


@pytest.fixture
def jsonl(tmp_path):
    def write(*lines):
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        (tmp_path / "data.jsonl").write_text("\n".join(texts) + "\n")
        return tmp_path / "data.jsonl"

    return write


class TestParquet:
    @pytest.mark.parametrize("value", [pa.float16(), pa.float32(), pa.float64()])
    @pytest.mark.parametrize("lists", [pa.list_, pa.large_list, lambda value: pa.list_(value, 2)])
    def test_vector_types(self, parquet, lists, value):
        values = np.array(VECTORS, value.to_pandas_dtype())
        column = pa.array(list(values), pa.list_(value)).cast(lists(value))
        ids, vectors, rows, source = read(parquet(id=["a", "b", "c"], vector=column), batch_size=2)
        assert (ids, vectors, rows, source.rows, source.notes) == (["a", "b", "c"], VECTORS, [], 3, ())

    def test_all_metadata_types(self, parquet):
        moment = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
        expected = {"b": True, "i": 5, "f": 0.5, "s": "x", "t": moment, "l": ["p", "q"], "n": None}
        columns = {name: [value] * 3 for name, value in expected.items()}
        path = parquet(id=[1, 2, 3], vector=VECTORS, **columns)
        assert read(path)[2] == [expected] * 3

    def test_rows_are_numbered_where_there_are_no_ids(self, parquet):
        ids, _, rows, source = read(parquet(vector=VECTORS, key=["a", "b", "c"]), batch_size=2)
        assert ids == [0, 1, 2]
        assert "row numbers" in source.notes[0]
        assert rows[0] == {"key": "a"}

    def test_named_columns(self, parquet):
        path = parquet(key=["a", "b", "c"], emb=VECTORS, id=[7, 8, 9])
        ids, vectors, rows, _ = read(path, id_column="key", vector_column="emb", skip_columns=frozenset({"id"}))
        assert (ids, vectors, rows) == (["a", "b", "c"], VECTORS, [])

    def test_limit(self, parquet):
        ids, _, _, source = read(parquet(id=[1, 2, 3], vector=VECTORS), limit=2, batch_size=1)
        assert (ids, source.rows) == ([1, 2], 2)

    @pytest.mark.parametrize(
        ("columns", "options", "message"),
        [
            ({"id": [1, 2, 3]}, {}, "has no column 'vector'"),
            ({"id": [1, 2, 3], "emb": VECTORS}, {}, "--vector-column emb would fit"),
            ({"vector": ["a", "b", "c"]}, {}, "column 'vector' is string"),
            ({"vector": VECTORS}, {"id_column": "key"}, "has no column 'key'"),
            ({"vector": VECTORS, "id": [0.5, 1, 2]}, {}, "column 'id' is double"),
            ({"vector": VECTORS, "id": [1, None, 2]}, {}, "row 1 has no id"),
            ({"vector": [[1.0, 2.0], None, [1.0, 2.0]]}, {}, "row 1 has no vector"),
            ({"vector": [[1.0, 2.0], [1.0, 2.0], [3.0]]}, {}, "row 2 has 1 dimensions"),
            ({"vector": [[1.0, 2.0], [1.0, 2.0], [3.0, None]]}, {}, "row 2: the vector holds a null"),
            ({"vector": [[1.0, 2.0], [1.0, 2.0], [3.0, np.inf]]}, {}, "row 2: the vector holds NaN"),
            ({"vector": [[1.0, 2.0], [1.0, 2.0], [3.0, 1e39]]}, {}, "row 2: the vector holds NaN"),
            ({"vector": [[], [], []]}, {}, "column 'vector' is list"),
            ({"vector": VECTORS, "m": [{"a": 1}] * 3}, {}, "column 'm' has type struct"),
            ({"vector": VECTORS, "m": [[1], [2], [3]]}, {}, "use --skip-column m"),
            ({"vector": VECTORS, "distance": [1, 2, 3]}, {}, "'distance' cannot be used"),
            ({"vector": VECTORS, "__index": [1, 2, 3]}, {}, "use --skip-column __index"),
            ({"vector": pa.array([], pa.list_(pa.float32()))}, {}, "holds no rows"),
        ],
    )
    def test_what_cannot_be_read(self, parquet, columns, options, message):
        path = parquet(**columns)
        with pytest.raises(InvalidArgumentError) as caught:
            read(path, **options)
        assert message in str(caught.value)
        assert str(path) in str(caught.value)

    def test_skipped_columns_do_not_matter(self, parquet):
        path = parquet(vector=VECTORS, m=[{"a": 1}] * 3, n=[1, 2, 3])
        assert read(path, skip_columns=frozenset({"m"}))[2] == [{"n": 1}, {"n": 2}, {"n": 3}]

    def test_another_file(self, tmp_path):
        (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
        with pytest.raises(FormatError, match="not a Parquet file"):
            read(tmp_path / "x.parquet")


class TestNpz:
    @pytest.mark.parametrize("name", ["vectors", "base", "whatever"])
    def test_usual_names_or_the_only_matrix(self, npz, name):
        others = {"extra": np.zeros((9, 9))} if name != "whatever" else {}
        assert read(npz(**{name: np.array(VECTORS)}, **others))[1] == VECTORS

    def test_ids_and_columns(self, npz):
        path = npz(
            vectors=np.array(VECTORS), ids=np.array(["a", "b", "c"]), n=np.array([1, 2, 3], np.uint8), one=np.zeros(1)
        )
        ids, _, rows, source = read(path, batch_size=2)
        assert ids == ["a", "b", "c"]
        assert rows == [{"n": 1}, {"n": 2}, {"n": 3}]
        assert "left out: one" in source.notes[0]

    @pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8])
    def test_number_types(self, npz, dtype):
        assert read(npz(vectors=np.array(VECTORS, dtype)))[1] == VECTORS

    def test_rows_are_numbered_where_there_are_no_ids(self, npz):
        ids, _, _, source = read(npz(vectors=np.array(VECTORS)), limit=2)
        assert ids == [0, 1]
        assert "row numbers" in source.notes[0]

    @pytest.mark.parametrize(
        ("arrays", "options", "message"),
        [
            ({"a": np.zeros((2, 2)), "b": np.zeros((2, 2))}, {}, "--vector-column"),
            ({"a": np.zeros(3)}, {}, "matrices: none"),
            ({"vectors": np.zeros((2, 2))}, {"vector_column": "x"}, "no array 'x'"),
            ({"vectors": np.zeros((2, 2))}, {"id_column": "x"}, "no array 'x'"),
            ({"vectors": np.zeros((2, 2)), "ids": np.zeros(2)}, {}, "expected all int64 or all str"),
            ({"vectors": np.zeros((2, 2)), "ids": np.arange(3)}, {}, "3 values for 2 vectors"),
            ({"vectors": np.zeros((2, 2)), "m": np.array([b"a", b"b"])}, {}, "--skip-column m"),
            ({"vectors": np.zeros((2, 2), "U3")}, {}, "expected numbers"),
            ({"vectors": np.full((2, 2), np.nan)}, {}, "row 0: the vector holds NaN"),
            ({"vectors": np.zeros((2, 0))}, {}, "0 dimensions"),
        ],
    )
    def test_what_cannot_be_read(self, npz, arrays, options, message):
        path = npz(**arrays)
        with pytest.raises(InvalidArgumentError) as caught:
            read(path, **options)
        assert message in str(caught.value)
        assert str(path) in str(caught.value)

    def test_nothing_is_unpickled(self, npz):
        path = npz(vectors=np.array(VECTORS), names=np.array(["a", "b", {}], object))
        with pytest.raises(FormatError, match="Python objects are not supported"):
            read(path)

    def test_other_files(self, tmp_path):
        (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut off")
        with pytest.raises(FormatError, match=r"x\.npz"):
            read(tmp_path / "x.npz")
        with (tmp_path / "y.npz").open("wb") as file:
            np.save(file, np.zeros((2, 2)))
        with pytest.raises(FormatError, match=r"not an \.npz archive"):
            read(tmp_path / "y.npz")


class TestJsonl:
    def test_types_are_those_of_the_whole_file(self, jsonl):
        path = jsonl(
            {"id": "a", "vector": [1, 2], "price": 1, "tags": []},
            "",
            {"id": "b", "vector": [3, 4], "price": 2.5, "ok": True},
            {"id": "c", "vector": [5, 6], "price": None, "tags": ["x"]},
        )
        ids, vectors, rows, source = read(path, batch_size=1)
        assert (ids, vectors, source.rows) == (["a", "b", "c"], VECTORS, 3)
        assert [row["price"] for row in rows] == [1.0, 2.5, None]
        assert type(rows[0]["price"]) is float
        assert rows[1] == {"price": 2.5, "tags": None, "ok": True}
        assert rows[2]["tags"] == ["x"]

    def test_named_keys_and_no_ids(self, jsonl):
        path = jsonl({"key": 4, "emb": [1, 2], "x": {}}, {"key": 5, "emb": [1, 2], "x": {}})
        assert read(path, id_column="key", vector_column="emb", skip_columns=frozenset({"x"}))[0] == [4, 5]
        ids, _, rows, source = read(path, vector_column="emb", skip_columns=frozenset({"x"}))
        assert (ids, rows) == ([0, 1], [{"key": 4}, {"key": 5}])
        assert "row numbers" in source.notes[0]

    def test_only_the_rows_asked_for_are_looked_at(self, jsonl):
        path = jsonl({"vector": [1, 2]}, {"vector": [1, 2]}, "not JSON")
        assert read(path, limit=2)[0] == [0, 1]

    @pytest.mark.parametrize(
        ("second", "message"),
        [
            ('{"id": 2, "vector": [1, 2]', "line 3: Input data was truncated"),
            ("[1, 2]", "line 3: expected a JSON object"),
            ({"id": 2}, "line 3: has no 'vector'"),
            ({"id": 2, "vector": "abc"}, "line 3: 'vector' is not a list of numbers"),
            ({"id": 2, "vector": [1, None]}, "line 3: 'vector' is not a list of numbers"),
            ({"id": 2, "vector": [1, 2, 3]}, "line 3: the vector has 3 dimensions"),
            ({"id": 2, "vector": [1, 1e300]}, "line 3: the vector holds NaN, infinity or a value too large"),
            ({"id": "b", "vector": [1, 2]}, "line 3: 'id' is str, in the lines before it is int"),
            ({"vector": [1, 2]}, "line 3: 'id' is missing"),
            ({"id": 1.5, "vector": [1, 2]}, "line 3: 'id' is 1.5"),
            ({"id": True, "vector": [1, 2]}, "line 3: 'id' is True"),
            ({"id": None, "vector": [1, 2]}, "line 3: 'id' is None"),
            ({"id": 2**70, "vector": [1, 2]}, "lines 1 to 3"),
            ({"id": 2, "vector": [1, 2], "n": "x"}, "line 3: 'n' is string, in the lines before it is int64"),
            ({"id": 2, "vector": [1, 2], "m": {"a": 1}}, "line 3: 'm' holds {'a': 1}"),
            ({"id": 2, "vector": [1, 2], "m": [1]}, "--skip-column m"),
            ({"id": 2, "vector": [1, 2], "m": 2**64}, "line 3: 'm' holds"),
            ({"id": 2, "vector": [1, 2], "query": "x"}, "'query' cannot be used"),
        ],
    )
    def test_what_cannot_be_read(self, jsonl, second, message):
        path = jsonl({"id": 1, "vector": [1, 2], "n": 1}, "", second)
        with pytest.raises(InvalidArgumentError) as caught:
            read(path)
        assert message in str(caught.value)
        assert str(path) in str(caught.value)

    def test_no_rows(self, jsonl):
        with pytest.raises(InvalidArgumentError, match="holds no rows"):
            read(jsonl(""))


class TestFvecs:
    @pytest.fixture
    def fvecs(self, tmp_path):
        def write(*rows):
            path = tmp_path / "data.fvecs"
            path.write_bytes(b"".join(np.int32(len(r)).tobytes() + np.array(r, "<f4").tobytes() for r in rows))
            return path

        return write

    def test_rows(self, fvecs):
        ids, vectors, _, source = read(fvecs(*VECTORS), batch_size=2)
        assert (ids, vectors, source.rows) == ([0, 1, 2], VECTORS, 3)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "too few"),
            (b"\x02\0\0\0" + bytes(9), "not whole rows of 2 dimensions"),
            ((b"\x02\0\0\0" + bytes(8)) + (b"\x03\0\0\0" + bytes(8)), "row 1 says 3 dimensions"),
        ],
    )
    def test_broken_files(self, tmp_path, content, message):
        path = tmp_path / "data.fvecs"
        path.write_bytes(content)
        with pytest.raises(FormatError, match=message):
            read(path)

    @pytest.mark.parametrize("dim", [0, -1, 70_000])
    def test_impossible_dimensions(self, tmp_path, dim):
        path = tmp_path / "data.fvecs"
        path.write_bytes(np.int32(dim).tobytes() + bytes(8))
        with pytest.raises(InvalidArgumentError, match=f"{dim} dimensions"):
            read(path)


def test_unknown_endings(tmp_path):
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(InvalidArgumentError, match="pass --format"):
        open_source(tmp_path / "data.csv", "auto", ReadOptions())


def test_the_format_can_be_given(tmp_path):
    (tmp_path / "data.txt").write_text('{"vector": [1, 2]}\n')
    assert open_source(tmp_path / "data.txt", "jsonl", ReadOptions()).dim == 2


class TestQueries:
    def test_every_format(self, tmp_path):
        np.save(tmp_path / "q.npy", np.array(VECTORS))
        np.savez(tmp_path / "q.npz", base=np.zeros((9, 9)), queries=np.array(VECTORS))
        (tmp_path / "q.fvecs").write_bytes(b"".join(b"\x02\0\0\0" + np.array(row, "<f4").tobytes() for row in VECTORS))
        for name in ("q.npy", "q.npz", "q.fvecs"):
            assert read_queries(tmp_path / name).tolist() == VECTORS

    def test_what_cannot_be_read(self, tmp_path):
        np.save(tmp_path / "flat.npy", np.zeros(3))
        with pytest.raises(InvalidArgumentError, match="expected numbers"):
            read_queries(tmp_path / "flat.npy")
        (tmp_path / "bad.npy").write_text("nothing")
        with pytest.raises(FormatError, match=r"bad\.npy"):
            read_queries(tmp_path / "bad.npy")
        with pytest.raises(InvalidArgumentError, match=r"\.npy, \.npz or \.fvecs"):
            read_queries(tmp_path / "x.csv")
