"""Checks of the arguments of :func:`vecstore.training.embedding`, before anything is planned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from vecstore.errors import InvalidArgumentError
from vecstore.types import I64

__all__ = ["check_dim", "check_fields", "check_frequency", "check_scale", "check_seed"]


def check_fields(fields: Mapping[str, int]) -> None:
    """Check that fields have names and at least one id each."""
    if not isinstance(fields, Mapping) or not fields:
        raise InvalidArgumentError(f"fields: expected name -> number of ids, got {fields!r}", field="fields")
    for name, size in fields.items():
        if not isinstance(name, str) or not name:
            raise InvalidArgumentError(f"fields: expected text as names, got {name!r}", field="fields")
        if not _whole(size, at_least=1):
            raise InvalidArgumentError(f"fields: {name!r} has {size!r} ids; expected at least 1", field="fields")


def check_dim(dim: int) -> None:
    """Check that rows have at least one dimension."""
    if not _whole(dim, at_least=1):
        raise InvalidArgumentError(f"dim: expected an integer of at least 1, got {dim!r}", field="dim")


def check_seed(seed: int) -> None:
    """Check that a seed is a number below 2^64."""
    if not _whole(seed, at_least=0) or seed >= 2**64:
        raise InvalidArgumentError(f"seed: expected an integer of 0 to 2^64 - 1, got {seed!r}", field="seed")


def check_scale(scale: float | None) -> None:
    """Check that initial weights would be finite and not all zeros."""
    if scale is None:
        return
    number = isinstance(scale, int | float | np.integer | np.floating) and not isinstance(scale, bool)
    if not number or not math.isfinite(scale) or scale <= 0:
        raise InvalidArgumentError(f"scale: expected a finite number above 0, got {scale!r}", field="scale")


def check_frequency(frequency: Mapping[str, I64], fields: Mapping[str, int]) -> None:
    """Check that there is a count of at least 0 for every id of every field, and of no other."""
    if not isinstance(frequency, Mapping) or set(frequency) != set(fields):
        given = _listed(frequency) if isinstance(frequency, Mapping) else repr(frequency)
        raise InvalidArgumentError(
            f"frequency: expected counts of the fields {_listed(fields)}, got {given}", field="frequency"
        )
    for name, size in fields.items():
        counts = np.asarray(frequency[name])
        if counts.shape != (size,) or not np.issubdtype(counts.dtype, np.integer):
            raise InvalidArgumentError(
                f"frequency: expected int64[{size}] for {name!r}, got {counts.dtype}{list(counts.shape)}",
                field="frequency",
            )
        if counts.min() < 0:
            raise InvalidArgumentError(
                f"frequency: id {int(counts.argmin())} of {name!r} has a count of {counts.min()}; expected at least 0",
                field="frequency",
            )


def _whole(value: object, *, at_least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= at_least


def _listed(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names)
