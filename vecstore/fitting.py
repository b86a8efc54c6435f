"""Compress a matrix that there is into an embedding table, by any scheme, and say what quality that has."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecstore import schemes
from vecstore.choosing import AUTO, Choice, candidates, choose_fields
from vecstore.errors import InvalidArgumentError, MissingDependencyError, QualityWarning, VecstoreError
from vecstore.fidelity import Fidelity
from vecstore.planning import plan_fields
from vecstore.schemes.base import CompressedTable, Fitting, Progress, Scheme
from vecstore.schemes.checks import allowed_bytes, table_matrix
from vecstore.schemes.fields import Fields, FieldsTable, FitPart, Part
from vecstore.schemes.full import Full
from vecstore.schemes.single_field import ROW_FIELD
from vecstore.types import F32, I64

__all__ = ["POOR_ERROR", "FitReport", "fit_table", "plan_table"]

#: Relative error from which a fit is called poor. A row then has a cosine of about 0.9 to what it was, and in this
#: project's measurements of codecs fewer than half of the ten nearest rows were still found.
POOR_ERROR = 0.2
#: Rows compared at a time.
_BLOCK_ROWS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class FitReport:
    """What fitting a scheme to a matrix reached, measured on all rows, each counting once.

    Attributes
    ----------
    scheme : str
        Name of the scheme.
    fields : dict of str to int
        Field -> rows, in order.
    fitting : Fitting
        How the scheme reproduces a matrix: ``exact``, ``codec``, ``closed form``, ...
    kept_full : tuple of str
        Fields that stay float32, because the scheme would not make them smaller.
    bytes_before : int
        Bytes of the float32 matrix.
    bytes_asked, bytes_reached : int
        Bytes that the budget allows for all files of a stored version, and those of the table's arrays.
    relative_error : float
        Sum of squared differences over the sum of squares of the matrix.
    cosine : float
        Mean cosine of the angle between a row and what became of it, over rows that are not 0.
    seconds : float
        Wall time of planning, fitting and measuring.
    choice : Choice or None
        Of ``auto``: what each field got, and all that was measured.
    """

    scheme: str
    fields: dict[str, int]
    fitting: Fitting
    kept_full: tuple[str, ...]
    bytes_before: int
    bytes_asked: int
    bytes_reached: int
    relative_error: float
    cosine: float
    seconds: float
    choice: Choice | None = None

    @property
    def ratio(self) -> float:
        """Bytes of the float32 matrix over those of the table."""
        return self.bytes_before / max(self.bytes_reached, 1)

    def __str__(self) -> str:
        """Give all of it in one line."""
        full = f" ({', '.join(self.kept_full)} full)" if self.kept_full else ""
        fields = f"{len(self.fields)} field{'s' if len(self.fields) > 1 else ''}{full}"
        return (
            f"{self.scheme} ({self.fitting}): {sum(self.fields.values()):,} rows of {fields}, "
            f"{self.bytes_reached:,} of {self.bytes_asked:,} bytes ({self.ratio:.2f} times smaller than float32), "
            f"relative error {self.relative_error:.3g}, mean cosine {self.cosine:.4f}, {self.seconds:.1f} s"
        )


def fit_table(
    scheme: str,
    vectors: Any,
    *,
    budget: float | int,
    frequency: Any = None,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> tuple[FieldsTable, FitReport]:
    """Compress a matrix, or one a field, within a budget, and measure what became of it.

    >>> table, report = vecstore.fit_table("mde", vectors, budget=0.25)
    >>> db.put_table("words", table)

    Parameters
    ----------
    scheme : str
        Name of any scheme. ``capabilities.fitting`` says how it reproduces a matrix, and ``capabilities.posthoc``
        whether that has a useful quality for rows of any kind. Or ``auto``: each field gets the scheme and bytes with
        which all of them lose least (:func:`vecstore.choosing.choose_fields`); ``report.choice`` says why.
    vectors : array_like or mapping of str to array_like
        float32[n, dim], whose table has one field, ``row``; or field -> float32[n, dim]. Row i has the id i.
    budget : float or int
        A fraction of the float32 matrix where it is a float in (0, 1], absolute bytes where it is an int. It covers
        every byte of the files of a stored version.
    frequency : int64[n] or mapping of str to int64[n], optional
        How often each row is used, in the form of ``vectors``: schemes that tell frequent rows from rare ones favour
        them, and errors of frequent rows weigh more. The report counts all rows alike.
    parameters : mapping, optional
        Settings of the scheme that are given and not chosen by the budget; of ``auto`` the names ``schemes``.
    seed : int
        Of all that is drawn: equal arguments give equal arrays.
    on_progress : callable, optional
        Called with (rows done, rows in all).

    Returns
    -------
    table : FieldsTable
        To be stored with ``put_table``.
    report : FitReport

    Raises
    ------
    BudgetInfeasible
        Carries the floor in bytes.
    InvalidArgumentError
        Not matrices of finite numbers of one dimension, counts that do not fit them, an unknown parameter, or values
        that the scheme cannot hold.
    MissingDependencyError
        The scheme is distilled, and torch is not installed.
    NotFoundError
        There is no such scheme.

    Warns
    -----
    QualityWarning
        The scheme is not meant for matrices of any kind, or the relative error is 0.2 or more.
    """
    started = time.perf_counter()
    plan, matrices, counts, choice = _planned(scheme, vectors, budget, frequency, parameters)
    fit_part = _fit_part(plan, seed)
    whole = np.concatenate(list(matrices.values()))
    joined = None if counts is None else np.concatenate(list(counts.values()))
    table = plan.fitted_by(fit_part, whole, joined, on_progress)
    fidelity = _measured(whole, table)
    report = FitReport(
        scheme=scheme,
        fields={name: len(matrix) for name, matrix in matrices.items()},
        fitting=Fitting.CODEC if choice is not None else schemes.get(scheme).capabilities.fitting,
        kept_full=tuple(_kept_full(plan, scheme)),
        bytes_before=table.shape.float32_bytes,
        bytes_asked=allowed_bytes(table.shape, budget),
        bytes_reached=table.nbytes,
        relative_error=fidelity.relative_error,
        cosine=fidelity.cosine,
        seconds=time.perf_counter() - started,
        choice=choice,
    )
    _warn_if_poor(report, whole.shape[1])
    return table, report


def plan_table(
    scheme: str,
    vectors: Any,
    *,
    budget: float | int,
    frequency: Any = None,
    parameters: Mapping[str, Any] | None = None,
) -> Fields:
    """Give what :func:`fit_table` would make; arguments and errors are the same, but nothing is fitted yet."""
    plan = _planned(scheme, vectors, budget, frequency, parameters)[0]
    _fit_part(plan, 0)
    return plan


def _planned(
    scheme: str, vectors: Any, budget: float | int, frequency: Any, parameters: Mapping[str, Any] | None
) -> tuple[Fields, dict[str, F32], dict[str, I64] | None, Choice | None]:
    """Check all arguments; give the plan, the matrices and counts of the fields, and why ``auto`` planned so."""
    matrices = _matrices(vectors)
    counts = None if frequency is None else _counts(frequency, matrices)
    if scheme == AUTO:
        choice = choose_fields(matrices, budget, frequency=counts, among=_among(parameters))
        return choice.plan, matrices, counts, choice
    sizes = {name: len(matrix) for name, matrix in matrices.items()}
    dim = next(iter(matrices.values())).shape[1]
    plan = _suited(
        plan_fields(scheme, sizes, dim, budget, frequency=counts, parameters=parameters), scheme, matrices, counts
    )
    if len(plan.parts) == len(matrices):
        for part, matrix in zip(plan.schemes(), matrices.values(), strict=True):
            part.check(matrix)
    return plan, matrices, counts, None


def _among(parameters: Mapping[str, Any] | None) -> list[type[Scheme]]:
    """Give the schemes that ``auto`` may choose from."""
    given = dict(parameters or {})
    names = given.pop("schemes", None)
    if given:
        raise InvalidArgumentError(
            f"{AUTO}: there is no parameter {', '.join(map(repr, given))}; there is: 'schemes'", field=next(iter(given))
        )
    return candidates(names)


def _matrices(vectors: Any) -> dict[str, F32]:
    """Give the matrix of each field, checked."""
    given = vectors if isinstance(vectors, Mapping) else {ROW_FIELD: vectors}
    if not given:
        raise InvalidArgumentError("vectors: expected at least one field", field="vectors")
    if any(not isinstance(name, str) or not name for name in given):
        raise InvalidArgumentError(f"vectors: expected names of fields, got {list(given)}", field="vectors")
    matrices = {name: _matrix(name, values) for name, values in given.items()}
    dims = {name: matrix.shape[1] for name, matrix in matrices.items()}
    if len(set(dims.values())) > 1:
        raise InvalidArgumentError(f"vectors: all fields need as many dimensions, got {dims}", field="vectors")
    return matrices


def _matrix(name: str, values: Any) -> F32:
    try:
        matrix = table_matrix(np.asarray(values))
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"field {name!r}: {error.message}", field="vectors") from None
    except ValueError as error:
        raise InvalidArgumentError(f"field {name!r}: expected numbers [n, dim] ({error})", field="vectors") from None
    if not len(matrix):
        raise InvalidArgumentError(f"field {name!r}: there are no rows", field="vectors")
    return matrix


def _counts(frequency: Any, matrices: Mapping[str, F32]) -> dict[str, I64]:
    """Give the counts of each field, checked against its rows."""
    given = frequency if isinstance(frequency, Mapping) else {ROW_FIELD: frequency}
    if set(given) != set(matrices):
        raise InvalidArgumentError(
            f"frequency: expected counts of the fields {', '.join(matrices)}, got {', '.join(map(str, given))}",
            field="frequency",
        )
    counts = {}
    for name, matrix in matrices.items():
        own = np.asarray(given[name])
        if own.dtype.kind not in "iu" or own.shape != (len(matrix),) or (own < 0).any():
            raise InvalidArgumentError(
                f"frequency: expected int64[{len(matrix)}] of at least 0 for the field {name!r}, got "
                f"{own.dtype}{list(own.shape)}",
                field="frequency",
            )
        counts[name] = own.astype(np.int64)
    return counts


def _suited(plan: Fields, scheme: str, matrices: Mapping[str, F32], counts: Mapping[str, I64] | None) -> Fields:
    """Let the scheme change the plans of its fields now that their rows are known."""
    cls = schemes.get(scheme)
    if cls.capabilities.joint:
        return plan
    planned: dict[str, Scheme] = dict(zip(matrices, plan.schemes(), strict=True))
    own = {name: config for name, config in planned.items() if isinstance(config, cls)}
    frequency = [None if counts is None else counts[name] for name in own]
    suited = cls.plan_fitted(list(own.values()), [matrices[name] for name in own], frequency)
    planned |= dict(zip(own, suited, strict=True))
    return Fields(fields=plan.fields, parts=tuple(Part(scheme=config.to_dict()) for config in planned.values()))


def _kept_full(plan: Fields, scheme: str) -> list[str]:
    """Give the fields that stay float32 although something else was asked for."""
    if len(plan.parts) != len(plan.fields) or scheme == Full.name:
        return []
    names = [part.scheme["scheme"] for part in plan.parts]
    return [field.name for field, name in zip(plan.fields, names, strict=True) if name == Full.name]


def _fit_part(plan: Fields, seed: int) -> FitPart:
    """Give what fits one part, whichever way its scheme is fitted.

    Raises
    ------
    MissingDependencyError
        A part is distilled, and torch is not installed.
    """
    parts = plan.schemes()
    distilled = [part.name for part in parts if part.capabilities.fitting is Fitting.DISTILLED]
    if distilled:
        try:
            from vecstore.training.distil import distil
        except ImportError as error:
            raise MissingDependencyError(
                f"scheme {distilled[0]!r} is fitted by training, which needs torch ({error}): "
                "pip install 'vecstore[train]'"
            ) from None

    def fit_part(scheme: Scheme, rows: F32, counts: I64 | None, report: Progress) -> CompressedTable:
        if scheme.capabilities.fitting is Fitting.DISTILLED:
            return distil(scheme, rows, frequency=counts, seed=seed, on_progress=report)
        return scheme.fit(rows, frequency=counts, seed=seed, on_progress=report)

    return fit_part


def _measured(matrix: F32, table: FieldsTable) -> Fidelity:
    fidelity = Fidelity()
    for start in range(0, len(matrix), _BLOCK_ROWS):
        block = matrix[start : start + _BLOCK_ROWS]
        fidelity.add(block, table.lookup(np.arange(start, start + len(block))))
    return fidelity


def _warn_if_poor(report: FitReport, dim: int) -> None:
    """Warn where the quality is poor, or good by chance of these rows only; what is exact needs no warning."""
    posthoc = report.choice is not None or schemes.get(report.scheme).capabilities.posthoc
    if report.relative_error < POOR_ERROR and (posthoc or report.relative_error == 0):
        return
    measured = f"relative error {report.relative_error:.3g}, mean cosine {report.cosine:.3f}"
    reason = (
        f"{report.bytes_reached:,} bytes are few for these rows"
        if posthoc
        else "it is made to be trained with a model, not for rows of any kind"
    )
    others = [name for name in _made_for_rows(report, dim) if name != report.scheme]
    instead = (
        f"made for rows that exist, and within the same bytes: {', '.join(others)}" if others else "raise the budget"
    )
    warnings.warn(
        f"scheme {report.scheme!r} fitted to a matrix: {measured}; {reason}. Instead: {instead}; or train "
        f"the table with vecstore.training",
        QualityWarning,
        stacklevel=3,
    )


def _made_for_rows(report: FitReport, dim: int) -> list[str]:
    """Give the schemes for existing matrices that fit the bytes that were asked for."""
    fitting = []
    for name in schemes.names():
        if schemes.get(name).capabilities.posthoc:
            try:
                plan_fields(name, report.fields, dim, report.bytes_asked)
            except VecstoreError:
                continue
            fitting.append(name)
    return fitting
