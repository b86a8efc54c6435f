"""Tables of every scheme at several budgets and settings, made once and shared by the tests that only look at them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from tests import reference
from vecstore import schemes
from vecstore.errors import BudgetInfeasible
from vecstore.kernels.lengths import unit_rows
from vecstore.schemes.base import TableShape
from vecstore.schemes.fields import Fields

N_ROWS, DIM = 90, 33
SHAPE = TableShape(rows=N_ROWS, dim=DIM)
#: Fractions of the float32 table; a scheme that cannot meet one gets its floor instead.
BUDGETS = (1.0, 0.3, 0.05)

_FIELDS = [{"name": "a", "size": 60}, {"name": "b", "size": 7}, {"name": "c", "size": 23}]
#: Settings whose look-ups or distances take another way than those of the defaults.
VARIANTS = {
    "adapt": [{"hot": 10}],
    "adapt+int8": [{"outer": {"hot": 10}}],
    "alpt": [{"bits": 16}],
    "autosrh": [{"places": "uint8"}],
    "compo": [{"aggregate": "sum"}],
    "dedup": [{"block_rows": 7}],
    "deeplight": [{"places": "uint16"}],
    "dhe": [{"activation": "relu", "hashes": 7}],
    "int16": [{"scales": "table"}],
    "int8": [{"scales": "table"}],
    "magpq": [{"groups": 4, "inner": {"bits": 8}}, {"groups": 1}],
    "magsvd": [{"groups": 3, "alpha": 0.9}],
    "mde": [{"width": 5}],
    "mde+alpt": [{"outer": {"width": 5}, "codec": {"bits": 16}}, {"outer": {"width": 33}}],
    "mgqe": [{"parts": 11, "hot_share": 0.3}],
    "optembed": [{"fields": _FIELDS}],
    "opq": [{"parts": 3, "bits": 8}],
    "pca+pq": [{"outer": {"width": 6}}, {"codec": {"parts": 2, "bits": 8}}],
    "pq": [{"parts": 11, "bits": 8}, {"parts": 3}, {"parts": 9}, {"parts": 7, "bits": 8}],
    "rabitq": [{"bits": 1}, {"bits": 4}, {"bits": 1, "layout": "rows"}, {"bits": 3, "layout": "rows"}],
    "robe": [{"signed": False, "block": 5}],
    "transformed": [
        {"transform": "centre|rotate|truncate:20", "inner": {"scheme": "full"}},
        {"transform": "remove:2|unit"},
        {"transform": "centre", "inner": {"scheme": "mgqe"}},
    ],
    "unified": [{"fields": _FIELDS, "exempt": ["b"], "width": 3}],
}
_FIELDS_CONFIG = {
    "fields": _FIELDS,
    "parts": [
        {"scheme": {"scheme": "int8"}},
        {"scheme": {"scheme": "hash", "buckets": 3}},
        {"scheme": {"scheme": "robe", "size": 200}},
    ],
}


@dataclass(frozen=True)
class Case:
    """A scheme with a budget, its settings as JSON, and whether it is told how often each row is used."""

    name: str
    budget: float | int
    settings: str = "{}"
    counted: bool = True

    def __str__(self):
        kept = "" if self.settings == "{}" else "-" + self.settings.translate(str.maketrans(": ", "=_", '{}[]",'))[:40]
        return f"{self.name}-{self.budget}{kept}{'' if self.counted else '-uncounted'}"

    @property
    def type(self):
        """The scheme's class."""
        return Fields if self.name == Fields.name else schemes.get(self.name)

    def allowed(self, shape=SHAPE):
        """Bytes that the budget allows."""
        return self.budget if isinstance(self.budget, int) else int(self.budget * shape.float32_bytes)

    def planned(self, shape=SHAPE):
        """The scheme that the budget gives."""
        if self.type is Fields:
            return Fields.from_dict({"scheme": "fields", **json.loads(self.settings)})
        counts = frequency(shape.rows) if self.counted else None
        return self.type.plan(shape, self.budget, counts, json.loads(self.settings))


def frequency(n_rows):
    """Counts that fall steeply from a few rows to many; the frequent rows are not the first ones."""
    counts = (3000 / np.arange(1, n_rows + 1) ** 1.5).astype(np.int64)
    return np.random.default_rng(n_rows).permutation(counts)


def unit_matrix(n_rows=N_ROWS, dim=DIM):
    return unit_rows(reference.clustered(np.random.default_rng([n_rows, dim]), n_rows, dim))


def feasible(name, budget, shape=SHAPE, *, counted=True, **settings):
    """The case of that budget, or of the floor in bytes where the scheme cannot meet it."""
    case = Case(name, budget, json.dumps(settings, sort_keys=True), counted)
    try:
        case.planned(shape)
    except BudgetInfeasible as error:
        return replace(case, budget=error.floor)
    return case


@cache
def table_of(case, n_rows=N_ROWS, dim=DIM):
    """The table of a case over unit rows."""
    counts = frequency(n_rows) if case.counted else None
    return case.planned(TableShape(n_rows, dim)).fit(unit_matrix(n_rows, dim), frequency=counts)


def decoded(table, rows=None):
    """What the plain twin of a scheme reads from a table's arrays, float32[n, dim]."""
    rows = np.arange(table.shape.rows) if rows is None else rows
    return reference.rows_of(table.scheme.to_dict(), table.arrays(), rows, table.shape.dim)


FIELDS_CASE = Case(Fields.name, 1.0, json.dumps(_FIELDS_CONFIG))
#: One a scheme, the roomiest.
ROOMIEST = [feasible(name, BUDGETS[0]) for name in schemes.names()]
CASES = [
    *dict.fromkeys(feasible(name, budget) for name in schemes.names() for budget in BUDGETS),
    *(feasible(name, BUDGETS[0], **settings) for name, variants in VARIANTS.items() for settings in variants),
    *(feasible(name, BUDGETS[1], counted=False) for name in ("adapt", "mgqe")),
    FIELDS_CASE,
]
