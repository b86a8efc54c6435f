"""The layer that learns codes of two granularities (Kang et al., WWW 2020 companion, on DPQ-VQ of Chen et al.)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import TableShape
from vecstore.schemes.mgqe import COLD_CENTROIDS, HOT_CENTROIDS, Mgqe, MgqeTable, tiered_table
from vecstore.schemes.ranked_bitmap import most_frequent
from vecstore.training.base import TrainablePart
from vecstore.training.full import to_numpy, uniform_rows
from vecstore.types import I64

__all__ = ["MgqePart"]

#: Weight of a batch in the running statistics, except for the first ones, which count alike.
_MOMENTUM = 0.1
#: Added to variances, for weights of size 1; see ``_normalised``.
_EPSILON = 1e-5
#: Rows that get their codes at a time.
_BLOCK_ROWS = 4096


class MgqePart(TrainablePart):
    """Query rows w of full size that are replaced by their centroids c.

    For each part m of a row the response of centroid k is ``-|w_m - c_mk|^2``, normalised over the batch for each
    (m, k) without scale and shift; the largest wins. That spreads the rows over the centroids, so a code is *not*
    always the nearest one. The output is c with the gradient going to w (straight through). The loss has
    ``mean((c - sg(w))^2)``, by which centroids follow their rows; nothing draws w to c.

    Parameters
    ----------
    scheme : Mgqe
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial rows and centroids.

    Notes
    -----
    In eval mode the layer has what would be frozen: rows get their codes of now, by the running statistics, whenever
    they are asked for. Until :meth:`observe` is called, the first rows are the hot ones.
    """

    hot: Tensor
    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, scheme: Mgqe, shape: TableShape, *, seed: int, scale: float) -> None:
        super().__init__(shape)
        self.scheme = scheme
        parts, width = scheme.parts, scheme.width(shape.dim)
        self.rows = nn.Parameter(uniform_rows(shape.rows, shape.dim, scale, seed))
        centroid_seed = int(derived_salts(seed, 1)[0] >> 1)
        centroids = uniform_rows(parts * HOT_CENTROIDS, width, scale, centroid_seed)
        self.codebook = nn.Parameter(centroids.view(parts, HOT_CENTROIDS, width))
        # Responses grow with the square of the weights, and their variances with the fourth power.
        self._epsilon = _EPSILON * scale**4
        self.register_buffer("hot", torch.empty(shape.rows, dtype=torch.bool))
        self.register_buffer("mean", torch.zeros(parts, HOT_CENTROIDS))
        self.register_buffer("variance", torch.ones(parts, HOT_CENTROIDS))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self._loss: Tensor | None = None
        self._choose_hot(None)

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        if not self.training:
            self._loss = None
            with torch.no_grad():
                codes = self._stored_codes(rows.reshape(-1))
            return self._decoded(codes.long()).view(*rows.shape, self.shape.dim)
        flat = rows.reshape(-1)
        weights = self.gathered(self.rows, flat)
        with torch.no_grad():
            codes = self._codes(self._responses(weights), self.hot[flat])
        centroids = self._decoded(codes)
        # Rows of nothing have no mean.
        self._loss = (centroids - weights.detach()).square().sum() / max(weights.numel(), 1)
        straight = centroids.detach() + (weights - weights.detach())
        return straight.view(*rows.shape, self.shape.dim)

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the query rows."""
        return [self.rows]

    def extra_loss(self) -> Tensor:
        """Give the mean squared distance of the last batch's centroids to its rows, which moves the centroids only."""
        return super().extra_loss() if self._loss is None else self._loss

    def observe(self, frequency: I64) -> None:
        """Make the most frequent rows the hot ones."""
        self._choose_hot(frequency)

    def freeze(self) -> MgqeTable:
        """Give the table of the current weights, all rows with their codes of now."""
        with torch.no_grad():
            codes = self._stored_codes(torch.arange(self.shape.rows, device=self.rows.device))
        hot = self.hot.cpu().numpy()
        return tiered_table(self.scheme, self.shape, to_numpy(self.codebook), codes.cpu().numpy(), hot)

    def _choose_hot(self, frequency: I64 | None) -> None:
        count = self.scheme.hot_rows(self.shape.rows)
        self.hot.copy_(torch.from_numpy(most_frequent(self.shape.rows, count, frequency)))

    def _responses(self, weights: Tensor) -> Tensor:
        """Give the responses float32[B, M, 256] of rows float32[B, dim], normalised over the batch, and learn from it.

        A single row has no statistics, and gets the running ones.
        """
        pieces = weights.view(len(weights), self.scheme.parts, -1)
        products = torch.einsum("bmw,mkw->bmk", pieces, self.codebook)
        lengths = pieces.square().sum(-1, keepdim=True) + self.codebook.square().sum(-1)
        responses = 2 * products - lengths
        if len(weights) < 2:
            return self._normalised(responses, self.mean, self.variance)
        variance, mean = torch.var_mean(responses, dim=0, correction=0)
        self.batches += 1
        share = max(_MOMENTUM, 1 / int(self.batches))
        self.mean.lerp_(mean, share)
        self.variance.lerp_(variance, share)
        return self._normalised(responses, mean, variance)

    def _normalised(self, responses: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return (responses - mean) * torch.rsqrt(variance + self._epsilon)

    def _codes(self, responses: Tensor, hot: Tensor) -> Tensor:
        """Give the winners int64[B, M]; rows that are not ``hot`` bool[B] have only the first centroids."""
        cold = responses[..., :COLD_CENTROIDS].argmax(-1)
        return torch.where(hot[:, None], responses.argmax(-1), cold)

    def _decoded(self, codes: Tensor) -> Tensor:
        """Give the centroids float32[..., dim] of codes int64[..., M]."""
        first = torch.arange(self.scheme.parts, device=codes.device) * HOT_CENTROIDS
        return nn.functional.embedding(codes + first, self.codebook.flatten(0, 1)).flatten(-2)

    def _stored_codes(self, rows: Tensor) -> Tensor:
        """Give the codes uint8[n, M] of ``rows`` int64[n] by the running statistics."""
        maps = self._response_maps()
        found = [torch.empty(0, self.scheme.parts, dtype=torch.uint8, device=rows.device)]
        for block in torch.split(rows, _BLOCK_ROWS):
            pieces = self.rows[block].view(-1, self.scheme.parts, maps.shape[1] - 2).transpose(0, 1)
            ones = torch.ones_like(pieces[..., :1])
            inputs = torch.cat([pieces, pieces.square().sum(-1, keepdim=True), ones], dim=-1)
            hot = self.hot[block]
            # Most rows are cold, and need a quarter of the responses.
            codes = torch.bmm(inputs, maps[..., :COLD_CENTROIDS]).argmax(-1)
            codes[:, hot] = torch.bmm(inputs[:, hot], maps).argmax(-1)
            found.append(codes.T.to(torch.uint8))
        return torch.cat(found)

    def _response_maps(self) -> Tensor:
        """Give float32[M, w + 2, 256]: what maps a piece of a row, its square and 1 to its normalised responses.

        With the running statistics they are linear in these: (2 <w, c> - |w|^2 - |c|^2 - mean) / deviation.
        """
        factors = torch.rsqrt(self.variance + self._epsilon)
        constants = -(self.codebook.square().sum(-1) + self.mean)
        weights = torch.cat([2 * self.codebook, -torch.ones_like(constants[..., None]), constants[..., None]], dim=-1)
        return (weights * factors[..., None]).transpose(1, 2).contiguous()
