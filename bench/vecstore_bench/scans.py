"""Scans of all rows against faiss and torch: float32, int8, 4-bit product quantisation, RaBitQ, Hamming.

``python -m vecstore_bench.scans --set mlanthology``: exact search and scans of codes for the ten nearest, one thread,
each against the peer's index of the same form over the same real rows, all taking turns in one run. What is timed is
CPU time of one call with all its queries, the queries' preparation included. A figure is a ratio of queries per second
to the peer's: above 1, vecstore is quicker. Beside it stand both recalls@10 over those queries; for Hamming distances,
the share of the peer's distances that are the same.

faiss takes its BLAS with it, which picks kernels by processor: run once as it is, and once with
``OPENBLAS_CORETYPE=SkylakeX`` in the environment, whose kernels some AMD processors with AVX-512 are quicker with.
Peers that are not installed are left out, and said to be.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np

import vecstore
from vecstore import StoreConfig, schemes
from vecstore.index.exact import exact_search
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.schemes.scorer import quick
from vecstore.search import scan_in_stages
from vecstore.types import F32, I64, Metric
from vecstore.widths import scan_depth
from vecstore_bench.data_sets import DataSet, data_folder, load
from vecstore_bench.measure import interleaved, machine, ratio
from vecstore_bench.ranking import recall

__all__ = ["KINDS", "main"]

_K = 10
#: Bytes of signs that no cache holds.
_LARGE = 192 << 20
#: A turn has at least so many seconds of work, so that it is longer than the clock is coarse.
_TURN_SECONDS = 0.05

Run = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """Two ways to answer the same queries; each gives rows and distances, both [q, 10]."""

    scan: str
    queries: int
    peer: str
    ours: Run
    theirs: Run


@dataclass(frozen=True, slots=True)
class Line:
    """What was measured of a case: a ratio of queries per second, its spread, and the share of right answers."""

    data: str
    scan: str
    queries: int
    peer: str
    median: float
    low: float
    high: float
    queries_per_second: float
    ours_right: float
    theirs_right: float


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers that are installed."""

    faiss: Any
    torch: Any


def _peers() -> Peers:
    # Read when a library is loaded; those of numpy are not used by scans.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    found: dict[str, ModuleType | None] = {"faiss": None, "torch": None}
    for name in found:
        try:
            found[name] = __import__(name)
        except ModuleNotFoundError:
            print(f"{name} is not installed: what it is compared in is left out")
    if found["faiss"] is not None:
        found["faiss"].omp_set_num_threads(1)
    if found["torch"] is not None:
        found["torch"].set_num_threads(1)
    return Peers(found["faiss"], found["torch"])


def _staged(table: CompressedTable, queries: F32, metric: Metric) -> tuple[I64, F32]:
    """Search as a collection without a graph and without a finer copy does."""
    scorer = table.scorer(queries, metric)
    depth = scan_depth(table, _K, refined=False)
    return scan_in_stages(scorer, scorer, len(queries), table.shape.rows, _K, depth)


def _measure(peers: Peers, metric: Metric) -> Any:
    return peers.faiss.METRIC_L2 if metric is Metric.L2 else peers.faiss.METRIC_INNER_PRODUCT


def _filled(index: Any, base: Any) -> Any:
    if not index.is_trained:
        index.train(base)
    index.add(base)
    return index


def _rows_first(answer: tuple[Any, Any]) -> tuple[Any, Any]:
    distances, rows = answer
    return rows, distances


def _against(scan: str, table: CompressedTable, index: Any, name: str, asked: F32, metric: Metric) -> Case:
    return Case(
        scan,
        len(asked),
        f"faiss {name}",
        lambda: _staged(table, asked, metric),
        lambda: _rows_first(index.search(asked, _K)),
    )


