"""One cell of the retrieval benchmark: a corpus encoded one way, and what a search over it finds."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import vecstore
from vecstore import schemes
from vecstore.errors import BudgetInfeasible, QualityWarning
from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.schemes.checks import allowed_bytes
from vecstore.schemes.requested import requested
from vecstore.types import F32, I64
from vecstore_bench.codecs import two_stage
from vecstore_bench.data_sets import DataSet, load, prepared
from vecstore_bench.measure import interleaved, ratio
from vecstore_bench.memory import PeakMemory
from vecstore_bench.ranking import mrr, ndcg, recall
from vecstore_bench.runs import Result, isolated

__all__ = ["NONE", "Cell", "Experiment", "encoded", "run_alone", "run_cell"]

#: No transform, or no finer copy.
NONE = "none"
_BASELINE = "full"
#: Neighbours asked for: ten, and the most that are judged.
_K, _MOST = 10, 100
#: Rows of a timed look-up, times it is done, and seconds after which no further query is timed by itself.
_LOOKED_UP, _LOOKUPS, _SECONDS = 1024, 20, 2.0


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What all cells have in common.

    Attributes
    ----------
    data : str
        Name of the data set.
    folder : str
        That it is in.
    dim : int
        Of its vectors.
    rows : int or None
        Rows of it that are encoded; all where None.
    queries : int
        Queries whose answers are judged, at most.
    timed : int
        Queries of a timed scan, and at most so many that are timed one by one.
    rounds : int
        Timed scans.
    """

    data: str
    folder: str
    dim: int
    rows: int | None = None
    queries: int = 500
    timed: int = 32
    rounds: int = 3

    def load(self) -> DataSet:
        """Load the data, ready to be searched."""
        return prepared(load(self.data, Path(self.folder)), rows=self.rows, queries=self.queries)


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to encode a corpus.

    Attributes
    ----------
    codec : str
        Scheme of the codes.
    transform, refine : str
        Transforms in front of it, and scheme of the finer copy; ``none`` for none.
    budget : float or int
        Of the codes: a fraction of float32, or bytes.
    seed : int
        Of the fit.
    """

    codec: str
    transform: str
    refine: str
    budget: float | int
    seed: int

    @property
    def scheme(self) -> str:
        """Name what is composed: ``transform|codec/refine``."""
        front = "" if self.transform == NONE else f"{self.transform}|"
        return f"{front}{self.codec}{'' if self.refine == NONE else f'/{self.refine}'}"

    def __str__(self) -> str:
        """Give the cell as a name for people."""
        return f"{self.scheme}-{self.budget}-{self.seed}"


def encoded(cell: Cell, vectors: F32) -> CompressedTable:
    """Encode ``vectors`` float32[n, d] as a collection does; by ``fit_table`` where the scheme is not made for that.

    Raises
    ------
    BudgetInfeasible
        Carries the floor in bytes.
    """
    if schemes.get(cell.codec).capabilities.posthoc:
        transform = None if cell.transform == NONE else cell.transform
        chosen = requested(cell.codec, transform=transform, budget=cell.budget, shape=TableShape(*vectors.shape))
        return chosen.fit(vectors, seed=cell.seed)
    with warnings.catch_warnings():
        # The quality is what is measured here.
        warnings.simplefilter("ignore", QualityWarning)
        (part,) = vecstore.fit_table(cell.codec, vectors, budget=cell.budget, seed=cell.seed)[0].parts
    return part


def run_cell(experiment: Experiment, cell: Cell, data: DataSet | None = None) -> Result:
    """Encode, search and time; give what came out as JSON types.

    ``status`` is ``done`` or ``infeasible``, in which case ``floor_bytes`` is the least that the codec needs. ``bytes``
    are those of all arrays, the finer copy included, ``code_bytes`` those without it. Neighbours are those of exact
    float32 search; recall@1 and recall@10 are of a search for 10 rows, recall@100 of one for 100. Queries a second and
    look-ups are in CPU time, latencies in wall time.
    """
    data = data or experiment.load()
    shape = TableShape(*data.base.shape)
    result: Result = {**_labels(experiment, cell), "full_bytes": shape.float32_bytes}
    result["asked_bytes"] = allowed_bytes(shape, cell.budget)
    with PeakMemory() as memory:
        started = time.perf_counter()
        try:
            codes = encoded(cell, data.base)
        except BudgetInfeasible as error:
            return {**result, "status": "infeasible", "error": error.message, "floor_bytes": error.floor}
        fit_seconds = time.perf_counter() - started
    finest = codes if cell.refine == NONE else schemes.from_config(cell.refine).fit(data.base, seed=cell.seed)
    nbytes = codes.nbytes + (0 if finest is codes else finest.nbytes)
    return {
        **result,
        "status": "done",
        "bytes": nbytes,
        "code_bytes": codes.nbytes,
        "bytes_per_vector": nbytes / shape.rows,
        "fit_seconds": fit_seconds,
        "encode_seconds": _encode_seconds(codes, data.base),
        "peak_bytes": memory.peak,
        "before_bytes": memory.before,
        **_quality(codes, finest, data),
        **_speed(codes, finest, data, experiment),
    }


def run_alone(experiment: Experiment, cell: Cell) -> Result:
    """Run a cell in a process of its own; ``status`` may also be ``failed``."""
    return isolated(run_cell, _labels(experiment, cell), experiment, cell)


def _labels(experiment: Experiment, cell: Cell) -> Result:
    return {"dataset": experiment.data, "dim": experiment.dim, "scheme": cell.scheme, **asdict(cell)}


def _encode_seconds(codes: CompressedTable, vectors: F32) -> float | None:
    """Time encoding all rows with what was fitted already, where the scheme takes further rows."""
    if not codes.scheme.capabilities.appendable:
        return None
    started = time.perf_counter()
    codes.encode(vectors)
    return time.perf_counter() - started


def _quality(codes: CompressedTable, finest: CompressedTable, data: DataSet) -> Result:
    few = two_stage(codes, finest, data.queries, data.metric, _K)
    many = two_stage(codes, finest, data.queries, data.metric, min(_MOST, len(data.base)))
    found: Result = {
        "recall@1": recall(few, data.neighbours[:, :1], 1),
        "recall@10": recall(few, data.neighbours[:, :_K], _K),
        "recall@100": recall(many, data.neighbours[:, :_MOST], _MOST),
    }
    if data.relevant is not None:
        found |= {"ndcg@10": ndcg(few, data.relevant, _K), "mrr@10": mrr(few, data.relevant, _K)}
    return found


def _speed(codes: CompressedTable, finest: CompressedTable, data: DataSet, experiment: Experiment) -> Result:
    plain = schemes.from_config(_BASELINE).fit(data.base)
    asked = data.queries[: experiment.timed]
    turns: dict[str, Callable[[], object]] = {
        "float32": lambda: two_stage(plain, plain, asked, data.metric),
        "own": lambda: two_stage(codes, finest, asked, data.metric),
    }
    # One thread works, so CPU time is what a scan takes where nothing else runs.
    seconds = interleaved(turns, rounds=experiment.rounds, clock=time.process_time)
    single = _one_by_one(lambda query: two_stage(codes, finest, query, data.metric), asked)
    rows = np.random.default_rng(0).integers(0, len(data.base), _LOOKED_UP)
    return {
        "queries_per_s": len(asked) / float(np.median(seconds["own"])),
        "queries_to_float32": ratio(seconds["float32"], seconds["own"]).median,
        "p50_ms": float(np.median(single)) * 1e3,
        "p99_ms": float(np.percentile(single, 99)) * 1e3,
        "lookup_ns": _lookup_seconds(codes, rows) / _LOOKED_UP * 1e9,
    }


def _one_by_one(search: Callable[[F32], object], queries: F32) -> list[float]:
    """Time queries one by one; the first does not count."""
    search(queries[:1])
    found: list[float] = []
    until = time.perf_counter() + _SECONDS
    for query in queries[:, np.newaxis]:
        started = time.perf_counter()
        search(query)
        found.append(time.perf_counter() - started)
        if time.perf_counter() > until:
            break
    return found


def _lookup_seconds(codes: CompressedTable, rows: I64) -> float:
    seconds = interleaved({"look-up": lambda: codes.lookup(rows)}, rounds=_LOOKUPS, clock=time.process_time)
    return float(np.median(seconds["look-up"]))
