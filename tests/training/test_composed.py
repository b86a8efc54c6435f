"""Layers of hybrids: rounding in training, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.conftest import Host, PlantedTask, loss_of, make, train
from vecstore.schemes import from_config
from vecstore.training.composed import Rounding


@pytest.mark.parametrize("codec", ["int8", "alpt", "float16"])
def test_rounding_is_the_codecs_and_its_gradient_passes_unchanged(codec):
    scheme = from_config({"scheme": codec, "bits": 8} if codec == "alpt" else codec)
    rows = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    rounded = Rounding(scheme)(rows)
    expected = scheme.fit(rows.detach().numpy()).lookup(np.arange(9))
    np.testing.assert_array_equal(rounded.detach().numpy(), expected)
    weights = torch.arange(45.0).reshape(9, 5)
    (rounded * weights).sum().backward()
    torch.testing.assert_close(rows.grad, weights)


@pytest.mark.parametrize("name", ["adapt+int8", "dedup+int8"])
def test_the_host_is_trained_on_the_rows_that_are_stored(name):
    layer = make(name, 0.3)
    train(layer, steps=30)
    ids = torch.tensor([[1, 2, 3], [400, 200, 6]])
    layer.train()
    with torch.no_grad():
        seen = layer(ids).numpy()
    np.testing.assert_array_equal(seen, layer.freeze().lookup_fields(ids.numpy()))


def test_narrow_rows_are_stored_along_other_axes_than_they_are_trained():
    # Rounding errors are as large, but not the same.
    layer = make("mde+alpt", 0.3)
    train(layer, steps=30)
    ids = torch.tensor([[1, 2, 3], [400, 200, 6]])
    layer.train()
    with torch.no_grad():
        seen = layer(ids).numpy()
    stored = layer.freeze().lookup_fields(ids.numpy())
    assert 0 < np.abs(seen - stored).max() < 0.03 * np.abs(stored).max()


@pytest.mark.filterwarnings("ignore::vecstore.training.StageWarning")
def test_codes_are_taken_from_trained_rows_and_their_centroids_trained_on():
    layer = make("pca+pq", 0.3)
    task, host = PlantedTask(), Host()
    (part, *_) = layer.parts
    layer.begin("train")
    step(layer, host, task, 0)
    fitted = layer.freeze()
    before = part.rows.detach().clone()
    layer.begin("retrain")
    # Nothing is lost between the stages.
    assert_same_arrays(layer.freeze(), fitted)
    step(layer, host, task, 1)
    trained = layer.freeze()
    assert torch.equal(part.rows, before)
    changed = {name for name, array in trained.arrays().items() if not np.array_equal(array, fitted.arrays()[name])}
    # The third field is too small to be coded, and stays whole.
    assert changed == {"0.codec.codebook", "1.codec.codebook", "2.rows"}
    layer.train()
    ids = torch.tensor([[1, 2, 3], [400, 200, 6]])
    with torch.no_grad():
        np.testing.assert_allclose(layer(ids).numpy(), trained.lookup_fields(ids.numpy()), atol=1e-6)


def step(layer, host, task, number):
    """Make one step of plain descent."""
    layer.train()
    ids, labels = task.batch("train", number)
    layer.zero_grad()
    loss_of(host, layer(ids), labels).backward()
    torch.optim.SGD(layer.parameters(), 0.5).step()


def assert_same_arrays(found, expected):
    assert found.arrays().keys() == expected.arrays().keys()
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array, err_msg=name)
