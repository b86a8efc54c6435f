"""Many threads on one database: no torn or stale answers, shared commits, failures that stay one's own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import vecstore
from tests.reliability import scripts
from vecstore import AlreadyExistsError, StoreConfig
from vecstore.storage.environment import Environment

#: Seconds that the mixed load runs.
DURATION = 4.0
GROUP = 10


class Writer:
    """Writes versions of its own groups of ids; every group is always written and deleted as a whole."""

    def __init__(self, collection, number):
        self.collection = collection
        self.number = number
        #: Group -> the lowest version that a read begun now may see; 0 for none.
        self.settled = dict.fromkeys(range(number, 20, 2), 0)
        self.writes = 0

    def work(self, random, version):
        group = int(random.choice(list(self.settled)))
        ids = list(range(group * GROUP, (group + 1) * GROUP))
        if random.random() < 0.15:
            self.settled[group] = 0
            self.collection.delete(ids=ids)
        else:
            self.collection.upsert(ids, scripts.vectors(ids, version), scripts.metadata(ids, version))
            self.settled[group] = version
        self.writes += 1


def check_scan(collection, writers):
    floor = {group: version for writer in writers for group, version in list(writer.settled.items())}
    state = scripts.found(collection)
    groups = {}
    for i, version in state.items():
        groups.setdefault(i // GROUP, []).append(version)
    for group, versions in groups.items():
        if len(versions) != GROUP or len(set(versions)) != 1:
            raise ValueError(f"group {group} is torn: {versions}")
        if versions[0] < floor[group]:
            raise ValueError(f"group {group} is stale: {versions[0]} after {floor[group]}")


def check_points(collection, random):
    group = int(random.integers(0, 20))
    ids = list(range(group * GROUP, (group + 1) * GROUP))
    points = [point for point in collection.get(ids) if point is not None]
    versions = {point.metadata["version"] for point in points}
    if len(points) not in (0, GROUP) or len(versions) > 1:
        raise ValueError(f"get: {points}")
    for point in points:
        if point.vector.tolist() != scripts.vectors([point.id], point.metadata["version"])[0].tolist():
            raise ValueError(f"get: {point}")


def check_hits(collection, random):
    queries = scripts.vectors(random.integers(0, 200, 9), int(random.integers(0, 100)))
    where = str(random.choice(["even", "version > 20"])) if random.random() < 0.5 else None
    hits = collection.search(queries, 7, where=where, exact=bool(random.random() < 0.5))
    for query, line in zip(queries, hits, strict=True):
        if len({hit.id for hit in line}) != len(line):
            raise ValueError(f"search: an id twice in {line}")
        for hit in line:
            vector = scripts.vectors([hit.id], hit.metadata["version"])[0]
            if hit.distance != float(((vector - query) ** 2).sum()) or (where == "even" and hit.id % 2):
                raise ValueError(f"search: {hit} for {query}")


def test_readers_writers_seals_merges_deletes_and_compressions_at_once(tmp_path):
    stop, failures = threading.Event(), []
    reads = [0] * 4
    settings = StoreConfig(durability="relaxed", seal_rows=128, threads=2)
    with vecstore.open(tmp_path / "store", settings=settings) as database:
        scripts.perform(database, ["create"])
        collection = database.collection(scripts.NAME)
        collection.insert([999_999], [[9.0] * scripts.DIM], scripts.metadata([999_999], 1))
        collection.delete(ids=[999_999])
        writers = [Writer(collection, number) for number in range(2)]

        def loop(work):
            try:
                while not stop.is_set():
                    work()
            except Exception as error:
                failures.append(error)
                stop.set()

        def writing(number):
            random, versions = np.random.default_rng(number), iter(range(1, 1 << 30))
            loop(lambda: writers[number].work(random, next(versions)))

        def reading(number):
            random = np.random.default_rng(100 + number)

            def read():
                check_scan(collection, writers)
                check_points(collection, random)
                check_hits(collection, random)
                reads[number] += 1

            loop(read)

        def upkeep():
            jobs = [lambda: collection.compress("float16"), collection.optimize, lambda: collection.compress("full")]
            turns = iter(range(1 << 30))

            def work():
                jobs[next(turns) % len(jobs)]()
                time.sleep(0.1)

            loop(work)

        threads = [threading.Thread(target=writing, args=(number,)) for number in range(2)]
        threads += [threading.Thread(target=reading, args=(number,)) for number in range(4)]
        threads.append(threading.Thread(target=upkeep))
        for thread in threads:
            thread.start()
        stop.wait(DURATION)
        deadline = time.monotonic() + 60
        while not stop.wait(0.1) and time.monotonic() < deadline:
            if min(reads) > 0 and min(writer.writes for writer in writers) > 10:
                break
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert min(reads) > 0
        assert min(writer.writes for writer in writers) > 10
        expected = {
            i: version
            for writer in writers
            for group, version in writer.settled.items()
            if version
            for i in range(group * GROUP, (group + 1) * GROUP)
        }
        assert scripts.found(collection) == expected
        collection.flush()
        assert database.verify() == []
    assert scripts.answers(tmp_path / "store") == expected


@pytest.fixture
def gathered(monkeypatch):
    """Give a function that makes the next commit wait until so many operations are in line behind it."""
    commits = []
    original = Environment._write_once

    def install(queue, waiting):
        def patient(environment, operation):
            if not commits:
                deadline = time.monotonic() + 30
                while len(queue._queue) < waiting and time.monotonic() < deadline:
                    time.sleep(0.001)
            commits.append(operation)
            return original(environment, operation)

        monkeypatch.setattr(Environment, "_write_once", patient)
        return commits

    return install


def test_waiting_writers_share_one_commit(tmp_path, gathered):
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        collection = database.create_collection("c", dim=2, metric="l2")
        commits = gathered(database._commits, 15)
        with ThreadPoolExecutor(16) as pool:
            written = list(pool.map(lambda i: collection.insert([i], [[i, 1]]), range(16)))
        assert written == [1] * 16
        assert len(commits) == 2
        assert sorted(point.vector[0] for point in collection.get(range(16))) == list(range(16))


def test_a_failure_in_a_shared_commit_is_its_own(tmp_path, gathered):
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        collection = database.create_collection("c", dim=2, metric="l2")
        other = database.create_collection("d", dim=2, metric="l2")
        collection.insert([3], [[0, 0]])
        commits = gathered(database._commits, 9)

        def insert(i):
            target = other if i % 4 == 1 else collection
            try:
                return target.insert([i], [[i, 1]])
            except AlreadyExistsError as error:
                return str(error)

        with ThreadPoolExecutor(10) as pool:
            results = list(pool.map(insert, range(10)))
        assert len(commits) == 2
        assert "e.g. 3" in results[3]
        assert [r for i, r in enumerate(results) if i != 3] == [1] * 9
        assert (collection.count(), other.count()) == (7, 3)
        assert collection.get([3])[0].vector.tolist() == [0, 0]
        assert database.verify() == []


def test_a_view_outlives_merges_and_compressions(tmp_path):
    """A scan goes on over the rows of its moment while everything under it is replaced."""
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        scripts.perform(database, ["create"])
        collection = database.collection(scripts.NAME)
        for version in (1, 2):
            scripts.perform(database, ["insert", version * 50, version * 50 + 50, version])
            collection.flush()
        scan = collection.scan(batch_size=7)
        first = next(scan)
        collection.delete(where="version = 2")
        collection.optimize()
        collection.compress("float16")
        rows = [*first.to_pylist(), *(row for batch in scan for row in batch.to_pylist())]
        assert [row["id"] for row in rows] == list(range(50, 150))
        assert all(row["vector"] == scripts.vectors([row["id"]], row["version"])[0].tolist() for row in rows)
        assert collection.count() == 50
