"""vecstore: a vector database whose stored form is learned compression.

>>> import vecstore
>>> db = vecstore.open("./store")
>>> docs = db.create_collection("docs", dim=384)

The names below are imported when they are first used, so that ``import vecstore`` itself is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vecstore.advisor import Advice, advise
    from vecstore.api import Collection, CollectionStats, CompressReport, Database, Table, TableStats, TableVersion
    from vecstore.client import connect
    from vecstore.config import CollectionConfig, HnswConfig, StoreConfig
    from vecstore.database import EmbeddedDatabase
    from vecstore.database import EmbeddedDatabase as open  # noqa: A004 - vecstore.open is the documented name
    from vecstore.errors import (
        AlreadyExistsError,
        AuthenticationError,
        BudgetInfeasible,
        CorruptionError,
        DeadlineError,
        FilterError,
        ForkError,
        FormatError,
        InternalError,
        InvalidArgumentError,
        LimitError,
        MissingDependencyError,
        NotFoundError,
        PermissionDeniedError,
        QualityWarning,
        ReadOnlyError,
        StorageFull,
        StoreClosed,
        StoreLocked,
        UnavailableError,
        VecstoreError,
    )
    from vecstore.filters import Filter, col
    from vecstore.fitting import FitReport, fit_table
    from vecstore.types import Hit, Hits, Metric, Point
    from vecstore.warming import WarmupReport, warmup

_HOMES = {
    "vecstore.advisor": ("Advice", "advise"),
    "vecstore.api": (
        "Collection",
        "CollectionStats",
        "CompressReport",
        "Database",
        "Table",
        "TableStats",
        "TableVersion",
    ),
    "vecstore.client": ("connect",),
    "vecstore.config": ("CollectionConfig", "HnswConfig", "StoreConfig"),
    "vecstore.database": ("EmbeddedDatabase",),
    "vecstore.errors": (
        "AlreadyExistsError",
        "AuthenticationError",
        "BudgetInfeasible",
        "CorruptionError",
        "DeadlineError",
        "FilterError",
        "ForkError",
        "FormatError",
        "InternalError",
        "InvalidArgumentError",
        "LimitError",
        "MissingDependencyError",
        "NotFoundError",
        "PermissionDeniedError",
        "QualityWarning",
        "ReadOnlyError",
        "StorageFull",
        "StoreClosed",
        "StoreLocked",
        "UnavailableError",
        "VecstoreError",
    ),
    "vecstore.filters": ("Filter", "col"),
    "vecstore.fitting": ("FitReport", "fit_table"),
    "vecstore.types": ("Hit", "Hits", "Metric", "Point"),
    "vecstore.warming": ("WarmupReport", "warmup"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Advice",
    "AlreadyExistsError",
    "AuthenticationError",
    "BudgetInfeasible",
    "Collection",
    "CollectionConfig",
    "CollectionStats",
    "CompressReport",
    "CorruptionError",
    "Database",
    "DeadlineError",
    "EmbeddedDatabase",
    "Filter",
    "FilterError",
    "FitReport",
    "ForkError",
    "FormatError",
    "Hit",
    "Hits",
    "HnswConfig",
    "InternalError",
    "InvalidArgumentError",
    "LimitError",
    "Metric",
    "MissingDependencyError",
    "NotFoundError",
    "PermissionDeniedError",
    "Point",
    "QualityWarning",
    "ReadOnlyError",
    "StorageFull",
    "StoreClosed",
    "StoreConfig",
    "StoreLocked",
    "Table",
    "TableStats",
    "TableVersion",
    "UnavailableError",
    "VecstoreError",
    "WarmupReport",
    "__version__",
    "advise",
    "col",
    "connect",
    "fit_table",
    "open",
    "warmup",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first used."""
    if name == "open":
        return importlib.import_module("vecstore.database").EmbeddedDatabase
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'vecstore' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
