"""Creating, opening and locking the folder of a store."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

import vecstore
from vecstore import (
    CorruptionError,
    FormatError,
    InvalidArgumentError,
    NotFoundError,
    StoreConfig,
    StoreLocked,
    VecstoreError,
)
from vecstore.storage import store

QUIET = StoreConfig(background=False, threads=1)


def open_and_use(path):
    with vecstore.open(path, settings=QUIET) as database:
        database.create_collection("c", dim=2, metric="l2").insert([1], [[1, 2]])
    with vecstore.open(path, settings=QUIET) as database:
        assert database.collection("c").count() == 1


def test_nothing_beside_a_new_store_is_touched(tmp_path):
    (tmp_path / "store.tmp").mkdir()
    (tmp_path / "store.tmp" / "thesis.txt").write_text("mine")
    open_and_use(tmp_path / "store")
    assert (tmp_path / "store.tmp" / "thesis.txt").read_text() == "mine"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["store", "store.tmp"]


@pytest.mark.parametrize("exists", [True, False], ids=["empty", "dangling"])
def test_a_symbolic_link_will_do(tmp_path, exists):
    if exists:
        (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    open_and_use(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target" / "vecstore.json").exists()


def test_an_empty_folder_is_kept_and_filled(tmp_path):
    """A mount point can be neither renamed nor replaced, and brings its lost+found."""
    (tmp_path / "store" / "lost+found").mkdir(parents=True)
    before = (tmp_path / "store").stat().st_ino
    open_and_use(tmp_path / "store")
    assert (tmp_path / "store").stat().st_ino == before


def test_an_unfinished_store_is_begun_again_and_one_without_marker_is_not(tmp_path):
    path = tmp_path / "store"
    open_and_use(path)
    (path / "vecstore.json").unlink()
    with pytest.raises(FormatError, match="not a vecstore store"):
        vecstore.open(path, settings=QUIET)
    shutil.rmtree(path)
    (path / "catalog.lmdb").mkdir(parents=True)
    (path / "catalog.lmdb" / "data.mdb").write_bytes(bytes(100))
    (path / "vecstore.json.tmp").touch()
    with pytest.raises(NotFoundError):
        vecstore.open(path, mode="r", settings=QUIET)
    open_and_use(path)
    assert not (path / "vecstore.json.tmp").exists()


def test_concurrent_first_opens_give_a_store_or_the_lock_error(tmp_path):
    def attempt(number):
        try:
            with vecstore.open(tmp_path / str(number % 10) / "store", settings=QUIET):
                return "opened"
        except VecstoreError as error:
            return type(error).__name__

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, sorted(range(80), key=lambda number: number % 10)))
    assert set(outcomes) <= {"opened", "StoreLocked"}
    assert outcomes.count("opened") >= 10


def test_a_store_made_by_another_process_meanwhile_is_opened(tmp_path, monkeypatch):
    """The other one makes and closes it between our look at the folder and our lock."""
    original = store._writer_lock

    def late(path):
        monkeypatch.setattr(store, "_writer_lock", original)
        open_and_use(path)
        return original(path)

    monkeypatch.setattr(store, "_writer_lock", late)
    with vecstore.open(tmp_path / "store", settings=QUIET) as database:
        assert database.collection("c").count() == 1


def test_the_lock_error_fits_the_case(tmp_path):
    with vecstore.open(tmp_path / "store", settings=QUIET):
        with pytest.raises(StoreLocked, match="this process") as refused:
            vecstore.open(tmp_path / "store", settings=QUIET)
        assert "mode='r'" not in str(refused.value)
    lock = store._writer_lock(tmp_path / "store")  # as another process would: not through a Store
    try:
        with pytest.raises(StoreLocked, match=r"another process.*mode='r'"):
            vecstore.open(tmp_path / "store", settings=QUIET)
    finally:
        lock.release()


def test_a_failed_open_lets_go_of_everything(tmp_path, monkeypatch):
    open_and_use(tmp_path / "store")

    def broken(opened):
        raise OSError("no")

    with monkeypatch.context() as patch:
        patch.setattr(store.Store, "_sweep", broken)
        with pytest.raises(OSError, match="no") as failure:
            vecstore.open(tmp_path / "store", settings=QUIET)
    # The traceback still refers to what was opened: nothing here is left to the garbage collector.
    with vecstore.open(tmp_path / "store", settings=QUIET) as database:
        assert database.collection("c").count() == 1
    assert failure.value.__traceback__ is not None


def test_missing_segments_are_made_or_reported(tmp_path):
    path = tmp_path / "store"
    open_and_use(path)
    (path / "segments").rmdir()
    with vecstore.open(path, settings=QUIET) as database:
        database.collection("c").flush()
    shutil.rmtree(path / "segments")
    with pytest.raises(CorruptionError, match="segments: the folder is missing"):
        vecstore.open(path, settings=QUIET)


@pytest.mark.parametrize(
    "path", ["/proc/foo", "/dev/null/x", "a\0b", "x" * 5_000], ids=["proc", "file", "null", "long"]
)
def test_impossible_paths_are_invalid_arguments(path):
    with pytest.raises(InvalidArgumentError, match="choose another path"):
        vecstore.open(path, settings=QUIET)


def test_wrong_types_are_invalid_arguments(tmp_path):
    with pytest.raises(InvalidArgumentError, match="path: expected str or PathLike, got NoneType"):
        vecstore.open(None)
    with pytest.raises(InvalidArgumentError, match="settings: expected a StoreConfig, got dict"):
        vecstore.open(tmp_path / "store", settings={"threads": 1})
    assert list(tmp_path.iterdir()) == []
