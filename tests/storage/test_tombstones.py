from __future__ import annotations

import numpy as np
import pytest

from vecstore.storage.environment import Environment
from vecstore.storage.tombstones import Tombstones, change

TABLE = 1


@pytest.fixture
def environment(tmp_path):
    env = Environment(tmp_path / "env", {TABLE: "tombstones"}, readonly=False, create=True)
    yield env
    env.close()


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


def test_follows_a_set(environment, rng):
    expected: set[int] = set()
    known = Tombstones()
    for commit in range(1, 30):
        add = rng.integers(0, 300_000, 500, dtype=np.uint64)
        remove = rng.choice(np.array(sorted(expected) or [0], np.uint64), 50)
        expected = (expected | set(add.tolist())) - set(remove.tolist())
        environment.write(lambda t, c=commit, a=add, r=remove: change(t, TABLE, b"p", c, add=a, remove=r))
        with environment.read() as transaction:
            known = known.refreshed(transaction, TABLE, b"p")
        assert known.between(0, 1 << 40).tolist() == sorted(expected)
        assert known.between(70_000, 150_000).tolist() == sorted(n for n in expected if 70_000 <= n <= 150_000)


def test_empty_chunks_vanish(environment):
    environment.write(lambda t: change(t, TABLE, b"p", 1, add=numbers(3, 70_000)))
    environment.write(lambda t: change(t, TABLE, b"p", 2, remove=numbers(3, 70_000, 99)))
    with environment.read() as transaction:
        assert list(transaction.scan(TABLE, b"p")) == []


def test_collections_do_not_mix(environment):
    environment.write(lambda t: change(t, TABLE, b"p", 1, add=numbers(3)))
    environment.write(lambda t: change(t, TABLE, b"q", 1, add=numbers(4)))
    with environment.read() as transaction:
        assert Tombstones().refreshed(transaction, TABLE, b"q").between(0, 10).tolist() == [4]
