"""Damage of every kind of file: the answers are right or refused, and never wrong."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import lmdb
import numpy as np
import pytest

import vecstore
from tests.reliability import children, scripts
from vecstore import CorruptionError, FormatError, HnswConfig, StoreConfig

#: Enough rows that the graph is walked, and that every file has more than its header.
ROWS = 1_500
INDEX = HnswConfig(M=4, ef_construction=32, ef=8, min_rows=64)
QUIET = StoreConfig(background=False, threads=1)


def build(path: Path) -> None:
    """Make a store with two segments (one with refine and graph, one with gaps), a delta and tombstones."""
    with vecstore.open(path, settings=QUIET) as database:
        docs = database.create_collection(
            "c", dim=scripts.DIM, metric="l2", scheme="float16", refine="full", index=INDEX
        )
        ids = list(range(ROWS))
        docs.insert(ids, scripts.vectors(ids, 1), scripts.metadata(ids, 1))
        docs.optimize()
        more = list(range(ROWS, ROWS + 200))
        docs.insert(more, scripts.vectors(more, 2), scripts.metadata(more, 2))
        docs.delete(ids=more[::7])
        docs.flush()
        last = list(range(ROWS + 300, ROWS + 320))
        docs.insert(last, scripts.vectors(last, 3), scripts.metadata(last, 3))
        docs.delete(ids=[5, ROWS + 301])
    # Without the pages that are free by now: damage there would go unnoticed, and rightly so.
    compacted = path / "compacted"
    compacted.mkdir()
    with lmdb.open(str(path / "catalog.lmdb"), max_dbs=16, map_size=1 << 30) as environment:
        environment.copy(str(compacted), compact=True)
    (compacted / "data.mdb").rename(path / "catalog.lmdb" / "data.mdb")
    compacted.rmdir()


def versions() -> dict[int, int]:
    """Give id -> version of the rows of :func:`build`."""
    gone = {*range(ROWS, ROWS + 200, 7), 5, ROWS + 301}
    state = dict.fromkeys(range(ROWS), 1) | dict.fromkeys(range(ROWS, ROWS + 200), 2)
    state |= dict.fromkeys(range(ROWS + 300, ROWS + 320), 3)
    return {i: version for i, version in state.items() if i not in gone}


def probe(path: Path) -> str:
    """Ask a damaged store everything; give "right", "refused" or "noticed" (by verify only).

    Raises
    ------
    AssertionError
        It gave a wrong answer and verify finds nothing.
    """
    try:
        wrong = wrong_answers(path)
        if not wrong:
            return "right"
    except (CorruptionError, FormatError):
        return "refused"
    vectors_are_wrong = [what for what in wrong if what.startswith("vector")]
    assert not vectors_are_wrong, vectors_are_wrong
    try:
        with vecstore.open(path, mode="r", settings=QUIET) as database:
            problems = database.verify()
    except (CorruptionError, FormatError):
        return "refused"
    assert problems, f"wrong and unnoticed: {wrong}"
    return "noticed"


def wrong_answers(path: Path) -> list[str]:
    """Compare what a store answers with what was written; say what differs."""
    state = versions()
    wrong = []
    refusals = []
    with vecstore.open(path, mode="r", settings=QUIET) as database:
        docs = database.collection("c")

        def ask(what, question):
            try:
                if not question():
                    wrong.append(what)
            except (CorruptionError, FormatError) as error:
                refusals.append(error)

        ids = list(range(ROWS + 400))
        ask("vectors of get", lambda: vectors_are_right(docs.get(ids)))
        ask("ids of get", lambda: [p.id for p in docs.get(ids, vectors=False) if p] == [i for i in ids if i in state])
        ask("count", lambda: docs.count() == len(state))
        ask("count where", lambda: docs.count("even") == sum(i % 2 == 0 for i in state))
        ask("vectors of scan", lambda: scripts.found(docs).items() <= state.items())
        ask("rows of scan", lambda: len(scripts.found(docs)) == len(state))
        queries = scripts.vectors([3, 900, ROWS + 50], 1)
        ask("vectors of exact search", lambda: hits_are_right(docs.search(queries, 5, exact=True), queries, state))
        ask("vectors of search", lambda: hits_are_right(docs.search(queries, 5), queries, state))
        nearest = docs_nearest(state, queries)
        ask("distances", lambda: np.array_equal(docs.search(queries, 5, exact=True).distances, nearest))
    if refusals and not wrong:
        raise refusals[0]
    return wrong


def vectors_are_right(points):
    """Whether every point's vector is the one of its id and version."""
    return all(
        point is None or point.vector.tolist() == scripts.vectors([point.id], point.metadata["version"])[0].tolist()
        for point in points
    )


def hits_are_right(hits, queries, state):
    """Whether every hit is a row, at its distance."""
    return all(
        hit.id in state and hit.distance == float(((scripts.vectors([hit.id], state[hit.id])[0] - query) ** 2).sum())
        for line, query in zip(hits, queries, strict=True)
        for hit in line
    )


def docs_nearest(state, queries):
    matrix = np.concatenate([scripts.vectors([i], version) for i, version in state.items()])
    return np.sort(((queries[:, None, :] - matrix[None]) ** 2).sum(axis=2), axis=1)[:, :5].astype(np.float32)


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    path = tmp_path_factory.mktemp("intact") / "store"
    build(path)
    assert children.call(probe, path) == "right"
    return path


@pytest.fixture
def copy(intact, scratch):
    """Give a function that makes a fresh copy of the store."""

    def fresh() -> Path:
        shutil.rmtree(scratch / "store", ignore_errors=True)
        return Path(shutil.copytree(intact, scratch / "store"))

    return fresh


