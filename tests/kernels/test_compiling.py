"""Kernels as Python calls them: which arguments run which code, and what is kept on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from vecstore.errors import InternalError
from vecstore.kernels import code_cache, loading
from vecstore.kernels.compiling import frozen, kernel

ROOT = Path(__file__).parents[2]


class Pair(NamedTuple):
    values: np.ndarray
    factor: np.float32


class Twin(NamedTuple):
    values: np.ndarray
    factor: np.float32


@kernel
def weighted(pair, number, flag):
    total = np.float64(0)
    for value in pair.values:
        total += pair.factor * value
    return total + number if flag else total


@kernel
def corner(matrix):
    return matrix[matrix.shape[0] - 1, 0]


@kernel
def fill(out, value):
    scratch = np.empty(len(out), np.float64)
    scratch[:] = value
    for place in range(len(out)):
        out[place] = scratch[place]


@kernel
def sorted_flat(matrix):
    flat = matrix.reshape(matrix.size).copy()
    flat.sort()
    return flat[len(flat) // 2]


@kernel
def flat_length(cube):
    return len(cube.reshape(cube.shape[0] * cube.shape[1], cube.shape[2]))


@kernel
def first_two(values):
    return values[0], values[1]


@kernel
def appended(values):
    found = [values[0]]
    for value in values:
        found.append(value)
    return len(found)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VECSTORE_CACHE", str(tmp_path))
    code_cache.folder.cache_clear()
    yield tmp_path
    code_cache.folder.cache_clear()


def test_tuples_numbers_and_flags():
    pair = Pair(np.arange(4, dtype=np.float32), np.float32(0.5))
    assert weighted(pair, 7, True) == 10.0
    assert weighted(pair, 7, False) == 3.0
    assert weighted(pair, -(2**63), True) == 3.0 - 2.0**63


def test_code_runs_for_its_own_types_only():
    values = np.arange(4)
    for make in (Pair, Twin):
        for dtype in (np.float32, np.float64, np.int8, np.uint64, np.bool_):
            assert weighted(make(values.astype(dtype), np.float32(1)), 0, False) == values.astype(dtype).sum()
    # And again, now that code for all of them is there.
    for dtype in (np.uint64, np.float32):
        assert weighted(Twin(values.astype(dtype), np.float32(2)), 1, True) == 13


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.uint64, np.float32, np.float64, np.bool_])
def test_numbers_come_back_as_they_are(dtype):
    largest = True if dtype is np.bool_ else (np.finfo(dtype) if dtype(0.5) else np.iinfo(dtype)).max
    result = corner(np.full((2, 2), largest, dtype))
    assert result == largest
    assert type(result) in (bool, int, float)


def test_any_layout_and_access():
    matrix = np.arange(12.0).reshape(3, 4)
    for view in (matrix, frozen(matrix), matrix.T, matrix[:, ::2], matrix[::-1], np.asfortranarray(matrix)):
        assert corner(view) == view[-1, 0]


def test_scratch_of_a_kernel_and_what_it_reshapes():
    out = np.empty(1000)
    for value in range(100):
        fill(out, value)
        assert (out == value).all()
    matrix = np.random.default_rng(0).permuted(np.arange(35.0)).reshape(5, 7)
    assert sorted_flat(matrix) == 17
    assert flat_length(np.zeros((3, 0, 2))) == 0


def test_a_read_only_array_is_not_written():
    out = np.zeros(3)
    fill(out, 1)
    with pytest.raises(Exception, match="readonly"):
        fill(frozen(out), 2)
    assert out.tolist() == [1, 1, 1]


def test_memory_that_cannot_be_had():
    @kernel
    def too_much(values):
        return np.empty(values[0], np.float64)[0]

    with pytest.raises(MemoryError):
        too_much(np.array([2**58]))


@pytest.mark.parametrize("value", [None, "text", [1, 2], 2**63, np.array(["a"]), np.zeros(2, np.complex64)])
def test_what_kernels_do_not_take(value):
    with pytest.raises(TypeError, match="kernels take"):
        corner(value)


def test_a_wrong_number_of_arguments():
    with pytest.raises(TypeError):
        corner(np.zeros((2, 2)), 3)


def test_what_cannot_be_kept_says_so():
    with pytest.raises(InternalError, match="only numbers"):
        first_two(np.zeros(2))
    with pytest.raises(InternalError, match="appended cannot be kept"):
        appended(np.zeros(2))


def test_damaged_code_is_compiled_anew(cache):
    def doubled(value):
        return 2 * value

    assert kernel(doubled)(4) == 8
    (path,) = cache.rglob("*.o")
    again = kernel(doubled)
    assert again(4) == 8
    assert again.compiled == 0
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    again = kernel(doubled)
    assert again(4) == 8
    assert again.compiled == 1


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("VECSTORE_CACHE", str(tmp_path / "file"))
    code_cache.folder.cache_clear()
    try:

        def tripled(value):
            return 3 * value

        assert kernel(tripled)(4) == 12
    finally:
        code_cache.folder.cache_clear()


def test_the_folder_follows_sources_and_processor(cache, tmp_path, monkeypatch):
    def folder():
        code_cache.folder.cache_clear()
        loading.processor.cache_clear()
        return code_cache.folder()

    known = [folder()]
    assert folder() == known[0]
    assert cache in known[0].parents
    monkeypatch.setenv("NUMBA_CPU_NAME", "generic")
    known.append(folder())
    monkeypatch.setenv("NUMBA_CPU_FEATURES", "+avx2")
    known.append(folder())
    sources = tmp_path / "sources"
    (sources / "inner").mkdir(parents=True)
    monkeypatch.setattr(code_cache, "_HOME", sources)
    for text in ("x = 1", "x = 2"):
        (sources / "inner" / "used.py").write_text(text)
        known.append(folder())
    assert len(set(known)) == len(known)
    monkeypatch.undo()
    folder()


#: Prints ids, what was compiled, and which heavy modules are there, of a process that makes or opens a store.
STORE = """
import json, sys
import numpy as np
import vecstore
from vecstore.kernels.compiling import Kernel
path, mode = sys.argv[1:]
rows = np.random.default_rng(0).standard_normal((1_000, 16), np.float32)
if mode == "w":
    with vecstore.open(path) as db:
        docs = db.create_collection(
            "docs", dim=16, scheme="int8", refine="float16", index=vecstore.HnswConfig(min_rows=10)
        )
        docs.insert(np.arange(1_000), rows)
        docs.optimize()
