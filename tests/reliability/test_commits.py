"""Group commit: what one writer's failure or interrupt means for those in the same commit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import vecstore
from tests.reliability import scripts
from vecstore import InternalError
from vecstore.storage.environment import Environment


@pytest.fixture
def database(tmp_path):
    with vecstore.open(tmp_path / "store", settings=scripts.QUIET) as database:
        database.create_collection("c", dim=2, metric="l2")
        yield database


def outcome(function):
    try:
        return function()
    except BaseException as error:
        return type(error)


def together(commits, functions):
    """Run functions that each commit once, all in one commit; give their results or error types."""
    with ThreadPoolExecutor(len(functions)) as pool, commits._turn:
        futures = [pool.submit(outcome, function) for function in functions]
        wait_for_queue(commits, len(functions))
        commits._turn.release()
        results = [future.result(30) for future in futures]
        commits._turn.acquire()
    return results


def wait_for_queue(commits, length):
    waiting = threading.Event()
    for _ in range(3_000):
        if len(commits._queue) >= length:
            return
        waiting.wait(0.01)
    raise TimeoutError("the writers never came")


def failing(_):
    raise ZeroDivisionError


def test_an_error_of_any_kind_is_its_own_operations(database):
    collection = database.collection("c")
    functions = [lambda: collection.insert([1], [[1, 1]]), lambda: database._commits.run(failing)]
    functions.append(lambda: collection.insert([2], [[1, 1]]))
    assert together(database._commits, functions) == [1, ZeroDivisionError, 1]
    assert collection.count() == 2


@pytest.mark.parametrize("is_committed", [True, False])
def test_an_interrupt_is_raised_in_one_thread_and_the_others_learn_that_nobody_knows(
    database, monkeypatch, is_committed
):
    collection = database.collection("c")
    write_each = Environment.write_each

    def interrupted(environment, operations):
        if is_committed:
            write_each(environment, operations)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Environment, "write_each", interrupted)
        inserts = [lambda i=i: collection.insert([i], [[i, 1]]) for i in range(3)]
        results = together(database._commits, inserts)
    assert sorted(error.__name__ for error in results) == ["InternalError", "InternalError", "KeyboardInterrupt"]
    assert results.count(InternalError) == 2
    assert collection.count() == (3 if is_committed else 0)
    assert collection.upsert([9], [[1, 1]]) == 1


def test_an_interrupted_wait_is_not_written_later(database, monkeypatch):
    collection = database.collection("c")

    class Interrupted:
        def __enter__(self):
            raise KeyboardInterrupt

        def __exit__(self, *_):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(database._commits, "_turn", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            collection.insert([1], [[1, 1]])
    collection.insert([2], [[1, 1]])
    assert collection.count() == 1
