"""One table for all fields: places, salts by name, exempt fields, further fields, collisions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import reference
from vecstore.errors import AlreadyExistsError, BudgetInfeasible, CorruptionError, InvalidArgumentError
from vecstore.kernels.unified import name_key
from vecstore.planning import plan_fields, stored_bytes
from vecstore.schemes import chunks
from vecstore.schemes.base import TableShape
from vecstore.schemes.unified import Unified, salts_of
from vecstore.types import Metric

GOLDEN = Path(__file__).parents[1] / "golden" / "schemes" / "unified"

torch = pytest.importorskip("torch")
from vecstore import training  # noqa: E402
from vecstore.training.unified import UnifiedPart  # noqa: E402

SIZES = {"user": 50, "gender": 2, "item": 30, "tag": 7}
SHAPE = TableShape(89, 12)


def scheme_of(sizes=None, **options):
    fields = [{"name": name, "size": size} for name, size in (sizes or SIZES).items()]
    return Unified.from_dict({"scheme": "unified", "fields": fields, "buckets": 23, "width": 4, **options})


def part_of(seed=5, **options):
    scheme = scheme_of(**options)
    return UnifiedPart(scheme, TableShape(sum(field.size for field in scheme.fields), 12), seed=seed, scale=0.1)


def by_field(table):
    """Vectors of all ids of a table, by field."""
    rows = table.lookup(np.arange(table.shape.rows))
    ends = np.cumsum([field.size for field in table.scheme.fields])
    return dict(zip([field.name for field in table.scheme.fields], np.split(rows, ends[:-1]), strict=True))


@pytest.mark.parametrize("exempt", [(), ("gender",), ("gender", "tag"), ("item",), tuple(SIZES)])
def test_layer_and_table_are_the_twin(exempt):
    part = part_of(exempt=exempt)
    table = part.freeze()
    expected = reference.unified_rows(table.scheme.to_dict(), table.arrays(), np.arange(89))
    assert part(torch.arange(89)).detach().numpy().tobytes() == expected.tobytes()
    assert table.lookup(np.arange(89)).tobytes() == expected.tobytes()
    assert table.nbytes == table.scheme.nbytes(SHAPE) == sum(array.nbytes for array in table.arrays().values())
    reopened = table.scheme.open(SHAPE, table.arrays())
    assert reopened.lookup(np.array([88, 0, 51])).tobytes() == expected[[88, 0, 51]].tobytes()


def test_gradients_are_summed_into_the_shared_rows():
    part = part_of(exempt=["gender"])
    rows = torch.tensor([[3, 51], [88, 3], [60, 50]])
    weights = torch.randn(3, 2, 12, generator=torch.Generator().manual_seed(0))
    (part(rows) * weights).sum().backward()
    config, salts = part.scheme.to_dict(), part.freeze().salts
    expected = np.zeros(part.rows.shape)
    for row, gradient in zip(rows.ravel().tolist(), weights.reshape(-1, 3, 4).numpy(), strict=True):
        for place, chunk in zip(reference.unified_places(config, 3, salts, row), gradient, strict=True):
            expected[place] += chunk
    np.testing.assert_allclose(part.rows.grad.numpy(), expected, atol=1e-6)


def test_keys_and_salts_are_these_for_ever():
    assert [hex(name_key(name.encode())) for name in ("", "user", "é")] == [
        "0x0",
        "0x3324048ea1563224",
        "0xc7a3b0881ac78bd2",
    ]
    key = 0
    for byte in b"user":
        key = reference.mixed((key or reference.mixed(4, 0)) ^ byte, 0)
    assert name_key(b"user") == key
    salts = salts_of(scheme_of(), np.array([7], np.uint64), 2)
    first = (key ^ 7) + 0x9E3779B97F4A7C15
    assert salts[0].tolist() == [reference.mixed(first, 0), reference.mixed(first + 0x9E3779B97F4A7C15, 0)]
    assert len(np.unique(salts)) == 8


def test_salts_follow_names_and_seed_and_not_the_order():
    table = part_of().freeze()
    turned = {name: SIZES[name] for name in ("tag", "item", "user", "gender")}
    with_more = {"new": 11, **SIZES}
    for sizes in (turned, with_more):
        other = part_of(sizes=sizes).freeze()
        moved = other.scheme.open(other.shape, {**other.arrays(), "rows": table.rows})
        for name, rows in by_field(table).items():
            assert by_field(moved)[name].tobytes() == rows.tobytes()
    assert not np.isin(part_of(seed=6).freeze().salts, table.salts).any()
    renamed = part_of(sizes={"users": 50, "gender": 2, "item": 30, "tag": 7}).freeze()
    assert (renamed.salts != table.salts).any(axis=1).tolist() == [True, False, False, False]


def test_a_further_field_costs_its_salts_and_changes_nothing_else():
    table = part_of(exempt=["gender"]).freeze()
    larger = table.with_field("new", 11)
    assert larger.nbytes - table.nbytes == 3 * 8
    assert np.shares_memory(larger.rows, table.rows)
    assert larger.scheme.nbytes(larger.shape) == larger.nbytes
    for name, rows in by_field(table).items():
        assert by_field(larger)[name].tobytes() == rows.tobytes()
    from_the_start = part_of(sizes={**SIZES, "new": 11}, exempt=["gender"]).freeze()
    np.testing.assert_array_equal(larger.salts, from_the_start.salts)
    expected = reference.unified_rows(larger.scheme.to_dict(), larger.arrays(), np.arange(89, 100))
    assert by_field(larger)["new"].tobytes() == expected.tobytes()
    with pytest.raises(AlreadyExistsError, match="'tag'"):
        table.with_field("tag", 3)
    with pytest.raises(InvalidArgumentError, match="sizes"):
        table.with_field("none", 0)


@pytest.mark.parametrize(("dim", "width"), [(16, 8), (30, 15), (39, 13), (25, 5), (37, 37), (1, 1), (35, 7)])
def test_the_plan_fills_the_budget(dim, width):
    shape = TableShape(89, dim)
    fields = [{"name": name, "size": size} for name, size in SIZES.items()]
    with pytest.raises(BudgetInfeasible) as caught:
        Unified.plan(shape, 1, parameters={"fields": fields})
    floor = caught.value.floor
    smallest = Unified.plan(shape, floor, parameters={"fields": fields})
    assert smallest.nbytes(shape) == floor
    assert smallest.buckets == 1
    assert smallest.width == width
    for allowed in (floor + 1, floor + 4 * width, 2 * floor + 9):
        planned = Unified.plan(shape, allowed, parameters={"fields": fields})
        assert planned.nbytes(shape) <= allowed < planned.nbytes(shape) + 4 * width
    # Beyond one row a look-up there is nothing to gain.
    assert Unified.plan(shape, 10**9, parameters={"fields": fields}).buckets == 89 * dim // width


def test_the_plan_of_many_fields_knows_them():
    fields = plan_fields("unified", SIZES, 12, 0.5, parameters={"exempt_below": 8, "width": 3})
    (part,) = fields.schemes()
    assert part.to_dict()["fields"] == ({"name": "user", "size": 50}, {"name": "gender", "size": 2},
                                        {"name": "item", "size": 30}, {"name": "tag", "size": 7})  # fmt: skip
    assert part.exempt == ("gender", "tag")
    assert part.width == 3
    assert stored_bytes(fields, 12) <= SHAPE.float32_bytes // 2 < stored_bytes(fields, 12) + 14
    with pytest.raises(BudgetInfeasible):
        plan_fields("unified", SIZES, 12, 0.05, parameters={"exempt_below": 8})


def test_a_layer_of_named_fields_freezes_to_what_it_computes(rng):
    layer = training.embedding("unified", fields=SIZES, dim=12, budget=0.5, seed=4, exempt_below=3)
    ids = np.stack([rng.integers(0, size, 40) for size in SIZES.values()], axis=1)
    frozen = layer.freeze()
    assert layer(torch.from_numpy(ids)).detach().numpy().tobytes() == frozen.lookup_fields(ids).tobytes()
    assert frozen.nbytes <= 89 * 12 * 4 // 2
    assert frozen.parts[0].collisions()["gender"].alike == 0


def test_wrong_settings():
    for options, field in (
        ({"width": 0}, "width"),
        ({"buckets": 0}, "buckets"),
        ({"buckets": 2**31}, "buckets"),
        ({"exempt": ["nobody"]}, "exempt"),
        ({"exempt": ["tag", "tag"]}, "exempt"),
        ({"fields": []}, "fields"),
        ({"fields": [{"name": "a", "size": 1}, {"name": "a", "size": 2}]}, "fields"),
    ):
        with pytest.raises(InvalidArgumentError, match=field):
            scheme_of(**options)
    with pytest.raises(InvalidArgumentError, match="divide"):
        Unified.plan(SHAPE, 0.5, parameters={"width": 5})
    with pytest.raises(InvalidArgumentError, match="exempt_below"):
        Unified.plan(SHAPE, 0.5, parameters={"exempt_below": "few"})
    with pytest.raises(InvalidArgumentError, match="expected 89 rows"):
        scheme_of().fit(np.zeros((88, 12), np.float32))
    table = part_of().freeze()
    with pytest.raises(CorruptionError, match="fields"):
        table.scheme.open(TableShape(88, 12), table.arrays())
    with pytest.raises(CorruptionError, match="salts"):
        table.scheme.open(SHAPE, {**table.arrays(), "salts": table.salts[:-1]})
    with pytest.raises(InvalidArgumentError, match="with_field"):
        table.encode(np.zeros((1, 12), np.float32))


def test_collisions_are_those_counted_one_by_one():
    table = part_of(sizes={"a": 40, "b": 2, "c": 9}, exempt=["b"]).freeze()
    config, starts = table.scheme.to_dict(), {"a": (0, 40), "b": (40, 42), "c": (42, 51)}
    places = {
        name: [tuple(reference.unified_places(config, 3, table.salts, row)) for row in range(*span)]
        for name, span in starts.items()
    }
    for name, found in table.collisions().items():
        own = [place for ids in places[name] for place in ids]
        others = {place for other in places if other != name for ids in places[other] for place in ids}
        assert found.intra == pytest.approx(np.mean([own.count(place) > 1 for place in own]))
        assert found.inter == pytest.approx(np.mean([place in others for place in own]))
        assert found.alike == pytest.approx(np.mean([places[name].count(ids) > 1 for ids in places[name]]))
    assert table.collisions()["b"].intra == table.collisions()["b"].inter == 0


def test_two_lookups_tell_apart_what_one_does_not():
    """Of n ids in m buckets about 1 - exp(-n / m) are not alone; of n in m^2 pairs of buckets almost none."""
    alike = {}
    for count in (1, 2):
        part = UnifiedPart(
            scheme_of(sizes={"id": 2000}, buckets=1000, width=12 // count), TableShape(2000, 12), seed=1, scale=0.1
        )
        alike[count] = part.freeze().collisions()["id"].alike
    assert alike[1] == pytest.approx(1 - np.exp(-2), abs=0.03)
    assert alike[2] < 0.01


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("most_kept", [0, 1 << 24])
def test_distances_in_chunks(rng, monkeypatch, metric, most_kept):
    monkeypatch.setattr(chunks, "_MOST_KEPT", most_kept)
    table = part_of(exempt=["gender"]).freeze()
    queries = rng.standard_normal((5, 12)).astype(np.float32)
    scorer = table.scorer(queries, metric)
    before, whole, after = (np.empty((5, n), np.float32) for n in (7, 89, 7))
    rows = rng.integers(0, 89, 7)
    scorer.gather(rows, before)
    scorer.scan(0, 89, whole)
    scorer.gather(rows, after)
    decoded = table.lookup(np.arange(89))
    np.testing.assert_allclose(whole, reference.distances(decoded, queries, metric.value), atol=2e-5)
    assert before.tobytes() == after.tobytes() == whole[:, rows].tobytes()
    own = rng.integers(-1, 89, (5, 9))
    reranked = np.empty((5, 9), np.float32)
    scorer.rerank(own, reranked)
    expected = np.where(own < 0, np.inf, np.take_along_axis(whole, np.maximum(own, 0), 1))
    np.testing.assert_array_equal(reranked, expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_fitting_is_least_squares(rng, weighted):
    matrix = rng.standard_normal((89, 12)).astype(np.float32)
    frequency = rng.integers(1, 9, 89) if weighted else None
    table = scheme_of(exempt=["gender"]).fit(matrix, frequency=frequency, seed=2)
    design = np.zeros((89 * 3, len(table.rows)))
    design[np.arange(89 * 3), table.places(np.arange(89)).ravel()] = 1
    root = np.sqrt(np.repeat(frequency if weighted else np.ones(89), 3))[:, None]
    expected = np.linalg.lstsq(design * root, matrix.reshape(-1, 4) * root, rcond=None)[0]
    np.testing.assert_allclose(table.rows, expected, atol=1e-5)
    assert by_field(table)["gender"].tobytes() == matrix[50:52].tobytes()


def test_ids_past_the_end_have_the_vectors_of_a_larger_field():
    table = part_of(exempt=["gender"]).freeze()
    sizes = {"user": 10**6, "gender": 2, "item": 30, "tag": 10**6}
    larger = scheme_of(sizes=sizes, exempt=["gender"]).open(TableShape(2 * 10**6 + 32, 12), table.arrays())
    ids = np.array([50, 999_999])
    assert table.lookup_unseen(0, ids).tobytes() == larger.lookup(ids).tobytes()
    assert table.lookup_unseen(3, ids).tobytes() == larger.lookup(ids + 10**6 + 32).tobytes()
    assert np.isfinite(table.lookup_unseen(1, ids)).all()


def test_golden_arrays_decode_as_ever():
    config = json.loads((GOLDEN / "scheme.json").read_text())
    with np.load(GOLDEN / "arrays.npz") as stored, np.load(GOLDEN / "expected.npz") as expected:
        arrays = dict(stored)
        table = Unified.from_dict(config).open(TableShape(*expected["lookup"].shape), arrays)
        found = table.lookup(np.arange(table.shape.rows))
        assert found.tobytes() == expected["lookup"].tobytes()
        assert found.tobytes() == reference.unified_rows(config, arrays, np.arange(table.shape.rows)).tobytes()