def _float32(data: DataSet, peers: Peers, counts: tuple[int, ...]) -> Iterator[Case]:
    if peers.faiss is None:
        return
    index = _filled(peers.faiss.IndexFlat(data.base.shape[1], _measure(peers, data.metric)), data.base)
    table = schemes.from_config("full").fit(data.base)
    for count in counts:
        yield _against("float32", table, index, "IndexFlat", data.queries[:count], data.metric)


def _collection(data: DataSet, peers: Peers, counts: tuple[int, ...]) -> Iterator[Case]:
    """Float32 rows once more, through ``search(exact=True)`` of a collection."""
    if peers.faiss is None:
        return
    index = _filled(peers.faiss.IndexFlat(data.base.shape[1], _measure(peers, data.metric)), data.base)
    with tempfile.TemporaryDirectory() as folder, vecstore.open(folder, settings=StoreConfig(threads=1)) as db:
        docs = db.create_collection(
            "rows", dim=data.base.shape[1], metric=data.metric, scheme="full", refine=None, index=None
        )
        for start in range(0, len(data.base), 1_000):
            part = data.base[start : start + 1_000]
            docs.insert(np.arange(start, start + len(part)), part)
        docs.optimize()
        for count in counts:
            asked = data.queries[:count]

            def ours(asked: F32 = asked) -> tuple[Any, Any]:
                hits = docs.search(asked, _K, exact=True, columns=[])
                return hits.ids, hits.distances

            yield Case(
                "collection",
                count,
                "faiss IndexFlat",
                ours,
                lambda asked=asked: _rows_first(index.search(asked, _K)),  # type: ignore[misc]
            )


def _int8(data: DataSet, peers: Peers, counts: tuple[int, ...]) -> Iterator[Case]:
    table = schemes.from_config("int8").fit(data.base)
    if peers.faiss is not None:
        kind = peers.faiss.ScalarQuantizer.QT_8bit
        index = _filled(
            peers.faiss.IndexScalarQuantizer(data.base.shape[1], kind, _measure(peers, data.metric)), data.base
        )
        for count in counts:
            yield _against("int8", table, index, "SQ8", data.queries[:count], data.metric)
    if peers.torch is not None:
        # More than 16 queries are what _int_mm asks for.
        for asked in (data.queries[:count] for count in counts if count > 16):

            def ours(asked: F32 = asked) -> tuple[Any, Any]:
                return _staged(table, asked, data.metric)

            yield Case(
                "int8", len(asked), "torch _int_mm", ours, _multiplied(peers.torch, data.base, asked, data.metric)
            )


def _rounded(torch: Any, rows: Any) -> tuple[Any, Any]:
    scales = rows.abs().amax(1, keepdim=True) / 127
    return torch.round(rows / scales.clamp_min(1e-30)).to(torch.int8), scales


