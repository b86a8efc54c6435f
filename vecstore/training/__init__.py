"""Trainable embedding layers, one file per scheme; the only place that imports torch.

>>> from vecstore import training
>>> layer = training.embedding("hash", fields={"user": 6040, "item": 3706}, dim=16, budget=0.1)
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vecstore.choosing import AUTO
from vecstore.errors import InvalidArgumentError, MissingDependencyError
from vecstore.kernels.hashing import derived_salts
from vecstore.planning import plan_fields
from vecstore.schemes import get
from vecstore.schemes.base import Scheme, TableShape
from vecstore.schemes.fields import Fields
from vecstore.training.calls import StageWarning
from vecstore.training.checks import (
    check_dim,
    check_fields,
    check_frequency,
    check_scale,
    check_seed,
)
from vecstore.types import I64

if TYPE_CHECKING:
    from vecstore.training.base import TrainablePart
    from vecstore.training.layer import EmbeddingLayer

__all__ = ["StageWarning", "embedding", "make_part"]


def embedding(
    name: str,
    *,
    fields: Mapping[str, int],
    dim: int,
    budget: float | int = 1.0,
    frequency: Mapping[str, I64] | None = None,
    seed: int = 0,
    scale: float | None = None,
    sparse: bool = False,
    **parameters: Any,
) -> EmbeddingLayer:
    """Make a trainable embedding layer whose frozen tables stay within a budget.

    Parameters
    ----------
    name : str
        Of the scheme. Or ``auto``: whole tables are trained for half of the steps, then each field gets the scheme and
        bytes with which all of them lose least, and those are trained (:mod:`vecstore.training.auto`). Until then
        memory is that of ``full``.
    fields : mapping of str to int
        Field -> number of ids, in order.
    dim : int
        Dimensions of every row.
    budget : float or int
        A fraction of the float32 tables where it is a float in (0, 1], absolute bytes where it is an int. It covers
        every byte of the files of a stored version, description and framing included (``frozen.nbytes`` is that of
        the arrays alone). At 1.0 fields that a scheme does not make smaller are whole; schemes whose largest form is
        smaller (``int8``, ``alpt``, ``mgqe``), and joint ones, which share rows over all fields, stay lossy. See
        :func:`vecstore.planning.plan_fields`.
    frequency : mapping of str to int64[size], optional
        How often each id of every field occurs in the training split; some methods need it.
    seed : int
        At least 0; of the initial weights, salts and everything else that is drawn.
    scale : float, optional
        Bound of the initial weights, above 0; sqrt(1 / largest field) by default.
    sparse : bool
        Whether gradients of rows are sparse, so that a step costs as much as its batch and not as the table. Update
        ``layer.sparse_parameters()`` with torch.optim.SparseAdam or SGD, and all others with any optimiser. A lazy
        optimiser leaves rows that a batch does not name as they are; Adam itself would move them on.
    **parameters
        Settings of the scheme that are given and not chosen by the budget; of ``auto`` the names ``schemes``.

    Raises
    ------
    InvalidArgumentError
        An argument is not as described, or the scheme has no such setting; names it.
    NotFoundError
        There is no such scheme.
    BudgetInfeasible
        Carries the floor and the next reachable budgets in bytes.
    MissingDependencyError
        torch is not installed.
    """
    check_fields(fields)
    check_dim(dim)
    check_seed(seed)
    check_scale(scale)
    if frequency is not None:
        check_frequency(frequency, fields)
    try:
        from vecstore.training.layer import EmbeddingLayer
    except ImportError as error:
        raise MissingDependencyError(f"training needs torch ({error}): pip install 'vecstore[train]'") from None
    # Numbers of numpy, as sizes often are, would become those of plans and budgets.
    fields, dim = {field: int(size) for field, size in fields.items()}, int(dim)
    bound = math.sqrt(1 / max(fields.values())) if scale is None else float(scale)
    if name == AUTO:
        layer = EmbeddingLayer(*_auto(fields, dim, budget, int(seed), bound, parameters), sparse=sparse)
    else:
        plan = plan_fields(name, fields, dim, budget, frequency=frequency, parameters=parameters)
        layer = EmbeddingLayer(plan, _parts(plan, dim, int(seed), bound), sparse=sparse)
    if frequency is not None:
        layer.observe(frequency)
    return layer


def _parts(plan: Fields, dim: int, seed: int, scale: float) -> list[TrainablePart]:
    """Make the parts of a plan."""
    shapes = plan.part_shapes(dim)
    seeds = derived_salts(seed, len(shapes)) >> np.uint64(1)
    return [
        make_part(scheme, shape, seed=int(own), scale=scale)
        for scheme, shape, own in zip(plan.schemes(), shapes, seeds, strict=True)
    ]


def _auto(
    fields: Mapping[str, int], dim: int, budget: float | int, seed: int, scale: float, parameters: Mapping[str, Any]
) -> tuple[Fields, list[TrainablePart]]:
    """Make the parts of a layer whose fields choose, and their first plan."""
    from vecstore.training.auto import auto_parts

    if unknown := [name for name in parameters if name != "schemes"]:
        raise InvalidArgumentError(
            f"{AUTO}: there is no parameter {', '.join(unknown)}; there is: schemes", field=unknown[0]
        )
    seeds = (derived_salts(seed, len(fields)) >> np.uint64(1)).tolist()
    return auto_parts(fields, dim, budget, seeds=seeds, scale=scale, names=parameters.get("schemes"))


def make_part(scheme: Scheme, shape: TableShape, *, seed: int, scale: float) -> TrainablePart:
    """Make the trainable twin of a scheme: class ``<Scheme>Part`` of ``vecstore/training/<name>.py``, or its ``layer``.

    Raises
    ------
    InvalidArgumentError
        The scheme is not trained.
    """
    cls = get(scheme.name)
    if not cls.capabilities.trained:
        raise InvalidArgumentError(f"scheme {scheme.name!r} has no trainable layer", field="scheme")
    module, _, name = (cls.layer or f"vecstore.training.{scheme.name}:{cls.__name__}Part").partition(":")
    part: TrainablePart = getattr(importlib.import_module(module), name)(scheme, shape, seed=seed, scale=scale)
    return part
