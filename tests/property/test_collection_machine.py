"""Random programs run on a collection and on the model; every answer must be the same.

Vectors are small integers, so distances are exact in float32 and float16 and ties are real ties.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import vecstore
from vecstore import HnswConfig, StoreConfig, VecstoreError
from vecstore.testing import ModelCollection

DIM = 3
#: A memory file system where there is one: the machine is about answers, the crash tests are about the disk.
SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None

FILTERS = [
    "n >= 3",
    "n = 1 OR s = 'b'",
    "NOT s = 'a'",
    "s IS NULL",
    "n IN (1, 2, 9) AND NOT s IS NULL",
    "n BETWEEN 0 AND 4 AND s LIKE 'a%'",
    "flag",
    "f < 1.25 OR NOT flag",
    "tags CONTAINS 'x'",
]

integers = st.integers(-8, 8)
vectors = st.tuples(*[integers] * DIM)
wheres = st.sampled_from(FILTERS)
rows_of_metadata = st.fixed_dictionaries(
    {},
    optional={
        "n": st.none() | st.integers(0, 6),
        "s": st.sampled_from([None, "a", "ab", "b", "ü"]),
        "flag": st.none() | st.booleans(),
        "f": st.sampled_from([None, 0, 1, 1.25, -2.5]),
        "tags": st.sampled_from([None, [], ["x"], ["y", "x"]]),
    },
)


class Embedded:
    """A store opened in this process."""

    config = StoreConfig(durability="relaxed", background=False, threads=1)

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = self._open()

    def _open(self):
        self.stack = ExitStack()
        return self.stack.enter_context(vecstore.open(self.path, settings=self.config))

    def reopen(self):
        """Close everything and open it again."""
        self.close()
        self.database = self._open()
        return self.database.collection("c")

    def verify(self):
        """Give the problems that verify finds."""
        return self.database.verify()

    def close(self):
        self.stack.close()


class Durable(Embedded):
    """With the default durability."""

    config = StoreConfig(durability="commit", background=False, threads=1)


class Busy(Embedded):
    """With background seals and merges after every few rows, and several search threads."""

    config = StoreConfig(durability="relaxed", background=True, seal_rows=8, threads=2)


class Remote(Embedded):
    """Behind a server in the same process."""

    def _open(self):
        from tests.server.helpers import serving

        store = super()._open()
        address = self.stack.enter_context(serving(store))
        return self.stack.enter_context(vecstore.connect(address, timeout=60))


class CollectionMachine(RuleBasedStateMachine):
    """Drives a collection and the model through the same steps."""

    backend = Embedded
    metrics = ("l2", "ip")
    was_rounded = False

    @initialize(
        data=st.data(),
        text_ids=st.booleans(),
        index=st.sampled_from([None, HnswConfig(M=4, ef_construction=16, min_rows=4)]),
    )
    def create(self, data, text_ids, index):
        self.text_ids = text_ids
        self.metric = data.draw(st.sampled_from(self.metrics), "metric")
        self.folder = Path(tempfile.mkdtemp(prefix="vecstore-machine-", dir=SCRATCH))
        self.system = self.backend(self.folder / "store")
        self.actual = self.system.database.create_collection("c", dim=DIM, metric=self.metric, index=index)
        self.model = ModelCollection("c", dim=DIM, metric=self.metric, index=index)

    def teardown(self):
        if hasattr(self, "system"):
            try:
                self.scan(None, 3)
                assert self.system.verify() == []
            finally:
                self.system.close()
                shutil.rmtree(self.folder, ignore_errors=True)

    def both(self, call):
        """Make the same call on both sides; give (answer of the model, answer), or None where both refuse alike."""
        try:
            expected = call(self.model)
        except VecstoreError as refusal:
            expected_refusal = type(refusal)
        else:
            return expected, call(self.actual)
        with pytest.raises(expected_refusal) as caught:
            call(self.actual)
        assert type(caught.value) is expected_refusal
        return None

    def ids(self, numbers):
        return [f"id-{number}-é" for number in numbers] if self.text_ids else list(numbers)

    # -- writes -----------------------------------------------------------------------------------------------

    @rule(seed=st.integers(0, 1000), count=st.integers(5, 20))
    def write_many(self, seed, count):
        """Write rows with all columns, drawn by numpy: most programs should run on more than a handful."""
        random = np.random.default_rng(seed)
        ids = self.ids(random.choice(np.arange(-20, 40), count, replace=False).tolist())
        matrix = random.integers(-8, 9, (count, DIM))
        matrix[:, 0] |= 1
        columns = {
            "n": random.integers(0, 7, count),
            "s": random.choice(["a", "ab", "b"], count).tolist(),
            "flag": random.choice([True, False, None], count).tolist(),
            "f": random.choice([0.5, 1.25, 3.0], count),
            "tags": [["x", "y"][: n % 3] for n in range(count)],
        }
        answers = self.both(lambda c: c.upsert(ids, matrix, columns))
        assert answers is None or answers[0] == answers[1] == count

    numbers = st.lists(st.integers(-4, 12), max_size=6)

    @rule(numbers=numbers, data=st.data(), replace=st.booleans(), shape=st.sampled_from(["none", "rows", "columns"]))
    def write(self, numbers, data, replace, shape):
        ids = self.ids(numbers)
        matrix = np.array([data.draw(vectors) for _ in ids], np.int64).reshape(len(ids), DIM)
        rows = [data.draw(rows_of_metadata) for _ in ids] if shape != "none" else None
        if shape == "columns":
            rows = {name: [row.get(name) for row in rows] for name in {name for row in rows for name in row}}
        answers = self.both(lambda c: (c.upsert if replace else c.insert)(ids, matrix, rows))
        assert answers is None or answers[0] == answers[1]

    @rule(numbers=numbers)
    def delete_ids(self, numbers):
        expected, actual = self.both(lambda c: c.delete(ids=self.ids(numbers)))
        assert actual == expected

    @rule(where=wheres)
    def delete_where(self, where):
        answers = self.both(lambda c: c.delete(where=where))
        assert answers is None or answers[0] == answers[1]

    @rule(numbers=numbers)
    def write_other_type_of_ids(self, numbers):
        other = list(numbers) if self.text_ids else [f"id-{number}" for number in numbers]
        if self.model.stats().id_type:
            self.both(lambda c: c.insert(other, [[1.0] * DIM] * len(other)))
            self.both(lambda c: c.get(other))
            self.both(lambda c: c.delete(ids=other))

    # -- upkeep -----------------------------------------------------------------------------------------------

    @rule()
    def flush(self):
        self.actual.flush()

    @rule()
    def optimize(self):
        self.actual.optimize()
        stats = self.actual.stats()
        assert (stats.delta_rows, stats.deleted_rows) == (0, 0)
        assert len(stats.segments) == (1 if stats.rows else 0)

    @rule(scheme=st.sampled_from(["full", "float16"]), refine=st.sampled_from([None, "full"]))
    def compress(self, scheme, refine):
        self.was_rounded |= scheme == "float16"
        report = self.actual.compress(scheme, refine=refine)
        self.model.compress(scheme, refine=refine)
        assert report.rows == self.model.count()
        assert report.relative_error < 1e-6
        config = self.actual.config
        assert (config.scheme["scheme"], config.refine and config.refine["scheme"]) == (scheme, refine)

    @rule()
    def reopen(self):
        self.actual = self.system.reopen()

    # -- reads ------------------------------------------------------------------------------------------------

    @rule(numbers=st.lists(st.integers(-4, 14), max_size=6), with_vectors=st.booleans(), some=st.booleans())
    def get(self, numbers, with_vectors, some):
        columns = ["s"] if some else None
        answers = self.both(lambda c: c.get(self.ids(numbers), columns=columns, vectors=with_vectors))
        if answers is None:
            return
        for expected, actual in zip(*answers, strict=True):
            if expected is None:
                assert actual is None
                continue
            assert (actual.id, actual.metadata) == (expected.id, _filled(expected.metadata, actual.metadata))
            if with_vectors:
                np.testing.assert_allclose(actual.vector, expected.vector, atol=self.tolerance, rtol=0)
            else:
                assert actual.vector is None

    @rule(where=st.none() | wheres)
    def count(self, where):
        answers = self.both(lambda c: c.count(where))
        assert answers is None or answers[0] == answers[1]

    @rule(where=st.none() | wheres, batch_size=st.sampled_from([1, 3, 1000]))
    def scan(self, where, batch_size):
        answers = self.both(lambda c: _table(list(c.scan(where=where, batch_size=batch_size))))
        if answers is None:
            return
        expected, actual = answers
        assert actual.num_rows == expected.num_rows
        if actual.num_rows == 0:
            return
        assert set(actual.column_names) == set(expected.column_names)
        for name in expected.column_names:
            if name == "vector":
                matrices = [np.array(table.column(name).to_pylist(), np.float32) for table in answers]
                np.testing.assert_allclose(matrices[1], matrices[0], atol=self.tolerance, rtol=0)
            else:
                assert actual.column(name).to_pylist() == expected.column(name).to_pylist(), name

    @rule(
        queries=st.lists(vectors, min_size=1, max_size=9),
        k=st.sampled_from([1, 2, 5, 40]),
        where=st.none() | wheres,
        exact=st.booleans(),
    )
    def search(self, queries, k, where, exact):
        answers = self.both(lambda c: c.search(np.array(queries, np.float32), k, where=where, exact=exact))
        if answers is not None:
            self.same_hits(queries, where, *answers)

    @property
    def tolerance(self):
        return 0.0

    def same_hits(self, queries, where, expected, actual):
        np.testing.assert_array_equal(actual.counts, expected.counts)
        np.testing.assert_array_equal(actual.distances, expected.distances)
        np.testing.assert_array_equal(actual.ids, expected.ids)
        for line, other in zip(actual, expected, strict=True):
            assert [hit.metadata for hit in line] == [hit.metadata for hit in other]

    @invariant()
    def counts_agree(self):
        if hasattr(self, "actual"):
            assert self.actual.count() == self.model.count()

    @precondition(lambda self: hasattr(self, "actual"))
    @rule()
    def stats_agree(self):
        actual, expected = self.actual.stats(), self.model.stats()
        assert (actual.rows, actual.id_type, actual.columns) == (expected.rows, expected.id_type, expected.columns)
        sealed = sum(segment["rows"] for segment in actual.segments)
        assert actual.rows <= sealed + actual.delta_rows - actual.deleted_rows


class CosineMachine(CollectionMachine):
    """Unit vectors round, so distances are compared with a tolerance and ties may come in any order."""

    metrics = ("cosine",)

    @property
    def tolerance(self):
        return 1e-3 if self.was_rounded else 1e-6

    def same_hits(self, queries, where, expected, actual):
        np.testing.assert_array_equal(actual.counts, expected.counts)
        np.testing.assert_allclose(actual.distances, expected.distances, atol=5 * self.tolerance, rtol=0)
        everything = self.model.search(np.array(queries, np.float32), max(1, self.model.count()), where=where)
        for line, own in zip(actual, everything, strict=True):
            distance_of = {hit.id: hit.distance for hit in own}
            for hit in line:
                assert hit.distance == pytest.approx(distance_of[hit.id], abs=5 * self.tolerance)


def _filled(metadata, like):
    """Give the model's metadata with the columns that it has nulls for."""
    return {name: metadata.get(name) for name in like}


def _table(batches):
    return pa.Table.from_batches(batches) if batches else pa.table({})


@pytest.mark.parametrize(
    ("machine", "backend", "examples", "steps"),
    [
        (CollectionMachine, Embedded, 250, 50),
        (CollectionMachine, Durable, 15, 30),
        (CollectionMachine, Busy, 100, 50),
        (CosineMachine, Embedded, 60, 40),
        (CollectionMachine, Remote, 60, 40),
    ],
    ids=["embedded", "durable", "background", "cosine", "remote"],
)
def test_every_answer_is_the_models(machine, backend, examples, steps):
    driven = type(f"{backend.__name__}{machine.__name__}", (machine,), {"backend": backend})
    run_state_machine_as_test(
        driven,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # Without the explanations, which trace every line and make a failure take minutes.
            phases=(Phase.generate, Phase.shrink),
        ),
    )
