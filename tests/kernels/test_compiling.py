"""Kernels as Python calls them: which arguments run which code, and what is kept on disk."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from threading import Barrier
from typing import NamedTuple

import numpy as np
import pytest

from vecstore.errors import InternalError, InvalidArgumentError
from vecstore.kernels import code_cache, loading, objects
from vecstore.kernels.compiling import frozen, kernel
from vecstore.warming import warmup

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


def test_classes_of_one_name_are_told_apart():
    def renamed(fields):
        cls = NamedTuple("Pair", fields)
        cls.__module__, cls.__qualname__ = Pair.__module__, Pair.__qualname__
        return cls

    same = renamed([("values", np.ndarray), ("factor", np.float32)])
    swapped = renamed([("factor", np.float32), ("values", np.ndarray)])
    values, factor = np.arange(4.0), np.float64(0.5)
    assert weighted(Pair(values, factor), 0, False) == 3
    assert weighted(same(values, factor), 0, False) == 3

    @kernel
    def difference(pair):
        return pair.values[0] - pair.factor[0]

    numbers = np.array([5.0]), np.array([2.0])
    assert difference(same(*numbers)) == 3
    assert difference(swapped(*numbers)) == -3
    assert difference(same(*numbers)) == 3


def test_empty_arrays_and_arrays_without_axes():
    @kernel
    def count(array):
        found = 0
        for _ in array.flat:
            found += 1
        return found

    @kernel
    def only(array):
        return array[()]

    for shape in ((0,), (0, 3), (3, 0, 2)):
        assert count(np.empty(shape)) == 0
    assert only(np.array(2.5)) == 2.5
    assert count(np.ones((1,) * 12)) == 1
    assert count(np.broadcast_to(np.float32(1), (3, 4))) == 12


@pytest.mark.parametrize("length", [-1, -(2**62), 2**60, 2**62])
def test_lengths_that_no_array_has(length):
    @kernel
    def cells(length):
        return len(np.empty(length, np.float64))

    with pytest.raises(MemoryError):
        cells(length)


def test_divisions_without_a_result_end():
    @kernel
    def divided(numerator, denominator):
        return numerator // denominator + numerator % denominator

    assert type(divided(1, 0)) is int
    assert type(divided(-(2**63), -1)) is int
    assert np.isnan(divided(1.0, 0.0))


def test_references_are_given_back():
    @kernel
    def touch(array, number, pair):
        array[0] = number + pair.factor

    array, pair = np.zeros(3), Pair(np.zeros(2, np.float32), np.float32(1))
    arguments = array, 2**40, pair
    touch(*arguments)
    touch(np.zeros(3, np.float32), 1, pair)
    held = [*arguments, *pair, array.dtype, Pair, None, NotImplemented]
    before = [sys.getrefcount(one) for one in held]
    for _ in range(10_000):
        touch(*arguments)
        corner(array.reshape(3, 1))
    assert max(abs(sys.getrefcount(one) - count) for one, count in zip(held, before, strict=True)) < 1_000


def test_many_threads_ask_for_the_same_code_at_once(cache):
    @kernel
    def sum_of(array, number):
        total = np.float64(number)
        for value in array:
            total += value
        return total

    together = Barrier(8)

    def run(_):
        together.wait()
        return [sum_of(np.ones(5, dtype), number) for dtype in (np.int8, np.float32) for number in (1, 2.5)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, range(8)))
    assert results == [[6, 7.5, 6, 7.5]] * 8
    assert sum_of.compiled == 4


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


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        [1, 2],
        2**63,
        -(2**63) - 1,
        np.array(["a"]),
        np.array([None]),
        np.zeros(2, np.complex64),
        np.zeros(2, ">i4" if sys.byteorder == "little" else "<i4"),
        np.zeros(2, "i4,i4"),
        np.ma.ones(2),
        np.datetime64("2020"),
        HTTPStatus.OK,
        type("Row", (tuple,), {})((1, 2)),
        Pair(np.zeros(2), None),
    ],
    ids=repr,
)
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
    whole = path.read_bytes()
    for damaged in (whole[:-1] + b"?", whole[: len(whole) // 2], whole[:10], b""):
        path.write_bytes(damaged)
        again = kernel(doubled)
        assert again(4) == 8
        assert again.compiled == 1
    again = kernel(doubled)
    assert again(4) == 8
    assert again.compiled == 0


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


def test_a_user_without_a_home(monkeypatch):
    monkeypatch.delenv("VECSTORE_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    code_cache.folder.cache_clear()

    def quartered(value):
        return value / 4

    for _ in range(2):
        again = kernel(quartered)
        assert again(4) == 1
        assert again.compiled == 1
    with pytest.raises(InvalidArgumentError, match="set VECSTORE_CACHE"):
        warmup("int8")


def test_a_full_disk_leaves_nothing_behind(cache, monkeypatch):
    def write_bytes(path, data):
        with path.open("wb") as file:
            file.write(data[:20])
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)

    @kernel
    def halved(value):
        return value / 2

    assert halved(4) == 2
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_kernels_that_were_typed_in(cache):
    def typed(text):
        place = {"__name__": __name__}
        exec(text, place)
        return kernel(place["typed"])

    assert typed("def typed(x):\n    return x + 1")(1) == 2
    assert typed("def typed(x):\n    return x + 2")(1) == 3


def test_interpreters_whose_objects_are_not_known(monkeypatch):
    monkeypatch.setattr(objects, "are_known", lambda: False)

    @kernel
    def scaled(pair, flag):
        return weighted(pair, 1, flag)

    for dtype in (np.float32, np.float64):
        assert scaled(Pair(np.arange(4, dtype=dtype), np.float32(0.5)), True) == 4


def test_numba_that_may_not_compile_is_reported(cache, monkeypatch):
    monkeypatch.setattr("numba.config.DISABLE_JIT", True)

    @kernel
    def same(value):
        return value

    with pytest.raises(InvalidArgumentError, match="NUMBA_DISABLE_JIT"):
        same(1)


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


#: Forks while another thread is compiling, and compiles in the child.
FORK = """
import os, sys, threading
from vecstore.kernels import compiling
def number(value):
    return value + 1
inside, leave = threading.Event(), threading.Event()
def compile_for_a_while():
    with compiling._compiling:
        inside.set()
        leave.wait(1)
thread = threading.Thread(target=compile_for_a_while)
thread.start()
inside.wait()
if (child := os.fork()) == 0:
    os._exit(compiling.kernel(number)(1) - 2)
thread.join()
assert compiling.kernel(number)(1.5) == 2.5
sys.exit(os.waitpid(child, 0)[1])
"""


def test_a_fork_waits_until_other_threads_have_compiled(tmp_path):
    settings = {**os.environ, "VECSTORE_CACHE": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, env=settings, timeout=300).returncode == 0


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
