"""A scheme for each field under one budget (``auto``): every field's curve of bytes and error is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vecstore import schemes
from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.planning import frame_cost, scheme_bytes
from vecstore.schemes.base import Family, Fitting, Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes
from vecstore.schemes.fields import Field, Fields, Part
from vecstore.schemes.full import Full
from vecstore.schemes.knapsack import Option, chosen_options
from vecstore.types import F32, I64

__all__ = ["AUTO", "Choice", "FieldChoice", "candidates", "choose_fields", "smallest_fields"]

#: The name under which tables and layers are asked for whose fields have a scheme each.
AUTO = "auto"
#: Shares of a field's float32 bytes at which every scheme is measured.
_SHARES = (0.5, 0.25, 0.125, 1 / 16, 1 / 32, 1 / 64, 1 / 256)
#: Rows of a field that are measured; of larger fields that many are drawn.
_SAMPLED_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChoice:
    """What a field got, and what else there was.

    Attributes
    ----------
    field : str
    scheme : Scheme
    bytes : int
        That it adds to a stored version.
    error : float
        Expected squared difference of a look-up of this field, over the mean square of its vectors: 0 is exact, 1 no
        better than zeros.
    share : float
        Of the error of all fields together, weighted by how much the fields matter.
    measured : tuple of (str, int, float)
        Name, bytes and error of every form that was measured.
    """

    field: str
    scheme: Scheme
    bytes: int
    error: float
    share: float
    measured: tuple[tuple[str, int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A scheme for each field.

    Attributes
    ----------
    plan : Fields
    fields : tuple of FieldChoice
    allowed, reached : int
        Bytes of the budget, and of a stored version.
    """

    plan: Fields
    fields: tuple[FieldChoice, ...]
    allowed: int
    reached: int

    def __str__(self) -> str:
        """Give a line for each field, and one for all."""
        width = max(len(own.field) for own in self.fields)
        lines = [
            f"{own.field:<{width}}  {own.scheme.name:<12} {own.bytes:>12,} bytes  error {own.error:.4f}  "
            f"({own.share:.0%} of what is lost; {len(own.measured)} forms measured)"
            for own in self.fields
        ]
        return "\n".join([*lines, f"{self.reached:,} of {self.allowed:,} bytes"])


def candidates(names: Iterable[str] | None = None) -> list[type[Scheme]]:
    """Give the schemes that fields may get.

    Parameters
    ----------
    names : iterable of str, optional
        By default all that can be fitted to rows of any kind, and the baselines, which have no floor.

    Raises
    ------
    InvalidArgumentError
        One of the names is of a scheme that has one table for all fields, or is fitted by training.
    NotFoundError
        There is no such scheme.
    """
    chosen = [schemes.get(name) for name in (schemes.names() if names is None else names)]
    if names is None:
        able = [own for own in chosen if own.capabilities.posthoc or own.family is Family.BASELINE]
        return [own for own in able if _measurable(own)]
    if refused := [own.name for own in chosen if not _measurable(own)]:
        raise InvalidArgumentError(
            f"schemes: {', '.join(refused)} cannot be measured field by field; leave them out", field="schemes"
        )
    return chosen


def _measurable(scheme: type[Scheme]) -> bool:
    return not scheme.capabilities.joint and scheme.capabilities.fitting is not Fitting.DISTILLED


def choose_fields(
    matrices: Mapping[str, F32],
    budget: float | int,
    *,
    frequency: Mapping[str, I64] | None = None,
    importance: Mapping[str, float] | None = None,
    among: Sequence[type[Scheme]] | None = None,
    seed: int = 0,
) -> Choice:
    """Choose the schemes that lose least together, within the bytes of all files of a stored version.

    What is lost by a form of a field is ``importance * sum of counts * squared difference`` over the field's rows, for
    rows that are fitted to the matrix. Every scheme is measured at several shares of the field's bytes, on at most 4096
    rows, drawn with the seed; then :func:`~vecstore.schemes.knapsack.chosen_options` chooses.

    Parameters
    ----------
    matrices : mapping of str to float32[n, dim]
        Field -> its rows.
    budget : float or int
        A fraction of the float32 matrices where it is a float in (0, 1], absolute bytes where it is an int.
    frequency : mapping of str to int64[n], optional
        How often each row is looked up; once each by default.
    importance : mapping of str to float, optional
        How much a squared difference in a vector of a field matters; alike by default.
    among : sequence of type of Scheme, optional
        See :func:`candidates`.
    seed : int

    Raises
    ------
    BudgetInfeasible
        Carries the floor in bytes.
    """
    among = candidates() if among is None else among
    dim = next(iter(matrices.values())).shape[1]
    fields = tuple(Field(name=name, size=len(matrix)) for name, matrix in matrices.items())
    curves = [
        _curve(matrix, None if frequency is None else frequency[name], among, seed) for name, matrix in matrices.items()
    ]
    weights = [1.0 if importance is None else importance[name] for name in matrices]
    totals = [_total(matrix, None if frequency is None else frequency[name]) for name, matrix in matrices.items()]
    allowed, frame = _allowed(fields, dim, budget), frame_cost(fields, dim)
    options = [
        [Option(form.cost, weight * total * form.error) for form in curve]
        for curve, weight, total in zip(curves, weights, totals, strict=True)
    ]
    places = chosen_options(options, allowed - frame)
    if places is None:
        floor = frame + sum(min(option.cost for option in own) for own in options)
        raise _too_small(allowed, floor)
    lost = [own[place].loss for own, place in zip(options, places, strict=True)]
    found = tuple(
        FieldChoice(
            field=field.name,
            scheme=curve[place].scheme,
            bytes=curve[place].cost,
            error=curve[place].error,
            share=own / (sum(lost) or 1.0),
            measured=tuple((form.scheme.name, form.cost, form.error) for form in curve),
        )
        for field, curve, place, own in zip(fields, curves, places, lost, strict=True)
    )
    plan = Fields(fields=fields, parts=tuple(Part(scheme=own.scheme.to_dict()) for own in found))
    return Choice(plan=plan, fields=found, allowed=allowed, reached=frame + sum(own.bytes for own in found))