with vecstore.open(path, mode="r") as db:
    found = db.collection("docs").search(rows[:3], 5, ef=10, columns=[]).ids.tolist()
kernels = [k for name, m in sys.modules.items() if name.startswith("vecstore") for k in vars(m).values()]
compiled = sum(k.compiled for k in {id(k): k for k in kernels if isinstance(k, Kernel)}.values())
print(json.dumps({"found": found, "compiled": compiled, "modules": sorted(sys.modules)}))
"""


@pytest.mark.slow
def test_a_second_process_searches_without_numba(tmp_path):
    def run(mode):
        settings = {**os.environ, "VECSTORE_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-c", STORE, str(tmp_path / "store"), mode]
        done = subprocess.run(command, cwd=ROOT, env=settings, check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    first, second = run("w"), run("r")
    assert first["compiled"] > 0
    assert second["compiled"] == 0
    assert second["found"] == first["found"]
    assert [row[0] for row in second["found"]] == [0, 1, 2]
    # Each of these takes longer than the search: what a first search may import is a promise.
    unwanted = {
        "numba",
        "scipy",
        "torch",
        "grpc",
        "hnswlib",
        "sqlglot",
        "pyarrow.compute",
        "pyarrow.dataset",
        "filelock",
    }
    assert not unwanted & set(second["modules"])
    schemes = {name.rpartition(".")[2] for name in second["modules"] if name.startswith("vecstore.schemes.")}
    assert not {"rabitq", "pq", "ttrec", "dhe", "transformed"} & schemes
