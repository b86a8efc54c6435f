"""RaBitQ: what its paper promises, beyond the battery of all schemes."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest

import vecstore
from tests import reference
from vecstore import HnswConfig, schemes
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.index.bounded import refine_within
from vecstore.kernels import distance, nibble_spans, nibble_tables, nibbles, topk
from vecstore.kernels import rabitq as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.intrinsics import weighted_differing
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.base import TableShape
from vecstore.schemes.nibbles import blocked, rounded
from vecstore.schemes.rabitq import Rabitq
from vecstore.schemes.requested import requested
from vecstore.schemes.scorer import bounding, coarse
from vecstore.types import Metric

over_metrics = pytest.mark.parametrize("metric", list(Metric))


over_layouts = pytest.mark.parametrize("layout", ["blocks", "rows"])


def rabitq(bits, layout="auto"):
    return schemes.from_config({"scheme": "rabitq", "bits": bits, "layout": layout})


def scanned(scorer, n_queries, n_rows):
    out = np.empty((n_queries, n_rows), np.float32)
    scorer.scan(0, n_rows, out)
    return out


@pytest.fixture
def rows(rng):
    return unit_rows(reference.clustered(rng, 400, 64))


@pytest.fixture
def queries(rng):
    return unit_rows(reference.clustered(rng, 9, 64))


@over_metrics
@over_layouts
def test_estimates_are_unbiased_over_rotations(rows, queries, metric, layout):
    exact = reference.distances(rows, queries, metric)
    tables = [rabitq(1, layout).fit(rows, seed=seed) for seed in range(60)]
    errors = np.array([scanned(table.scorer(queries, metric), 9, 400) - exact for table in tables])
    spread = errors.std(axis=0)
    assert spread.mean() > 0.01, "one bit is not exact"
    # The mean of 60 draws is within 5 standard errors of 0 for all 3,600 pairs.
    assert (np.abs(errors.mean(axis=0)) < 5 * spread / np.sqrt(60) + 1e-6).all()


@over_metrics
@over_layouts
def test_more_bits_halve_the_error(rows, queries, metric, layout):
    exact = reference.distances(rows, queries, metric)
    tables = [rabitq(bits, layout).fit(rows) for bits in range(1, 9)]
    errors = [np.abs(scanned(table.scorer(queries, metric), 9, 400) - exact).mean() for table in tables]
    assert all(finer < 0.7 * coarser for coarser, finer in itertools.pairwise(errors))


@over_metrics
@over_layouts
@pytest.mark.parametrize("bits", [1, 2, 5])
def test_bounds_hold_for_nearly_all_rows_and_are_not_idle(rows, queries, metric, bits, layout):
    scorer = rabitq(bits, layout).fit(rows).scorer(queries, metric)
    exact, bounds = reference.distances(rows, queries, metric), scanned(bounding(scorer), 9, 400)
    assert (bounds > exact).mean() < 0.06
    below = scanned(scorer, 9, 400) - bounds
    assert 0 < below.mean() < 2.5 * np.abs(scanned(scorer, 9, 400) - exact).mean() * 2


@over_metrics
@over_layouts
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_scans_are_those_of_single_rows_bit_for_bit(rng, rows, queries, metric, bits, layout):
    scorer = rabitq(bits, layout).fit(rows).scorer(queries, metric)
    for some in (coarse(scorer), bounding(scorer)):
        whole = scanned(some, 9, 400)
        chosen = rng.integers(0, 400, 50)
        gathered = np.empty((9, 50), np.float32)
        some.gather(chosen, gathered)
        np.testing.assert_array_equal(gathered, whole[:, chosen])
        for start, stop in ((0, 1), (3, 37), (15, 17), (399, 400)):
            part = np.empty((9, stop - start), np.float32)
            some.scan(start, stop, part)
            np.testing.assert_array_equal(part, whole[:, start:stop])


def _largest_sums(tables):
    """Give the largest sum that eight tables can add up to, those of the same place in four times four columns."""
    queries, halves, columns, _ = tables.shape
    groups = np.zeros((queries, halves, -(-columns // 16) * 16), np.int64)
    groups[:, :, :columns] = tables.max(axis=3)
    return groups.reshape(queries, halves, -1, 4, 4).sum(axis=(1, 3)).max()


@pytest.mark.parametrize(("columns", "planes"), [(1, 1), (3, 2), (4, 1), (61, 1), (260, 1), (1027, 3)])
def test_sums_of_nibbles_are_exact_for_any_width(rng, columns, planes):
    rows = rng.integers(0, 256, (133, planes * columns)).astype(np.uint8)
    tables = frozen(rng.standard_normal((5, 2 * columns, 16)).astype(np.float32))
    steps = rounded(tables)
    assert 240 <= _largest_sums(steps.tables) <= 255
    codes = blocked(rows)
    part, sums = np.empty((4, 144), np.uint16), np.empty((4, 144), np.int32)
    nibble_spans.span_sums(codes, planes, steps.tables, 1, 0, 9, part, sums)
    expected = np.zeros((4, 133), np.int64)
    for place in range(planes * columns):
        plane, column = divmod(place, columns)
        low, high = steps.tables[1:5, 0, column], steps.tables[1:5, 1, column]
        expected += (low[:, rows[:, place] & 15].astype(np.int64) + high[:, rows[:, place] >> 4]) << plane
    np.testing.assert_array_equal(sums[:, :133], expected)
    one = np.empty((1, 96), np.int32)
    nibble_spans.span_sums(codes, planes, steps.tables, 3, 1, 6, part[:1], one)
    np.testing.assert_array_equal(one[0], expected[2, 16:112])


@pytest.mark.parametrize("columns", [1, 3, 13, 16, 18, 31])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 7])
def test_sums_of_any_number_of_blocks_touch_no_others(rng, columns, blocks):
    codes = frozen(rng.integers(0, 256, (blocks + 2, columns, 16)).astype(np.uint8))
    tables = rounded(frozen(rng.standard_normal((4, 2 * columns, 16)).astype(np.float32))).tables
    low, high = tables[:, 0, :columns].astype(np.int64), tables[:, 1, :columns].astype(np.int64)
    for queries in (1, 4):
        sums = np.full((queries, 16 * (blocks + 1)), 9, np.uint16)
        nibble_spans.column_sums(codes, 1, blocks, 0, tables, 0, 0, columns, sums)
        own = codes[1 : blocks + 1]
        for query in range(queries):
            found = sum(low[query, c][own[:, c] & 15] + high[query, c][own[:, c] >> 4] for c in range(columns))
            np.testing.assert_array_equal(sums[query, : 16 * blocks], found.ravel())
        assert (sums[:, 16 * blocks :] == 9).all()


@pytest.mark.parametrize(("start", "stop"), [(0, 400), (0, 1), (5, 69), (70, 199), (383, 400)])
def test_sums_that_are_small_enough_are_offered_whatever_lies_behind(rng, start, stop):
    # What is behind the last sum is smaller than all, and must not count.
    sums = np.zeros((2, 400 + 64), np.uint16)
    sums[1, :stop] = rng.integers(1, 200, stop) * 300
    base, step = np.float32(-3.5), np.float32(0.01)
    heap = topk.new_heaps(1, 7)
    nibble_spans.push_sums(sums, 1, start, stop, 1000, base, step, heap[0])
    rows, distances = topk.drain(heap)
    expected = base + step * sums[1, start:stop].astype(np.float32)
    order = np.lexsort((np.arange(len(expected)), expected))[:7]
    np.testing.assert_array_equal(rows[0, : len(order)], 1000 + order)
    np.testing.assert_array_equal(distances[0, : len(order)], expected[order])
    assert (rows[0, len(order) :] == -1).all()


def test_a_heap_that_nothing_can_enter_stays_as_it_is():
    sums = np.zeros((1, 128), np.uint16)
    heap = topk.new_heaps(1, 1)[0]
    nibble_spans.push_sums(sums, 0, 0, 64, 5, np.float32(-5), np.float32(1), heap)
    before = heap.copy()
    assert topk.drain(heap[None].copy())[0] == [[5]]
    nibble_spans.push_sums(sums, 0, 0, 64, 100, np.float32(2), np.float32(1), heap)
    np.testing.assert_array_equal(heap, before)


def test_codes_too_wide_for_short_sums_are_ranked_as_they_are_scored(rng):
    codes = frozen(rng.integers(0, 256, (5, 1030, 16)).astype(np.uint8))
    steps = rounded(frozen(rng.standard_normal((5, 2060, 16)).astype(np.float32)))
    operands = nibbles.NibbleSteps(codes, steps.tables, frozen(steps.steps), frozen(steps.bases))
    out, heaps = np.empty((5, 70), np.float32), topk.new_heaps(5, 9)
    distance.scan(operands, 3, 73, out)
    distance.nearest(operands, 3, 73, np.empty(5 * 512, np.float32), heaps)
    rows, distances = topk.drain(heaps)
    order = np.argsort(out, axis=1, kind="stable")[:, :9]
    np.testing.assert_array_equal(rows, 3 + order)
    np.testing.assert_array_equal(distances, np.take_along_axis(out, order, 1))


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize(("parts", "width"), [(1, 1), (7, 3), (24, 4)])
def test_tables_of_parts_add_element_after_element(rng, parts, width, squared):
    columns = frozen(rng.standard_normal((parts, width, 16)).astype(np.float32))
    queries = frozen(rng.standard_normal((3, parts * width)).astype(np.float32))
    tables = np.full((3, 2 * -(-parts // 2), 16), np.nan, np.float32)
    nibble_tables.part_tables(columns, queries, squared, tables)
    expected = np.zeros_like(tables)
    for element in range(width):
        value, entries = queries.reshape(3, parts, width)[:, :, element, None], columns[None, :, element]
        term = (value - entries) ** 2 if squared else -(value * entries)
        expected[:, :parts] += term
    np.testing.assert_array_equal(tables, expected)


@pytest.mark.parametrize("unit", [False, True])
def test_residuals_of_queries_and_what_is_added(rng, unit):
    queries, centroid = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 37), 37))
    rest, offsets = np.empty((5, 37), np.float32), np.empty(5, np.float32)
    kernels.residuals(frozen(queries), frozen(centroid), unit, rest, offsets)
    np.testing.assert_array_equal(rest, queries - centroid)
    lengths = np.empty((2, 5), np.float32)
    nibbles.squared_lengths(queries, lengths[0])
    nibbles.squared_lengths(rest, lengths[1])
    half = np.float32(0.5)
    np.testing.assert_array_equal(offsets, half * (lengths[1] - lengths[0]) + half if unit else lengths[1])


def test_rounded_tables_are_within_half_a_step():
    tables = np.linspace(-1, 3, 2 * 6 * 16, dtype=np.float32).reshape(2, 6, 16) ** 2
    steps = rounded(frozen(tables))
    lowest = tables.min(axis=2)
    np.testing.assert_allclose(steps.bases, lowest.sum(axis=1), rtol=1e-6)
    for code in range(6):
        back = lowest[:, code, None] + steps.steps[:, None] * steps.tables[:, code % 2, code // 2]
        assert (np.abs(back - tables[:, code]) <= 0.501 * steps.steps[:, None]).all()
    assert (steps.tables[:, :, 3:] == 0).all()


def test_rows_of_one_point_and_no_spread_are_exact(rng):
    row = unit_rows(rng.standard_normal((1, 33)).astype(np.float32))
    table = rabitq(1).fit(np.repeat(row, 20, axis=0))
    np.testing.assert_array_equal(table.lookup(np.arange(20)), np.repeat(row, 20, axis=0))
    np.testing.assert_allclose(scanned(table.scorer(row, Metric.L2), 1, 20), 0, atol=1e-6)


def test_encoding_decoded_rows_again_keeps_their_lengths(rows):
    table = rabitq(1).fit(rows)
    once = table.lookup(np.arange(400))
    twice = rabitq(1).fit(once).lookup(np.arange(400))
    lengths = [np.linalg.norm(r - r.mean(axis=0), axis=1).mean() for r in (rows, once, twice)]
    np.testing.assert_allclose(lengths, lengths[0], rtol=0.05)


@pytest.mark.parametrize("bits", [0, 9, -1, 1.5, "two"])
def test_bits_out_of_range(bits):
    with pytest.raises(InvalidArgumentError):
        rabitq(bits)


def test_values_whose_squares_are_too_large_are_refused():
    with pytest.raises(InvalidArgumentError, match="rabitq"):
        rabitq(1).fit(np.full((2, 8), 1e17, np.float32))


@pytest.mark.parametrize("bits", [1, 3])
def test_both_layouts_hold_the_same_rows(rng, bits):
    rows = reference.clustered(rng, 70, 77)
    blocks, single = (rabitq(bits, layout).fit(rows, seed=4) for layout in ("blocks", "rows"))
    np.testing.assert_array_equal(blocks.lookup(np.arange(70)), single.lookup(np.arange(70)))
    np.testing.assert_array_equal(blocks.residuals(), single.residuals())
    assert single.nbytes == 70 * 8 * (bits * 2 + 1) + 4 * 77 + 8


def test_an_unknown_layout_is_refused():
    with pytest.raises(InvalidArgumentError, match="layout"):
        rabitq(1, "columns")


@pytest.mark.parametrize("feature", [None, "avx512vpopcntdq"])
@pytest.mark.parametrize(
    ("bits", "width", "planes"), [(1, 1, 4), (1, 6, 4), (1, 9, 4), (2, 3, 4), (3, 8, 8), (8, 2, 12)]
)
def test_weighted_bits_that_differ(rng, monkeypatch, feature, bits, width, planes):
    monkeypatch.setattr("vecstore.kernels.intrinsics.memory.has_feature", lambda name: name == feature)
    codes = rng.integers(0, 2**64, (5, bits * width + 1), dtype=np.uint64)
    asked = rng.integers(0, 2**64, (3, planes * width), dtype=np.uint64)

    def count(codes, row, planes, query, width):
        return weighted_differing(codes, row, planes, query, width)

    own = codes[3, :-1].reshape(bits, 1, width)
    differing = np.bitwise_count(own ^ asked[2].reshape(1, planes, width)).sum(axis=2, dtype=np.int64)
    weights = 2 ** (np.arange(bits)[:, None] + np.arange(planes))
    compiled = numba.njit(count)
    assert compiled(frozen(codes), 3, frozen(asked), 2, width) == (differing * weights).sum()


@pytest.mark.parametrize(
    "config", ["rabitq", {"scheme": "transformed", "transform": "pca:40", "inner": {"scheme": "rabitq"}}]
)
def test_codes_lie_row_by_row_where_there_is_a_graph(tmp_path, rng, config):
    rows = reference.clustered(rng, 300, 48)
    with vecstore.open(tmp_path) as db:
        for index, layout in ((None, "auto"), (HnswConfig(min_rows=100), "rows")):
            docs = db.create_collection(layout, dim=48, scheme=config, refine="int8", index=index)
            docs.insert(np.arange(300), rows)
            docs.optimize()
            source = docs._views.current().sources[0].source
            scheme = source.codes.scheme.to_dict()
            assert scheme.get("inner", scheme).get("layout", "auto") == layout
            found = docs.search(rows[:20], 1, ef=60)
            assert (found.ids[:, 0] == np.arange(20)).mean() > 0.9


@pytest.mark.parametrize("budget", [0.15, 0.25, 0.5])
@pytest.mark.parametrize("chain", [None, "centre|pca:70"])
def test_budgets_hold_for_the_form_that_walks_want(budget, chain):
    shape = TableShape(2_000, 72)
    allowed = int(budget * shape.float32_bytes)
    scanned_form = requested("rabitq", transform=chain, budget=budget, shape=shape)
    walked_form = requested("rabitq", transform=chain, budget=budget, walked=True, shape=shape).for_walks()
    assert scanned_form.nbytes(shape) <= allowed
    assert allowed / 2 < walked_form.nbytes(shape) <= allowed


def test_a_budget_too_small_for_walks_says_what_they_need():
    shape = TableShape(2_000, 65)
    assert requested("rabitq", transform=None, budget=0.075, shape=shape).nbytes(shape) <= 0.075 * shape.float32_bytes
    with pytest.raises(BudgetInfeasible) as raised:
        requested("rabitq", transform=None, budget=0.075, walked=True, shape=shape)
    floor = raised.value.floor
    assert (
        requested("rabitq", transform=None, budget=floor, walked=True, shape=shape).for_walks().nbytes(shape) == floor
    )


def test_segments_of_older_versions_get_the_form_for_walks_when_they_are_optimized(tmp_path, rng, monkeypatch):
    rows = reference.clustered(rng, 300, 48)
    with vecstore.open(tmp_path) as db:
        docs = db.create_collection("docs", dim=48, scheme="rabitq", refine="int8", index=HnswConfig(min_rows=100))
        docs.insert(np.arange(300), rows)
        with monkeypatch.context() as patched:
            patched.setattr(Rabitq, "for_walks", lambda self: self)
            docs.optimize()
        old = docs._views.current().segments[0].source
        assert (old.codes.scheme.layout, old.graph is None) == ("auto", False)
        before = docs.search(rows[:20], 3, ef=60)
        docs.optimize()
        new = docs._views.current().segments[0].source
        assert new.codes.scheme.layout == "rows"
        for array, other in zip(old.graph.arrays().values(), new.graph.arrays().values(), strict=True):
            np.testing.assert_array_equal(array, other)
        assert (docs.search(rows[:20], 3, ef=60).ids == before.ids).mean() > 0.9
        generation = docs.stats().generation
        docs.optimize()
        assert docs.stats().generation == generation
        assert db.verify() == []
        # Rows in blocks, not merged yet, beside rows one after the other.
        docs.insert(np.arange(300, 400), reference.clustered(rng, 100, 48))
        docs.flush()
        found = docs.search(docs.get([350])[0].vector, 1)
        assert found.ids.tolist() == [[350]]


@pytest.mark.parametrize(
    ("config", "dim", "is_quick"),
    [
        ({"scheme": "int8"}, 384, True),
        ({"scheme": "int4"}, 384, True),
        ({"scheme": "rabitq"}, 384, False),
        ({"scheme": "rabitq", "layout": "rows"}, 384, True),
        ({"scheme": "rabitq", "layout": "rows"}, 100, False),
        ({"scheme": "rabitq", "layout": "rows", "bits": 4}, 100, True),
        ({"scheme": "binary"}, 384, False),
        ({"scheme": "transformed", "transform": "pca:96", "inner": {"scheme": "int8"}}, 384, True),
        ({"scheme": "transformed", "transform": "pca:96", "inner": {"scheme": "rabitq", "layout": "rows"}}, 384, False),
    ],
)
def test_which_codes_walks_are_quick_on(config, dim, is_quick):
    assert schemes.from_config(config).walks_quickly(TableShape(1_000, dim)) is is_quick


def test_queries_near_zero_have_estimates_near_zero():
    rows = np.random.default_rng(0).standard_normal((50, 64)).astype(np.float32)
    for size in (1e-30, 1e-40):
        found = scanned(rabitq(1, "rows").fit(rows).scorer(rows[:3] * np.float32(size), Metric.IP), 3, 50)
        assert np.abs(found).max() <= 1e3 * size


class _Counting:
    """A finer scorer that counts what it is asked."""

    operands = traversal = None

    def __init__(self, distances):
        self.distances = distances
        self.asked = 0

    def rerank(self, rows, out):
        self.asked += int((rows >= 0).sum())
        out[:] = np.where(rows < 0, np.inf, np.take_along_axis(self.distances, np.maximum(rows, 0), 1))


def test_refining_stops_where_no_further_row_can_be_nearer(rng):
    distances = rng.random((4, 1000)).astype(np.float32)
    bounds = distances - np.float32(0.1) * rng.random((4, 1000)).astype(np.float32)
    rows = np.argsort(bounds, axis=1)
    finer = _Counting(distances)
    found, near = refine_within(rows, np.take_along_axis(bounds, rows, 1), finer, 10)
    np.testing.assert_array_equal(found, np.argsort(distances, axis=1)[:, :10])
    np.testing.assert_array_equal(near, np.sort(distances, axis=1)[:, :10])
    assert finer.asked < 4 * 250


def test_refining_with_a_kernel_gives_the_same(rng):
    rows, queries = reference.clustered(rng, 500, 24), reference.clustered(rng, 4, 24)
    scorer = schemes.from_config("full").fit(rows).scorer(queries, Metric.L2)
    distances = scanned(scorer, 4, 500)
    bounds = distances - np.float32(2) * rng.random((4, 500)).astype(np.float32)
    candidates = np.argsort(bounds, axis=1)[:, :300]
    candidates[1, 40:] = -1
    ascending = np.where(candidates < 0, np.float32(np.inf), np.take_along_axis(bounds, candidates, 1))
    for k in (1, 10, 60):
        found, near = refine_within(candidates, ascending, scorer, k)
        expected, nearest = refine_within(candidates, ascending, _Counting(distances), k)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(near, nearest)


def test_refining_few_or_no_candidates():
    finer = _Counting(np.array([[3.0, 1.0, 2.0]], np.float32))
    rows = np.array([[1, 2, -1]])
    found, near = refine_within(rows, np.array([[0, 1, np.inf]], np.float32), finer, 5)
    np.testing.assert_array_equal(found, [[1, 2, -1, -1, -1]])
    np.testing.assert_array_equal(near, [[1, 2, np.inf, np.inf, np.inf]])
    none, _ = refine_within(np.empty((2, 0), np.int64), np.empty((2, 0), np.float32), finer, 3)
    assert (none == -1).all()


@over_metrics
def test_collections_refine_what_the_bounds_leave(tmp_path, rng, metric):
    base = unit_rows(reference.clustered(rng, 3000, 64))
    queries = unit_rows(reference.clustered(rng, 20, 64))
    with vecstore.open(tmp_path) as db:
        for index in (None, HnswConfig(min_rows=100)):
            docs = db.create_collection(
                f"docs{index is None}", dim=64, metric=metric, scheme="rabitq", refine="full", index=index
            )
            docs.insert(np.arange(3000), base, {"even": [bool(i % 2 == 0) for i in range(3000)]})
            docs.optimize()
            exact, found = docs.search(queries, 10, exact=True), docs.search(queries, 10, ef=400)
            assert (found.ids[:, :, None] == exact.ids[:, None, :]).any(axis=2).mean() > 0.95
            np.testing.assert_array_equal(
                found.distances[found.ids == exact.ids], exact.distances[found.ids == exact.ids]
            )
            filtered = docs.search(queries, 5, where="even = true", ef=400)
            assert (filtered.ids % 2 == 0).all()
