"""What every trainable layer must do, over all registered schemes and several budgets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import DIM, FIELDS, Host, PlantedTask, all_ids, loss_of, make, train, updated
from vecstore.errors import BudgetInfeasible, NotFoundError
from vecstore.planning import stored_bytes
from vecstore.schemes import get, names
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import Fields
from vecstore.training.layer import EmbeddingLayer

TRAINED = [name for name in names() if get(name).capabilities.trained]
SHAPE = TableShape(sum(FIELDS.values()), DIM)
#: Layers whose forward adds in another order than the kernels: the largest difference, relative to the largest value.
TOLERANCES = {"autodim": 2e-6, "dhe": 2e-6, "mde": 2e-6, "ttrec": 2e-6}


def feasible(name: str, *budgets: float) -> list[float | int]:
    """Give those of ``budgets`` that the scheme can meet, and its floor in bytes in place of those that it cannot."""
    found: list[float | int] = []
    for budget in budgets:
        try:
            make(name, budget)
        except BudgetInfeasible as error:
            if error.floor not in found:
                found.append(error.floor)
        else:
            found.append(budget)
    return found


# Below 5 % the description leaves so few bytes of these small tables that all ids of a field share one vector.
CASES = [(name, budget) for name in TRAINED for budget in feasible(name, 0.5, 0.1, 0.05)]
# Where only one layer a scheme is trained, it is the roomiest.
ROOMIEST = [(name, feasible(name, 0.5)[0]) for name in TRAINED]
over_cases = pytest.mark.parametrize(("name", "budget"), CASES, ids=[f"{name}-{budget}" for name, budget in CASES])
over_schemes = pytest.mark.parametrize(("name", "budget"), ROOMIEST, ids=TRAINED)


def vectors(layer: EmbeddingLayer, ids: np.ndarray) -> np.ndarray:
    """Give the layer's own vectors float32[n, fields, dim] in eval mode."""
    layer.eval()
    with torch.no_grad():
        return layer(torch.from_numpy(ids)).numpy()


def allowed(budget: float | int) -> int:
    return int(budget * SHAPE.float32_bytes) if isinstance(budget, float) else budget


def state_bytes(layer: EmbeddingLayer) -> dict[str, bytes]:
    """Give all frozen arrays as bytes."""
    return {name: array.tobytes() for name, array in layer.freeze().arrays().items()}


