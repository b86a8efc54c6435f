"""Several processes on one store: one writes, others read; a fork is refused."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import vecstore
from tests.reliability import children, scripts
from vecstore import ForkError, NotFoundError, ReadOnlyError, StoreConfig, StoreLocked
from vecstore.segment import Segment
from vecstore.storage import catalog, store
from vecstore.storage.environment import Environment
from vecstore.view import Views

#: Rows of every batch; each batch is one version.
BATCH = 25


def small_maps(path: Path, *, readonly: bool, relaxed: bool, map_gib: int) -> Environment:
    """Open a catalog with the smallest map, so that it has to grow."""
    return Environment(path, catalog.TABLES, readonly=readonly, relaxed=relaxed, map_bytes=map_gib << 16)


def read_until(path: Path, stop: Path) -> dict:
    """Read in a loop; give what was seen, and raise on half a batch or a count that goes back."""
    store.open_environment = small_maps
    seen = {"reads": 0, "generations": set(), "counts": set(), "dropped": False}
    with vecstore.open(path, mode="r", settings=StoreConfig(map_gib=1, threads=1)) as database:
        collection = database.collection(scripts.NAME)
        last = 0
        while not stop.exists():
            try:
                last = read_once(collection, seen, last)
                stop.with_name(f"reader-{os.getpid()}").touch()
            except NotFoundError:
                seen["dropped"] = True
                break
    return seen


def read_once(collection, seen, last):
    state = scripts.found(collection)
    sizes = np.bincount(list(state.values()))
    if len(state) < last or not set(sizes.tolist()) <= {0, BATCH}:
        raise ValueError(f"{len(state)} rows after {last}, batches of {sizes}")
    ids = list(state)[-3:]
    for point, i in zip(collection.get(ids), ids, strict=True):
        if point is None or point.vector.tolist() != scripts.vectors([i], state[i])[0].tolist():
            raise ValueError(f"get {i}: {point}")
    if ids:
        hits = collection.search(scripts.vectors(ids, 0) * [1, 1, 0, 0], 5, exact=True)
        rows = dict(zip(ids, hits, strict=True))
        if any(row[0].distance > (scripts.vectors([i], state[i])[0][2:] ** 2).sum() for i, row in rows.items()):
            raise ValueError(f"search: {rows}")
    if collection.count("even") > collection.count():
        raise ValueError("count")
    stats = collection.stats()
    seen["generations"].add(stats.generation)
    seen["counts"].add(len(state))
    seen["reads"] += 1
    return len(state)


def map_bytes(database) -> int:
    return database._store.environment._env.info()["map_size"]


def test_readers_follow_a_writer_that_seals_merges_grows_and_drops(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "open_environment", small_maps)
    path, stop = tmp_path / "store", tmp_path / "stop"
    with vecstore.open(path, settings=StoreConfig(map_gib=1, seal_rows=4 * BATCH, threads=1)) as database:
        scripts.perform(database, ["create"])
        scripts.perform(database, ["insert", 0, BATCH, 0])
        readers = [children.start(read_until, path, stop) for _ in range(2)]
        started = map_bytes(database)
        while len(list(tmp_path.glob("reader-*"))) < len(readers):
            assert all(process.is_alive() for process, _ in readers)
            time.sleep(0.01)
        for version in range(1, 100):
            scripts.perform(database, ["insert", version * BATCH, (version + 1) * BATCH, version])
            if version % 25 == 0:
                scripts.perform(database, ["optimize"])
            if version == 60:
                scripts.perform(database, ["compress", "float16"])
            time.sleep(0.01)
        assert map_bytes(database) > started
        scripts.perform(database, ["drop"])
        deadline = time.monotonic() + children.PATIENCE
        while any(process.is_alive() for process, _ in readers) and time.monotonic() < deadline:
            time.sleep(0.05)
        stop.touch()
        for seen in [children.answer(*reader) for reader in readers]:
            assert seen["dropped"]
            assert len(seen["counts"]) >= 3
            assert len(seen["generations"]) >= 2


def try_to_open(path: Path, mode: str) -> str:
    try:
        with vecstore.open(path, mode=mode, settings=scripts.QUIET) as database:
            return str(len(database.list_collections()))
    except vecstore.VecstoreError as error:
        return f"{type(error).__name__}: {error}"


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path):
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        scripts.perform(database, ["create"])
        answer = children.call(try_to_open, tmp_path / "store", "w")
        assert answer.startswith("StoreLocked")
        assert str(tmp_path / "store") in answer
        assert "mode='r'" in answer
        assert children.call(try_to_open, tmp_path / "store", "r") == "1"
    assert children.call(try_to_open, tmp_path / "store", "w") == "1"


def test_a_second_database_in_one_process_is_refused(tmp_path):
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        for mode in ("w", "r"):
            with pytest.raises(StoreLocked, match=r"this process|in this one"):
                vecstore.open(tmp_path / "store", mode=mode)
        scripts.perform(database, ["create"])
    with (
        vecstore.open(tmp_path / "store", mode="r", settings=scripts.QUIET) as database,
        pytest.raises(StoreLocked, match="share that Database"),
    ):
        vecstore.open(tmp_path / "store", mode="r")


def test_a_reader_refuses_every_write_and_changes_nothing(tmp_path):
    scripts.run(tmp_path / "store", scripts.EVERYTHING)
    before = children.call(scripts.answers, tmp_path / "store")
    with vecstore.open(tmp_path / "store", mode="r", settings=scripts.QUIET) as database:
        collection = database.collection(scripts.NAME)
        for write in (
            lambda: collection.insert([1000], [[0.0] * scripts.DIM]),
            lambda: collection.upsert([1000], [[0.0] * scripts.DIM]),
            lambda: collection.delete(ids=[0]),
            lambda: collection.delete(where="even"),
            collection.flush,
            collection.optimize,
            lambda: collection.compress("full"),
            lambda: database.create_collection("other", dim=2),
            lambda: database.drop_collection(scripts.NAME),
        ):
            with pytest.raises(ReadOnlyError, match="mode='w'"):
                write()
    assert children.call(scripts.answers, tmp_path / "store") == before


def fork_and_read(path: Path) -> list[str]:
    """Fork with an open store and use it in the fork; then use it here."""
    receiver, sender = os.pipe()
    with vecstore.open(path, settings=scripts.BUSY) as database:
        collection = database.collection(scripts.NAME)
        with database._store.environment.read():
            # Another thread may be inside a transaction at the fork: the child must not wait for it.
            child = os.fork()
            if child == 0:
                results = []
                for use in (collection.count, lambda: collection.search([1] * scripts.DIM), collection.flush):
                    try:
                        use()
                        results.append("worked")
                    except ForkError:
                        results.append("ForkError")
                database.close()
                os.write(sender, " ".join(results).encode())
                os._exit(0)
        os.waitpid(child, 0)
        results = os.read(receiver, 1000).decode().split()
        collection.insert([5000], [[1.0] * scripts.DIM])
        results.append(try_to_open_elsewhere(path))
        return results


def try_to_open_elsewhere(path: Path) -> str:
    """Take the writer's lock as another process would: through a descriptor of one's own."""
    try:
        store._writer_lock(path).release()
    except StoreLocked:
        return "still locked"
    return "lock is gone"


def test_a_fork_is_refused_and_leaves_the_parent_its_store(tmp_path):
    scripts.run(tmp_path / "store", scripts.EVERYTHING)
    results = children.call(fork_and_read, tmp_path / "store")
    assert results == ["ForkError", "ForkError", "ForkError", "still locked"]


def test_readers_here_survive_a_merge_between_manifest_and_folder(tmp_path, monkeypatch):
    """A segment folder may vanish while a reader is about to open it: it takes the next manifest."""
    path = tmp_path / "store"
    with vecstore.open(path, settings=scripts.QUIET) as database:
        scripts.perform(database, ["create"])
        scripts.perform(database, ["insert", 0, 40, 1])
        scripts.perform(database, ["flush"])
        scripts.perform(database, ["insert", 40, 60, 2])
        scripts.perform(database, ["flush"])
    with vecstore.open(path, settings=scripts.QUIET) as database:
        opening, original = threading.Event(), Segment.__init__

        def slow(segment, folder, entry):
            if not opening.is_set():
                opening.set()
                # In a thread, as the writer would be: this one is inside a read transaction.
                merger = threading.Thread(target=scripts.perform, args=(writer, ["optimize"]))
                merger.start()
                merger.join()
            original(segment, folder, entry)

        writer = database
        collection = database.collection(scripts.NAME)
        collection.count("even")  # the writer's own view is open already
        views = Views(database._store.environment, collection._store, database._store.segments)
        monkeypatch.setattr(Segment, "__init__", slow)
        view = views.current()
        assert opening.is_set()
        assert sum(len(source.source) for source in view.sources) == 60
