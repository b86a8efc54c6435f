"""Trying stored forms on vectors: which there are, and what recall, bytes and speed each has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vecstore.config import encode_json
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.index.exact import exact_search
from vecstore.kernels.scoring import Scorer
from vecstore.kernels.topk import nearest_rows
from vecstore.schemes import get, names
from vecstore.schemes.base import Capabilities, CompressedTable, Fitting, Scheme, TableShape
from vecstore.schemes.full import Full
from vecstore.schemes.scorer import coarse
from vecstore.schemes.transformed import Transformed
from vecstore.search import scan_in_stages, scan_to_depth
from vecstore.types import F32, F64, I64, Metric
from vecstore.widths import scan_depth

__all__ = ["Finer", "Trial", "Yardstick", "grown", "loss_of", "refine_schemes", "tried_schemes"]

#: Shares of the float32 bytes for which schemes choose their parameters.
_BUDGETS = (1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32)
#: Rows scored again on a finer copy, in turn, until that is enough.
DEPTHS = (16, 24, 32, 48, 64, 100, 150, 200, 300, 500, 700, 1000)
#: Standard errors added to a loss: one-sided, 95 of 100 samples are on the safe side.
_CONFIDENCE = 1.645
#: Losses grow with the number of rows, as a power of it; what is believed of that power, and where it cannot be told.
_GROWTH = (0.0, 0.6)
USUAL_GROWTH = 0.3
#: Queries that are timed together, and how often.
_TIMED_QUERIES = 32
_TIMED_ROUNDS = 3


def tried_schemes(shape: TableShape, metric: Metric, vectors: F32) -> list[Scheme]:
    """Give every scheme of the registry that is worth trying for a collection, at each budget and behind transforms.

    Those that cannot hold all of ``vectors`` float32[n, dim], such as float16 large numbers, are left out.
    """
    plain = [
        scheme
        for name in names()
        if _suits(get(name).capabilities) and name != Transformed.name
        for parameters in get(name).advised
        for scheme in _planned(get(name), shape, metric, dict(parameters))
    ]
    chains = ["centre|rotate", *(f"centre|pca:{width}" for width in (shape.dim // 2, shape.dim // 4) if width)]
    behind = [
        scheme
        for scheme in plain
        if scheme.capabilities.fitting is not Fitting.EXACT
        for chain in chains
        if not (chain.endswith("rotate") and scheme.nbytes(shape) >= shape.rows * shape.dim)
        for scheme in _behind(scheme, chain, shape, metric)
    ]
    return [scheme for scheme in (*plain, *behind) if _holds(scheme, vectors)]


def _holds(scheme: Scheme, vectors: F32) -> bool:
    try:
        scheme.check(vectors)
    except InvalidArgumentError:
        return False
    return True


def _suits(capabilities: Capabilities) -> bool:
    return capabilities.posthoc and capabilities.graph


def _planned(cls: type[Scheme], shape: TableShape, metric: Metric, parameters: dict[str, object]) -> list[Scheme]:
    """Give what a scheme becomes at each budget, each form once."""
    found: dict[bytes, Scheme] = {}
    for budget in _BUDGETS:
        try:
            scheme = cls.plan(shape, budget, None, parameters)
            scheme.check_collection(shape.dim, metric)
        except (BudgetInfeasible, InvalidArgumentError):
            continue
        found.setdefault(encode_json(scheme.to_dict()), scheme)
    return list(found.values())


def _behind(scheme: Scheme, chain: str, shape: TableShape, metric: Metric) -> list[Scheme]:
    """Give the scheme behind a chain of transforms, if it goes there and becomes smaller than float32."""
    try:
        whole = Transformed(transform=chain, inner=scheme.to_dict())
        whole.check_collection(shape.dim, metric)
        return [whole] if whole.nbytes(shape) < shape.float32_bytes else []
    except InvalidArgumentError:
        return []


def refine_schemes(tried: Sequence[Scheme], shape: TableShape) -> list[Scheme]:
    """Give those that can be the finer copy, the smallest first: rows by themselves, of a byte a number or more."""
    finer = [s for s in tried if s.capabilities.appendable and s.nbytes(shape) >= shape.rows * shape.dim]
    return sorted(finer, key=lambda scheme: scheme.nbytes(shape))


def loss_of(recalls: F64, k: int) -> float:
    """Give the loss (1 - recall) of queries, on the safe side of what the sample may be off."""
    error = float(recalls.std(ddof=1)) / math.sqrt(len(recalls))
    return float(1 - recalls.mean()) + _CONFIDENCE * error + 1 / (len(recalls) * k)


def grown(small: F64, large: F64, sizes: tuple[int, int], total: int) -> float:
    """Give the mean loss that is expected among ``total`` rows, from recalls float64[q] among two smaller numbers.

    Among more rows the true neighbours are nearer to each other, and an error of the same size changes more of them.
    """
    lost_small, lost_large = 1 - float(small.mean()), 1 - float(large.mean())
    power = USUAL_GROWTH
    if lost_small > 0 and lost_large > 0 and sizes[1] > sizes[0]:
        measured = math.log(lost_large / lost_small) / math.log(sizes[1] / sizes[0])
        power = min(max(measured, _GROWTH[0]), _GROWTH[1])
    return min(1.0, lost_large * math.pow(max(1.0, total / sizes[1]), power))


@dataclass(frozen=True, slots=True)
class Finer:
    """A finer copy of the rows, prepared for the queries, and what it finds by itself (recalls float64[q])."""

    scheme: Scheme
    table: CompressedTable
    scorer: Scorer
    recalls: F64


@dataclass(frozen=True, slots=True)
class Trial:
    """What a scheme reached.

    Attributes
    ----------
    scheme : Scheme
    alone : float64[q]
        Recall of each query without a finer copy.
    refined : list of dict of int to float64[q]
        For each finer copy: rows scored again -> recall of each query.
    speeds : list of float
        Queries a second as a multiple of a scan of float32 rows: alone, then with each finer copy.
    encode_seconds : float
        Processor time of fitting.
    """

    scheme: Scheme
    alone: F64
    refined: list[dict[int, F64]]
    speeds: list[float]
    encode_seconds: float


class Yardstick:
    """Rows and queries whose true neighbours are known.

    Parameters
    ----------
    rows : float32[n, dim]
        Unit rows for cosine.
    queries : float32[q, dim]
        Likewise.
    metric : Metric
    k : int
        Neighbours wanted.
    """

    def __init__(self, rows: F32, queries: F32, metric: Metric, k: int) -> None:
        self._rows = rows
        self._queries = queries
        self._metric = metric
        self._k = k
        self._exact = Full().fit(rows)
        self._truth = exact_search(self._exact.scorer(queries, metric), len(queries), len(rows), k)[0]

    def finer(self, scheme: Scheme) -> Finer:
        """Fit a finer copy."""
        table = scheme.fit(self._rows)
        scorer = table.scorer(self._queries, self._metric)
        found = exact_search(scorer, len(self._queries), len(self._rows), self._k)[0]
        return Finer(scheme, table, scorer, self._recalls(found))

    def trial(self, scheme: Scheme, finer: Sequence[Finer], target: float | None) -> Trial:
        """Fit a scheme and measure it alone and with each finer copy; speeds only with a ``target`` recall."""
        started = time.process_time()
        table = scheme.fit(self._rows)
        seconds = time.process_time() - started
        scorer = table.scorer(self._queries, self._metric)
        total, k = len(self._rows), self._k
        depth = scan_depth(table, k, refined=False)
        alone = self._recalls(scan_in_stages(scorer, scorer, len(self._queries), total, k, depth)[0])
        order = exact_search(coarse(scorer), len(self._queries), total, min(DEPTHS[-1], total))[0] if finer else None
        refined = [] if order is None else [self._refined(order, copy.scorer) for copy in finer]
        speeds = [] if target is None else self._speeds(table, finer, refined, target)
        return Trial(scheme, alone, refined, speeds, seconds)

    def _recalls(self, found: I64) -> F64:
        recalls: F64 = (found[:, :, None] == self._truth[:, None, :]).any(axis=1).mean(axis=1)
        return recalls

    def _refined(self, order: I64, finer: Scorer) -> dict[int, F64]:
        """Give the recalls when the first rows of int64[q, m] are scored again, by their number."""
        distances = np.empty(order.shape, np.float32)
        finer.rerank(order, distances)
        recalls = {}
        for depth in DEPTHS:
            if self._k <= depth <= order.shape[1]:
                first = np.ascontiguousarray(order[:, :depth]), np.ascontiguousarray(distances[:, :depth])
                recalls[depth] = self._recalls(nearest_rows(*first, self._k)[0])
        return recalls

    def _speeds(
        self, table: CompressedTable, finer: Sequence[Finer], refined: list[dict[int, F64]], target: float
    ) -> list[float]:
        queries = self._queries[:_TIMED_QUERIES]

        def scan(codes: CompressedTable, finest: CompressedTable, depth: int) -> Callable[[], object]:
            def run() -> object:
                scorer = codes.scorer(queries, self._metric)
                second = scorer if finest is codes else finest.scorer(queries, self._metric)
                return scan_to_depth(scorer, second, len(queries), len(self._rows), self._k, depth)

            return run

        runs = [scan(self._exact, self._exact, self._k)]
        runs.append(scan(table, table, scan_depth(table, self._k, refined=False)))
        for copy, recalls in zip(finer, refined, strict=True):
            enough = (depth for depth, reached in recalls.items() if reached.mean() >= target)
            runs.append(scan(table, copy.table, next(enough, DEPTHS[-1])))
        seconds = [min(_processor_seconds(run) for _ in range(_TIMED_ROUNDS)) for run in runs]
        return [seconds[0] / own for own in seconds[1:]]


def _processor_seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return max(time.process_time() - started, 1e-9)