def smallest_fields(sizes: Mapping[str, int], dim: int, budget: float | int, *, among: Sequence[type[Scheme]]) -> int:
    """Give the bytes that a budget allows, once it is sure that some choice fits, whatever the rows will be.

    Raises
    ------
    BudgetInfeasible
        Carries the floor in bytes.
    """
    fields = tuple(Field(name=name, size=size) for name, size in sizes.items())
    allowed = _allowed(fields, dim, budget)
    shapes = [TableShape(size, dim) for size in sizes.values()]
    floor = frame_cost(fields, dim) + sum(min(_cost(own, shape) for own in _forms(among, shape)) for shape in shapes)
    if floor > allowed:
        raise _too_small(allowed, floor)
    return allowed


def _allowed(fields: Sequence[Field], dim: int, budget: float | int) -> int:
    """Give the bytes that a budget allows; 1.0 allows the float32 rows with their description and framing."""
    if isinstance(budget, float) and budget == 1:
        return frame_cost(tuple(fields), dim) + sum(_cost(Full(), TableShape(own.size, dim)) for own in fields)
    return allowed_bytes(TableShape(sum(own.size for own in fields), dim), budget)


@dataclass(frozen=True, slots=True)
class _Form:
    """A scheme for a field, its bytes, and its relative error."""

    scheme: Scheme
    cost: int
    error: float


def _curve(matrix: F32, counts: I64 | None, among: Sequence[type[Scheme]], seed: int) -> list[_Form]:
    """Measure every scheme on a field, at each form that it has for one of the shares."""
    shape = TableShape(*matrix.shape)
    sample, own_counts = _sampled(matrix, counts, seed)
    sample_shape = TableShape(*sample.shape)
    found = []
    for planned in _forms(among, shape, counts):
        cost = _cost(planned, shape)
        if cost >= _cost(Full(), shape) and not planned.capabilities.exact:
            continue
        fitted = planned if len(sample) == len(matrix) else _alike(planned, shape, sample_shape, own_counts)
        found.append(_Form(planned, cost, _error(fitted, sample, own_counts, seed)))
    return found


def _forms(among: Sequence[type[Scheme]], shape: TableShape, counts: I64 | None = None) -> Iterator[Scheme]:
    """Give the forms that schemes have for a field at the shares, each once, and the smallest of each."""
    every: list[type[Scheme]] = [Full, *(own for own in among if own is not Full)]
    for scheme in every:
        seen = set()
        for share in (*_SHARES, 0.0):
            planned = _planned(scheme, shape, int(share * shape.float32_bytes), counts)
            if repr(planned) not in seen:
                seen.add(repr(planned))
                yield planned


def _planned(scheme: type[Scheme], shape: TableShape, allowed: int, counts: I64 | None) -> Scheme:
    """Give the form for these bytes, or the smallest there is."""
    try:
        return scheme.plan(shape, allowed, counts, scheme.field_parameters)
    except BudgetInfeasible as error:
        return scheme.plan(shape, error.floor, counts, scheme.field_parameters)


def _alike(planned: Scheme, shape: TableShape, sample: TableShape, counts: I64 | None) -> Scheme:
    """Give the form of the same scheme that takes the same share of the bytes of a sample."""
    return _planned(type(planned), sample, planned.nbytes(shape) * sample.rows // shape.rows, counts)


def _cost(scheme: Scheme, shape: TableShape) -> int:
    return scheme_bytes(shape, 1, scheme)


def _sampled(matrix: F32, counts: I64 | None, seed: int) -> tuple[F32, I64 | None]:
    if len(matrix) <= _SAMPLED_ROWS:
        return matrix, counts
    rows = np.sort(np.random.default_rng(seed).choice(len(matrix), _SAMPLED_ROWS, replace=False))
    return matrix[rows], None if counts is None else counts[rows]


def _error(scheme: Scheme, rows: F32, counts: I64 | None, seed: int) -> float:
    """Give the expected squared difference of a look-up over the expected square."""
    decoded = scheme.fit(rows, frequency=counts, seed=seed).lookup(np.arange(len(rows)))
    lost = ((decoded.astype(np.float64) - rows) ** 2).sum(axis=1)
    weights = np.ones(len(rows)) if counts is None else counts.astype(np.float64)
    total = float(weights @ (rows.astype(np.float64) ** 2).sum(axis=1))
    return float(weights @ lost) / total if total else 0.0


def _total(matrix: F32, counts: I64 | None) -> float:
    """Give the sum of the squares of all rows, each as often as it is looked up."""
    squares = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    return float(squares.sum() if counts is None else squares @ counts)


def _too_small(allowed: int, floor: int) -> BudgetInfeasible:
    return BudgetInfeasible(
        f"{AUTO!r} needs at least {floor:,} bytes for these fields, description and framing included, and the budget "
        f"allows {allowed:,}; raise the budget or allow further schemes",
        floor=floor,
        reachable=(floor,),
    )
