"""The network over hashes: its numbers, its folded normalisation, and its bytes."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from tests import reference
from vecstore.errors import BudgetInfeasible, CorruptionError, InvalidArgumentError
from vecstore.kernels import mlp
from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import TableShape
from vecstore.schemes.dhe import Dhe

GOLDEN = Path(__file__).parents[1] / "golden" / "schemes" / "dhe"

torch = pytest.importorskip("torch")
from vecstore.training.dhe import DhePart, unit_hashes  # noqa: E402

IDS = np.array([0, 1, 2, 7, 999, 2**31, 2**40 + 3, 2**62])


def part_of(*, width=6, hashes=10, activation="mish", dim=5, rows=40, seed=3):
    scheme = Dhe(width=width, hashes=hashes, activation=activation)
    return DhePart(scheme, TableShape(rows, dim), seed=seed, scale=0.1)


def plain_model(part):
    """The network in torch's own modules, with the part's weights: hidden maps have no bias before normalisation."""
    layers = []
    for hidden in part.hidden:
        linear = torch.nn.Linear(*hidden.weights.shape, bias=False)
        linear.weight = torch.nn.Parameter(hidden.weights.detach().T.clone())
        norm = torch.nn.BatchNorm1d(hidden.weights.shape[1])
        norm.weight = torch.nn.Parameter(hidden.gain.detach().clone())
        norm.bias = torch.nn.Parameter(hidden.shift.detach().clone())
        layers += [linear, norm, torch.nn.Mish() if part.scheme.activation == "mish" else torch.nn.ReLU()]
    last = torch.nn.Linear(*part.weights.shape)
    last.weight = torch.nn.Parameter(part.weights.detach().T.clone())
    last.bias = torch.nn.Parameter(part.bias.detach().clone())
    return torch.nn.Sequential(*layers, last)


def trained(part, steps=25):
    target = torch.randn(part.shape.rows, part.shape.dim, generator=torch.Generator().manual_seed(1))
    optimiser = torch.optim.Adam(part.parameters(), 0.02)
    losses = []
    for step in range(steps):
        rows = torch.arange(part.shape.rows)[step % 2 :: 2]
        loss = ((part(rows) - target[rows]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_hashes_are_those_of_the_formula_in_kernels_and_in_torch():
    salts = derived_salts(5, 9)
    expected = reference.unit_hashes(IDS, salts)
    found = np.empty((len(IDS), 9), np.float32)
    mlp.fill_hashes(frozen(IDS), frozen(salts), found)
    assert found.tobytes() == expected.tobytes()
    in_torch = unit_hashes(torch.from_numpy(IDS), torch.from_numpy(salts.view(np.int64)))
    assert in_torch.numpy().tobytes() == expected.tobytes()


def test_hashes_are_uniform_and_independent():
    found = np.empty((20_000, 4), np.float32)
    mlp.fill_hashes(frozen(np.arange(20_000)), frozen(derived_salts(0, 4)), found)
    assert np.abs(found).max() < 1
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(found.T), np.eye(4) / 3, atol=0.01)
    assert len(np.unique(found, axis=0)) == 20_000


@pytest.mark.parametrize(("n_rows", "n_inputs", "width"), [(1, 1, 1), (33, 8, 7), (70, 29, 64), (5, 128, 17)])
def test_affine_adds_in_order(rng, n_rows, n_inputs, width):
    inputs = rng.standard_normal((n_rows, n_inputs), dtype=np.float32)
    weights = frozen(rng.standard_normal((n_inputs, width), dtype=np.float32))
    bias = frozen(rng.standard_normal(width, dtype=np.float32))
    out = np.empty((n_rows, width), np.float32)
    mlp.affine(inputs, weights, bias, out)
    assert out.tobytes() == reference.affine(inputs, weights, bias).tobytes()


def test_mish_is_the_documented_series_and_close_to_the_function():
    values = np.concatenate([np.linspace(-100, 60, 40_001), [0, -0.0, 1e-30, -1e30, 1e30]]).astype(np.float32)
    found = values[None].copy()
    mlp.mish(found)
    assert found[0].tobytes() == reference.mish(values).tobytes()
    exact = values.astype(np.float64)
    exact *= np.tanh(np.logaddexp(0, exact))
    np.testing.assert_allclose(found[0], exact, rtol=1e-6, atol=3e-36)


@pytest.mark.parametrize("activation", ["mish", "relu"])
def test_outputs_gradients_and_running_means_are_those_of_torchs_modules(activation):
    part = part_of(activation=activation)
    trained(part, steps=2)
    plain = plain_model(part)
    norms = [layer for layer in plain if isinstance(layer, torch.nn.BatchNorm1d)]
    for norm, hidden in zip(norms, part.hidden, strict=True):
        norm.running_mean.copy_(hidden.mean)
        norm.running_var.copy_(hidden.variance)
    rows = torch.tensor([[3, 9], [9, 0], [31, 17]])
    inputs = torch.from_numpy(reference.unit_hashes(rows.ravel().tolist(), part.salts.numpy().view(np.uint64)))
    part.zero_grad()
    found, expected = part(rows), plain(inputs).reshape(3, 2, 5)
    torch.testing.assert_close(found, expected)
    (found**2).sum().backward()
    (expected**2).sum().backward()
    torch.testing.assert_close(part.weights.grad, plain[-1].weight.grad.T, rtol=1e-4, atol=1e-5)
    for number, (norm, hidden) in enumerate(zip(norms, part.hidden, strict=True)):
        torch.testing.assert_close(hidden.weights.grad, plain[3 * number].weight.grad.T, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(hidden.gain.grad, norm.weight.grad, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(hidden.mean, norm.running_mean)
        torch.testing.assert_close(hidden.variance, norm.running_var)
    torch.testing.assert_close(part.eval()(rows), plain.eval()(inputs).reshape(3, 2, 5))


def test_gradients_are_differences():
    part = part_of(activation="mish").double()
    part.eval()
    rows = torch.arange(8)

    def loss():
        # Inputs are float32: bring them to the weights' precision, in which differences are exact enough.
        units = unit_hashes(rows, part.salts).double()
        for layer in part.hidden:
            units = torch.nn.functional.mish(layer(units))
        return (units @ part.weights + part.bias).pow(2).sum()

    loss().backward()
    for weights in (part.hidden[0].weights, part.hidden[3].gain, part.weights):
        place, step = tuple(size // 2 for size in weights.shape), 1e-5
        with torch.no_grad():
            weights[place] += step
            above = loss()
            weights[place] -= 2 * step
            difference = (above - loss()) / (2 * step)
            weights[place] += step
        assert difference.item() == pytest.approx(weights.grad[place].item(), rel=1e-5)


@pytest.mark.parametrize("activation", ["mish", "relu"])
def test_the_frozen_table_is_eval_mode_within_rounding_and_the_twin_exactly(activation):
    part = part_of(activation=activation, width=20, hashes=64, dim=16, rows=300)
    losses = trained(part)
    assert losses[-1] < losses[0]
    table = part.eval().freeze()
    rows = np.arange(300)
    with torch.no_grad():
        expected = part(torch.from_numpy(rows)).numpy()
    found = table.lookup(rows)
    assert (np.abs(found - expected).max(axis=1) <= 1e-4 * np.abs(expected).max(axis=1)).all()
    twin = reference.dhe_rows(table.scheme.to_dict(), table.arrays(), rows[:40])
    assert found[:40].tobytes() == twin.tobytes()
    reopened = table.scheme.open(table.shape, table.arrays())
    assert reopened.lookup(rows).tobytes() == found.tobytes()


def test_a_rows_bits_do_not_depend_on_its_neighbours(rng):
    table = Dhe(width=9, hashes=20).fit(rng.standard_normal((1100, 7)).astype(np.float32))
    whole = table.lookup(np.arange(1100))
    for start, stop in ((0, 1), (511, 513), (100, 1100)):
        assert table.lookup(np.arange(start, stop)).tobytes() == whole[start:stop].tobytes()


def test_a_batch_of_one_row_trains_on_running_means():
    part = part_of()
    before = copy.deepcopy(part.state_dict())
    loss = part(torch.tensor([[4]])).pow(2).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.equal(before[name], value) for name, value in part.state_dict().items())


def test_outputs_begin_at_the_scale_asked_for():
    part = DhePart(Dhe(width=64), TableShape(2000, 16), seed=1, scale=0.02)
    with torch.no_grad():
        deviation = part(torch.arange(2000)).std().item()
    assert deviation == pytest.approx(0.02 / np.sqrt(3), rel=0.2)


def test_the_seed_decides_salts_and_weights():
    one, same, other = part_of(seed=3).state_dict(), part_of(seed=3).state_dict(), part_of(seed=4).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["salts"], other["salts"])
    assert not torch.equal(one["weights"], other["weights"])


@pytest.mark.parametrize("rows", [100, 5_000, 10**7])
@pytest.mark.parametrize("parameters", [{}, {"hashes": 16}, {"hashes": 1024, "activation": "relu"}])
def test_the_plan_is_the_widest_network_that_fits(rows, parameters):
    shape = TableShape(rows, 16)
    with pytest.raises(BudgetInfeasible) as caught:
        Dhe.plan(shape, 1, parameters=parameters)
    floor = caught.value.floor
    assert Dhe.plan(shape, floor, parameters=parameters).nbytes(shape) == floor
    widths = []
    for allowed in sorted({floor, floor + 1, 2 * floor + 5, 10 * floor, max(floor, shape.float32_bytes // 10)}):
        planned = Dhe.plan(shape, allowed, parameters=parameters)
        wider = Dhe.from_dict({**planned.to_dict(), "width": planned.width + 1})
        assert planned.nbytes(shape) <= allowed < wider.nbytes(shape)
        widths.append(planned.width)
    assert widths == sorted(widths)


def test_the_width_solves_the_count_of_words():
    """5.4 million words: 4 w^2 + (1024 + 5 + 16) w + 16 of them, and two a salt."""
    planned = Dhe.plan(TableShape(33_800_000, 16), 0.01, parameters={"hashes": 1024})
    assert planned.width == 1039


@pytest.mark.parametrize("n_rows", [0, 1, 30])
def test_fitting_few_rows_to_a_wide_network_is_close(rng, n_rows):
    matrix = rng.standard_normal((n_rows, 6)).astype(np.float32)
    reports = []
    table = Dhe(width=64).fit(matrix, seed=2, on_progress=lambda *report: reports.append(report))
    assert table.nbytes == Dhe(width=64).nbytes(table.shape) == sum(a.nbytes for a in table.arrays().values())
    found = table.lookup(np.arange(n_rows))
    np.testing.assert_allclose(found, matrix, atol=0.02)
    assert reports == [(n_rows, n_rows)][:n_rows]


def test_fitting_weighs_rows_by_frequency(rng):
    matrix = rng.standard_normal((400, 8)).astype(np.float32)
    frequency = np.where(np.arange(400) < 20, 1000, 1)
    plain, weighed = (
        np.linalg.norm(Dhe(width=24).fit(matrix, frequency=counts).lookup(np.arange(20)) - matrix[:20])
        for counts in (None, frequency)
    )
    assert weighed < 0.5 * plain


def test_ids_past_the_end_have_the_vectors_of_a_larger_table(rng):
    table = Dhe(width=5, hashes=12).fit(rng.standard_normal((50, 4)).astype(np.float32))
    larger = table.scheme.open(TableShape(10**9, 4), table.arrays())
    ids = np.array([50, 123_456, 999_999_999])
    assert table.lookup_unseen(0, ids).tobytes() == larger.lookup(ids).tobytes()


def test_damaged_arrays_and_wrong_settings(rng):
    table = Dhe(width=5, hashes=12).fit(rng.standard_normal((50, 4)).astype(np.float32))
    arrays = dict(table.arrays())
    with pytest.raises(CorruptionError, match="weights3"):
        table.scheme.open(table.shape, {**arrays, "weights3": arrays["weights3"][:-1]})
    del arrays["biases5"]
    with pytest.raises(CorruptionError, match="biases5"):
        table.scheme.open(table.shape, arrays)
    for wrong in ({"width": 0}, {"width": 3, "hashes": 1025}, {"width": 3, "hashes": 0}):
        with pytest.raises(InvalidArgumentError, match=list(wrong)[-1]):
            Dhe(**wrong)
    with pytest.raises(InvalidArgumentError, match="activation"):
        Dhe(width=3, activation="tanh")
    with pytest.raises(InvalidArgumentError, match="dhe"):
        table.encode(np.zeros((1, 4), np.float32))


def test_golden_arrays_decode_as_ever():
    config = json.loads((GOLDEN / "scheme.json").read_text())
    with np.load(GOLDEN / "arrays.npz") as stored, np.load(GOLDEN / "expected.npz") as expected:
        arrays = dict(stored)
        table = Dhe.from_dict(config).open(TableShape(*expected["lookup"].shape), arrays)
        found = table.lookup(np.arange(table.shape.rows))
        assert found.tobytes() == expected["lookup"].tobytes()
        assert found.tobytes() == reference.dhe_rows(config, arrays, np.arange(table.shape.rows)).tobytes()
