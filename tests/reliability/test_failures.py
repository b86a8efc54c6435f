"""Full disks, failing writes, closing in the middle: errors are clear, nothing is lost, work goes on."""

from __future__ import annotations

import errno
import gc
import itertools
import logging
import os
import resource
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import vecstore
from tests.reliability import children, scripts
from vecstore import HnswConfig, StorageFull, StoreClosed, StoreConfig
from vecstore.storage import atomic, sealed_folder, segment_files
from vecstore.storage.environment import Environment


def expected_after(steps):
    state = None
    for step in steps:
        state = scripts.apply(state, step)
    return state


# -- the disk ---------------------------------------------------------------------------------------------------


class FullDisk:
    """Stands for the functions that write segments: the n-th call finds the disk full."""

    def __init__(self, monkeypatch, fails_at):
        self.calls = 0
        self.fails_at = fails_at
        for owner, name in (
            (atomic, "fsync_path"),
            (segment_files, "write_file"),
            (sealed_folder, "write_arrays"),
            (pa, "OSFile"),
            (Path, "mkdir"),
        ):
            monkeypatch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, original):
        def call(*args, **kwargs):
            self.calls += 1
            if self.calls == self.fails_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*args, **kwargs)

        return call


@pytest.mark.parametrize("step", [["flush"], ["optimize"], ["compress", "float16"]], ids=lambda step: step[0])
def test_a_full_disk_at_any_write_of_a_segment_loses_nothing(step, scratch):
    before = scripts.EVERYTHING[:4]
    state = expected_after(before)
    for fails_at in itertools.count(1):
        path = scratch / str(fails_at) / "store"
        scripts.run(path, before)
        with vecstore.open(path, settings=scripts.QUIET) as database, pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, fails_at)
            try:
                scripts.perform(database, step)
            except StorageFull as error:
                refused = str(error)
            else:
                refused = ""
            patch.undo()
            if disk.calls < fails_at:
                assert fails_at > 8
                break
            assert "no space left" in refused, fails_at
            assert "Free some space" in refused
            segments = {folder.name for folder in (path / "segments").iterdir()}
            collection = database.collection(scripts.NAME)
            assert segments == {s["segment"] for s in collection.stats().segments}, fails_at
            assert scripts.found(collection) == state
            scripts.perform(database, ["insert", 100, 105, 7])
            scripts.perform(database, step)
        assert scripts.answers(path) == scripts.apply(state, ["insert", 100, 105, 7])


def fill_the_disk(path: Path, log: Path) -> list[str]:
    """Insert and flush under a limit of the size of files until that fails; give what was raised."""
    raised = []
    with vecstore.open(path, settings=scripts.QUIET) as database:
        scripts.perform(database, ["create"])
        size = (path / "catalog.lmdb" / "data.mdb").stat().st_size
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + (256 << 10), hard))
        for version in range(1, 200):
            step = ["insert", version * 100, version * 100 + 100, version]
            try:
                scripts.perform(database, step)
            except vecstore.VecstoreError as error:
                raised.append(f"{type(error).__name__}: {error}")
                break
            scripts.note(log, "done", step)
        collection = database.collection(scripts.NAME)
        scripts.check_reads(collection, scripts.found(collection))
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        step = ["insert", 50_000, 50_010, 5]
        scripts.perform(database, step)
        scripts.note(log, "done", step)
    return raised


def test_a_catalog_that_cannot_grow_on_disk_says_so_and_keeps_what_it_has(tmp_path):
    raised = children.call(fill_the_disk, tmp_path / "store", tmp_path / "log")
    assert len(raised) == 1
    assert raised[0].startswith("StorageFull")
    (state,) = scripts.states_after(tmp_path / "log", {})
    assert len(state) > 200
    assert children.call(scripts.answers, tmp_path / "store") == state


# -- background work ----------------------------------------------------------------------------------------------