def assert_same(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    if tolerance:
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
    else:
        np.testing.assert_array_equal(found, expected)


@over_cases
def test_frozen_bytes_stay_within_the_budget_and_look_ups_are_the_layer(name, budget):
    layer = make(name, budget)
    train(layer, steps=8)
    table = layer.freeze()
    arrays = table.arrays()
    assert table.nbytes == sum(array.nbytes for array in arrays.values())
    assert table.nbytes == table.scheme.nbytes(table.shape)
    assert stored_bytes(table.scheme, DIM) <= allowed(budget)
    ids = all_ids()
    found = table.lookup_fields(ids)
    assert np.isfinite(found).all()
    assert_same(found, vectors(layer, ids), TOLERANCES.get(name, 0))
    reopened = Fields.from_dict(json.loads(json.dumps(table.scheme.to_dict()))).open(table.shape, arrays)
    np.testing.assert_array_equal(reopened.lookup_fields(ids), found)


@over_cases
@pytest.mark.filterwarnings("ignore::vecstore.training.StageWarning")
def test_frozen_in_any_stage_it_is_what_the_layer_shows_in_eval_mode(name, budget):
    layer, host, task = make(name, budget), Host(), PlantedTask()
    ids = all_ids()
    for stage in layer.stages():
        layer.begin(stage.name)
        optimisers = [torch.optim.SGD(updated(layer, host, update), 0.1) for update in stage.updates]
        for step in range(1, 4):
            layer.train()
            for update, optimiser in zip(stage.updates, optimisers, strict=True):
                layer.zero_grad()
                batch, labels = task.batch(update.split, step)
                (loss_of(host, layer(batch), labels) + layer.extra_loss()).backward()
                optimiser.step()
            layer.after_step(step, 10)
            # A search mixes whole rows, which no budget covers; nothing else is larger than what may be stored.
            table = layer.freeze()
            assert table.nbytes <= allowed(budget) or (name, stage.name) == ("autodim", "search")
            assert_same(table.lookup_fields(ids), vectors(layer, ids), TOLERANCES.get(name, 0))


@over_schemes
def test_a_layer_stays_where_and_of_what_type_it_was_put(name, budget):
    layer, ids = make(name, budget).double(), torch.from_numpy(all_ids())
    for stage in layer.stages():
        layer.begin(stage.name)
        assert {own.dtype for own in layer.parameters()} == {torch.float64}
        layer.train()
        out = layer(ids)
        assert out.dtype == layer.extra_loss().dtype == torch.float64
        (out.square().mean() + layer.extra_loss()).backward()
        torch.optim.SGD(layer.parameters(), 0.01).step()
        layer.after_step(1, 1)
    table = layer.freeze()
    # Tables have the types that are stored, whatever was trained.
    assert_same(table.lookup_fields(ids.numpy()), vectors(layer, ids.numpy()), 1e-5)
    assert table.lookup_fields(ids.numpy()).dtype == np.float32
    assert all(array.dtype != np.float64 for array in table.arrays().values())
    on_meta = make(name, budget).to("meta")
    on_meta.begin(on_meta.stages()[0].name)
    assert {own.device.type for own in (*on_meta.parameters(), *on_meta.buffers())} == {"meta"}
    if name != "optembed":  # It has a look at a buffer first.
        assert on_meta.extra_loss().device.type == "meta"


@over_schemes
def test_weights_that_are_put_in_while_it_is_evaluated_are_seen(name, budget):
    # As averages of weights are, between two looks at validation.
    layer = make(name, budget)
    train(layer, steps=6)
    vectors(layer, all_ids())
    with torch.no_grad():
        for own in layer.parameters():
            own.copy_(own.flip(0))
    fresh = make(name, budget)
    fresh.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(vectors(layer, all_ids()), vectors(fresh, all_ids()))
    assert state_bytes(layer) == state_bytes(fresh)


@over_cases
def test_freezing_changes_nothing(name, budget):
    layer = make(name, budget)
    train(layer, steps=4)
    layer.train()
    first = state_bytes(layer)
    assert layer.training
    assert state_bytes(layer) == first
    for array in layer.freeze().arrays().values():
        assert not array.flags.writeable, "frozen arrays must not change when the layer is trained on"


@over_schemes
def test_a_frozen_table_is_a_copy(name, budget):
    layer = make(name, budget)
    table = layer.freeze()
    before = {key: array.copy() for key, array in table.arrays().items()}
    train(layer, steps=4)
    for key, array in table.arrays().items():
        np.testing.assert_array_equal(array, before[key])


@over_cases
def test_same_seed_same_table_other_seed_other_table(name, budget):
    first = state_bytes(make(name, budget, seed=3))
    torch.manual_seed(99)
    assert state_bytes(make(name, budget, seed=3)) == first
    assert state_bytes(make(name, budget, seed=4)) != first


@over_schemes
def test_fields_of_one_layer_do_not_start_alike(name, budget):
    rows = vectors(make(name, budget), np.zeros((1, len(FIELDS)), np.int64))[0]
    assert not np.array_equal(rows[0], rows[1])


@over_schemes
def test_training_is_reproducible_and_ignores_global_randomness(name, budget):
    def trained(global_seed: int) -> dict[str, bytes]:
        torch.manual_seed(global_seed)
        layer = make(name, budget)
        train(layer, steps=10)
        return state_bytes(layer)

    assert trained(1) == trained(2)


@over_cases
def test_gradients_reach_everything_that_a_stage_updates(name, budget):
    layer, host = make(name, budget), Host()
    ids = torch.from_numpy(all_ids())
    labels = (torch.arange(len(ids)) % 2).float()
    reached, wanted = set(), set()
    for stage in layer.stages():
        layer.begin(stage.name)
        layer.train()
        # Both updates of a step are made: what a second one sees may depend on the first.
        for update in stage.updates:
            layer.zero_grad()
            loss = loss_of(host, layer(ids), labels)
            (loss + layer.extra_loss()).backward()
            mine = [p for p in updated(layer, torch.nn.Module(), update) if p.requires_grad]
            wanted |= {id(parameter) for parameter in mine}
            for parameter in mine:
                if parameter.grad is not None:
                    assert torch.isfinite(parameter.grad).all()
                    reached |= {id(parameter)} if parameter.grad.any() else set()
            torch.optim.SGD(mine, 0.1).step()
        layer.after_step(1, 10)
    own = {id(parameter) for parameter in layer.parameters()}
    missed = [key for key, parameter in layer.named_parameters() if id(parameter) in (wanted & own) - reached]
    assert wanted
    assert not missed, f"no gradient ever reaches {missed}"


@over_cases
def test_training_through_all_stages_lowers_the_loss_of_what_is_stored(name, budget):
    layer = make(name, budget)
    host, task = train(layer)
    with torch.no_grad():
        table = layer.freeze()
        stored = torch.from_numpy(table.lookup_fields(task.ids[: task.valid].numpy()))
        trained = loss_of(host, stored, task.labels[: task.valid])
        share = task.labels[: task.valid].mean()
        constant = torch.nn.functional.binary_cross_entropy(share.expand(task.valid), task.labels[: task.valid])
    # A constant is what a host alone can learn; a hundredth of the numbers can learn little more.
    assert trained < constant - (0.02 if table.nbytes > 0.05 * SHAPE.float32_bytes else 0)


@over_schemes
def test_state_dict_round_trip(name, budget):
    layer = make(name, budget)
    train(layer, steps=10)
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    twin = make(name, budget)
    twin.load_state_dict(state)
    np.testing.assert_array_equal(vectors(twin, all_ids()), vectors(layer, all_ids()))
    assert state_bytes(twin) == state_bytes(layer)
    # Loading over other weights that were looked at before leaves nothing of them behind.
    used = make(name, budget)
    train(used, steps=6, rate=0.1)
    vectors(used, all_ids())
    used.load_state_dict(state)
    np.testing.assert_array_equal(vectors(used, all_ids()), vectors(layer, all_ids()))
    # Salts are state too: weights that are read through other salts are other vectors.
    elsewhere = make(name, budget, seed=9)
    elsewhere.load_state_dict(state)
    np.testing.assert_array_equal(vectors(elsewhere, all_ids()), vectors(layer, all_ids()))


def sparse_step(name: str, budget: float | int, *, sparse: bool) -> EmbeddingLayer:
    """Do one step of SGD in each stage, and check whose gradients are sparse."""
    layer, host = make(name, budget, sparse=sparse), Host()
    ids = torch.from_numpy(all_ids()[::3])
    labels = (torch.arange(len(ids)) % 2).float()
    for stage in layer.stages():
        layer.begin(stage.name)
        layer.train()
        for update in stage.updates:
            layer.zero_grad()
            (loss_of(host, layer(ids), labels) + layer.extra_loss()).backward()
            expected = {id(parameter) for parameter in layer.sparse_parameters()}
            for key, parameter in layer.named_parameters():
                if parameter.grad is not None:
                    assert parameter.grad.is_sparse == (id(parameter) in expected), key
            torch.optim.SGD(updated(layer, torch.nn.Module(), update), 0.5).step()
        layer.after_step(1, 10)
    return layer


@over_cases
def test_sparse_gradients_make_the_same_step(name, budget):
    dense, lazy = (sparse_step(name, budget, sparse=sparse) for sparse in (False, True))
    assert not dense.sparse_parameters()
    for (key, expected), found in zip(dense.named_parameters(), lazy.parameters(), strict=True):
        # Gradients of an id that occurs more than once are added in another order.
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, msg=lambda text, key=key: f"{key}: {text}")


