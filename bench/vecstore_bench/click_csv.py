"""Delimited files with fixed columns, block by block; what is wrong is said with file, line and column."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from vecstore.errors import FormatError, NotFoundError
from vecstore.types import F32, I64

__all__ = ["Delimited", "dense_counts", "first_line", "hex_keys", "integer_keys", "labels_of", "whole_numbers"]

_BLOCK_BYTES = 1 << 24
#: Added to whole numbers, so that keys are above 0; their magnitude is below it.
_INTEGER_BASE = 1 << 40
_HEX_DIGITS = 8
#: Byte of a character -> its value; -1 for what is no hexadecimal digit.
_NIBBLES = np.full(256, -1, np.int64)
_NIBBLES[np.frombuffer(b"0123456789abcdefABCDEF", np.uint8)] = [*range(16), *range(10, 16)]


class Delimited:
    """A file of lines with the same columns, perhaps compressed with gzip.

    Parameters
    ----------
    path : Path
        Its name ends with ``.gz`` where it is compressed.
    columns : mapping of str to DataType
        Name -> type, in the order of the file.
    delimiter : str
    header : bool
        Whether the first line has the names.
    """

    def __init__(self, path: Path, columns: Mapping[str, pa.DataType], delimiter: str, *, header: bool) -> None:
        self.path = path
        self._columns = columns
        self._delimiter = delimiter
        self._skipped = int(header)

    def batches(self, names: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Give the columns ``names`` block by block, each with the line of its first row.

        Raises
        ------
        NotFoundError
            There is no such file.
        FormatError
            A line has another number of columns, or a value is not of its type; names the line and the column.
        """
        line = 1 + self._skipped
        try:
            for batch in self._reader(names):
                yield line, batch
                line += batch.num_rows
        except FileNotFoundError:
            raise NotFoundError(f"{self.path}: not there", field="data") from None
        except (pa.ArrowException, OSError) as error:
            raise FormatError(f"{self.path}: {self._explained(str(error))}") from None

    def _reader(self, names: Sequence[str]) -> pyarrow.csv.CSVStreamingReader:
        # With one thread errors have the number of the row.
        return pyarrow.csv.open_csv(
            str(self.path),
            read_options=pyarrow.csv.ReadOptions(
                column_names=list(self._columns), skip_rows=self._skipped, use_threads=False, block_size=_BLOCK_BYTES
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=self._delimiter, quote_char=False, ignore_empty_lines=False
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict(self._columns),
                include_columns=list(names),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )

    def _explained(self, text: str) -> str:
        """Give an error of the reader with the line and the name of the column in front."""
        row, column = re.search(r"Row #(\d+)", text), re.search(r"CSV column #(\d+)", text)
        places = [f"line {row[1]}"] if row else []
        places += [f"column {list(self._columns)[int(column[1])]}"] if column else []
        told = re.sub(r"^In CSV column #\d+: |^CSV parse error: |Row #\d+: ", "", text)
        told = re.sub(r"Row #\d+: ", "", told)
        return f"{', '.join(places)}: {told}" if places else text


def first_line(path: Path) -> str:
    """Give the first line of a file that may be compressed with gzip, without its end; empty where it is no text."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return file.readline(1 << 16).decode().rstrip("\r\n")
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError):
        return ""


def labels_of(column: pa.Array, path: Path, line: int) -> F32:
    """Give float32[n] of 0 and 1.

    Raises
    ------
    FormatError
        A label is something else, or missing.
    """
    values = column.cast(pa.float32()).to_numpy(zero_copy_only=False)
    _refuse(~np.isin(values, (0, 1)), column, path, line, "label: expected 0 or 1")
    return np.asarray(values, np.float32)


def hex_keys(column: pa.Array, name: str, path: Path, line: int) -> I64:
    """Give the keys int64[n] of values of eight hexadecimal digits, 0 where one is missing.

    Raises
    ------
    FormatError
        A value is something else.
    """
    wanted = f"column {name}: expected {_HEX_DIGITS} hexadecimal digits"
    lengths = pc.fill_null(pc.binary_length(column), _HEX_DIGITS).to_numpy(zero_copy_only=False)
    _refuse(lengths != _HEX_DIGITS, column, path, line, wanted)
    present = column.is_valid().to_numpy(zero_copy_only=False)
    nibbles = _NIBBLES[_characters(column.drop_null())].reshape(-1, _HEX_DIGITS)
    unknown = np.zeros(len(column), bool)
    unknown[present] = (nibbles < 0).any(axis=1)
    _refuse(unknown, column, path, line, wanted)
    keys = np.zeros(len(column), np.int64)
    keys[present] = 1 + nibbles @ (16 ** np.arange(_HEX_DIGITS - 1, -1, -1))
    return keys


def whole_numbers(column: pa.Array, name: str, path: Path, line: int) -> I64:
    """Give int64[n].

    Raises
    ------
    FormatError
        One is missing.
    """
    _refuse(column.is_null().to_numpy(zero_copy_only=False), column, path, line, f"column {name}: expected a number")
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)


def integer_keys(column: pa.Array) -> I64:
    """Give the keys int64[n] of whole numbers, in their order; 0 where one is missing."""
    return np.asarray(column.fill_null(-_INTEGER_BASE).to_numpy(zero_copy_only=False) + _INTEGER_BASE, np.int64)


def dense_counts(column: pa.Array) -> F32:
    """Give log(1 + x) float32[n] of whole numbers, 0 where x is below 0 or missing."""
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    return np.asarray(np.log1p(np.maximum(values, 0)), np.float32)


def _characters(column: pa.Array) -> NDArray[np.uint8]:
    """Give all characters of an array of strings without nulls, one value behind the other, without a copy."""
    _, offsets, data = column.buffers()
    if not len(column):
        return np.empty(0, np.uint8)
    places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data, np.uint8)[places[0] : places[-1]]


def _refuse(wrong: NDArray[np.bool_], column: pa.Array, path: Path, line: int, expected: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise FormatError(f"{path}: line {line + row}, {expected}, got {column[row].as_py()!r}")
