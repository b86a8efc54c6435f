"""Advice: which stored form reaches a recall in the fewest bytes, measured on the vectors themselves.

>>> advice = vecstore.advise(vectors, queries=some_queries, target_recall=0.95)
>>> print(advice)
>>> docs = advice.create(db, "docs")

Every form is tried on a sample of the rows, at two sizes, because its loss grows with the number of rows; then those
that may do are checked on all rows (or as many as can be afforded), the smallest first, until one holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from vecstore.advice import (
    CHOSEN,
    LARGER,
    MAX_ADVISED_K,
    MIN_ADVISED_ROWS,
    MISSES,
    MISSES_ALL,
    TOO_LARGE,
    Advice,
    Candidate,
)
from vecstore.advising import (
    USUAL_GROWTH,
    Finer,
    Trial,
    Yardstick,
    grown,
    loss_of,
    refine_schemes,
    tried_schemes,
)
from vecstore.config import HnswConfig, encode_json
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes import from_config
from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes
from vecstore.types import F32, F64, Metric, as_count, as_matrix, as_metric, as_queries, as_recall

__all__ = ["Advice", "advise"]

#: Rows of the sample, and what share of them the smaller one has.
_SAMPLE_ROWS = 8_192
_SMALLER = 4
#: Queries that are measured; rows are held out where none are given, but not more than this share.
_QUERIES = 256
_HELD_OUT = 1 / 5
#: Numbers (rows x dimensions) of the largest check.
_CHECKED_NUMBERS = 1 << 27
#: Recall that is left to searches: what the finest copy finds must be above the target by that much.
_SEARCH_RECALL = 0.995
#: How far the loss that is expected may be above what is allowed for a form to be checked all the same.
_DOUBT = 1.5
#: A form that graph walks are quick on is preferred to one of so many times fewer bytes on disk.
_WORTH_A_GRAPH = 1.25


def advise(
    vectors: Any,
    queries: Any = None,
    *,
    metric: Metric | str = Metric.COSINE,
    target_recall: float = 0.95,
    k: int = 10,
    max_bytes: float | int | None = None,
    total_rows: int | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Advice:
    """Find the stored form that reaches a recall in the fewest bytes on disk, by measuring it on vectors.

    Parameters
    ----------
    vectors : array_like
        float32[n, dim], at least 1,000 rows: all rows of the collection, or a sample of them.
    queries : array_like, optional
        float32[q, dim], of the kind that will be asked. Without any, rows are held out as queries.
    metric : {"cosine", "l2", "ip"}
    target_recall : float
        Share of the ``k`` nearest of the vectors as given that searches are to find, on average.
    k : int
        1 to 100.
    max_bytes : float or int, optional
        What searches may keep in memory, the codes and the graph: a fraction of the float32 vectors where it is a float
        in (0, 1], bytes where it is an int. A finer copy is read from disk for candidates only and does not count.
    total_rows : int, optional
        Rows that the collection will have, where ``vectors`` are a sample of them.
    seed : int
        Of the samples: equal arguments give equal choices, but for measured times.
    on_progress : callable, optional
        Called with (steps done, steps in all).

    Raises
    ------
    InvalidArgumentError
        An argument has the wrong type or size.
    BudgetInfeasible
        No form reaches the recall in so few bytes; carries those of the smallest that does.
    """
    wanted = as_recall(target_recall, name="target_recall")
    kind = as_metric(metric)
    k = as_count(k, name="k", limit=MAX_ADVISED_K)
    dim = np.shape(vectors)[1] if np.ndim(vectors) == 2 else 1
    rows = as_matrix(vectors, dim=dim)
    asked = None if queries is None else as_queries(queries, dim=dim)
    if len(rows) < MIN_ADVISED_ROWS:
        raise InvalidArgumentError(
            f"vectors: advice needs at least {MIN_ADVISED_ROWS} rows, got {len(rows)}; store so few with 'full'",
            field="vectors",
        )
    total = len(rows) if total_rows is None else max(as_count(total_rows, name="total_rows", limit=2**40), len(rows))
    if kind is Metric.COSINE:
        rows, asked = unit_rows(rows), None if asked is None else unit_rows(asked, name="queries")
    shape = TableShape(total, dim)
    limit = None if max_bytes is None else allowed_bytes(shape, max_bytes, name="max_bytes")
    rng = np.random.default_rng(seed)
    rows, asked = _split(rows, asked, rng)
    return _Search(rows, asked, kind, k, wanted, shape, rng, on_progress or _silent).advice(limit)


def _silent(done: int, total: int) -> None:
    """Take progress for nobody."""


def _split(rows: F32, queries: F32 | None, rng: np.random.Generator) -> tuple[F32, F32]:
    """Give the rows and some queries; rows that are held out are no longer among the rows."""
    if queries is not None:
        drawn = rng.permutation(len(queries))[:_QUERIES]
        return rows, queries[np.sort(drawn)]
    held = np.zeros(len(rows), np.bool_)
    held[rng.permutation(len(rows))[: min(_QUERIES, int(len(rows) * _HELD_OUT))]] = True
    return rows[~held], rows[held]


class _Search:
    """One run of :func:`advise`; see there for the arguments."""

    def __init__(
        self,
        rows: F32,
        queries: F32,
        metric: Metric,
        k: int,
        target: float,
        shape: TableShape,
        rng: np.random.Generator,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._rows, self._queries, self._metric, self._k = rows, queries, metric, k
        self._target = target
        # What the finest copy finds bounds every search on it; searches lose a little more.
        self._needed = target / _SEARCH_RECALL if target < _SEARCH_RECALL else 1.0
        self._shape = shape
        self._order = rng.permutation(len(rows))
        self._on_progress = on_progress
        self._checked_rows = min(len(rows), max(_CHECKED_NUMBERS // shape.dim, MIN_ADVISED_ROWS))

    def advice(self, limit: int | None) -> Advice:
        """Try everything, then check what may do until one holds."""
        tried = tried_schemes(self._shape, self._metric, self._rows)
        largest = self._yardstick(self._checked_rows)
        finer = [largest.finer(scheme) for scheme in refine_schemes(tried, self._shape)]
        able = [copy for copy in finer if self._reached(copy.recalls) >= self._needed]
        candidates, sample_rows = self._try_all(tried, able)
        schemes = {encode_json(scheme.to_dict()): scheme for scheme in tried}
        chosen: Candidate | None = None
        for place, one in enumerate(candidates):
            verdict = self._verdict(one, chosen, limit)
            if not verdict:
                checked = self._checked(one, largest, able, schemes)
                verdict = CHOSEN if self._holds(checked) else MISSES_ALL
                candidates[place] = replace(checked, verdict=verdict)
                chosen = candidates[place] if verdict == CHOSEN else chosen
            else:
                candidates[place] = replace(one, verdict=verdict)
        if chosen is None:
            raise self._infeasible(candidates, limit)
        others = [
            replace(one, verdict=LARGER) if one.verdict == CHOSEN and one is not chosen else one for one in candidates
        ]
        return self._made(others, chosen, limit, sample_rows)

    def _yardstick(self, count: int) -> Yardstick:
        """Measure on so many rows, of which smaller numbers are part of larger ones."""
        rows = self._rows if count == len(self._rows) else self._rows[np.sort(self._order[:count])]
        return Yardstick(rows, self._queries, self._metric, self._k)

    def _try_all(self, tried: list[Scheme], finer: list[Finer]) -> tuple[list[Candidate], int]:
        """Try every scheme, alone and with finer copies, on two samples; by bytes on disk."""
        large_rows = min(_SAMPLE_ROWS, len(self._rows))
        sizes = (max(large_rows // _SMALLER, min(MIN_ADVISED_ROWS, large_rows)), large_rows)
        small, large = (self._yardstick(size) for size in sizes)
        few, many = ([sample.finer(copy.scheme) for copy in finer] for sample in (small, large))
        candidates = []
        for done, scheme in enumerate(tried):
            self._on_progress(done, len(tried))
            before, after = small.trial(scheme, few, None), large.trial(scheme, many, self._target)
            expected = self._expected(before.alone, after.alone, sizes)
            candidates.append(self._candidate(after, None, after.alone, expected, expected))
            for place, copy in enumerate(finer):
                if copy.scheme.nbytes(self._shape) > scheme.nbytes(self._shape):
                    recalls, expected = self._staged(before.refined[place], after.refined[place], sizes)
                    candidates.append(
                        self._candidate(after, place, recalls, expected, self._reached(copy.recalls), copy)
                    )
        self._on_progress(len(tried), len(tried))
        return sorted(candidates, key=lambda one: (one.disk_bytes, one.memory_bytes)), large_rows

    def _expected(self, few: F64, many: F64, sizes: tuple[int, int]) -> float:
        """Give the recall that is expected among all rows."""
        return 1 - grown(few, many, sizes, self._shape.rows)

    def _reached(self, recalls: F64) -> float:
        """Give the recall of a check, on the safe side; of one on fewer rows, what it is expected to be among all."""
        share = max(1.0, self._shape.rows / (self._checked_rows + len(self._queries)))
        return 1 - min(1.0, loss_of(recalls, self._k) * math.pow(share, USUAL_GROWTH))

    def _staged(self, few: dict[int, F64], many: dict[int, F64], sizes: tuple[int, int]) -> tuple[F64, float]:
        """Give recalls and expected recall at the first depth that is enough, or at the last."""
        reached = [
            (recalls, self._expected(few.get(depth, recalls), recalls, sizes)) for depth, recalls in many.items()
        ]
        return next((pair for pair in reached if pair[1] >= self._target), reached[-1])

    def _candidate(
        self,
        trial: Trial,
        place: int | None,
        recalls: F64,
        expected: float,
        finest: float,
        copy: Finer | None = None,
    ) -> Candidate:
        memory = trial.scheme.nbytes(self._shape) / self._shape.rows
        more = 0 if copy is None else copy.scheme.nbytes(self._shape) / self._shape.rows
        return Candidate(
            scheme=trial.scheme.to_dict(),
            refine=None if copy is None else copy.scheme.to_dict(),
            memory_bytes=memory,
            disk_bytes=memory + more,
            recall=float(recalls.mean()),
            expected=expected,
            finest=finest,
            speed=trial.speeds[0 if place is None else place + 1],
            encode_seconds=trial.encode_seconds,
        )

    def _holds(self, one: Candidate) -> bool:
        return one.checked is not None and one.checked >= self._target and one.finest >= self._needed

    def _verdict(self, one: Candidate, chosen: Candidate | None, limit: int | None) -> str:
        """Say why a candidate need not be checked; empty where it may be better than what was chosen so far."""
        allowed = (1 - self._target if one.refine else 1 - self._needed) * _DOUBT
        if 1 - one.expected > allowed:
            return MISSES
        if limit is not None and one.memory_bytes * self._shape.rows > limit:
            return TOO_LARGE
        is_better = chosen is None or (
            one.disk_bytes <= _WORTH_A_GRAPH * chosen.disk_bytes
            and self._index(one, limit) is not None
            and self._index(chosen, limit) is None
        )
        return "" if is_better else LARGER

    def _checked(
        self, one: Candidate, largest: Yardstick, finer: list[Finer], schemes: dict[bytes, Scheme]
    ) -> Candidate:
        """Measure a candidate on all rows, or as many as can be afforded."""
        copies = [copy for copy in finer if copy.scheme.to_dict() == one.refine]
        trial = largest.trial(schemes[encode_json(one.scheme)], copies, None)
        if not copies:
            reached = self._reached(trial.alone)
            return replace(one, checked=reached, finest=reached)
        return replace(one, checked=max(map(self._reached, trial.refined[0].values())))

    def _infeasible(self, candidates: list[Candidate], limit: int | None) -> BudgetInfeasible:
        enough = [one.memory_bytes for one in candidates if one.verdict == TOO_LARGE]
        floor = math.ceil(min(enough, default=self._shape.dim * 4) * self._shape.rows)
        share = floor / self._shape.float32_bytes
        return BudgetInfeasible(
            f"max_bytes: no form reaches a recall@{self._k} of {self._target} with {limit or 0:,} bytes in memory; the "
            f"smallest that should needs {floor:,} bytes ({share:.4g} of float32): raise max_bytes or lower the recall",
            floor=floor,
            field="max_bytes",
        )

    def _made(self, candidates: list[Candidate], chosen: Candidate, limit: int | None, sample_rows: int) -> Advice:
        index = self._index(chosen, limit)
        aim = round(min(self._target / chosen.finest, _SEARCH_RECALL), 6) if self._needed < 1 else 1.0
        arguments = {
            "dim": self._shape.dim,
            "metric": self._metric,
            "scheme": chosen.scheme,
            "refine": chosen.refine,
            "index": index,
            "recall": aim,
        }
        return Advice(
            candidates=tuple(candidates),
            chosen=chosen,
            reason=self._reason(chosen, index, limit, aim),
            target_recall=self._target,
            k=self._k,
            arguments=arguments,
            rows=self._shape.rows,
            sample_rows=sample_rows,
            checked_rows=self._checked_rows,
        )

    def _index(self, one: Candidate, limit: int | None) -> HnswConfig | None:
        """Give a graph for codes that walks are quick on, unless there is no room: others are for scans."""
        index = HnswConfig()
        if not from_config(one.scheme).walks_quickly(self._shape):
            return None
        needed = self._shape.rows * (one.memory_bytes + graph_bytes(index, self._shape.rows))
        return None if limit is not None and needed > limit else index

    def _reason(self, chosen: Candidate, index: HnswConfig | None, limit: int | None, aim: float) -> str:
        rest = self._shape.rows - self._checked_rows - len(self._queries)
        where = "all rows" if rest <= 0 else f"{self._checked_rows:,} of {self._shape.rows:,} rows"
        stored = chosen.codec + (f" behind {chosen.transform}" if chosen.transform else "")
        stored += f" with {chosen.refine['scheme']} to score candidates again" if chosen.refine else ""
        within = "" if limit is None else f" that keep no more than {limit:,} bytes in memory"
        how = "scans" if index is None else "a graph"
        return (
            f"Take {stored}: {chosen.disk_bytes:.0f} bytes a vector, about the fewest on disk of those{within} with a "
            f"recall@{self._k} of at least {self._target:g} ({chosen.checked or 0:.4f} on {where}, on the safe side). "
            f"Searches use {how} and aim for {aim:g} of what the finest copy finds."
        )


def graph_bytes(index: HnswConfig, rows: int) -> float:
    """Give the bytes a row of a graph over ``rows`` rows, at most about so many.

    As if all of the 2 M links of level 0 were there, each in the bits of the widest gap between that many of ``rows``
    (mean times logarithm of their number, for links at random); and 3 bytes of its own a row. One row in M has links
    on upper levels, half as many, and two numbers more.
    """
    links = 2 * index.M
    widest = max(2.0, rows / links * math.log(links))
    packed = links * math.ceil(math.log2(widest)) / 8 + 3
    return packed + (packed / 2 + 8) / (index.M - 1)
