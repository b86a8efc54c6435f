"""Seals, merges and compressions when something happens in the middle of them, and what a reopened store still owes."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import numpy as np
import pytest

import vecstore
from tests.reliability import scripts
from vecstore import HnswConfig, InvalidArgumentError, StorageFull, StoreClosed, StoreConfig, maintenance
from vecstore.background import Background
from vecstore.storage.environment import Environment

INDEX = HnswConfig(M=4, ef_construction=16, min_rows=16)


@pytest.fixture
def filled(tmp_path):
    """Give a collection with 40 sealed rows, in a store whose commits are flushed later."""
    settings = StoreConfig(background=False, durability="relaxed", threads=1)
    with vecstore.open(tmp_path / "store", settings=settings) as database:
        collection = database.create_collection("c", dim=4, metric="l2", index=INDEX)
        collection.insert(range(40), scripts.vectors(range(40), 1))
        collection.flush()
        yield collection


def folders(path):
    return {folder.name for folder in (path / "store" / "segments").iterdir()}


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# -- what a failure leaves behind -----------------------------------------------------------------------------------


@pytest.mark.parametrize("job", ["compress", "optimize", "flush"])
def test_segments_that_were_committed_stay_when_the_flush_behind_fails(job, filled, tmp_path, monkeypatch):
    def fails(_):
        raise StorageFull("full")

    filled.insert(range(100, 120), scripts.vectors(range(100, 120), 1))
    jobs = {
        "compress": lambda: filled.compress("float16"),
        "optimize": filled.optimize,
        "flush": filled.maintenance.seal,
    }
    with monkeypatch.context() as patch:
        patch.setattr(Environment, "sync", fails)
        with pytest.raises(StorageFull):
            jobs[job]()
    assert len(filled.get(range(40))) == 40
    with_all = {point.id for point in filled.get([*range(40), *range(100, 120)]) if point is not None}
    assert len(with_all) == 60
    assert {segment["segment"] for segment in filled.stats().segments} <= folders(tmp_path)


def test_closing_right_after_the_commit_of_a_compression_loses_nothing(tmp_path, monkeypatch):
    database = vecstore.open(tmp_path / "store", settings=scripts.QUIET)
    collection = database.create_collection("c", dim=4, metric="l2", index=None)
    collection.insert(range(40), scripts.vectors(range(40), 1))
    collection.flush()
    run = database._commits.run

    def closing(operation):
        result = run(operation)
        database.close()
        return result

    monkeypatch.setattr(database._commits, "run", closing)
    with pytest.raises(StoreClosed):
        collection.compress("float16")
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as again:
        assert again.verify() == []
        assert again.collection("c").stats().segments[0]["scheme"] == "float16"
        assert [point.id for point in again.collection("c").get(range(40))] == list(range(40))


def test_segments_of_an_unknown_outcome_stay_until_the_sweep(filled, monkeypatch):
    """An error that comes after the commit all the same, as when the thread that commits for all is interrupted."""
    run = filled._commits.run

    def late(operation):
        run(operation)
        raise vecstore.InternalError("not known")

    with monkeypatch.context() as patch:
        patch.setattr(filled._commits, "run", late)
        with pytest.raises(vecstore.InternalError):
            filled.compress("float16")
    assert [point.id for point in filled.get(range(40))] == list(range(40))


def test_a_compression_that_is_refused_leaves_no_folders(filled, tmp_path, monkeypatch):
    before = folders(tmp_path)

    def fails(_):
        raise StorageFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(filled._commits, "run", fails)
        with pytest.raises(StorageFull):
            filled.compress("float16")
    assert folders(tmp_path) == before


# -- compression ------------------------------------------------------------------------------------------------------


def test_rows_that_the_new_scheme_cannot_hold_stop_the_switch(filled, tmp_path, monkeypatch):
    """They come while the rows are encoded, and are only checked against the scheme of before."""
    before = folders(tmp_path)
    seal = filled.maintenance._seal_delta

    def late_row(*args):
        sealed = seal(*args)
        filled.insert([777], [[1e6, 0, 0, 0]])
        return sealed

    with monkeypatch.context() as patch:
        patch.setattr(filled.maintenance, "_seal_delta", late_row)
        with pytest.raises(InvalidArgumentError, match="float16"):
            filled.compress("float16")
    assert folders(tmp_path) == before
    assert filled.config.scheme["scheme"] == "full"
    filled.flush()
    filled.optimize()
    assert filled.get([777])[0].vector.tolist() == [1e6, 0, 0, 0]


def test_the_error_of_a_compression_is_of_the_rows_that_were_encoded(filled, monkeypatch):
    encode = filled.maintenance._encode_all

    def with_a_seal_behind(settings):
        views = encode(settings)
        filled.insert(range(500, 600), scripts.vectors(range(500, 600), 2))
        filled.maintenance.seal()
        return views

    monkeypatch.setattr(filled.maintenance, "_encode_all", with_a_seal_behind)
    report = filled.compress("float16")
    assert (report.rows, report.relative_error) == (40, 0.0)


def test_the_error_of_a_compression_of_huge_values_is_finite(filled):
    filled.insert([100], [[3e38, -3e38, 1e30, 0]])
    report = filled.compress("full")
    assert report.relative_error == 0.0
    report = filled.compress("int8")
    assert 0 < report.relative_error < 1e-4
    assert 1 - 1e-4 < report.cosine < 1


def test_compressing_an_empty_collection_reports_zeros(tmp_path):
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        report = database.create_collection("c", dim=4).compress("float16")
        assert (report.rows, report.relative_error, report.bytes_after) == (0, 0.0, 0)


# -- which merges pay -------------------------------------------------------------------------------------------------


def graphs(collection):
    return [(segment["rows"], segment["graph"]) for segment in collection.stats().segments]


def test_a_graphless_segment_gets_its_graph_behind_newer_small_ones(filled):
    filled.insert(range(100, 105), scripts.vectors(range(100, 105), 1))
    filled.flush()
    assert graphs(filled) == [(40, False), (5, False)]
    assert filled.maintenance.merge()
    assert graphs(filled) == [(40, True), (5, False)]
    assert not filled.maintenance.merge()


def test_opening_a_collection_builds_the_graph_that_its_last_process_did_not(tmp_path):
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        collection = database.create_collection("c", dim=4, metric="l2", index=INDEX)
        collection.insert(range(40), scripts.vectors(range(40), 1))
        collection.flush()
        assert graphs(collection) == [(40, False)]
    with vecstore.open(tmp_path / "store", settings=scripts.BUSY) as database:
        collection = database.collection("c")
        wait_for(lambda: graphs(collection) == [(40, True)])


def test_a_merge_holds_no_more_text_than_a_column_can(filled, monkeypatch):
    for start in (100, 200):
        ids = range(start, start + 40)
        filled.insert(ids, scripts.vectors(ids, 1), {"text": ["x" * 100] * 40})
        filled.flush()
    monkeypatch.setattr(maintenance, "MAX_MERGE_METADATA_BYTES", 6_000)
    filled.optimize()
    assert graphs(filled) == [(80, True), (40, True)]
    assert not filled.maintenance.merge()


# -- background threads -----------------------------------------------------------------------------------------------


class Job:
    """Stands for the maintenance of a collection."""

    name = "c"

    def __init__(self, error=None):
        self.error = error
        self.merged = threading.Event()

    def stop(self):
        pass

    def seal(self):
        if self.error is not None:
            raise self.error

    def merge(self):
        self.merged.set()
        return False


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), MemoryError()], ids=lambda e: type(e).__name__)
def test_the_background_threads_outlive_every_error(error, caplog):
    caplog.set_level("CRITICAL", "vecstore")
    background = Background()
    background.seal(Job(error))
    job = Job()
    background.seal(job)
    assert job.merged.wait(30)
    background.close()


def test_dropped_collections_are_let_go(tmp_path):
    with vecstore.open(tmp_path / "store", settings=scripts.BUSY) as database:
        collection = database.create_collection("c", dim=4)
        collection.insert(range(40), scripts.vectors(range(40), 1))
        collection.flush()
        kept = weakref.ref(collection.maintenance)
        database.drop_collection("c")
        del collection
        wait_for(lambda: gc.collect() >= 0 and kept() is None)


@pytest.mark.parametrize("is_background", [True, False], ids=["background", "search"])
def test_a_store_that_is_collected_in_a_thread_of_its_own_closes(is_background, tmp_path):
    """The garbage collector runs in any thread, also in one that closing waits for."""
    database = vecstore.open(tmp_path / "store", settings=StoreConfig(threads=2))
    if is_background:
        job = Job()
        job.seal = database._close
        database._background.seal(job)
    else:
        database._pool.submit(database._close)
    wait_for(lambda: can_open(tmp_path / "store"))
    assert not any(thread.is_alive() for thread in database._background._threads)


def can_open(path):
    try:
        vecstore.open(path, settings=scripts.QUIET).close()
    except vecstore.StoreLocked:
        return False
    return True


def test_a_search_that_meets_the_closing_says_that_the_store_is_closed(tmp_path):
    with vecstore.open(tmp_path / "store", settings=StoreConfig(background=False, threads=4)) as database:
        collection = database.create_collection("c", dim=4, metric="l2")
        collection.insert(range(40), scripts.vectors(range(40), 1))
        database._pool.shutdown()
        with pytest.raises(StoreClosed, match="open it again"):
            collection.search(np.zeros((64, 4)), 3)


def test_a_write_that_was_checked_before_a_switch_is_checked_again(filled, monkeypatch):
    """The compression is published between the check at the edge and the commit."""
    write = filled._store.write

    def switch_first(*args, **options):
        monkeypatch.setattr(filled._store, "write", write)
        filled.compress("float16")
        return write(*args, **options)

    monkeypatch.setattr(filled._store, "write", switch_first)
    with pytest.raises(InvalidArgumentError, match="float16"):
        filled.insert([778], [[1e6, 0, 0, 0]])
    assert filled.get([778]) == [None]
