from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from vecstore.errors import CorruptionError, LimitError
from vecstore.storage import segment_files
from vecstore.storage.array_files import write_arrays
from vecstore.storage.segment_files import Golden, SegmentContent, SegmentFiles, StoredTable, write_segment
from vecstore.types import Metric

ROWS = 700


def content(rng, *, ids=None, sequences=None) -> SegmentContent:
    codes = {"codes": rng.integers(-128, 127, (ROWS, 33), dtype=np.int8), "scales": rng.random(ROWS, np.float32)}
    return SegmentContent(
        name="one",
        dim=33,
        metric=Metric.L2,
        sequences=np.arange(5, 5 + ROWS, dtype=np.uint64) if sequences is None else sequences,
        ids=np.arange(ROWS) * 3 if ids is None else ids,
        metadata=pa.table({"year": list(range(ROWS)), "lang": ["de", None] * (ROWS // 2)}),
        codes=StoredTable({"scheme": "int8", "version": 1}, codes, Golden(rows=[0], digest="00")),
        graph={"links": rng.integers(0, ROWS, (ROWS, 32), dtype=np.int32)},
        graph_config={"M": 16},
    )


def test_reads_back_what_was_written(tmp_path, rng):
    written = content(rng)
    digest = write_segment(tmp_path / "one", written)
    files = SegmentFiles.open(tmp_path / "one", digest)
    arrays = files.arrays(segment_files.CODES).arrays
    for name, array in written.codes.arrays.items():
        np.testing.assert_array_equal(arrays[name], array)
    np.testing.assert_array_equal(files.arrays(segment_files.GRAPH).arrays["links"], written.graph["links"])
    assert files.rows().column("id").to_pylist() == written.ids.tolist()
    assert files.rows().column("lang").to_pylist() == ["de", None] * (ROWS // 2)
    assert (files.description.first, files.description.last) == (5, 5 + ROWS - 1)
    assert files.check_all() == []


def test_bodies_are_on_64_byte_boundaries(tmp_path, rng):
    arrays = {f"a{n}": rng.random(n).astype(np.float32) for n in (1, 7, 100)} | {"b": np.arange(3, dtype=np.uint8)}
    offsets = write_arrays(tmp_path / "x.arrow", arrays)
    mapped = pa.memory_map(str(tmp_path / "x.arrow"))
    base = mapped.read_buffer().address
    for name, offset in offsets.items():
        mapped.seek(offset)
        array = pa.ipc.read_tensor(mapped).to_numpy()
        np.testing.assert_array_equal(array, arrays[name])
        assert (array.ctypes.data - base) % 64 == 0


def test_bytes_by_part_are_the_bytes_on_disk(tmp_path, rng):
    digest = write_segment(tmp_path / "one", content(rng))
    description = SegmentFiles.open(tmp_path / "one", digest).description
    on_disk = sum(f.stat().st_size for f in (tmp_path / "one").iterdir() if f.name != segment_files.DESCRIPTION)
    assert sum(description.bytes.values()) == on_disk
    assert description.bytes["codes"] == ROWS * (33 + 4)
    assert description.bytes["ids"] == ROWS * 8
    assert description.bytes["overhead"] >= 0


def test_sequences_with_gaps_are_stored(tmp_path, rng):
    sequences = np.cumsum(rng.integers(1, 4, ROWS)).astype(np.uint64)
    digest = write_segment(tmp_path / "one", content(rng, sequences=sequences))
    stored = SegmentFiles.open(tmp_path / "one", digest).rows().column(segment_files.SEQUENCE_COLUMN)
    np.testing.assert_array_equal(stored.to_numpy(), sequences)


@pytest.mark.parametrize(
    "name",
    [segment_files.CODES, segment_files.GRAPH, segment_files.ROWS, segment_files.CHECKSUMS, segment_files.DESCRIPTION],
)
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "swap"])
def test_damage_is_reported(tmp_path, rng, name, damage):
    digest = write_segment(tmp_path / "one", content(rng))
    path = tmp_path / "one" / name
    data = path.read_bytes()
    if damage == "flip":
        where = int(rng.integers(len(data)))
        path.write_bytes(data[:where] + bytes([data[where] ^ 4]) + data[where + 1 :])
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "remove":
        path.unlink()
    else:
        write_segment(tmp_path / "two", content(np.random.default_rng(1), ids=np.arange(ROWS) * 5))
        path.write_bytes((tmp_path / "two" / name).read_bytes())

    def use() -> None:
        files = SegmentFiles.open(tmp_path / "one", digest)
        if problems := files.check_all():
            raise CorruptionError(problems[0])

    with pytest.raises(CorruptionError):
        use()


def test_a_failed_write_leaves_nothing(tmp_path, rng):
    broken = content(rng)
    broken.codes.arrays["bad"] = np.array([object()])
    with pytest.raises(NotImplementedError):
        write_segment(tmp_path / "one", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_column_that_stays_in_two_pieces_is_refused_before_anything_is_published(tmp_path, rng):
    """Arrow gives two chunks for more than 2 GiB of text; small ones stand for them."""
    pieces = pa.table({"text": pa.chunked_array([["a"] * (ROWS // 2)] * 2)})
    large = dataclasses.replace(content(rng), metadata=SimpleNamespace(combine_chunks=lambda: pieces))
    with pytest.raises(LimitError, match=r"'text'.*2 GiB"):
        write_segment(tmp_path / "one", large)
    assert list(tmp_path.iterdir()) == []


def test_checking_rows_finds_damage_in_their_blocks_only(tmp_path):
    rows = np.arange(2_000_000, dtype=np.int8).reshape(2_000, 1_000)
    table = StoredTable({"scheme": "x"}, {"codes": rows}, Golden(rows=[0], digest=""))
    digest = write_segment(
        tmp_path / "one",
        SegmentContent(
            "one", 1_000, Metric.IP, np.arange(2_000, dtype=np.uint64), np.arange(2_000), pa.table({}), table
        ),
    )
    path = tmp_path / "one" / segment_files.CODES
    data = bytearray(path.read_bytes())
    data[-5_000] ^= 1
    path.write_bytes(data)
    codes = SegmentFiles.open(tmp_path / "one", digest).arrays(segment_files.CODES)
    codes.check_rows(np.array([0, 5, 100]), ("codes",))
    with pytest.raises(CorruptionError, match=r"codes\.arrow"):
        codes.check_rows(np.array([0, 1_995]), ("codes",))