def segment_files(path: Path, name: str) -> list[Path]:
    return sorted((path / "segments").glob(f"*/{name}"))


KINDS = ["rows.arrow", "codes.arrow", "refine.arrow", "graph.arrow", "checksums.arrow", "segment.json"]


def damaged(data: bytes, random: np.random.Generator) -> list[bytes]:
    """Give copies of a file, each damaged in its own way."""
    cases = []
    header = random.integers(0, min(128, len(data)), 6)
    for place in [*header, *random.integers(0, len(data), 10)]:
        flipped = bytearray(data)
        flipped[place] ^= int(random.integers(1, 256))
        cases.append(bytes(flipped))
    start = int(random.integers(0, len(data)))
    zeroed = bytearray(data)
    zeroed[start : start + 512] = bytes(len(zeroed[start : start + 512]))
    return [*cases, bytes(zeroed), data[: len(data) // 2], data[:-1], b"", data + b"\0"]


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_segment_files_are_refused(kind, copy):
    random = np.random.default_rng(11)
    results = []
    for number, data in enumerate(damaged(segment_files(copy(), kind)[0].read_bytes(), random)):
        file = segment_files(copy(), kind)[0]
        is_same = file.read_bytes() == data
        file.write_bytes(data)
        result = children.call(probe, file.parents[2])
        assert result != "right" or is_same or kind in ("graph.arrow", "refine.arrow", "codes.arrow"), number
        results.append(result)
    assert "refused" in results
    assert "noticed" not in results


@pytest.mark.parametrize("kind", [*KINDS, "*"])
def test_swapped_and_missing_segment_files_are_refused(kind, copy):
    names = [kind] if kind != "*" else KINDS
    path = copy()
    for name in names:
        files = segment_files(path, name)
        if len(files) == 2:
            files[0].rename(path / "aside")
            files[1].rename(files[0])
            (path / "aside").rename(files[1])
    if len(segment_files(path, names[0])) == 2:
        assert children.call(probe, path) == "refused"
    path = copy()
    for name in names:
        segment_files(path, name)[0].unlink()
    assert children.call(probe, path) == "refused"


def test_a_missing_segment_folder_is_refused(copy):
    path = copy()
    shutil.rmtree(segment_files(path, "segment.json")[0].parent)
    assert children.call(probe, path) == "refused"


def test_a_damaged_marker_is_refused_or_harmless(copy):
    random = np.random.default_rng(5)
    results = []
    for data in damaged((copy() / "vecstore.json").read_bytes(), random):
        path = copy()
        (path / "vecstore.json").write_bytes(data)
        results.append(children.call(probe, path))
    assert set(results) <= {"right", "refused"}
    assert "refused" in results


def test_damaged_values_of_the_catalog_are_refused(copy):
    """Flip bytes of the records, the delta and the tombstones: everything that is framed and in use."""
    random = np.random.default_rng(3)
    data = (copy() / "catalog.lmdb" / "data.mdb").read_bytes()
    results = []
    for word in (b'"id_type":"int64"', b'"segments":[{"digest"', scripts.vectors([ROWS + 305], 3).tobytes()):
        places = [i for i in range(len(data)) if data.startswith(word, i)]
        assert places
        for offset in random.integers(0, len(word), 4):
            flipped = bytearray(data)
            for place in places:  # also in pages that are free by now
                flipped[place + offset] ^= 0x10
            path = copy()
            (path / "catalog.lmdb" / "data.mdb").write_bytes(flipped)
            results.append(children.call(probe, path))
    assert set(results) == {"refused"}


def test_a_catalog_damaged_anywhere_gives_no_wrong_vectors(copy):
    """LMDB's own pages have no checksums: reading them may fail in any way but one."""
    random = np.random.default_rng(4)
    data = (copy() / "catalog.lmdb" / "data.mdb").read_bytes()
    results = []
    for _ in range(60):
        flipped = bytearray(data)
        flipped[int(random.integers(0, len(data)))] ^= 1 << int(random.integers(0, 8))
        path = copy()
        (path / "catalog.lmdb" / "data.mdb").write_bytes(flipped)
        result = children.outcome(probe, path)
        results.append(result)
        if isinstance(result, children.Ended):
            assert result.signal in (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT)
    assert sum(isinstance(result, children.Ended) for result in results) <= 4
    assert results.count("refused") >= 15


@pytest.mark.parametrize("length", [0, 100, 4096, 8192, 20_000])
def test_a_cut_catalog_is_refused(length, copy):
    path = copy()
    file = path / "catalog.lmdb" / "data.mdb"
    file.write_bytes(file.read_bytes()[:length])
    result = children.outcome(probe, path)
    # A signal where the map ends before the pages do.
    assert result.signal == signal.SIGBUS if isinstance(result, children.Ended) else result == "refused"


def test_a_writer_sweeps_nothing_when_the_catalog_is_damaged(copy):
    path = copy()
    file = path / "catalog.lmdb" / "data.mdb"
    file.write_bytes(file.read_bytes().replace(b'"segments":[{"digest"', b'"sEgments":[{"digest"'))
    before = sorted(folder.name for folder in (path / "segments").iterdir())
    assert children.call(open_to_write, path) == "CorruptionError"
    assert sorted(folder.name for folder in (path / "segments").iterdir()) == before


def open_to_write(path: Path) -> str:
    try:
        vecstore.open(path, settings=QUIET).close()
    except vecstore.VecstoreError as error:
        return type(error).__name__
    return "opened"
