"""Small frozen tables."""

from __future__ import annotations

import numpy as np

from vecstore.planning import plan_fields
from vecstore.schemes.fields import Field, Fields, Part

SIZES = {"user": 600, "item": 400, "tag": 7}
DIM = 16
ROWS = sum(SIZES.values())


def matrix(seed=0, rows=ROWS, dim=DIM):
    """Give float32[rows, dim]."""
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def frozen(name="full", budget=1.0, seed=0, sizes=SIZES):
    """Give a table of the fields above, fitted to random rows."""
    random = np.random.default_rng(seed)
    counts = {field: random.integers(1, 100, size) for field, size in sizes.items()}
    rows = matrix(seed, sum(sizes.values()))
    plan = plan_fields(name, sizes, DIM, budget, frequency=counts)
    return plan.fit(rows, frequency=np.concatenate(list(counts.values())), seed=seed)


def constant(value, rows=50, dim=4):
    """Give a table of one field, ``item``, that holds ``value`` everywhere."""
    plan = Fields(fields=(Field(name="item", size=rows),), parts=(Part(scheme={"scheme": "full"}),))
    return plan.fit(np.full((rows, dim), value, np.float32))


def some_ids(count=20, seed=1, sizes=SIZES):
    """Give int64[count, fields]."""
    random = np.random.default_rng(seed)
    return np.stack([random.integers(0, size, count) for size in sizes.values()], axis=1)
