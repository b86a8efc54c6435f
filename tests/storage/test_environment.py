from __future__ import annotations

import os
import threading

import lmdb
import pytest

from vecstore.errors import AlreadyExistsError, CorruptionError, ForkError, StorageFull, StoreClosed
from vecstore.storage.environment import Environment

TABLES = {1: "one", 2: "two"}


@pytest.fixture
def environment(tmp_path):
    env = Environment(tmp_path / "env", TABLES, readonly=False, create=True, map_bytes=1 << 20)
    yield env
    env.close()


def test_reads_back_what_was_written(environment):
    environment.write(lambda t: t.put(1, b"key", b"value"))
    with environment.read() as transaction:
        assert transaction.get(1, b"key") == b"value"
        assert transaction.get(2, b"key") is None


def test_the_state_changes_with_what_can_be_read(environment, tmp_path):
    before = environment.state()
    assert environment.state() == before
    with environment.read() as transaction:
        environment.write(lambda t: t.put(1, b"key", b"value"))
        assert transaction.get(1, b"key") is None
    after = environment.state()
    assert after != before
    assert environment.state() == after
    environment.close()
    with pytest.raises(StoreClosed):
        environment.state()


def test_scan_gives_the_keys_with_a_prefix_in_order(environment):
    items = [(b"a1", b"x"), (b"a2", b"y"), (b"b1", b"z")]
    environment.write(lambda t: t.put_many(1, items))
    with environment.read() as transaction:
        assert list(transaction.scan(1, b"a")) == items[:2]
        assert list(transaction.scan(1, b"a", b"a2")) == items[1:2]
        assert transaction.get_many(1, [b"b1", b"nope"]) == {b"b1": b"z"}


def test_delete_prefix_stops_where_told(environment):
    environment.write(lambda t: t.put_many(1, [(b"a1", b""), (b"a2", b""), (b"a3", b""), (b"b", b"")]))
    assert environment.write(lambda t: t.delete_prefix(1, b"a", b"a3")) == 2
    with environment.read() as transaction:
        assert [key for key, _ in transaction.scan(1, b"")] == [b"a3", b"b"]


def test_an_operation_that_raises_writes_nothing(environment):
    def failing(transaction):
        transaction.put(1, b"key", b"value")
        raise AlreadyExistsError("no")

    with pytest.raises(AlreadyExistsError):
        environment.write(failing)
    with environment.read() as transaction:
        assert transaction.get(1, b"key") is None


def test_a_failing_operation_in_a_shared_commit_leaves_the_others_alone(environment):
    def failing(transaction):
        transaction.put(1, b"bad", b"")
        raise AlreadyExistsError("no")

    results = environment.write_each([lambda t: t.put(1, b"a", b"1"), failing, lambda t: t.put(1, b"b", b"2")])
    assert isinstance(results[1], AlreadyExistsError)
    with environment.read() as transaction:
        assert [key for key, _ in transaction.scan(1, b"")] == [b"a", b"b"]


def test_the_map_grows_while_others_read(environment):
    stop = threading.Event()
    failures = []

    def read():
        while not stop.is_set():
            try:
                with environment.read() as transaction:
                    list(transaction.scan(1, b""))
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(40):
        environment.write(lambda t, n=number: t.put(1, n.to_bytes(4, "big"), bytes(200_000)))
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert environment.used_bytes() > 7 << 20


def test_another_environment_follows_the_growth(tmp_path, environment):
    # A second process would be the real thing (tests/reliability has it); py-lmdb refuses a second open here.
    environment.write(lambda t: t.put(1, b"k", bytes(5 << 20)))
    environment.close()
    reader = Environment(tmp_path / "env", TABLES, readonly=True, map_bytes=1 << 20)
    with reader.read() as transaction:
        assert len(transaction.get(1, b"k")) == 5 << 20
    reader.close()


def test_no_state_is_like_another_while_the_map_has_to_follow(tmp_path, environment):
    environment.write(lambda t: t.put(1, b"k", b"v"))
    environment.close()
    reader = Environment(tmp_path / "env", TABLES, readonly=True, map_bytes=1 << 20)
    assert reader.state() == reader.state()

    class Grown:
        def begin(self):
            raise lmdb.MapResizedError("the other process has grown the map")

        def close(self):
            pass

    opened, reader._env = reader._env, Grown()
    assert reader.state() != reader.state()
    reader._env = opened
    reader.close()


@pytest.mark.parametrize("where", [0, 4, 8, 16, 20])
def test_a_damaged_value_is_reported(environment, where):
    environment.write(lambda t: t.put(1, b"key", b"a value of some length"))

    def damage(transaction):
        raw = bytearray(transaction._raw.get(b"key", db=transaction._tables[1]))
        raw[where] ^= 1
        transaction._raw.put(b"key", bytes(raw), db=transaction._tables[1])

    environment.write(damage)
    with environment.read() as transaction, pytest.raises(CorruptionError, match="checksum"):
        transaction.get(1, b"key")


@pytest.mark.parametrize(("table", "key"), [(2, b"key"), (1, b"other")])
def test_a_value_in_the_wrong_place_is_reported(environment, table, key):
    environment.write(lambda t: t.put(1, b"key", b"value"))

    def move(transaction):
        raw = transaction._raw.get(b"key", db=transaction._tables[1])
        transaction._raw.put(key, raw, db=transaction._tables[table])

    environment.write(move)
    with environment.read() as transaction, pytest.raises(CorruptionError):
        transaction.get(table, key)


def test_closed_means_closed(environment):
    environment.close()
    with pytest.raises(StoreClosed, match="open it again"), environment.read():
        pass
    with pytest.raises(StoreClosed):
        environment.write(lambda t: None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_use_after_fork_is_refused(environment):
    child = os.fork()
    if child == 0:
        try:
            environment.write(lambda t: None)
        except ForkError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_map_that_cannot_grow_leaves_the_environment_usable(environment, monkeypatch):
    environment.write(lambda t: t.put(1, b"small", b"value"))
    raw = environment._env

    class Limited:
        """Does as LMDB does when there is no address space: the environment is closed under the caller."""

        def __getattr__(self, name):
            return getattr(raw, name)

        def set_mapsize(self, size):
            raw.close()
            raise lmdb.MemoryError("no address space")

    environment._env = Limited()
    with pytest.raises(StorageFull, match="ulimit"):
        environment.write(lambda t: t.put(1, b"large", bytes(5 << 20)))
    with environment.read() as transaction:
        assert transaction.get(1, b"small") == b"value"
        assert transaction.get(1, b"large") is None
    environment.write(lambda t: t.put(1, b"large", bytes(5 << 20)))


def test_only_two_panics_in_a_row_close_the_environment(environment):
    def panicking(times):
        def operation(transaction):
            if times:
                raise lmdb.PanicError(str(times.pop()))
            transaction.put(1, b"key", b"value")

        return operation

    for _ in range(3):
        environment.write(panicking([1]))
    with pytest.raises(StoreClosed, match="twice in a row"):
        environment.write(panicking([2, 1]))