def test_a_background_failure_leaves_the_collection_usable(tmp_path, monkeypatch, caplog):
    failing = threading.Event()

    def broken(*args, **kwargs):
        failing.set()
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    caplog.set_level(logging.CRITICAL, "vecstore")
    records = []
    monkeypatch.setattr(logging.getLogger("vecstore.background"), "exception", lambda *a, **k: records.append(a))
    with vecstore.open(tmp_path / "store", settings=StoreConfig(seal_rows=10, threads=1)) as database:
        scripts.perform(database, ["create"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sealed_folder, "write_arrays", broken)
            scripts.perform(database, ["insert", 0, 20, 1])
            assert failing.wait(30)
            wait_for(lambda: records)
        collection = database.collection(scripts.NAME)
        assert collection.stats().delta_rows == 20
        assert len(scripts.found(collection)) == 20
        scripts.perform(database, ["insert", 20, 40, 2])
        wait_for(lambda: collection.stats().delta_rows == 0)
    assert len(scripts.answers(tmp_path / "store")) == 40


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_closing_stops_a_graph_build_and_leaves_nothing_of_it(tmp_path, monkeypatch):
    """Close while a graph is built: the build gives up at its next block, and no folder stays."""
    from vecstore.index import hnsw

    path = tmp_path / "store"
    building, blocks = threading.Event(), []
    grow = hnsw.grow

    def watched(rows, n_rows, config, *, previous, should_stop):
        def asked():
            blocks.append(n_rows)
            if len(blocks) == 2:
                building.set()
                wait_for(should_stop)
            return should_stop()

        return grow(rows, n_rows, config, previous=previous, should_stop=asked)

    monkeypatch.setattr(hnsw, "grow", watched)
    random = np.random.default_rng(1)
    database = vecstore.open(path, settings=StoreConfig(seal_rows=5_000, threads=1))
    collection = database.create_collection("c", dim=8, metric="l2", index=HnswConfig(min_rows=64))
    collection.insert(range(5_000), random.integers(-8, 9, (5_000, 8)))
    assert building.wait(30)
    database.close()
    assert len(blocks) == 2
    with pytest.raises(StoreClosed, match="open it again"):
        collection.count()
    with vecstore.open(path, mode="r", settings=scripts.QUIET) as again:
        stats = again.collection("c").stats()
        assert stats.rows == 5_000
        assert {folder.name for folder in (path / "segments").iterdir()} == {s["segment"] for s in stats.segments}
        assert again.verify() == []


def test_an_interrupt_after_the_commit_keeps_the_published_segment(tmp_path, monkeypatch):
    """Ctrl-C between the commit and its return: the manifest names the new segment, so it must stay."""
    path = tmp_path / "store"
    with vecstore.open(path, settings=scripts.QUIET) as database:
        scripts.perform(database, ["create"])
        scripts.perform(database, ["insert", 0, 20, 1])
        run = database._commits.run

        def interrupted(operation):
            run(operation)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(database._commits, "run", interrupted)
            with pytest.raises(KeyboardInterrupt):
                scripts.perform(database, ["flush"])
        assert len(scripts.found(database.collection(scripts.NAME))) == 20
    assert len(scripts.answers(path)) == 20


@pytest.mark.parametrize("step", [["optimize"], ["compress", "float16"], ["drop"]], ids=lambda step: step[0])
def test_relaxed_commits_are_flushed_before_what_they_replace_is_removed(step, tmp_path, monkeypatch):
    """Else a power loss could bring back a manifest whose segments are gone."""
    events = []
    for owner, name in ((Environment, "_write_once"), (Environment, "sync"), (Path, "rename")):
        original = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *args, original=original, name=name: (events.append(name), original(*args))[1]
        )
    with vecstore.open(tmp_path / "store", settings=StoreConfig(durability="relaxed", background=False)) as database:
        for before in scripts.EVERYTHING[:5]:
            scripts.perform(database, before)
        events.clear()
        scripts.perform(database, step)
    assert events[-1] == "rename"
    assert "sync" in events[len(events) - events[::-1].index("_write_once") :]


# -- leaks --------------------------------------------------------------------------------------------------------


def test_opening_and_closing_leaks_no_thread_and_no_file(tmp_path):
    scripts.run(tmp_path / "store", scripts.EVERYTHING)
    settings = StoreConfig(background=True, threads=2)

    def use():
        with vecstore.open(tmp_path / "store", settings=settings) as database:
            collection = database.collection(scripts.NAME)
            collection.search(scripts.vectors(range(16), 1), 3)
            scripts.perform(database, ["upsert", 0, 3, 9])
            collection.flush()

    use()
    gc.collect()
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        use()
    gc.collect()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) <= files


def test_merges_do_not_keep_the_files_of_the_segments_they_replaced(tmp_path):
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        scripts.perform(database, ["create"])
        counts = []
        for version in range(1, 12):
            scripts.perform(database, ["upsert", version * 20, version * 20 + 20, version])
            scripts.perform(database, ["optimize"])
            scripts.found(database.collection(scripts.NAME))
            gc.collect()
            counts.append(len(os.listdir("/proc/self/fd")))
        assert max(counts[2:]) <= counts[1]


def test_a_collection_keeps_its_store_open_after_the_database_is_dropped(tmp_path):
    collection = vecstore.open(tmp_path / "store", settings=scripts.QUIET).create_collection("c", dim=2, metric="l2")
    gc.collect()
    assert collection.insert([1], [[1, 2]]) == 1
    del collection
    gc.collect()
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        assert database.collection("c").count() == 1
