"""The shipped files are what the demo needs and nothing more."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vecstore.errors import FormatError, InvalidArgumentError, NotFoundError
from vecstore_bench.demo import dataset
from vecstore_bench.demo.embedding import DIM

MAX_BYTES = 5_000_000


@pytest.fixture(scope="module")
def corpus() -> dataset.Corpus:
    return dataset.load_corpus()


def test_both_files_stay_small():
    assert dataset.CORPUS_FILE.stat().st_size + dataset.QUESTIONS_FILE.stat().st_size < MAX_BYTES


def test_corpus_has_some_thousands_of_unique_names(corpus):
    assert len(set(corpus.names)) == len(corpus.names)
    assert 2_000 < len(corpus.names) <= 5_500
    assert set(corpus.kinds) == {"module", "class", "function", "method"}


def test_corpus_ships_no_documentation_text():
    schema = pq.read_schema(dataset.CORPUS_FILE)
    assert schema.names == ["name", "module", "kind", "vector"]
    assert schema.field("vector").type == pa.list_(pa.float16(), DIM)
    assert {b"model", b"python", b"rule"} <= set(schema.metadata)
    assert max(len(name) for name in dataset.load_corpus().names) < 100


def test_names_lie_in_their_modules(corpus):
    for name, module in zip(corpus.names, corpus.modules, strict=True):
        assert module == "builtins" or name == module or name.startswith(f"{module}.")


@pytest.mark.parametrize("path", [dataset.CORPUS_FILE, dataset.QUESTIONS_FILE], ids=["corpus", "questions"])
def test_stored_vectors_have_length_one_but_for_rounding(path):
    vectors = pq.read_table(path).column("vector").combine_chunks().flatten().to_numpy().reshape(-1, DIM)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, 1.0, atol=1e-3)


def test_loaded_vectors_have_length_one(corpus):
    np.testing.assert_allclose(np.linalg.norm(corpus.vectors, axis=1), 1.0, atol=1e-6)
    assert corpus.vectors.dtype == np.float32


def test_questions_file_holds_the_written_questions():
    assert dataset.load_questions().items == dataset.read_question_source()


def test_every_expected_name_is_in_the_corpus(corpus):
    items = dataset.load_questions().items
    assert len(items) >= 200
    assert {name for item in items for name in item.expected} <= set(corpus.names)


def test_questions_spread_over_many_modules(corpus):
    module_of = dict(zip(corpus.names, corpus.modules, strict=True))
    assert len({module_of[item.expected[0]] for item in dataset.load_questions().items}) >= 50


def test_write_and_load_round_trip(tmp_path, rng):
    vectors = rng.standard_normal((3, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = {"name": ["a", "b", "c"], "module": ["m", "m", "n"], "kind": ["class"] * 3}
    dataset.write_parquet(tmp_path / "some.parquet", columns, vectors, {"model": "none"})
    loaded = dataset.load_corpus(tmp_path / "some.parquet")
    assert (loaded.names, loaded.modules, loaded.kinds) == tuple(columns.values())
    np.testing.assert_allclose(loaded.vectors, vectors, atol=1e-3)


def test_missing_foreign_and_broken_files_are_named(tmp_path):
    with pytest.raises(NotFoundError, match="make_corpus"):
        dataset.load_corpus(tmp_path / "absent.parquet")
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"not parquet at all")
    with pytest.raises(FormatError, match=r"broken\.parquet"):
        dataset.load_corpus(broken)
    with pytest.raises(FormatError, match="name, module, kind, vector"):
        dataset.load_corpus(dataset.QUESTIONS_FILE)


@pytest.mark.parametrize(
    "line",
    ["nonsense", json.dumps({"text": "how?"}), json.dumps({"text": "how?", "expected": []}), json.dumps(["how?"])],
)
def test_a_bad_question_is_named_by_its_line(tmp_path, line):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"text": "fine", "expected": ["len"]}) + "\n" + line + "\n")
    with pytest.raises(InvalidArgumentError, match="line 2"):
        dataset.read_question_source(path)


def test_a_question_may_be_asked_only_once(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text((json.dumps({"text": "fine", "expected": ["len"]}) + "\n") * 2)
    with pytest.raises(InvalidArgumentError, match="line 2"):
        dataset.read_question_source(path)
