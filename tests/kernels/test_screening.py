"""The screen lets nothing pass by: answers have the bits of scoring every row, on data made to break its bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests import reference
from vecstore import schemes
from vecstore.index import exact
from vecstore.index.exact import exact_search
from vecstore.kernels import screening, screens, topk
from vecstore.kernels.compiling import frozen
from vecstore.kernels.intrinsics import LANES, panel_hits
from vecstore.kernels.lengths import unit_rows
from vecstore.kernels.loading import has_feature
from vecstore.kernels.screening import PANEL_ROWS, screen_rows, screen_span
from vecstore.kernels.screens import rounding_screen_of, screen_of
from vecstore.schemes.scorer import coarse
from vecstore.types import Metric

N_QUERIES, N_ROWS, K = 19, 777, 5


def near_ties(rng, dim):
    """Rows that differ from one another in the last digits only, and many that do not differ at all."""
    row = rng.standard_normal(dim)
    rows = row + 1e-7 * rng.standard_normal((N_ROWS, dim))
    rows[100:400] = rows[7]
    return rows, row + 1e-6 * rng.standard_normal((N_QUERIES, dim))


def cancelling(rng, dim):
    """Large numbers that cancel, so that products in another order differ by more than the distances do."""
    signs = np.where(np.arange(dim) % 2, -1e4, 1e4)
    rows = signs[::-1] * np.arange(dim, 0, -1) + rng.standard_normal((N_ROWS, dim))
    return rows, np.ones((N_QUERIES, dim)) + 1e-3 * rng.standard_normal((N_QUERIES, dim))


def of_all_lengths(rng, dim):
    rows = rng.standard_normal((N_ROWS, dim)) * 10.0 ** rng.integers(-6, 7, (N_ROWS, 1))
    rows[::50] = 0
    queries = rng.standard_normal((N_QUERIES, dim)) * 10.0 ** rng.integers(-3, 4, (N_QUERIES, 1))
    queries[3] = 0
    return rows, queries


def huge(rng, dim):
    """Numbers whose products overflow, for some queries to infinity."""
    rows = rng.standard_normal((N_ROWS, dim)) * 10.0 ** rng.integers(15, 20, (N_ROWS, 1))
    return rows, rng.standard_normal((N_QUERIES, dim)) * 10.0 ** rng.integers(10, 19, (N_QUERIES, 1))


def tiny(rng, dim):
    """Numbers whose products underflow."""
    rows = rng.standard_normal((N_ROWS, dim)) * 10.0 ** rng.integers(-30, -18, (N_ROWS, 1))
    return rows, rng.standard_normal((N_QUERIES, dim)) * 10.0 ** rng.integers(-25, -10, (N_QUERIES, 1))


def plain(rng, dim):
    return reference.clustered(rng, N_ROWS, dim), reference.clustered(rng, N_QUERIES, dim)


def every_distance(scorer, rows):
    found = np.empty((N_QUERIES, len(rows)), np.float32)
    scorer.gather(rows, found)
    # As keys say it: -0 is 0, and what is no number is as far as can be.
    found = np.where(np.isnan(found), np.float32(np.inf), found) + np.float32(0)
    return reference.nearest(found, K, rows)


def offered(screen, operands, rows):
    """Give what the screen leaves on the heaps, of rows in order or of chosen ones."""
    heaps = topk.new_heaps(N_QUERIES, K)
    if rows is None:
        screen_span(screen, operands, 0, N_ROWS, heaps)
    else:
        screen_rows(screen, operands, frozen(rows), screening.new_buffer(screen), heaps)
    return topk.drain(heaps)


@pytest.mark.parametrize("make", [plain, near_ties, cancelling, of_all_lengths, huge, tiny])
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dim", [1, 3, 64, 101])
def test_float32_rows(rng, make, metric, dim):
    rows, queries = (array.astype(np.float32) for array in make(rng, dim))
    check("full", rows, queries, metric, rng)


#: Rows whose distances have an offset for each query: behind a transform, and with one scale for the table.
WITH_OFFSETS = (
    {"scheme": "transformed", "inner": {"scheme": "full"}, "transform": "centre"},
    {"scheme": "transformed", "inner": {"scheme": "int8", "scales": "table"}, "transform": "centre"},
    {"scheme": "int16", "scales": "table"},
)


@pytest.mark.parametrize("name", ["float16", "int8", "int16", "alpt", *WITH_OFFSETS], ids=str)
@pytest.mark.parametrize("make", [plain, near_ties, cancelling, of_all_lengths])
@pytest.mark.parametrize("metric", [Metric.L2, Metric.IP])
def test_stored_forms(rng, name, make, metric):
    rows, queries = (array.astype(np.float32) for array in make(rng, 37))
    if name == "float16":
        rows = np.clip(rows, -60_000, 60_000)
    check(name, rows, queries, metric, rng)


def check(name, rows, queries, metric, rng):
    if metric is Metric.COSINE:
        rows, queries = unit_rows(rows + np.float32(1e-30)), unit_rows(queries + np.float32(1e-30))
    exact = schemes.from_config(name).fit(rows).scorer(queries, metric)
    for scorer in dict.fromkeys((exact, coarse(exact))):
        check_scorer(scorer, rng)


def check_scorer(scorer, rng):
    chosen = rng.permutation(N_ROWS)[: N_ROWS // 2]
    every = np.arange(N_ROWS)
    made = [screen for screen in (screen_of(scorer.operands), rounding_screen_of(scorer.operands)) if screen]
    for screen, asked in itertools.product(made, (None, every, chosen)):
        if asked is None and not screening.is_direct(screen):
            continue
        # A limit falls as nearer rows are found.
        screen.limits[2, :N_QUERIES] = -np.inf
        found = offered(screen, scorer.operands, asked)
        expected = every_distance(scorer, every if asked is None else asked)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1].view(np.uint32), expected[1].view(np.uint32))


@pytest.mark.parametrize("n_rows", [PANEL_ROWS, PANEL_ROWS + 1, 2 * PANEL_ROWS - 1, 5_003])
def test_every_row_has_one_turn(rng, n_rows):
    """With more places than rows, what is found is each row once: also those of the last, overlapping tiles."""
    rows = frozen(rng.standard_normal((n_rows, 65), dtype=np.float32))
    scorer = schemes.from_config("full").fit(rows).scorer(rows[:3], Metric.L2)
    for chosen in (None, frozen(rng.permutation(n_rows))):
        screen = screen_of(scorer.operands)
        heaps = topk.new_heaps(3, n_rows + 2)
        if chosen is None:
            screen_span(screen, scorer.operands, 0, n_rows, heaps)
        else:
            screen_rows(screen, scorer.operands, chosen, screening.new_buffer(screen), heaps)
        found = topk.drain(heaps)[0]
        assert (np.sort(found[:, :n_rows], axis=1) == np.arange(n_rows)).all()
        assert (found[:, n_rows:] == -1).all()


def test_search_takes_the_screen_for_many_queries(rng, monkeypatch):
    """And not for few, nor where there are few rows for each of the nearest; the answers are the same."""
    used = []
    made = screens.screen_of
    monkeypatch.setattr(screens, "screen_of", lambda operands: used.append(1) or made(operands))
    rows = reference.clustered(rng, 2_000, 24)
    queries = reference.clustered(rng, 40, 24)
    table = schemes.from_config("int8").fit(rows)
    together = exact_search(table.scorer(queries, Metric.L2), 40, 2_000, 10)
    assert len(used) == 1
    alone = [exact_search(table.scorer(query[None], Metric.L2), 1, 2_000, 10) for query in queries]
    exact_search(table.scorer(queries, Metric.L2), 40, 2_000, 500)
    assert len(used) == 1
    for place in (0, 1):
        np.testing.assert_array_equal(together[place], np.concatenate([one[place] for one in alone]))


@pytest.mark.parametrize("outlier", [False, True])
@pytest.mark.parametrize("chosen", [False, True])
@pytest.mark.parametrize("metric", list(Metric))
def test_many_queries_round_the_rows_first(rng, monkeypatch, metric, chosen, outlier):
    """Where one number of a row is much larger than all others, rounding leaves too little, and floats go on."""
    if not has_feature("avx512vnni"):
        pytest.skip("this processor has no AVX-512 VNNI")
    monkeypatch.setattr(exact, "_ROUNDED_QUERIES", 8)
    monkeypatch.setattr(exact, "_CALL_ROWS", 512)
    used = []
    made = screens.screen_of
    monkeypatch.setattr(screens, "screen_of", lambda operands: used.append(1) or made(operands))
    rows = rng.standard_normal((6_000, 64), dtype=np.float32)
    if outlier:
        rows[:, 5] += 3_000
    queries = rows[:17] + np.float32(0.01) * rng.standard_normal((17, 64), dtype=np.float32)
    if metric is Metric.COSINE:
        rows, queries = unit_rows(rows), unit_rows(queries)
    scorer = schemes.from_config("full").fit(rows).scorer(queries, metric)
    asked = rng.permutation(6_000)[:5_000] if chosen else 6_000
    found = exact_search(scorer, 17, asked, 10)
    assert len(used) == outlier
    every = np.arange(6_000) if not chosen else asked
    distances = np.empty((17, len(every)), np.float32)
    scorer.gather(every, distances)
    for mine, theirs in zip(found, reference.nearest(distances, 10, every), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", ["full", "int8"])
@pytest.mark.parametrize("chosen", [False, True])
def test_a_screen_that_lets_all_rows_pass_is_given_up(rng, monkeypatch, name, chosen):
    """Where all rows are equally far, only the rows of the first call are scored one by one."""
    monkeypatch.setattr(exact, "_CALL_ROWS", 512)
    rows = np.repeat(unit_rows(rng.standard_normal((1, 24), dtype=np.float32)), 3_000, axis=0)
    queries = unit_rows(rng.standard_normal((9, 24), dtype=np.float32))
    rows[2_900] = queries[4]
    scorer = schemes.from_config(name).fit(rows).scorer(queries, Metric.L2)
    asked = rng.permutation(3_000) if chosen else 3_000
    heaps = topk.new_heaps(9, 10)
    kept = frozen(asked) if chosen else None
    assert exact._screen_all(screen_of(scorer.operands), scorer.operands, 0, 3_000, kept, heaps, 0.25) <= 1_024
    found = np.empty((9, 3_000), np.float32)
    scorer.gather(np.arange(3_000), found)
    expected = reference.nearest(found, 10, np.arange(3_000))
    for mine, theirs in zip(exact_search(scorer, 9, asked, 10), expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_it_passes_few_rows(rng):
    """A screen that let everything pass would give the same answers, slowly: with the last limit, few rows pass."""
    rows = frozen(unit_rows(rng.standard_normal((PANEL_ROWS * 40, 96), dtype=np.float32)))
    queries = unit_rows(rng.standard_normal((LANES, 96), dtype=np.float32))
    for name in ("full", "int8"):
        scorer = schemes.from_config(name).fit(rows).scorer(queries, Metric.IP)
        rows_found, distances = exact_search(scorer, LANES, len(rows), 10)
        screen = screen_of(scorer.operands)
        stored = screen.rows if screening.is_direct(screen) else frozen(screen.rows.astype(np.float32))
        for query in range(LANES):
            furthest = np.uint64(topk.pack(distances[query, -1], rows_found[query, -1]))
            screen.limits[2, query] = screening._limit(screen, query, furthest)
        block = screening._Block(
            np.arange(len(rows)),
            np.empty(len(rows), np.int32),
            np.empty((3, len(rows)), np.float32),
            np.empty(PANEL_ROWS, np.uint32),
        )
        screening._measure(screen, stored, 0, block)
        passed = np.zeros(LANES, np.int64)
        for first in range(0, len(rows), PANEL_ROWS):
            run_hits(stored, first, screen.panels, 0, block.starts, block.lines, screen.limits, block.masks)
            passed += (block.masks[:, None] >> np.arange(LANES) & 1).sum(axis=0)
        assert passed.min() >= 10
        assert passed.max() <= 20


@pytest.mark.parametrize("dim", [1, 4, 7, 64, 130])
@pytest.mark.parametrize("kind", [np.float32, np.int8])
def test_hits_are_what_the_formula_says(rng, dim, kind):
    """Whole numbers and quarters, whose sums are exact in any order."""
    if kind is np.int8 and not has_feature("avx512vnni"):
        pytest.skip("this processor has no AVX-512 VNNI")
    rows = rng.integers(-9, 10, (PANEL_ROWS + 3, dim)).astype(kind)
    queries = rng.integers(-9, 10, (2 * LANES, dim)).astype(kind)
    panels = screens._float_panels(queries)
    if kind is np.int8:
        padded = np.pad(queries, ((0, 0), (0, -dim % 4)))
        panels = np.ascontiguousarray(padded.reshape(2, LANES, -1, 4).transpose(0, 2, 1, 3)).view(np.uint8) ^ 128
    starts = (-128 * rows.sum(axis=1, dtype=np.int64)).astype(np.int32)
    lines = rng.integers(-8, 9, (3, len(rows))).astype(np.float32) / 4
    limits = rng.integers(-8, 9, (3, 2 * LANES)).astype(np.float32) / 4
    limits[2, 5] = np.nan
    products = rows.astype(np.float64) @ queries.astype(np.float64).T
    values = lines[0][:, None] * products + np.outer(lines[1], limits[0]) + np.outer(lines[2], limits[1])
    near = ~(values < limits[2])
    for panel in range(2):
        masks = np.zeros(PANEL_ROWS, np.uint32)
        found = run_hits(frozen(rows), 2, frozen(panels), panel, starts, lines, limits, masks)
        expected = near[2 : 2 + PANEL_ROWS, panel * LANES : (panel + 1) * LANES]
        np.testing.assert_array_equal(masks, (expected << np.arange(LANES)).sum(axis=1))
        assert found == expected.any()


@screening.kernel
def run_hits(rows, first, panels, panel, starts, lines, limits, masks):
    return panel_hits(rows, first, panels, panel, starts, lines, first, limits, masks)
