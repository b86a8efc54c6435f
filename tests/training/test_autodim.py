"""The search of widths: the supernet, its annealing, the choice within a budget, and what is trained after."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests import reference
from vecstore import training
from vecstore.errors import BudgetInfeasible
from vecstore.kernels.hashing import derived_salts
from vecstore.kernels.lengths import unit_rows
from vecstore.planning import plan_fields, stored_bytes
from vecstore.schemes.autodim import Autodim, candidates, worthwhile
from vecstore.schemes.base import TableShape
from vecstore.types import Metric

SIZES = {"user": 500, "item": 300, "tag": 2}
SHAPE = TableShape(802, 16)

torch = pytest.importorskip("torch")
from vecstore.training.autodim import AutodimPart, Supernet, choose_widths  # noqa: E402


def layer_of(budget=0.5, **options):
    return training.embedding("autodim", fields=SIZES, dim=16, budget=budget, scale=0.1, **options)


def test_candidates_are_powers_of_two_and_all_dimensions():
    assert candidates(16) == [2, 4, 8, 16]
    assert candidates(24) == [2, 4, 8, 16, 24]
    assert [candidates(dim) for dim in (1, 2, 3)] == [[1], [2], [2, 3]]
    # A few rows are larger with their projection and bias than as they are.
    assert [worthwhile(TableShape(rows, 16)) for rows in (2, 7, 100)] == [[16], [2, 4, 16], [2, 4, 8, 16]]


def test_the_supernet_mixes_normalised_projections_with_gumbel_noise():
    net = Supernet(TableShape(20, 8), seed=5, bound=0.3)
    with torch.no_grad():
        net.logits.copy_(torch.tensor([0.5, -0.2, 0.1]))
    net.temperature.fill_(0.3)
    net.train()
    ids = torch.tensor([[1, 2], [3, 3], [7, 19]])
    found = net(ids)

    draws = torch.Generator().manual_seed(int(derived_salts(5, 4)[0] >> np.uint64(1)))
    uniform = torch.rand(3, generator=draws).double().numpy()
    logits = net.logits.detach().double().numpy()
    scores = (logits - np.log(np.exp(logits).sum()) - np.log(-np.log(uniform))) / 0.3
    shares = np.exp(scores) / np.exp(scores).sum()
    expected = np.zeros((6, 8))
    for share, table in zip(shares, net.tables, strict=True):
        vectors = (table.rows.detach()[ids.flatten()] @ table.projection.detach()).double().numpy()
        centred = vectors - vectors.mean(0)
        expected += share * centred / np.sqrt((centred**2).mean(0) + 1e-5)
    np.testing.assert_allclose(found.detach().numpy().reshape(6, 8), expected, atol=2e-5)
    assert [table.rows.shape[1] for table in net.tables] == [2, 4, 8]
    # Another batch has other noise; without training there is none.
    assert not torch.equal(net(ids), found)
    net.eval()
    assert torch.equal(net(ids), net(ids))


def test_architecture_weights_have_the_gradient_of_the_mixture():
    net = Supernet(TableShape(20, 4), seed=5, bound=0.3).double()
    net.eval()
    ids, upstream = torch.arange(6), torch.linspace(-1, 1, 24).reshape(6, 4).double()

    def value(logits):
        with torch.no_grad():
            net.logits.copy_(logits)
        return (net(ids) * upstream).sum()

    value(torch.tensor([0.3, -0.4])).backward()
    for number in range(2):
        by = torch.zeros(2)
        by[number] = 1e-4
        base = torch.tensor([0.3, -0.4])
        slope = (value(base + by) - value(base - by)).item() / 2e-4
        assert net.logits.grad[number].item() == pytest.approx(slope, rel=1e-2, abs=1e-5)


def test_the_search_cools_from_one_to_a_hundredth_in_runs_of_any_length():
    for steps in (10, 5000):
        part = AutodimPart(Autodim(width=4), TableShape(20, 8), seed=1, scale=0.1)
        part.begin("search")
        assert part.weights.temperature.item() == 1
        part.after_step(steps // 2, steps)
        assert part.weights.temperature.item() == pytest.approx(0.505)
        part.after_step(steps, steps)
        assert part.weights.temperature.item() == pytest.approx(0.01)


def test_stages_search_on_validation_and_train_anew():
    search, retrain = layer_of().stages()
    assert (search.name, retrain.name) == ("search", "retrain")
    weights, architecture = search.updates
    assert (weights.parameters, weights.split) == ("weights", "train")
    found = (architecture.parameters, architecture.split, architecture.optimiser, architecture.rate)
    assert found == ("search", "valid", "sgd", 1e-3)
    assert not search.selects
    assert retrain.selects
    assert retrain.restarts_host


def brute_force(preferences, sizes, allowed):
    best = -np.inf
    for widths in itertools.product(*preferences):
        if sum(size[width] for size, width in zip(sizes, widths, strict=True)) <= allowed:
            best = max(best, sum(own[width] for own, width in zip(preferences, widths, strict=True)))
    return best


def test_chosen_widths_fit_and_are_nearly_the_best_that_do():
    rng = np.random.default_rng(2)
    for _ in range(60):
        rows = rng.integers(5, 2000, 4)
        preferences = [dict(zip((2, 4, 8, 16), np.log(rng.dirichlet(np.ones(4))), strict=True)) for _ in rows]
        sizes = [{width: int(4 * (n + 16) * width) for width in (2, 4, 8, 16)} for n in rows]
        smallest = sum(size[2] for size in sizes)
        free = sum(size[max(own, key=own.get)] for own, size in zip(preferences, sizes, strict=True))
        for allowed in (smallest, int(smallest * rng.uniform(1, 8)), free):
            widths = choose_widths(preferences, sizes, allowed)
            assert sum(size[width] for size, width in zip(sizes, widths, strict=True)) <= allowed
            value = sum(own[width] for own, width in zip(preferences, widths, strict=True))
            assert value >= brute_force(preferences, sizes, allowed) - 1.5
        assert widths == [max(own, key=own.get) for own in preferences]


def test_left_over_bytes_are_spent():
    preferences = [{2: -2.0, 4: -1.9, 8: -0.1}]
    sizes = [{2: 20, 4: 40, 8: 80}]
    assert [choose_widths(preferences, sizes, allowed) for allowed in (20, 39, 40, 79, 80)] == [[2], [2], [4], [4], [8]]


def test_bytes_that_are_left_go_to_wider_rows_that_are_liked_as_much():
    sizes = [{2: 20, 4: 40, 8: 80}, {2: 20, 4: 40, 8: 80}]
    # Nearly flat: noise alone would choose 2 and 2, and leave 120 of 160 bytes.
    flat = [{2: -1.0, 4: -1.1, 8: -1.2}, {2: -1.0, 4: -1.05, 8: -1.1}]
    found = [choose_widths(flat, sizes, allowed) for allowed in (40, 60, 99, 100, 120, 159, 160)]
    assert found == [[2, 2], [2, 4], [4, 4], [2, 8], [4, 8], [4, 8], [8, 8]]
    # What is liked clearly less is not taken for its bytes, however small the steps to it are.
    steep = [{2: -1.0, 4: -1.2, 8: -1.4}, {2: -1.0, 4: -3.0, 8: -3.0}]
    assert choose_widths(steep, sizes, 160) == [4, 2]


def test_a_search_moves_its_weights_as_far_in_few_steps_as_in_many():
    reached = []
    for steps in (50, 400):
        part = AutodimPart(Autodim(width=4), TableShape(20, 8), seed=1, scale=0.1)
        part.begin("search")
        rate = part.stages()[0].updates[1].rate
        optimiser = torch.optim.SGD(part.search_parameters(), lr=rate)
        for step in range(1, steps + 1):
            part.weights.logits.grad = torch.tensor([0.01, 0.0, -0.02])
            optimiser.step()
            part.after_step(step, steps)
        reached.append(part.weights.logits.detach().numpy())
    # 20,000 steps of 0.001, as in the paper.
    np.testing.assert_allclose(reached, [[-0.2, 0, 0.4]] * 2, rtol=1e-3)
    # The state that goes on is that of the last step.
    twin = AutodimPart(Autodim(width=4), TableShape(20, 8), seed=1, scale=0.1)
    twin.load_state_dict(part.state_dict())
    twin.after_step(1, 400)
    assert torch.equal(twin.weights.logits, part.weights.logits)


class DotHost(torch.nn.Module):
    """A logit that is the sum of the vectors, each weighted, times what the row says."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.full((2, 16), 0.3))

    def forward(self, vectors, context):
        return (vectors * self.weights * context[:, None]).sum((1, 2))


