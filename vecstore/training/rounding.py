"""Low-precision training: weights that live as integers between the steps (Li et al., AAAI 2023)."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from vecstore.errors import InvalidArgumentError
from vecstore.kernels.compiling import frozen
from vecstore.kernels.hashing import derived_salts
from vecstore.schemes.base import CompressedTable, TableShape
from vecstore.schemes.coded import Codes, IntegerScheme, TableScaledTable, limit_of
from vecstore.training.base import TrainablePart, generator
from vecstore.training.full import to_numpy, uniform_rows
from vecstore.types import F32

__all__ = ["IntegerPart", "RoundedPart", "stochastic_codes"]

_TORCH_TYPES = {np.int8: torch.int8, np.int16: torch.int16}


def stochastic_codes(values: Tensor, limit: float, draws: torch.Generator) -> Tensor:
    """Round every one of ``values`` up or down so that its expectation is itself, clipped to -limit..limit.

    Each value has a draw of its own: shared draws would make the rounding errors of a row add up.
    """
    noise = torch.rand(values.shape, generator=draws).to(values.device)
    return (values + noise).floor().clamp(-limit, limit)


class RoundedPart(TrainablePart):
    """Integers and scales, and a float32 workspace for the rows of one step.

    The integers are the weights. A row that a step uses is decoded into the workspace, the host's optimiser updates it
    there, and :meth:`after_step` writes it back by stochastic rounding. Workspace rows that the step did not use hold
    nothing: what an optimiser with momentum does to them has no effect.

    Parameters
    ----------
    shape : TableShape
        Rows and dimensions.
    kind : type
        ``np.int8`` or ``np.int16``.
    scales : float32[n, 1] or float32[1, 1]
        Initial scales.
    seed : int
    bound : float
        Bound of the initial weights, which are drawn from U(-bound, bound) and rounded.
    """

    codes: Tensor
    scales: Tensor
    in_use: Tensor

    def __init__(
        self, shape: TableShape, kind: type[np.int8 | np.int16], scales: Tensor, *, seed: int, bound: float
    ) -> None:
        super().__init__(shape)
        self.limit = float(limit_of(kind))
        weights_seed, draws_seed = (int(own) for own in derived_salts(seed, 2) >> np.uint64(1))
        self._draws = generator(draws_seed)
        weights = uniform_rows(shape.rows, shape.dim, bound, weights_seed)
        codes = stochastic_codes(weights / scales, self.limit, self._draws).to(_TORCH_TYPES[kind])
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("in_use", torch.zeros(shape.rows, dtype=torch.bool), persistent=False)
        self.rows = nn.Parameter(codes * scales)

    def forward(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of ``rows`` int64[...]."""
        if not (self.training and torch.is_grad_enabled()):
            return self.decoded(rows)
        with torch.no_grad():
            fresh = torch.unique(rows)
            self._take_up(fresh[~self.in_use[fresh]])
        return self._trained(rows)

    def decoded(self, rows: Tensor) -> Tensor:
        """Give float32[..., dim] of the stored integers."""
        scales = self.scales[rows] if len(self.scales) == self.shape.rows else self.scales[0]
        return self.codes[rows] * scales

    def _take_up(self, rows: Tensor) -> None:
        """Decode ``rows`` int64[n] into the workspace."""
        self.rows[rows] = self.decoded(rows)
        self.in_use[rows] = True

    def _trained(self, rows: Tensor) -> Tensor:
        """Give the vectors of ``rows``, all in the workspace, with their gradients."""
        return self.gathered(self.rows, rows)

    def row_parameters(self) -> list[nn.Parameter]:
        """Give the workspace."""
        return [self.rows]

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:  # noqa: ARG002
        """Write the rows that the step used back as integers."""
        used = self.in_use.nonzero().squeeze(1)
        if len(used):
            self._write_back(used)
        self.in_use[used] = False

    @abstractmethod
    def _write_back(self, used: Tensor) -> None:
        """Round the workspace's rows ``used`` int64[n]."""

    def _round(self, values: Tensor, scales: Tensor) -> Tensor:
        """Give the codes of ``values`` float32[n, dim] at ``scales`` float32[n, 1] or float32[1, 1]."""
        return stochastic_codes(values / scales, self.limit, self._draws).to(self.codes.dtype)

    def frozen_arrays(self) -> tuple[Codes, F32]:
        """Give the codes and the scales float32[n or 1] as frozen numpy arrays."""
        codes = self.codes.cpu().numpy().copy()
        return frozen(codes), frozen(to_numpy(self.scales.reshape(-1)))


#: Stands in for a bound of 0, from which no scale could grow.
_LEAST_BOUND = 1e-8
#: Share of the values of one step that may saturate before the scale of a table grows.
_SATURATED = 1e-3


class IntegerPart(RoundedPart):
    """One scale for the table, which doubles as soon as too many weights are beyond it.

    At first the largest code is the bound of the initial weights. When more than a thousandth of the values that a step
    writes back would be clipped, the scale doubles, and all codes are halved by stochastic rounding, until that is no
    longer so; what is still beyond is clipped. So the range follows the weights, and a lone outlier costs only itself.

    Parameters
    ----------
    scheme : Int8 or Int16
        With ``scales="table"``.
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.
    """

    def __init__(self, scheme: IntegerScheme, shape: TableShape, *, seed: int, scale: float) -> None:
        if scheme.scales != "table":
            raise InvalidArgumentError(
                f"{scheme.name}: training has one scale a table; pass scales='table', or take the scheme 'alpt', which "
                "learns one a row",
                field="scales",
            )
        first = torch.full((1, 1), max(scale, _LEAST_BOUND) / float(limit_of(scheme.kind)))
        super().__init__(shape, scheme.kind, first, seed=seed, bound=scale)
        self.scheme = scheme

    def _write_back(self, used: Tensor) -> None:
        values = self.rows[used]
        while self._saturated(values) > _SATURATED:
            self.scales *= 2
            halved = self.codes / 2
            self.codes.copy_(stochastic_codes(halved, self.limit, self._draws))
        self.codes[used] = self._round(values, self.scales)

    def _saturated(self, values: Tensor) -> float:
        """Give the share of ``values`` that is beyond the range; 0 where the range is infinite."""
        return float((values.abs() > self.limit * self.scales).float().mean())

    def freeze(self) -> CompressedTable:
        """Give the table of the integers as they were trained."""
        return TableScaledTable(self.scheme, self.shape, *self.frozen_arrays())
