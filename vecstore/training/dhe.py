"""The layer without a table: a network over hashes of the id (Kang et al., KDD 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import TableShape
from vecstore.schemes.dhe import HIDDEN_LAYERS, Dhe, DheTable
from vecstore.training.base import TrainablePart, generator
from vecstore.training.full import to_numpy
from vecstore.training.hashing import mix

__all__ = ["DhePart", "unit_hashes"]

_ACTIVATIONS: dict[Literal["mish", "relu"], Callable[[Tensor], Tensor]] = {
    "mish": nn.functional.mish,
    "relu": nn.functional.relu,
}
#: Of the running means and variances, as in the paper's framework and in torch.
_MOMENTUM, _EPSILON = 0.1, 1e-5
#: Mean square of the activation of a standard normal number.
_POWERS = {"mish": 0.4523, "relu": 0.5}


class DhePart(TrainablePart):
    """Row ``id`` is a network of hashes of the id.

    The normalisation follows each batch while training and running means in eval mode, so that popular ids weigh more
    in both. ``freeze`` folds it into the linear maps: look-ups then differ from eval mode by rounding only, within
    1e-4 of the largest value of the row.

    Parameters
    ----------
    scheme : Dhe
    shape : TableShape
    seed : int
        Also gives the salts.
    scale : float
        The outputs begin with the variance of U(-scale, scale); hidden weights do not depend on it.
    """

    salts: Tensor

    def __init__(self, scheme: Dhe, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        self.register_buffer("salts", torch.from_numpy(derived_salts(seed, scheme.hashes).view(np.int64)))
        draws = generator(seed)
        shapes = scheme.layer_shapes(shape.dim)
        self.hidden = nn.ModuleList(_HiddenLayer(*size, draws) for size in shapes[:HIDDEN_LAYERS])
        deviation = scale / math.sqrt(3 * scheme.width * _POWERS[scheme.activation])
        self.weights = nn.Parameter(torch.randn(shapes[-1], generator=draws) * deviation)
        self.bias = nn.Parameter(torch.zeros(shape.dim))

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        activate = _ACTIVATIONS[self.scheme.activation]
        units = unit_hashes(rows.reshape(-1), self.salts).to(self.weights.dtype)
        for layer in self.hidden:
            units = activate(layer(units))
        return (units @ self.weights + self.bias).reshape(*rows.shape, self.shape.dim)

    def freeze(self) -> DheTable:
        """Give the table of the current weights, the normalisation folded in."""
        folded = [layer.folded() for layer in self.hidden if isinstance(layer, _HiddenLayer)]
        maps = [*folded, (self.weights, self.bias)]
        return DheTable(
            self.scheme,
            self.shape,
            frozen(self.salts.cpu().numpy().copy().view(np.uint64)),
            tuple(frozen(to_numpy(weights)) for weights, _ in maps),
            tuple(frozen(to_numpy(bias)) for _, bias in maps),
        )


class _HiddenLayer(nn.Module):
    """A linear map without a bias, which normalisation would take away, and batch normalisation.

    Parameters
    ----------
    inputs, outputs : int
        Numbers in and out.
    draws : torch.Generator
        Source of the initial weights, U(-b, b) with b = sqrt(1 / inputs).
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, inputs: int, outputs: int, draws: torch.Generator) -> None:
        super().__init__()
        self.weights = nn.Parameter((torch.rand(inputs, outputs, generator=draws) * 2 - 1) / math.sqrt(inputs))
        self.gain = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("variance", torch.ones(outputs))

    def forward(self, units: Tensor) -> Tensor:
        """Give float32[n, outputs] of float32[n, inputs]; a single row has no variance and takes the running one."""
        return nn.functional.batch_norm(
            units @ self.weights,
            self.mean,
            self.variance,
            self.gain,
            self.shift,
            training=self.training and len(units) > 1,
            momentum=_MOMENTUM,
            eps=_EPSILON,
        )

    def folded(self) -> tuple[Tensor, Tensor]:
        """Give weights and bias of the one linear map that this layer is in eval mode, folded in float64."""
        factor = self.gain.double() / (self.variance.double() + _EPSILON).sqrt()
        return (self.weights.double() * factor).float(), (self.shift.double() - self.mean.double() * factor).float()


def unit_hashes(keys: Tensor, salts: Tensor) -> Tensor:
    """Give float32[n, k] in (-1, 1) of int64[n] and int64[k]: the bits of ``kernels.mlp.fill_hashes``."""
    upper = (mix(keys[:, None] + salts, 0) >> 40) & (2**24 - 1)
    return (2 * upper + 1 - 2**24).float() * 2.0**-24