def planted(seed, rows=8000, ids=30):
    """Clicks of two fields: vectors of ``many`` need all 16 dimensions, those of ``few`` lie on a line."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, ids, (rows, 2))
    context = rng.standard_normal((rows, 16)).astype(np.float32)
    many = rng.standard_normal((ids, 16)) / 2
    few = rng.standard_normal((ids, 1)) * np.sign(rng.standard_normal((1, 16))) / 2
    logits = ((many[chosen[:, 0]] + few[chosen[:, 1]]) * context).sum(1)
    clicked = (rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return [torch.from_numpy(values) for values in (chosen, context, clicked)]


@pytest.mark.parametrize("seed", range(4))
def test_a_short_search_gives_the_field_that_needs_dimensions_the_wider_rows(seed):
    fields = {"many": 30, "few": 30}
    # Room for arrays of 2,380 bytes: widths of 8 and 4.
    whole = plan_fields("autodim", fields, 16, 1.0)
    budget = 2_380 + stored_bytes(whole, 16) - whole.nbytes(TableShape(60, 16))
    layer = training.embedding("autodim", fields=fields, dim=16, budget=budget, seed=seed, scale=0.1)
    reserved, host, data, steps = layer.freeze().nbytes, DotHost(), planted(seed), 100
    layer.begin("search")
    search = layer.search_parameters()
    weights = [own for own in layer.parameters() if all(own is not other for other in search)]
    optimisers = [
        torch.optim.Adam([*weights, *host.parameters()], 0.05),
        torch.optim.SGD(search, layer.stages()[0].updates[1].rate),
    ]
    layer.train()
    for step in range(1, steps + 1):
        for optimiser, first, count in zip(optimisers, (0, 6000), (6000, 2000), strict=True):
            rows = first + ((step - 1) * 250 + torch.arange(250)) % count
            ids, context, clicked = (values[rows] for values in data)
            layer.zero_grad()
            host.zero_grad()
            logits = host(layer(ids), context)
            torch.nn.functional.binary_cross_entropy_with_logits(logits, clicked).backward()
            optimiser.step()
        layer.after_step(step, steps)
    likes = [part.weights.preferences() for part in layer.parts]
    assert likes[0][16] - likes[0][2] > 0.1, "as far as in a long search"
    layer.begin("retrain")
    table = layer.freeze()
    many, few = (part.scheme.width for part in table.parts)
    assert many > few
    # Both have what fits: not even the field with the cheapest next width could have it.
    assert table.nbytes <= reserved
    assert (many, few) == (8, 4)


def test_plans_reserve_bytes_for_every_field_and_keep_to_the_budget():
    before = 0
    for budget in (0.25, 0.3, 0.5, 0.8, 1.0):
        plan = plan_fields("autodim", SIZES, 16, budget)
        nbytes = plan.nbytes(SHAPE)
        assert before <= nbytes
        assert stored_bytes(plan, 16) <= int(budget * SHAPE.float32_bytes) or budget == 1
        before = nbytes
        assert [part.scheme["scheme"] for part in plan.parts] == ["autodim", "autodim", "full"]
    with pytest.raises(BudgetInfeasible) as caught:
        plan_fields("autodim", SIZES, 16, 1)
    smallest = plan_fields("autodim", SIZES, 16, caught.value.floor)
    assert [part.scheme.get("width") for part in smallest.parts] == [2, 2, None]
    assert stored_bytes(smallest, 16) == caught.value.floor
    assert Autodim.plan(TableShape(100, 16), 4 * (116 * 5 + 16)).width == 5
    given = plan_fields("autodim", SIZES, 16, 1.0, parameters={"width": 4})
    assert [part.scheme.get("width") for part in given.parts] == [4, 4, None]


@pytest.mark.parametrize(("favoured", "expected"), [("user", [8, 4]), ("item", [2, 16])])
def test_fields_share_the_budget_as_the_search_found(favoured, expected):
    layer = layer_of(0.5)
    reserved = layer.freeze().nbytes
    layer.begin("search")
    assert len(layer.search_parameters()) == 2
    user, item = layer.parts[0], layer.parts[1]
    with torch.no_grad():
        wide, narrow = (user, item) if favoured == "user" else (item, user)
        wide.weights.logits.copy_(torch.tensor([-4.0, -2.0, 0.0, 2.0]))
        narrow.weights.logits.copy_(torch.tensor([0.0, 0.02, 0.01, 0.0]))
    layer.begin("retrain")
    table = layer.freeze()
    assert [part.scheme.width for part in table.parts[:2]] == expected
    assert table.nbytes <= reserved <= 0.5 * SHAPE.float32_bytes
    assert layer.search_parameters() == []
    assert table.nbytes == table.scheme.nbytes(table.shape)


def test_without_pressure_every_field_gets_what_it_prefers():
    layer = layer_of(1.0)
    layer.begin("search")
    with torch.no_grad():
        layer.parts[0].weights.logits.copy_(torch.tensor([0.0, 0.0, 0.5, 0.0]))
        layer.parts[1].weights.logits.copy_(torch.tensor([0.5, 0.0, 0.0, 0.0]))
    layer.begin("retrain")
    assert [part.scheme.width for part in layer.freeze().parts[:2]] == [8, 2]


def test_retraining_starts_from_the_same_fresh_weights_whatever_was_searched():
    first, second = (AutodimPart(Autodim(width=4), TableShape(20, 8), seed=1, scale=0.1) for _ in range(2))
    first.begin("search")
    with torch.no_grad():
        first.weights.logits[1] = 3
        for table in first.weights.tables:
            table.rows.zero_()
    AutodimPart.begin_all([first], "retrain")
    assert torch.equal(first.weights.rows, second.weights.rows)
    assert float(first.weights.bias.detach().abs().max()) == 0


@pytest.mark.parametrize("width", [3, 8])
def test_frozen_rows_are_those_of_the_linear_map_with_its_bias(width):
    part = AutodimPart(Autodim(width=width), TableShape(20, 8), seed=1, scale=0.5)
    with torch.no_grad():
        part.weights.bias.copy_(torch.linspace(-1, 1, 8))
    rows, matrix, bias = (own.detach().double().numpy() for own in part.weights.parameters())
    expected = rows @ matrix + bias
    np.testing.assert_allclose(part(torch.arange(20)).detach().numpy(), expected, atol=1e-6)
    table = part.freeze()
    np.testing.assert_allclose(table.lookup(np.arange(20)), expected, atol=1e-6)
    assert set(table.arrays()) == ({"rows", "projection", "bias"} if width < 8 else {"rows"})
    assert table.nbytes == part.scheme.nbytes(part.shape)


@pytest.mark.parametrize("metric", list(Metric))
def test_distances_know_the_bias(rng, metric):
    part = AutodimPart(Autodim(width=5), TableShape(40, 12), seed=1, scale=0.5)
    with torch.no_grad():
        part.weights.bias.copy_(torch.linspace(-0.3, 0.3, 12))
    table, queries = part.freeze(), unit_rows(reference.clustered(rng, 6, 12))
    out = np.empty((6, 40), np.float32)
    table.scorer(queries, metric).scan(0, 40, out)
    np.testing.assert_allclose(out, reference.distances(table.lookup(np.arange(40)), queries, metric), atol=3e-6)
    np.testing.assert_array_equal(
        table.scheme.open(table.shape, table.arrays()).lookup(np.arange(40)), table.lookup(np.arange(40))
    )


def test_a_search_that_did_not_end_freezes_as_it_computes():
    part = AutodimPart(Autodim(width=3), TableShape(20, 8), seed=1, scale=0.5)
    part.begin("search")
    part.train()
    part(torch.arange(20))
    part.eval()
    with torch.no_grad():
        np.testing.assert_array_equal(part.freeze().lookup(np.arange(20)), part(torch.arange(20)).numpy())


def test_states_of_every_stage_load_into_a_new_layer():
    layer = layer_of(0.3)
    for stage in ("search", "retrain"):
        layer.begin(stage)
        state = {key: value.clone() for key, value in layer.state_dict().items()}
        twin = layer_of(0.3, seed=9)
        twin.load_state_dict(state)
        for own in (layer, twin):
            own.eval()
        ids = torch.tensor([[1, 2, 1], [499, 299, 0]])
        assert torch.equal(twin(ids), layer(ids))
    again = layer_of(0.3)
    again.begin("search")
    again.load_state_dict(state)
    assert torch.equal(again.eval()(ids), layer(ids))