def _multiplied(torch: Any, base: F32, asked: F32, metric: Metric) -> Run:
    """Give a search by ``_int_mm``: queries are rounded too, in blocks of rows that stay in the cache."""
    codes, scales = _rounded(torch, torch.from_numpy(base))
    squares = (codes.float() * scales).square().sum(1)
    columns, flat = codes.t().contiguous(), scales[:, 0]
    queries = torch.from_numpy(asked)
    step = max(256, (1 << 19) // len(asked) // 16 * 16)
    blocks = [(start, columns[:, start : start + step].contiguous()) for start in range(0, len(base), step)]

    def run() -> tuple[Any, Any]:
        rounded, factors = _rounded(torch, queries)
        best, places = [], []
        for start, block in blocks:
            part = slice(start, start + block.shape[1])
            found = torch._int_mm(rounded, block).float() * flat[part] * factors
            if metric is Metric.L2:
                found = 2 * found - squares[part]
            values, rows = found.topk(_K, 1)
            best.append(values)
            places.append(rows + start)
        values, order = torch.cat(best, 1).topk(_K, 1)
        return torch.cat(places, 1).gather(1, order).numpy(), values.numpy()

    return run


def _pq(data: DataSet, peers: Peers, counts: tuple[int, ...]) -> Iterator[Case]:
    if peers.faiss is None:
        return
    dim = data.base.shape[1]
    parts = dim // 4
    table = schemes.from_config({"scheme": "pq", "bits": 4, "parts": parts}).fit(data.base)
    index = _filled(peers.faiss.IndexPQFastScan(dim, parts, 4, _measure(peers, data.metric)), data.base)
    for count in counts:
        yield _against("pq, 4 bits", table, index, "IndexPQFastScan", data.queries[:count], data.metric)


def _rabitq(data: DataSet, peers: Peers, counts: tuple[int, ...]) -> Iterator[Case]:
    if peers.faiss is None:
        return
    table = schemes.from_config({"scheme": "rabitq", "bits": 1}).fit(data.base)
    index = _filled(peers.faiss.IndexRaBitQFastScan(data.base.shape[1], _measure(peers, data.metric)), data.base)
    for count in counts:
        yield _against("rabitq, 1 bit", table, index, "IndexRaBitQFastScan", data.queries[:count], data.metric)


def _hamming(data: DataSet, peers: Peers, counts: tuple[int, ...]) -> Iterator[Case]:
    """Signs of the centred rows: as they are, and so often, with other bits flipped, that no cache holds them."""
    if peers.faiss is None:
        return
    centre = data.base.mean(axis=0)
    asked = data.queries - centre
    packed = np.packbits(data.base - centre >= 0, axis=1, bitorder="little")
    width = packed.shape[1]
    padded = np.pad(packed, ((0, 0), (0, -width % 8)))
    for scan, times in (("Hamming, in cache", 1), ("Hamming, out of cache", -(-_LARGE // padded.size))):
        rng = np.random.default_rng(0)
        flips = rng.integers(0, 256, (times, 1, width), np.uint8) & rng.integers(0, 256, (times, 1, width), np.uint8)
        rows = (packed[None] ^ flips).reshape(-1, width)
        dim = 8 * width
        index = peers.faiss.IndexBinaryFlat(dim)
        index.add(rows)
        table = _signs_table(rows, dim)
        for count in counts:
            own = np.pad(asked[:count], ((0, 0), (0, dim - asked.shape[1])), constant_values=-1)
            bits = np.packbits(own >= 0, axis=1, bitorder="little")

            def ours(table: CompressedTable = table, own: F32 = own) -> tuple[Any, Any]:
                scorer = quick(table.scorer(own, Metric.IP))
                return exact_search(scorer, len(own), table.shape.rows, _K)

            yield Case(
                scan,
                count,
                "faiss IndexBinaryFlat",
                ours,
                lambda index=index, bits=bits: _rows_first(index.search(bits, _K)),  # type: ignore[misc]
            )


def _signs_table(rows: Any, dim: int) -> CompressedTable:
    """Give the table of scheme ``binary`` whose rows have the bits of uint8[n, dim / 8]."""
    scheme = schemes.from_config("binary")
    shape = TableShape(len(rows), dim)
    form = scheme.array_forms(shape)["words"].shape
    words = np.zeros((form[0] * form[2], 8 * form[1]), np.uint8)
    words[: len(rows), : rows.shape[1]] = rows
    blocks = words.view(np.uint64).reshape(form[0], form[2], form[1]).transpose(0, 2, 1)
    return scheme.open(shape, {"words": np.ascontiguousarray(blocks)})


#: What can be measured: cases of a data set, and the numbers of queries of a call.
KINDS: dict[str, tuple[Callable[[DataSet, Peers, tuple[int, ...]], Iterator[Case]], tuple[int, ...]]] = {
    "float32": (_float32, (1, 12, 32, 96, 960)),
    "collection": (_collection, (1, 96)),
    "int8": (_int8, (12, 96, 960)),
    "pq": (_pq, (1, 96)),
    "rabitq": (_rabitq, (1, 96)),
    "hamming": (_hamming, (1, 16)),
}


def _seconds_of(run: Run) -> float:
    started = time.process_time()
    run()
    return max(time.process_time() - started, 1e-6)


def _repeated(run: Run, times: int) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(times):
            run()

    return repeated


def measured(case: Case, data: DataSet, rounds: int) -> Line:
    """Time a case in turns, and compare its answers."""
    (rows, distances), (their_rows, their_distances) = case.ours(), case.theirs()
    both = {"ours": case.ours, "theirs": case.theirs}
    times = {name: max(1, round(_TURN_SECONDS / _seconds_of(run))) for name, run in both.items()}
    seconds = interleaved(
        {name: _repeated(run, times[name]) for name, run in both.items()}, rounds=rounds, clock=time.process_time
    )
    each = {name: [value / times[name] for value in values] for name, values in seconds.items()}
    found = ratio(each["theirs"], each["ours"])
    if "Hamming" in case.scan:
        right = _same_distances(distances, their_distances), 1.0
    else:
        true = data.neighbours[: case.queries]
        right = recall(rows, true, _K), recall(np.asarray(their_rows, np.int64), true, _K)
    speed = case.queries / float(np.median(each["ours"]))
    return Line(
        data.name, case.scan, case.queries, case.peer, found.median, found.low, found.high, speed, right[0], right[1]
    )


def _same_distances(ours: Any, counts: Any) -> float:
    """Give the share of distances that agree with the peer's counts of bits, which ours are linear in."""
    same = []
    for mine, theirs in zip(ours, np.sort(counts, axis=1), strict=True):
        step = (mine[-1] - mine[0]) / max(theirs[-1] - theirs[0], 1)
        same.append(np.isclose(mine - mine[0], (theirs - theirs[0]) * step, rtol=0, atol=abs(step) / 4 + 1e-6))
    return float(np.mean(same))


@click.command(help=__doc__)
@click.option("--data", help="Folder of the data sets.")
@click.option(
    "--set",
    "names",
    multiple=True,
    default=("mlanthology", "glove100", "mnist784"),
    show_default=True,
    help="Data sets.",
)
@click.option("--scan", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="What to scan.  [default: all]")
@click.option("--queries", "counts", multiple=True, type=int, help="Queries of a call.  [default: as the scan's]")
@click.option("--rounds", default=7, show_default=True, help="Timed rounds, after one that is not counted.")
@click.option("--json", "written", type=click.Path(path_type=Path), help="Write the figures to this file.")
def main(
    data: str | None,
    names: tuple[str, ...],
    kinds: tuple[str, ...],
    counts: tuple[int, ...],
    rounds: int,
    written: Path | None,
) -> None:
    """Measure all cases, and print a line for each."""
    peers = _peers()
    blas = os.environ.get("OPENBLAS_CORETYPE", "default")
    print(f"machine: {machine()}; OPENBLAS_CORETYPE: {blas}; CPU time, one thread")
    print("| data | scan | queries | peer | times its queries/s | ours, queries/s | right, ours | right, peer |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    lines = []
    for name in names:
        data_set = _loaded(name, data_folder(data))
        for kind in kinds or tuple(KINDS):
            cases, usual = KINDS[kind]
            for case in cases(data_set, peers, counts or usual):
                line = measured(case, data_set, rounds)
                lines.append(line)
                print(
                    f"| {line.data} | {line.scan} | {line.queries} | {line.peer} | "
                    f"{line.median:.2f} ({line.low:.2f} to {line.high:.2f}) | {line.queries_per_second:,.0f} | "
                    f"{line.ours_right:.4f} | {line.theirs_right:.4f} |",
                    flush=True,
                )
    if written is not None:
        written.write_text(json.dumps([asdict(line) for line in lines], indent=1) + "\n")


def _loaded(name: str, folder: Path) -> DataSet:
    """Load a data set, with unit rows for cosine."""
    data = load(name, folder)
    if data.metric is not Metric.COSINE:
        return data
    return DataSet(name, data.metric, unit_rows(data.base), unit_rows(data.queries), data.neighbours)


if __name__ == "__main__":
    main()