@over_schemes
def test_sparse_gradients_are_of_all_large_parameters(name, budget):
    """What is left dense costs every step the same, however large the table: networks and the cores of trains."""
    layer = make(name, budget, sparse=True)
    layer.begin(layer.stages()[0].name)
    lazy = sum(parameter.numel() for parameter in layer.sparse_parameters())
    everything = sum(parameter.numel() for parameter in layer.parameters())
    if name in ("dhe", "ttrec"):
        assert lazy < 0.1 * everything
    else:
        assert lazy > 0.6 * everything


@over_schemes
def test_stages_add_up(name, budget):
    stages = make(name, budget).stages()
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    assert all(stage.share > 0 and stage.updates for stage in stages)
    assert len({stage.name for stage in stages}) == len(stages)
    assert stages[-1].selects


@over_schemes
def test_any_batch_will_do(name, budget):
    layer = make(name, budget)
    layer.begin(layer.stages()[0].name)
    layer.train()
    for ids in (np.array([[499, 299, 6]]), np.repeat([[1, 2, 3]], 5, axis=0)):
        out = layer(torch.from_numpy(ids))
        assert (out.shape, out.dtype) == ((len(ids), 3, DIM), torch.float32)
        assert torch.isfinite(out).all()
    assert vectors(layer, np.empty((0, 3), np.int64)).shape == (0, 3, DIM)


@over_schemes
@pytest.mark.parametrize("wrong", [-1, 7])
def test_ids_outside_their_field_are_refused(name, budget, wrong):
    layer = make(name, budget)
    with pytest.raises(NotFoundError, match=f"{wrong} in row 1 is outside field 'tag'"):
        layer(torch.tensor([[0, 0, 0], [0, 0, wrong]]))


_WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = None
from pathlib import Path
import numpy as np
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import Fields
for meta in sorted(Path(sys.argv[1]).glob("*.json")):
    config = json.loads(meta.read_text())
    with np.load(meta.with_suffix(".npz"), allow_pickle=False) as file:
        arrays = dict(file)
    ids = arrays.pop("ids")
    table = Fields.from_dict(config["scheme"]).open(TableShape(*config["shape"]), arrays)
    np.save(meta.with_suffix(".npy"), table.lookup_fields(ids))
"""


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory) -> Path:
    """Freeze a layer of each scheme, and look all ids up in a process that has no torch."""
    folder = tmp_path_factory.mktemp("frozen")
    for name, budget in ROOMIEST:
        table = make(name, budget).freeze()
        meta = {"scheme": table.scheme.to_dict(), "shape": [table.shape.rows, table.shape.dim]}
        (folder / f"{name}.json").write_text(json.dumps(meta))
        np.savez(folder / f"{name}.npz", ids=all_ids(), expected=table.lookup_fields(all_ids()), **table.arrays())
    subprocess.run([sys.executable, "-c", _WITHOUT_TORCH, str(folder)], check=True, timeout=250)
    return folder


@pytest.mark.parametrize("name", TRAINED)
def test_tables_open_where_there_is_no_torch(without_torch, name):
    with np.load(without_torch / f"{name}.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(np.load(without_torch / f"{name}.npy"), file["expected"])
