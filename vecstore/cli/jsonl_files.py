"""Import JSON lines: one object a line with an id, a vector and metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from vecstore.cli.source import Batch, ReadOptions, Source, check_columns, check_dim, finite_matrix, row_number_note
from vecstore.errors import InvalidArgumentError
from vecstore.types import IdArray, as_ids

if TYPE_CHECKING:
    import pyarrow as pa

_LINE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VECTOR = msgspec.json.Decoder(list[float])
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class _Line:
    """One object of the file, taken apart."""

    number: int
    id: int | str | None
    vector: list[float]
    metadata: dict[str, Any]


@dataclass(slots=True)
class _Survey:
    """What a first pass over the file finds: JSON tells the type of a column only when all of it was seen."""

    rows: int = 0
    dim: int = 0
    id_type: type | None = None
    columns: dict[str, str] = field(default_factory=dict)


def open_jsonl(path: Path, options: ReadOptions) -> Source:
    """Open JSON lines; the whole file is checked before this returns.

    Raises
    ------
    InvalidArgumentError
        Names the line: no object, no vector, another number of dimensions, ids or columns of mixed types.
    """
    from vecstore.metadata import schema_of

    survey = _Survey()
    for line in _lines(path, options):
        _look_at(path, line, survey, options)
    if not survey.rows:
        raise InvalidArgumentError(f"{path}: holds no rows; expected one JSON object a line")
    schema = schema_of(survey.columns)
    check_columns(path, schema)
    notes = () if survey.id_type else (row_number_note(path, _id_name(options)),)
    return Source(rows=survey.rows, dim=survey.dim, batches=_batches(path, options, survey, schema), notes=notes)


def _id_name(options: ReadOptions) -> str:
    return options.id_column or "id"


def _lines(path: Path, options: ReadOptions) -> Iterator[_Line]:
    with path.open("rb") as file:
        filled = ((number, text) for number, text in enumerate(file, 1) if not text.isspace())
        for number, text in islice(filled, options.limit):
            try:
                yield _parse(number, text, options)
            except (msgspec.DecodeError, InvalidArgumentError) as error:
                raise InvalidArgumentError(f"{path}: line {number}: {error}; correct or remove the line") from None


def _parse(number: int, text: bytes, options: ReadOptions) -> _Line:
    vector_name, id_name = options.vector_column or "vector", _id_name(options)
    try:
        raw = _LINE.decode(text)
    except msgspec.ValidationError:
        raise InvalidArgumentError("expected a JSON object") from None
    if vector_name not in raw:
        raise InvalidArgumentError(f"has no {vector_name!r} (--vector-column names another key)")
    if id_name not in raw and options.id_column is not None:
        raise InvalidArgumentError(f"has no {id_name!r}, which --id-column names")
    try:
        vector = _VECTOR.decode(raw[vector_name])
    except msgspec.ValidationError as error:
        raise InvalidArgumentError(f"{vector_name!r} is not a list of numbers ({error})") from None
    used = {vector_name, id_name} | options.skip_columns
    metadata = {name: msgspec.json.decode(value) for name, value in raw.items() if name not in used}
    identifier = msgspec.json.decode(raw[id_name]) if id_name in raw else None
    if id_name in raw and type(identifier) not in (int, str):
        raise InvalidArgumentError(f"{id_name!r} is {identifier!r}; ids are integers or strings")
    return _Line(number, identifier, vector, metadata)


def _look_at(path: Path, line: _Line, survey: _Survey, options: ReadOptions) -> None:
    """Add one line to the survey, refusing what does not fit the lines before it."""

    def refuse(problem: str) -> InvalidArgumentError:
        return InvalidArgumentError(f"{path}: line {line.number}: {problem}; correct or remove the line")

    id_type = None if line.id is None else type(line.id)
    if not survey.rows:
        survey.dim, survey.id_type = check_dim(path, len(line.vector)), id_type
    if len(line.vector) != survey.dim:
        raise refuse(f"the vector has {len(line.vector)} dimensions, those before have {survey.dim}")
    if id_type is not survey.id_type:
        names = [kind.__name__ if kind else "missing" for kind in (id_type, survey.id_type)]
        raise refuse(f"{_id_name(options)!r} is {names[0]}, in the lines before it is {names[1]}")
    survey.rows += 1
    for name, value in line.metadata.items():
        if value is None:
            continue
        kind = _type_of(value)
        if kind is None:
            raise refuse(
                f"{name!r} holds {_shown(value)}, which no column type can store (or use --skip-column {name})"
            )
        known = survey.columns.setdefault(name, kind)
        if kind != known:
            if {kind, known} != {"int64", "float64"}:
                raise refuse(f"{name!r} is {kind}, in the lines before it is {known} (or use --skip-column {name})")
            survey.columns[name] = "float64"


def _type_of(value: Any) -> str | None:
    """Give the stored type of a JSON value, None where there is none."""
    match value:
        case bool():
            return "bool"
        case int():
            return "int64" if value in _INT64 else None
        case float():
            return "float64"
        case str():
            return "string"
        case list() if all(isinstance(item, str) for item in value):
            return "list<string>"
    return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _batches(path: Path, options: ReadOptions, survey: _Survey, schema: pa.Schema) -> Iterator[Batch]:
    import pyarrow as pa

    lines, start = _lines(path, options), 0
    while batch := list(islice(lines, options.batch_size)):
        numbers = [line.number for line in batch]
        vectors = finite_matrix(path, [line.vector for line in batch], numbers, "line")
        try:
            metadata = pa.Table.from_pylist([line.metadata for line in batch], schema=schema) if schema.names else None
        except pa.ArrowException as error:
            place = f"lines {numbers[0]} to {numbers[-1]}"
            raise InvalidArgumentError(f"{path}: {place}: {error}; correct the value") from None
        yield _ids(path, batch, start, numbered=survey.id_type is None), vectors, metadata
        start += len(batch)


def _ids(path: Path, batch: list[_Line], start: int, *, numbered: bool) -> IdArray:
    try:
        return as_ids(range(start, start + len(batch)) if numbered else [line.id for line in batch])
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: lines {batch[0].number} to {batch[-1].number}: {error}") from None
