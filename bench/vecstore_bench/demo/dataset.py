"""The two shipped files: the corpus and the questions, as Parquet with float16 vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vecstore.errors import FormatError, InvalidArgumentError, NotFoundError
from vecstore.types import F32

__all__ = [
    "CORPUS_FILE",
    "QUESTIONS_FILE",
    "QUESTIONS_SOURCE",
    "Corpus",
    "Question",
    "Questions",
    "load_corpus",
    "load_questions",
    "read_question_source",
    "write_parquet",
]

_FOLDER = Path(str(files("vecstore_bench.demo")))
CORPUS_FILE = _FOLDER / "corpus.parquet"
QUESTIONS_FILE = _FOLDER / "questions.parquet"
#: Where questions are written by hand: one JSON object a line with ``text`` and ``expected``.
QUESTIONS_SOURCE = _FOLDER / "questions.jsonl"


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documented names of the standard library.

    Attributes
    ----------
    names, modules, kinds : list of str
        n qualified names, the modules to import for them, and ``module``, ``class``, ``function`` or ``method``.
    vectors : float32[n, dim]
        Unit vectors (rounded to float16 in the file).
    """

    names: list[str]
    modules: list[str]
    kinds: list[str]
    vectors: F32


@dataclass(frozen=True, slots=True)
class Question:
    """A question in plain words and the names that answer it, each as good as the others."""

    text: str
    expected: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Questions:
    """q questions with their unit vectors float32[q, dim]."""

    items: list[Question]
    vectors: F32


def load_corpus(path: Path = CORPUS_FILE) -> Corpus:
    """Read the corpus.

    Raises
    ------
    NotFoundError
        The file is not there.
    FormatError
        The file is not a corpus.
    """
    table = _read(path, ("name", "module", "kind", "vector"))
    names, modules, kinds = (table.column(name).to_pylist() for name in ("name", "module", "kind"))
    return Corpus(names, modules, kinds, _matrix(table))


def load_questions(path: Path = QUESTIONS_FILE) -> Questions:
    """Read the questions with their vectors.

    Raises
    ------
    NotFoundError
        The file is not there.
    FormatError
        The file does not hold questions.
    """
    table = _read(path, ("text", "expected", "vector"))
    texts, expected = table.column("text").to_pylist(), table.column("expected").to_pylist()
    items = [Question(text, tuple(names)) for text, names in zip(texts, expected, strict=True)]
    return Questions(items, _matrix(table))


def read_question_source(path: Path = QUESTIONS_SOURCE) -> list[Question]:
    """Read the hand-written questions.

    Raises
    ------
    InvalidArgumentError
        A line is not an object with ``text`` and a list ``expected``, or a question is there twice.
    """
    questions: dict[str, Question] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            question = Question(record["text"], tuple(record["expected"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidArgumentError(f"{path.name}, line {number}: {error!r}; give text and expected") from None
        if not question.expected or question.text in questions:
            raise InvalidArgumentError(f"{path.name}, line {number}: no expected name, or a question asked before")
        questions[question.text] = question
    return list(questions.values())


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any]], vectors: F32, about: Mapping[str, str]) -> None:
    """Write columns and unit vectors float32[n, dim], rounded to float16, with ``about`` as file metadata."""
    halves = np.ascontiguousarray(vectors, dtype=np.float16)
    arrays = {name: pa.array(values) for name, values in columns.items()}
    arrays["vector"] = pa.FixedSizeListArray.from_arrays(pa.array(halves.reshape(-1)), halves.shape[1])
    table = pa.table(arrays).replace_schema_metadata(dict(about))
    pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=list(columns))


def _read(path: Path, columns: tuple[str, ...]) -> pa.Table:
    if not path.is_file():
        raise NotFoundError(f"{path}: not found; run `python -m vecstore_bench.demo.make_corpus` to make it")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FormatError(f"{path}: not a Parquet file ({error})") from None
    if tuple(table.column_names) != columns:
        raise FormatError(f"{path}: expected the columns {', '.join(columns)}, found {', '.join(table.column_names)}")
    return table


def _matrix(table: pa.Table) -> F32:
    vectors = table.column("vector").combine_chunks()
    if isinstance(vectors, pa.ChunkedArray):
        vectors = vectors.chunk(0)
    matrix = vectors.flatten().to_numpy(zero_copy_only=False).reshape(table.num_rows, -1).astype(np.float32)
    # Rounding to float16 moved the lengths off 1 by a little.
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), dtype=np.float32)
