"""Figures of data that decide which schemes are worth a try, and what they mean in words.

Nothing is said that is not computed from the data; schemes are named by the registry, through their families.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecstore.schemes import get, names
from vecstore.schemes.base import Family
from vecstore.schemes.projected import principal_axes
from vecstore.types import F32, I64
from vecstore_bench.click_rows import ClickData

__all__ = [
    "DESCRIPTION",
    "FieldFigures",
    "MatrixFigures",
    "as_document",
    "describe_clicks",
    "describe_matrix",
    "field_figures",
    "matrix_figures",
    "zipf_exponent",
]

#: The file of a run that has the description of its data.
DESCRIPTION = "data.json"
#: Share of look-ups, of ids, of squares, that counts as nearly all.
_MOST = 0.9
#: Ids that take nearly all look-ups are few up to this share of all, and many from the other on.
_FEW, _MANY = 0.2, 0.6
#: Share of ids that occur at most once from which on it is said.
_OFTEN_RARE = 0.25
#: Cosine from which rows are near-duplicates, and the share of rows from which on it is said.
_DUPLICATE_COSINE, _DUPLICATES = 0.99, 0.1
#: Rows that are compared with each other.
_COMPARED_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldFigures:
    """What the training rows say of a field.

    Attributes
    ----------
    field : str
    ids : int
        Without id 0, which is for what is missing or unseen.
    zipf : float
        Exponent of the rank-frequency law that fits best; 0 is uniform, 1 the classic law.
    cover : float
        Share of the ids that takes 90 % of the look-ups.
    rare : float
        Share of the ids that occur at most once.
    unseen : float
        Share of the test look-ups that training never saw.
    """

    field: str
    ids: int
    zipf: float
    cover: float
    rare: float
    unseen: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixFigures:
    """What a matrix of rows says.

    Attributes
    ----------
    rows, dim : int
    width_90, width_99 : int
        Principal axes of the centred rows that hold 90 and 99 % of their squares.
    duplicates : float
        Share of rows with another row at a cosine of 0.99 or more, among at most 4096 rows that are drawn.
    length_spread : float
        Standard deviation of the rows' lengths over their mean.
    """

    rows: int
    dim: int
    width_90: int
    width_99: int
    duplicates: float
    length_spread: float


def zipf_exponent(counts: I64) -> float:
    """Give the most likely exponent s of ``counts`` int64[n] under P(rank k) proportional to k^-s, from 0 to 5.

    The likelihood is highest where the mean log rank is the expected one, which falls with s: an interval is halved.
    """
    ranked = np.sort(counts[counts > 0])[::-1].astype(np.float64)
    if len(ranked) < 2:
        return 0.0
    logs = np.log(np.arange(1, len(ranked) + 1))
    mean = float(ranked @ logs / ranked.sum())
    low, high = 0.0, 5.0
    for _ in range(40):
        middle = (low + high) / 2
        weights = np.exp(-middle * logs)
        if float(weights @ logs / weights.sum()) > mean:
            low = middle
        else:
            high = middle
    return low


def field_figures(data: ClickData) -> list[FieldFigures]:
    """Give the figures of every field."""
    test = data.splits["test"].ids
    found = []
    for column, (name, counts) in enumerate(data.frequency().items()):
        own = counts[1:] if len(counts) > 1 else counts
        covered = np.searchsorted(np.cumsum(np.sort(own)[::-1]), _MOST * own.sum()) + 1
        found.append(
            FieldFigures(
                field=name,
                ids=len(own),
                zipf=zipf_exponent(own),
                cover=min(float(covered) / len(own), 1.0),
                rare=float((own <= 1).mean()),
                unseen=float((counts[test[:, column]] == 0).mean()),
            )
        )
    return found


def matrix_figures(rows: F32, *, seed: int = 0) -> MatrixFigures:
    """Give the figures of ``rows`` float32[n, dim]."""
    energies, _ = principal_axes(np.asarray(rows - rows.mean(axis=0), np.float32), None)
    shares = np.cumsum(energies) / max(float(energies.sum()), 1e-300)
    lengths = np.linalg.norm(rows, axis=1)
    return MatrixFigures(
        rows=len(rows),
        dim=rows.shape[1],
        width_90=int(np.searchsorted(shares, 0.9)) + 1,
        width_99=min(int(np.searchsorted(shares, 0.99)) + 1, rows.shape[1]),
        duplicates=_duplicates(rows, seed),
        length_spread=float(lengths.std() / max(float(lengths.mean()), 1e-300)),
    )


def describe_clicks(figures: Sequence[FieldFigures], dim: int) -> list[str]:
    """Say what the figures of fields mean for tables of ``dim`` numbers a row."""
    total = sum(own.ids for own in figures)
    largest = sorted(figures, key=lambda own: -own.ids)
    held = np.cumsum([own.ids for own in largest])
    main = largest[: int(np.searchsorted(held, _MOST * total)) + 1]
    said = [
        f"{len(figures)} fields have {total:,} ids, {4 * dim * total / 1e6:,.1f} MB of float32 at {dim} dimensions. "
        f"{_listed([own.field for own in main])} "
        f"{'holds' if len(main) == 1 else 'hold'} {held[len(main) - 1] / total:.0%} of them: their bytes are what a "
        "scheme saves; the others hardly count."
    ]
    ids = np.array([own.ids for own in main], float)
    cover, rare = (float(ids @ [getattr(own, name) for own in main] / ids.sum()) for name in ("cover", "rare"))
    said.append(_of_skew(cover))
    if rare >= _OFTEN_RARE:
        said.append(
            f"{rare:.0%} of their ids occur at most once in training. Nothing can be learned of such an id alone: its "
            "row is wasted, shared rows lose little, and `--min-count 2` gives all of them one."
        )
    if gone := [own for own in figures if own.unseen >= _DUPLICATES]:
        most = max(own.unseen for own in gone)
        said.append(
            f"In {_listed([own.field for own in gone])} up to {most:.0%} of the test look-ups are of values that "
            "training never saw. No compression changes that; new values need rows, or vectors that come from a hash."
        )
    zipf = [own.zipf for own in figures]
    if max(zipf) - min(zipf) > 0.5:
        said.append(
            f"Fields differ: exponents of their rank-frequency laws go from {min(zipf):.2f} to {max(zipf):.2f}. `auto` "
            "chooses a scheme for each of them."
        )
    return said


def _of_skew(cover: float) -> str:
    """Say what it means that a share of the ids takes 90 % of the look-ups."""
    if cover <= _FEW:
        return (
            f"In these, {cover:.0%} of the ids take 90 % of the look-ups. Schemes that give frequent ids more than "
            f"rare ones keep most of the quality in few bytes: {_family(Family.SHARING)}."
        )
    if cover >= _MANY:
        return (
            f"In these, look-ups are spread: 90 % of them go to {cover:.0%} of the ids. There are no few frequent ids "
            "to favour, so all must get smaller alike: fewer bits or dimensions "
            f"({_family(Family.QUANTISATION)}; {_family(Family.DIMENSION)}) or numbers that are shared "
            f"({_family(Family.HASHING)})."
        )
    return (
        f"In these, {cover:.0%} of the ids take 90 % of the look-ups: skewed, but not so much that frequent ids alone "
        "decide. Both ways are worth a try."
    )


def describe_matrix(figures: MatrixFigures) -> list[str]:
    """Say what the figures of a matrix mean."""
    few, many, dim = figures.width_90, figures.width_99, figures.dim
    said = [f"{figures.rows:,} rows of {dim} numbers, {4 * figures.rows * dim / 1e6:,.1f} MB of float32."]
    if many <= dim // 2:
        said.append(
            f"{few} principal axes hold 90 % of the squares and {many} hold 99 %: rows of fewer numbers lose next to "
            f"nothing ({_family(Family.DIMENSION, trained=False)})."
        )
    else:
        said.append(
            f"It takes {many} of {dim} principal axes to hold 99 % of the squares ({few} for 90 %): dimensions cannot "
            f"be left out cheaply, bits can ({_family(Family.QUANTISATION, trained=False)})."
        )
    if figures.duplicates >= _DUPLICATES:
        said.append(
            f"{figures.duplicates:.0%} of the rows have another one at a cosine of {_DUPLICATE_COSINE} or more: "
            f"schemes that share rows pay ({_family(Family.SHARING, trained=False)})."
        )
    else:
        said.append(f"{figures.duplicates:.1%} of the rows have a near-duplicate: whole rows have little to share.")
    if figures.length_spread > 0.5:
        said.append(
            f"Lengths of rows differ (they deviate by {figures.length_spread:.0%} of the mean): a scale a row is worth "
            "its four bytes."
        )
    return said


def _duplicates(rows: F32, seed: int) -> float:
    own = rows
    if len(rows) > _COMPARED_ROWS:
        own = rows[np.random.default_rng(seed).choice(len(rows), _COMPARED_ROWS, replace=False)]
    unit = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-30)
    cosines: NDArray[np.float32] = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    return float((cosines.max(axis=1) >= _DUPLICATE_COSINE).mean()) if len(own) > 1 else 0.0


def _family(family: Family, *, trained: bool = True) -> str:
    """Give the schemes of a family that can be trained, or fitted to rows that exist."""
    own = [name for name in names() if get(name).family is family]
    able = [name for name in own if (get(name).capabilities.trained if trained else get(name).capabilities.posthoc)]
    return ", ".join(f"`{name}`" for name in able)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def as_document(figures: Sequence[FieldFigures], said: Sequence[str]) -> Mapping[str, object]:
    """Give a description of click data as JSON types."""
    return {
        "fields": [{name: getattr(own, name) for name in FieldFigures.__slots__} for own in figures],
        "says": list(said),
    }
