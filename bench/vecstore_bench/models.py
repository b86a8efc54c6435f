"""Click models that take an embedding layer: DLRM, Wide & Deep, DCN and DeepFM.

A *host* gives a logit from the vectors of the fields and the dense features. It does not look ids up, so the same host
runs on a layer in training and on a frozen table.

>>> host = make_host("dcn", HostInputs(fields=3, dim=16, dense=4), size="small", seed=0)
>>> logits = host(layer(ids), dense)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vecstore.errors import InvalidArgumentError, NotFoundError

__all__ = [
    "HOSTS",
    "Dcn",
    "DeepFm",
    "Dlrm",
    "Host",
    "HostInputs",
    "MatrixCross",
    "VectorCross",
    "WideAndDeep",
    "check_host",
    "make_host",
]


@dataclass(frozen=True, slots=True)
class HostInputs:
    """What a host is given.

    Attributes
    ----------
    fields : int
        Vectors a row.
    dim : int
        Numbers a vector.
    dense : int
        Dense features a row; may be 0.
    """

    fields: int
    dim: int
    dense: int

    @property
    def width(self) -> int:
        """All numbers of a row side by side."""
        return self.fields * self.dim + self.dense


class Host(nn.Module, ABC):
    """Vectors and dense features in, logits out."""

    @abstractmethod
    def forward(self, vectors: Tensor, dense: Tensor) -> Tensor:
        """Give logits float32[B] of ``vectors`` float32[B, fields, dim] and ``dense`` float32[B, dense]."""


class Dlrm(Host):
    """Dot products of all pairs of vectors, one of which is made of the dense features.

    Parameters
    ----------
    inputs : HostInputs
    bottom : sequence of int
        Hidden layers that turn the dense features into a vector.
    top : sequence of int
        Hidden layers over that vector and the products.

    References
    ----------
    Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems", 2019, section 2.
    """

    pairs: Tensor

    def __init__(self, inputs: HostInputs, *, bottom: Sequence[int], top: Sequence[int]) -> None:
        super().__init__()
        self.bottom = _mlp(inputs.dense, bottom, inputs.dim, nn.ReLU()) if inputs.dense else None
        count = inputs.fields + (self.bottom is not None)
        self.register_buffer("pairs", torch.triu_indices(count, count, offset=1), persistent=False)
        own = inputs.dim if self.bottom is not None else 0
        self.top = _mlp(own + self.pairs.shape[1], top, 1)

    def forward(self, vectors: Tensor, dense: Tensor) -> Tensor:
        """Give logits float32[B]."""
        of_dense = [] if self.bottom is None else [self.bottom(dense)]
        together = torch.cat([*(vector[:, None] for vector in of_dense), vectors], dim=1)
        products = (together @ together.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return _logits(self.top(torch.cat([*of_dense, products], dim=1)))


class WideAndDeep(Host):
    """The sum of a linear model and a deep one.

    The linear model's weights an id would be a table of their own, outside the budget; here it is linear in the numbers
    of the vectors, from which the layer can learn the same.

    Parameters
    ----------
    inputs : HostInputs
    deep : sequence of int
        Hidden layers.

    References
    ----------
    Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016, equation 3.
    """

    def __init__(self, inputs: HostInputs, *, deep: Sequence[int]) -> None:
        super().__init__()
        self.wide = nn.Linear(inputs.width, 1)
        self.deep = _mlp(inputs.width, deep, 1)

    def forward(self, vectors: Tensor, dense: Tensor) -> Tensor:
        """Give logits float32[B]."""
        row = _side_by_side(vectors, dense)
        return _logits(self.wide(row) + self.deep(row))


class VectorCross(nn.Module):
    """One cross layer with a weight vector: ``x0 (w . x) + b + x`` (Wang et al., ADKDD 2017, equation 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.product = nn.Linear(width, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, first: Tensor, row: Tensor) -> Tensor:
        """Cross ``row`` float32[B, width] with ``first`` float32[B, width]."""
        crossed: Tensor = first * self.product(row) + self.bias + row
        return crossed


class MatrixCross(nn.Module):
    """One cross layer with a weight matrix: ``x0 * (W x + b) + x`` (Wang et al., WWW 2021, equation 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.product = nn.Linear(width, width)

    def forward(self, first: Tensor, row: Tensor) -> Tensor:
        """Cross ``row`` float32[B, width] with ``first`` float32[B, width]."""
        crossed: Tensor = first * self.product(row) + row
        return crossed


class Dcn(Host):
    """Cross layers and a deep network side by side.

    Parameters
    ----------
    inputs : HostInputs
    crosses : int
        Cross layers.
    deep : sequence of int
        Hidden layers.
    cross : callable
        Makes a cross layer of a width: :class:`VectorCross` (DCN) or :class:`MatrixCross` (DCN-V2).

    References
    ----------
    Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017, figure 1.
    """

    def __init__(
        self,
        inputs: HostInputs,
        *,
        crosses: int,
        deep: Sequence[int],
        cross: Callable[[int], nn.Module] = VectorCross,
    ) -> None:
        super().__init__()
        self.crosses = nn.ModuleList(cross(inputs.width) for _ in range(crosses))
        self.deep = nn.Sequential(*_hidden(inputs.width, deep))
        self.last = nn.Linear(inputs.width + deep[-1], 1)

    def forward(self, vectors: Tensor, dense: Tensor) -> Tensor:
        """Give logits float32[B]."""
        first = crossed = _side_by_side(vectors, dense)
        for cross in self.crosses:
            crossed = cross(first, crossed)
        return _logits(self.last(torch.cat([crossed, self.deep(first)], dim=1)))


class DeepFm(Host):
    """A factorisation machine and a deep network over the same vectors.

    The first number of each vector is the weight of its id in the linear term, so that all of the model's tables are
    within the budget.

    Parameters
    ----------
    inputs : HostInputs
        ``dim`` of at least 2.
    deep : sequence of int
        Hidden layers.

    References
    ----------
    Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017, equations 1 to 4.
    """

    def __init__(self, inputs: HostInputs, *, deep: Sequence[int]) -> None:
        super().__init__()
        if inputs.dim < 2:
            raise InvalidArgumentError(
                "dim: DeepFM takes the first column for its linear term; pass 2 or more", field="dim"
            )
        self.of_dense = nn.Linear(inputs.dense, 1) if inputs.dense else None
        self.bias = nn.Parameter(torch.zeros(()))
        self.deep = _mlp(inputs.width - inputs.fields, deep, 1)

    def forward(self, vectors: Tensor, dense: Tensor) -> Tensor:
        """Give logits float32[B]."""
        factors = vectors[..., 1:]
        linear = vectors[..., 0].sum(1) + self.bias
        if self.of_dense is not None:
            linear = linear + _logits(self.of_dense(dense))
        # The sum over all pairs of products is half of the square of the sum less the sum of the squares.
        pairs = 0.5 * (factors.sum(1).square() - factors.square().sum(1)).sum(1)
        return linear + pairs + _logits(self.deep(_side_by_side(factors, dense)))


#: Host -> size -> what makes it of its inputs. "standard" is the literature's, "small" is for small data.
HOSTS: Mapping[str, Mapping[str, Callable[[HostInputs], Host]]] = {
    "dlrm": {
        "small": partial(Dlrm, bottom=(64,), top=(64, 32)),
        "standard": partial(Dlrm, bottom=(512, 256, 64), top=(512, 256)),
    },
    "wdl": {
        "small": partial(WideAndDeep, deep=(64, 64)),
        "standard": partial(WideAndDeep, deep=(256, 256)),
    },
    "dcn": {
        "small": partial(Dcn, crosses=2, deep=(64, 64)),
        "standard": partial(Dcn, crosses=3, deep=(256, 256, 256)),
    },
    "dcnv2": {
        "small": partial(Dcn, crosses=1, deep=(64, 64), cross=MatrixCross),
        "standard": partial(Dcn, crosses=3, deep=(256, 256, 256), cross=MatrixCross),
        "unified-ml1m": partial(Dcn, crosses=1, deep=(192,), cross=MatrixCross),
    },
    "deepfm": {
        "small": partial(DeepFm, deep=(64, 64)),
        "standard": partial(DeepFm, deep=(256, 256)),
    },
}


def make_host(name: str, inputs: HostInputs, *, size: str = "standard", seed: int = 0) -> Host:
    """Make a host whose initial weights depend on nothing but ``seed``.

    Raises
    ------
    NotFoundError
        There is no such host or size; the message lists those there are.
    """
    check_host(name, size)
    # torch's layers draw from the global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HOSTS[name][size](inputs)


def check_host(name: str, size: str) -> None:
    """Check that there is a host of a size; see :func:`make_host`."""
    if name not in HOSTS:
        raise NotFoundError(f"there is no model {name!r}; there are: {', '.join(HOSTS)}", field="model")
    if size not in HOSTS[name]:
        raise NotFoundError(f"model {name!r} has no size {size!r}; it has: {', '.join(HOSTS[name])}", field="size")


def _hidden(width: int, sizes: Sequence[int]) -> list[nn.Module]:
    """Give linear layers of ``sizes`` with ReLU behind each."""
    layers: list[nn.Module] = []
    for before, size in zip((width, *sizes), sizes, strict=False):
        layers += [nn.Linear(before, size), nn.ReLU()]
    return layers


def _mlp(width: int, sizes: Sequence[int], out: int, *last: nn.Module) -> nn.Sequential:
    """Give a network with hidden layers of ``sizes`` and ``out`` outputs."""
    return nn.Sequential(*_hidden(width, sizes), nn.Linear((width, *sizes)[-1], out), *last)


def _side_by_side(vectors: Tensor, dense: Tensor) -> Tensor:
    return torch.cat([vectors.flatten(1), dense], dim=1)


def _logits(column: Tensor) -> Tensor:
    return column.squeeze(1)
