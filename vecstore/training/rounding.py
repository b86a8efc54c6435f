"""Low-precision training: weights that live as integers between the steps (Li et al., AAAI 2023)."""

from __future__ import annotations

import math
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
#: Share of the values written back that may be beyond the range before it grows; and of those beyond half of the range,
#: below which it shrinks. The first is several times the second, so that one does not follow on the other.
_BEYOND, _BEYOND_HALF = 1e-3, 2.5e-4
#: Rows that the shares are of, as long as fewer were written; later ones push the earlier ones out. It is so many that
#: one row cannot make the range grow by itself, even if all of its values are beyond.
_WINDOW_ROWS = 1_000
#: Rows that are rounded anew at a time, so that no float32 copy of the table is made.
_BLOCK_ROWS = 65_536


class IntegerPart(RoundedPart):
    """One scale for the table, which grows and shrinks in powers of 2 with the weights.

    At first the largest code is the bound of the initial weights. The part counts how many of the values that steps
    write back are beyond the range, over the last thousand rows or so, whatever the steps' size. Once they are more
    than a thousandth, the range grows until they are not, and all codes are rounded anew, stochastically; what is still
    beyond is clipped. Once next to none of the values are beyond half of the range, neither those written back nor
    those of the whole table, it is halved; codes then double, which is exact. So the range follows the weights, and a
    lone outlier costs only itself.

    Parameters
    ----------
    scheme : Int8 or Int16
        With ``scales="table"``.
    shape : TableShape
    seed : int
    scale : float
        Bound of the initial weights.
    """

    counts: Tensor
    unchecked: Tensor

    def __init__(self, scheme: IntegerScheme, shape: TableShape, *, seed: int, scale: float) -> None:
        if scheme.scales != "table":
            raise InvalidArgumentError(
                f"{scheme.name}: training has one scale a table; pass scales='table', or take the scheme 'alpt', which "
                "learns one a row",
                field="scales",
            )
        limit = float(limit_of(scheme.kind))
        first = torch.full((1, 1), max(scale, _LEAST_BOUND) / limit)
        super().__init__(shape, scheme.kind, first, seed=seed, bound=scale)
        self.scheme = scheme
        self._window = float(_WINDOW_ROWS * shape.dim)
        # Of the values of the window: how many there are, are beyond the range, and beyond half of it.
        self.register_buffer("counts", torch.zeros(3))
        # Values written since the range changed, or the whole table was looked at.
        self.register_buffer("unchecked", torch.zeros((), dtype=torch.int64))

    def _write_back(self, used: Tensor) -> None:
        values = self.rows[used]
        magnitudes, reach = values.abs(), self.limit * float(self.scales)
        left = math.exp(-values.numel() / self._window)
        counts = [
            left * before + now for before, now in zip(self.counts.tolist(), _counted(magnitudes, reach), strict=True)
        ]
        factor = 1.0
        while counts[1] > self._most(_BEYOND, counts):
            factor *= 2
            # What was counted at another range is forgotten.
            counts = _counted(magnitudes, reach * factor)
        self.unchecked += values.numel()
        if factor == 1 and self._roomy(counts):
            factor, counts = 0.5, [0, 0, 0]
        if factor != 1:
            self._rescale(factor)
        self.counts.copy_(torch.tensor(counts))
        self.codes[used] = self._round(values, self.scales)

    def _most(self, share: float, counts: list[float]) -> float:
        """Give a share of the values of the window."""
        return share * max(counts[0], self._window)

    def _roomy(self, counts: list[float]) -> bool:
        """Say whether half the range would do, which takes a look at the whole table once all of it may have moved."""
        enough = max(self._window, self.codes.numel())
        if int(self.unchecked) < enough or counts[2] > self._most(_BEYOND_HALF, counts):
            return False
        self.unchecked.zero_()
        outside = int((self.codes.abs() > self.limit / 2).sum())
        return outside <= _BEYOND_HALF * self.codes.numel() and float(self.scales) * self.limit > _LEAST_BOUND

    def _rescale(self, factor: float) -> None:
        """Change the range, and round all codes to the new scale."""
        for codes in torch.split(self.codes, _BLOCK_ROWS):
            codes.copy_(stochastic_codes(codes / factor, self.limit, self._draws))
        self.scales *= factor
        self.unchecked.zero_()

    def freeze(self) -> CompressedTable:
        """Give the table of the integers as they were trained."""
        return TableScaledTable(self.scheme, self.shape, *self.frozen_arrays())


def _counted(magnitudes: Tensor, reach: float) -> list[float]:
    """Give how many values there are, and how many beyond ``reach`` and half of it; no range holds what is infinite."""
    beyond, half = (int((magnitudes > own).sum()) for own in (reach, reach / 2))
    return [magnitudes.numel(), beyond - int(magnitudes.isinf().sum()) if beyond else 0, half]
