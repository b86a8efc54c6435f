"""Compiling ahead of time: what a scheme's collections need of kernels, so that later processes find it on disk."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from vecstore import schemes
from vecstore.api import Collection
from vecstore.config import HnswConfig, StoreConfig
from vecstore.database import EmbeddedDatabase
from vecstore.errors import InvalidArgumentError
from vecstore.index.bounded import refine_within
from vecstore.index.exact import exact_search
from vecstore.kernels import code_cache
from vecstore.kernels.compiling import frozen
from vecstore.kernels.scoring import Scorer
from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.scorer import bounding, coarse, quick
from vecstore.types import F32, Metric, as_metric

__all__ = ["WarmupReport", "cases", "warmup"]

#: Rows of the collections that are tried: enough that a search walks the graph, with a filter too.
_ROWS, _DIM = 4_000, 32
_EF, _K = 10, 5
#: For schemes that need one; the smallest that all of them can be planned for.
_BUDGET = 0.5
#: Queries of a call: one alone, few, and so many that rows are passed over by a screen, and rounded for it.
_CALLS = (1, 2, 128)
#: A filter that keeps so many rows that the graph is walked, and one that is scanned.
_FILTERS = ("part < 3900", "part < 100")


@dataclass(frozen=True, slots=True)
class WarmupReport:
    """What a warm-up did.

    Attributes
    ----------
    folder : Path
        Where machine code is kept, for this version of the library on this kind of processor.
    compiled : int
        Kernels that were not there before, each for one mix of argument types.
    kept : int
        All that are there now.
    seconds : float
        How long it took.
    """

    folder: Path
    compiled: int
    kept: int
    seconds: float


def warmup(
    scheme: str | Sequence[str] | None = None,
    *,
    metric: Metric | str | Sequence[Metric | str] | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> WarmupReport:
    """Compile the kernels of collections and keep them on disk; for images, and before the first request of a server.

    Small collections are made, searched and thrown away, in every way that takes other kernels. Any scheme that was
    warmed also serves as the finer copy of another.

    Parameters
    ----------
    scheme : str or sequence of str, optional
        Names of schemes; all that collections can have by default.
    metric : Metric, str or sequence of them, optional
        All three by default.
    on_progress : callable, optional
        Called with 1 for each of :func:`cases`.

    Raises
    ------
    NotFoundError
        There is no such scheme.
    InvalidArgumentError
        There is no such metric, a scheme is no collection's, or the folder cannot be written.
    """
    started = time.perf_counter()
    folder = _writable_folder()
    before = _count(folder)
    for name, one in cases(scheme, metric):
        _try(name, one)
        on_progress(1)
    kept = _count(folder)
    return WarmupReport(folder, kept - before, kept, time.perf_counter() - started)


def cases(
    scheme: str | Sequence[str] | None = None, metric: Metric | str | Sequence[Metric | str] | None = None
) -> list[tuple[str, Metric]]:
    """Give the schemes and metrics that :func:`warmup` tries; see there."""
    metrics = [as_metric(one) for one in _listed(metric)] or list(Metric)
    possible = _of_collections()
    names = _listed(scheme) or possible
    for name in names:
        if name not in possible:
            schemes.get(name)
            raise InvalidArgumentError(
                f"scheme {name!r} is none of a collection's, which are {', '.join(possible)}", field="scheme"
            )
    return [(name, one) for name in names for one in metrics]


def _listed(given: str | Iterable[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else list(given or ())


def _of_collections() -> list[str]:
    """Give the schemes that a collection can have, transforms aside."""
    return [name for name in schemes.names() if schemes.get(name).capabilities.posthoc and name != "transformed"]


def _writable_folder() -> Path:
    try:
        folder = code_cache.folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidArgumentError(
            f"kernels cannot be kept on disk ({error}); set VECSTORE_CACHE to a folder that can be written",
            field="VECSTORE_CACHE",
        ) from None
    return folder


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.o"))


def _complete(name: str) -> Scheme:
    """Give a scheme with its defaults, or, where there are none for all that it needs, as a budget decides."""
    kind = schemes.get(name)
    if any(field.required for field in msgspec.structs.fields(kind)):
        return kind.plan(TableShape(_ROWS, _DIM), _BUDGET, None, {})
    return kind()


def _try(name: str, metric: Metric) -> None:
    """Use one scheme under one metric in all ways."""
    scheme = _complete(name)
    rows = np.random.default_rng(0).standard_normal((_ROWS, _DIM), np.float32)
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedDatabase(folder, settings=StoreConfig(background=False, threads=1)) as db,
    ):
        docs = db.create_collection(
            "docs", dim=_DIM, metric=metric, scheme=scheme.to_dict(), index=HnswConfig(min_rows=_ROWS)
        )
        docs.insert(np.arange(_ROWS), rows, {"part": np.arange(_ROWS)})
        _search(docs, rows)
        docs.flush()
        _search(docs, rows)
        docs.optimize()
        _search(docs, rows)
        docs.get([1])
    walked = scheme.for_walks()
    for form in [scheme] if walked == scheme else [scheme, walked]:
        _score(form.fit(rows).scorer(rows[:2], metric))


def _score(scorer: Scorer) -> None:
    """Use a scorer as the codes and as the finer copy of a collection do."""
    candidates = np.zeros((2, _K), np.int64)
    for one in _scorers(scorer):
        one.rerank(candidates, np.empty((2, _K), np.float32))
    bounds = bounding(scorer)
    if bounds is not None:
        for among in (_ROWS, np.arange(_K)):
            exact_search(bounds, 2, among, _K)
    refine_within(candidates, np.zeros((2, _K), np.float32), scorer, _K)


def _search(docs: Collection, rows: F32) -> None:
    """Search in all ways; queries may be written to, as a program's, or not, as those that come through a server."""
    for queries in (*(rows[:count] for count in _CALLS), frozen(rows[:1])):
        for where in (None, *_FILTERS):
            for exact in (False, True):
                docs.search(queries, _K, ef=_EF, where=where, exact=exact)


def _scorers(scorer: Scorer) -> Iterator[Scorer]:
    """Give the scorer and all that stages of a search may take in its place."""
    yield from (one for one in (scorer, coarse(scorer), quick(scorer), bounding(scorer)) if one is not None)
