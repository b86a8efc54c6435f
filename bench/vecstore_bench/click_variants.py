"""Controlled variants of a data set: the same rows and labels, with ids merged and split, so that one thing changes.

All begin with the ids that occur twice or more in training (the *2-core*); id 0, for what is missing or was not seen,
stays what it is. A *split* gives each occurrence of an id one of two new ids, by a coin.

===============  ====================================================================================================
``2-core``       ids that occur once become id 0
``sparsified``   every id is split in two: twice as many ids, each half as often
``densified``    ids are merged in random pairs: half as many, each twice as often
``more-skewed``  the rarest third is split, the others are merged with their neighbours in rank: as many ids
``less-skewed``  the most frequent third is split, the others are merged with their neighbours in rank: as many ids
===============  ====================================================================================================

References
----------
Zhang et al., "Experimental Analysis of Large-scale Learnable Vector Storage Compression", VLDB 2024, for the variants
and their sizes; how it merges and splits for the skewed ones is not published, so that is chosen here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import NotFoundError
from vecstore.types import I64
from vecstore_bench.click_rows import finish_saved, open_clicks

__all__ = ["VARIANTS", "Regrouping", "vary"]

#: Rows that are changed at a time.
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Regrouping:
    """What becomes of the ids of a field.

    Attributes
    ----------
    first : int64[size]
        The new id, or the first of two.
    split : bool[size]
        Whether the next id is another new one.
    size : int
        New ids, 0 included.
    """

    first: I64
    split: NDArray[np.bool_]
    size: int


#: Gives what becomes of the ids of a field, of how often they occur, most frequent first, and a generator: groups of
#: neighbours int64[n], counting from 0, and which of them are split bool[n].
_Grouping = Callable[[int, np.random.Generator], tuple[I64, NDArray[np.bool_]]]


def _as_they_are(n: int, _: np.random.Generator) -> tuple[I64, NDArray[np.bool_]]:
    return np.arange(n), np.zeros(n, bool)


def _all_split(n: int, _: np.random.Generator) -> tuple[I64, NDArray[np.bool_]]:
    return np.arange(n), np.ones(n, bool)


def _random_pairs(n: int, draws: np.random.Generator) -> tuple[I64, NDArray[np.bool_]]:
    return draws.permutation(n) // 2, np.zeros(n, bool)


def _rarest_split(n: int, _: np.random.Generator) -> tuple[I64, NDArray[np.bool_]]:
    merged = n - n // 3
    groups = np.concatenate([np.arange(merged) // 2, -(-merged // 2) + np.arange(n // 3)])
    return groups, np.arange(n) >= merged


def _frequent_split(n: int, _: np.random.Generator) -> tuple[I64, NDArray[np.bool_]]:
    kept = n // 3
    groups = np.concatenate([np.arange(kept), kept + np.arange(n - kept) // 2])
    return groups, np.arange(n) < kept


VARIANTS: Mapping[str, _Grouping] = MappingProxyType(
    {
        "2-core": _as_they_are,
        "sparsified": _all_split,
        "densified": _random_pairs,
        "more-skewed": _rarest_split,
        "less-skewed": _frequent_split,
    }
)


def vary(folder: Path, variant: str, *, seed: int = 0) -> None:
    """Change the ids of a data set of :func:`vecstore_bench.click_rows.save_clicks` in place, block by block.

    Parameters
    ----------
    folder : Path
    variant : str
        Of :data:`VARIANTS`.
    seed : int
        Of coins and random pairs.

    Raises
    ------
    NotFoundError
        There is no such variant.
    """
    if variant not in VARIANTS:
        raise NotFoundError(f"there is no variant {variant!r}; there are: {', '.join(VARIANTS)}", field="variant")
    data = open_clicks(folder, mode="r+")
    draws = np.random.default_rng([seed, len(data.splits)])
    groups = {name: _regrouping(counts, VARIANTS[variant], draws) for name, counts in data.frequency().items()}
    for number, rows in enumerate(data.splits.values()):
        coins = np.random.default_rng([seed, number])
        for start in range(0, len(rows), _BLOCK_ROWS):
            _change(rows.ids[start : start + _BLOCK_ROWS], list(groups.values()), coins)
    finish_saved(folder, f"{data.name}, {variant}", {name: own.size for name, own in groups.items()})


def _regrouping(counts: I64, grouping: _Grouping, draws: np.random.Generator) -> Regrouping:
    core = 1 + np.flatnonzero(counts[1:] >= 2)
    ranked = core[np.argsort(-counts[core], kind="stable")]
    groups, split = grouping(len(ranked), draws)
    # A group that is split takes two ids; the group of an id is split if the id is.
    n_groups = int(groups.max(initial=-1)) + 1
    widths = np.ones(n_groups, np.int64)
    widths[groups[split]] = 2
    starts = 1 + np.cumsum(widths) - widths
    first, halved = np.zeros(len(counts), np.int64), np.zeros(len(counts), bool)
    first[ranked], halved[ranked] = starts[groups], split
    return Regrouping(first, halved, 1 + int(widths.sum()))


def _change(ids: NDArray[Any], groups: list[Regrouping], coins: np.random.Generator) -> None:
    """Give ids int32[n, fields] their new values, in place; a coin is drawn for every one of them."""
    heads = coins.random(ids.shape) < 0.5
    for column, own in enumerate(groups):
        old = ids[:, column]
        ids[:, column] = own.first[old] + (own.split[old] & heads[:, column])
