"""Each host against its formula, written out over numpy arrays."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from vecstore.errors import InvalidArgumentError, NotFoundError
from vecstore_bench.models import HOSTS, Dcn, DeepFm, Dlrm, HostInputs, MatrixCross, WideAndDeep, make_host

pytestmark = pytest.mark.usefixtures("one_thread")

INPUTS = HostInputs(fields=3, dim=4, dense=2)


@pytest.fixture
def batch():
    draws = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, 4, generator=draws), torch.randn(5, 2, generator=draws)


def linear(layer, x):
    bias = 0 if layer.bias is None else layer.bias.detach().numpy()
    return x @ layer.weight.detach().numpy().T + bias


def network(layers, x):
    for layer in layers:
        x = np.maximum(x, 0) if isinstance(layer, torch.nn.ReLU) else linear(layer, x)
    return x


def check(host, batch, expected):
    with torch.no_grad():
        found = host(*batch).numpy()
    assert found.shape == (5,)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_dlrm(batch):
    host = Dlrm(INPUTS, bottom=(6,), top=(8,))
    vectors, dense = (part.numpy() for part in batch)
    own = np.maximum(network(host.bottom[:-1], dense), 0)
    together = [own, *vectors.transpose(1, 0, 2)]
    products = [(one * other).sum(1) for one, other in combinations(together, 2)]
    check(host, batch, network(host.top, np.column_stack([own, *products]))[:, 0])


def test_dlrm_without_dense_features(batch):
    host = Dlrm(HostInputs(fields=3, dim=4, dense=0), bottom=(6,), top=(8,))
    vectors = batch[0].numpy().transpose(1, 0, 2)
    products = [(one * other).sum(1) for one, other in combinations(vectors, 2)]
    check(host, (batch[0], torch.empty(5, 0)), network(host.top, np.column_stack(products))[:, 0])


def row_of(batch):
    return np.column_stack([batch[0].flatten(1).numpy(), batch[1].numpy()])


def test_wide_and_deep(batch):
    host = WideAndDeep(INPUTS, deep=(6, 5))
    row = row_of(batch)
    check(host, batch, (linear(host.wide, row) + network(host.deep, row))[:, 0])


def test_dcn(batch):
    host = Dcn(INPUTS, crosses=2, deep=(6,))
    crossed = row = row_of(batch)
    for cross in host.crosses:
        torch.nn.init.normal_(cross.bias)
        weights, bias = cross.product.weight[0].detach().numpy(), cross.bias.detach().numpy()
        crossed = row * (crossed @ weights)[:, None] + bias + crossed
    check(host, batch, linear(host.last, np.column_stack([crossed, network(host.deep, row)]))[:, 0])


def test_dcn_with_matrices(batch):
    host = Dcn(INPUTS, crosses=2, deep=(6,), cross=MatrixCross)
    crossed = row = row_of(batch)
    for cross in host.crosses:
        crossed = row * linear(cross.product, crossed) + crossed
    check(host, batch, linear(host.last, np.column_stack([crossed, network(host.deep, row)]))[:, 0])


def test_deepfm(batch):
    host = DeepFm(INPUTS, deep=(6,))
    vectors, dense = (part.numpy() for part in batch)
    factors = vectors[:, :, 1:]
    pairs = sum((factors[:, one] * factors[:, other]).sum(1) for one, other in combinations(range(3), 2))
    rest = network(host.deep, np.column_stack([factors.reshape(5, -1), dense]))[:, 0]
    check(host, batch, vectors[:, :, 0].sum(1) + linear(host.of_dense, dense)[:, 0] + pairs + rest)
    with pytest.raises(InvalidArgumentError, match="dim"):
        DeepFm(HostInputs(fields=3, dim=1, dense=0), deep=(6,))


@pytest.mark.parametrize(("name", "size"), [(name, size) for name in HOSTS for size in HOSTS[name]])
@pytest.mark.parametrize("dense", [0, 2])
def test_hosts_are_made_of_their_seed_and_all_weights_learn(batch, name, size, dense):
    inputs = HostInputs(fields=3, dim=4, dense=dense)
    torch.manual_seed(1)
    drawn = torch.get_rng_state()
    hosts = [make_host(name, inputs, size=size, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), drawn)
    vectors = batch[0].clone().requires_grad_()
    logits = [host(vectors, batch[1][:, :dense]) for host in hosts]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])
    logits[0].square().sum().backward()
    assert vectors.grad.any(dim=-1).all()
    missed = [key for key, value in hosts[0].named_parameters() if value.grad is None or not value.grad.any()]
    assert not missed


def test_unknown_hosts_and_sizes():
    with pytest.raises(NotFoundError, match="dlrm, wdl, dcn"):
        make_host("gbdt", INPUTS)
    with pytest.raises(NotFoundError, match="small, standard"):
        make_host("dcn", INPUTS, size="huge")
