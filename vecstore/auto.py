"""The scheme ``auto``: which stored form a collection has is decided once there are rows to measure it on."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from vecstore.advice import MAX_ADVISED_K, MIN_ADVISED_ROWS
from vecstore.config import CollectionConfig, Config
from vecstore.errors import InvalidArgumentError
from vecstore.schemes.base import TableShape
from vecstore.schemes.checks import allowed_bytes
from vecstore.types import F32, as_count, as_recall

__all__ = ["Auto", "as_auto"]


class Auto(Config, frozen=True, kw_only=True, tag_field="scheme", tag="auto"):
    """What is asked of the form that will be chosen; in the settings of a collection until it is.

    Attributes
    ----------
    target_recall : float
    k : int
    max_bytes : float, int or None
        As for :func:`vecstore.advise`.
    version : int
        Version of this config.
    """

    target_recall: float = 0.95
    k: int = 10
    max_bytes: int | float | None = None
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check types and ranges."""
        super().__post_init__()
        as_recall(self.target_recall, name="target_recall")
        as_count(self.k, name="k", limit=MAX_ADVISED_K)
        if self.max_bytes is not None:
            allowed_bytes(TableShape(1, 1), self.max_bytes, name="max_bytes")

    def decided(self, settings: CollectionConfig, vectors: F32, total_rows: int) -> CollectionConfig:
        """Give the settings of a collection with the form that was found to do.

        Parameters
        ----------
        settings : CollectionConfig
            Its own recall is kept, and its index where there is to be one.
        vectors : float32[n, dim]
            At least ``MIN_ADVISED_ROWS`` of its rows.
        total_rows : int
            How many it has.

        Raises
        ------
        BudgetInfeasible
            No form reaches the recall in so few bytes.
        """
        from vecstore.advisor import advise  # with every scheme and transform, which a search does without

        advice = advise(
            vectors,
            metric=settings.metric,
            target_recall=self.target_recall,
            k=self.k,
            max_bytes=self.max_bytes,
            total_rows=total_rows,
        )
        chosen = advice.arguments
        return msgspec.structs.replace(
            settings,
            scheme=chosen["scheme"],
            refine=chosen["refine"],
            index=settings.index if chosen["index"] else None,
            recall=settings.recall or chosen["recall"],
        )

    @staticmethod
    def undecided(settings: CollectionConfig) -> CollectionConfig:
        """Give the settings by which rows are stored until then."""
        return msgspec.structs.replace(settings, scheme={"scheme": "full"}, refine=None)

    @staticmethod
    def has_enough(rows: int) -> bool:
        """Tell whether so many rows can be measured."""
        return rows >= MIN_ADVISED_ROWS


def as_auto(scheme: Any, **others: Any) -> Auto | None:
    """Give the settings of ``auto`` where a scheme, by name or as a config, is that; None where it is another.

    Raises
    ------
    InvalidArgumentError
        A setting is wrong, or one of ``others``, which it chooses itself, is given too.
    """
    config = {"scheme": scheme} if isinstance(scheme, str) else scheme
    if not isinstance(config, dict) or config.get("scheme") != "auto":
        return None
    for name, value in others.items():
        if value is not None:
            raise InvalidArgumentError(f"{name}: the scheme 'auto' chooses it; leave it out", field=name)
    return Auto.from_dict(config)
