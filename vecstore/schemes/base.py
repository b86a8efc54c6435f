"""The protocols that every compression scheme is written against.

A *scheme* is a frozen config with behaviour: it plans, fits and opens tables. A *compressed table* is n
rows of d floats in the scheme's arrays, and answers two questions without being decompressed: "give me
these rows" (``lookup``) and "how near are these rows to these queries" (``scorer``).
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecstore.config import Config
from vecstore.kernels.scoring import Scorer
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = [
    "Capabilities",
    "CompressedTable",
    "Family",
    "Fitting",
    "OpenTable",
    "Progress",
    "Scheme",
    "Scorer",
    "TableShape",
    "popularity_of",
]

#: Called with (rows done, rows in all).
Progress = Callable[[int, int], None]


class Family(StrEnum):
    """What a scheme shares or shortens (the taxonomy of the embedding-compression literature)."""

    BASELINE = "baseline"
    HASHING = "hashing"
    SHARING = "sharing"
    QUANTISATION = "quantisation"
    DIMENSION = "dimension"
    PRUNING = "pruning"


class Fitting(StrEnum):
    """How a scheme reproduces a matrix that there is.

    Attributes
    ----------
    EXACT
        Rows are stored as they are.
    CODEC
        Rows are rounded, clustered or merged by an encoder.
    CLOSED_FORM
        Computed: the least squares optimum of the form once hashes and kept numbers are fixed (means of buckets,
        singular vectors, largest magnitudes); for tensor trains, within a factor of it.
    ALTERNATING
        Least squares for one factor at a time, in turn.
    DISTILLED
        The layer is trained on the matrix (:mod:`vecstore.training.distil`), because that reaches a lower error than
        what :meth:`Scheme.fit` can compute. It needs torch.
    """

    EXACT = "exact"
    CODEC = "codec"
    CLOSED_FORM = "closed form"
    ALTERNATING = "alternating least squares"
    DISTILLED = "distilled"


class TableShape(msgspec.Struct, frozen=True):
    """Rows and dimensions of a table."""

    rows: int
    dim: int

    @property
    def float32_bytes(self) -> int:
        """Bytes of the uncompressed float32 table, which ratios and budgets refer to."""
        return self.rows * self.dim * 4


def popularity_of(shape: TableShape, counts: I64 | None) -> float:
    """Give how often an id of a field occurs on average; as if every field occurred once where that is not known."""
    return (1.0 if counts is None else float(counts.sum())) / max(shape.rows, 1)


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a scheme can do, so that callers ask instead of testing for names.

    Attributes
    ----------
    posthoc : bool
        Can be fitted to an existing matrix of any rows with useful quality. Every scheme can be fitted
        (:func:`vecstore.fit_table`); those without say so in a warning, with the quality that they reached.
    fitting : Fitting
        How it is fitted.
    appendable : bool
        New rows can be encoded with the arrays of an existing table (``encode``).
    exact : bool
        ``lookup`` gives back the float32 rows bit for bit.
    graph : bool
        Its scorer has kernel operands, so that the graph can be searched over its codes.
    joint : bool
        All fields of an embedding share one table (otherwise each field has its own).
    trained : bool
        There is a trainable layer (``layer``).
    unseen : bool
        Ids beyond a field have vectors too, because vectors are computed from ids: the table has ``lookup_unseen``
        (see :class:`OpenTable`).
    searched : bool
        Training decides the form of fields together, within the bytes that their plans reserve.
    """

    posthoc: bool
    fitting: Fitting
    appendable: bool
    exact: bool
    graph: bool
    joint: bool = False
    trained: bool = False
    unseen: bool = False
    searched: bool = False


@runtime_checkable
class CompressedTable(Protocol):
    """Rows in the arrays of one scheme: immutable, safe to use from threads, arrays may be memory maps."""

    @property
    def scheme(self) -> Scheme:
        """The config that the table was made with."""
        ...

    @property
    def shape(self) -> TableShape:
        """Rows and dimensions."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, which is what is written to disk."""
        ...

    def lookup(self, rows: I64, out: F32 | None = None) -> F32:
        """Give float32[n, dim] of ``rows`` int64[n], written into ``out`` where given."""
        ...

    def scorer(self, queries: F32, metric: Metric) -> Scorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows."""
        ...

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give every array that :meth:`Scheme.open` needs, by name."""
        ...

    def encode(self, vectors: F32) -> Mapping[str, NDArray[Any]]:
        """Encode further rows with this table's shared arrays (only where ``capabilities.appendable``)."""
        ...


@runtime_checkable
class OpenTable(Protocol):
    """A table of a scheme with ``capabilities.unseen``."""

    def lookup_unseen(self, field: int, ids: I64) -> F32:
        """Give float32[n, dim] of ``ids`` int64[n], all of them past the end of the ``field``-th field of the table.

        The same id has the same vector in every call: where the scheme can, the one of a larger field.
        """
        ...


class _SchemeMeta(msgspec.StructMeta, ABCMeta):
    """Structs that may have abstract methods: a scheme that lacks one cannot be made."""


class Scheme(Config, frozen=True, kw_only=True, tag_field="scheme", metaclass=_SchemeMeta):
    """A compression method with its parameters; subclasses set ``tag`` to their registered name.

    ``row_arrays`` names the arrays that have one entry a row; all others are shared by the whole table.
    ``field_parameters`` are the settings that differ from the defaults where the scheme holds fields of an embedding.
    ``advised`` are the settings, beside those that a budget decides, with which the advisor tries the scheme for
    collections; none where another scheme is always better there.
    ``layer`` is ``module:class`` of the trainable twin, where there is one elsewhere than in
    ``vecstore.training.<name>:<Class>Part``.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    paper: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    row_arrays: ClassVar[tuple[str, ...]]
    field_parameters: ClassVar[Mapping[str, Any]] = {}
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    layer: ClassVar[str] = ""

    @classmethod
    @abstractmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Choose parameters whose bytes stay within ``budget``.

        Parameters
        ----------
        shape : TableShape
            Rows and dimensions.
        budget : float or int
            A fraction of the float32 table where it is a float in (0, 1], absolute bytes where it is an int.
        frequency : int64[rows], optional
            How often each row is used.
        parameters : mapping, optional
            Settings of the scheme that are given and not chosen by the budget.

        Raises
        ------
        BudgetInfeasible
            Carries the floor in bytes.
        """
        ...

    @classmethod
    def plan_fields(
        cls,
        shapes: Sequence[TableShape],  # noqa: ARG003
        frequency: Sequence[NDArray[np.int64] | None],  # noqa: ARG003
        parameters: Mapping[str, Any],  # noqa: ARG003
    ) -> Callable[[float], list[Scheme]] | None:
        """Give the rule by which fields share bytes, where the method has one that couples them.

        Parameters
        ----------
        shapes : sequence of TableShape
            One a field.
        frequency : sequence of (int64[rows] or None)
            How often each id is used, by field.
        parameters : mapping
            As for :meth:`plan`.

        Returns
        -------
        callable or None
            Gives one scheme a field for a number from 0 (the smallest table) to 1 (the largest); no field shrinks as
            it grows. None (the default) where every field is planned by itself, at the same share of its bytes.
        """
        return None

    @classmethod
    def plan_fitted(
        cls,
        planned: Sequence[Self],
        matrices: Sequence[F32],  # noqa: ARG003
        frequency: Sequence[NDArray[np.int64] | None],  # noqa: ARG003
    ) -> list[Self]:
        """Choose the schemes of several fields anew once their rows are known, within the bytes of all of them.

        Parameters
        ----------
        planned : sequence of schemes
            One a field.
        matrices : sequence of float32[rows, dim]
            Their rows.
        frequency : sequence of (int64[rows] or None)
            How often each id is used, by field.

        Returns
        -------
        list of schemes
            As planned (the default) where rows do not matter.
        """
        return list(planned)

    @abstractmethod
    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give type and shape of every array of a table of ``shape``, by name.

        They follow from the config alone, in an order that is part of the format: small tables are stored without
        saying it again (:mod:`vecstore.schemes.packing`).
        """
        ...

    def nbytes(self, shape: TableShape) -> int:
        """Bytes of the arrays of a table of ``shape``, exactly."""
        return sum(form.nbytes for form in self.array_forms(shape).values())

    def check(self, vectors: F32) -> None:
        """Refuse values that the scheme cannot hold, before anything is written.

        Parameters
        ----------
        vectors : float32[n, dim]
            Finite values.

        Raises
        ------
        InvalidArgumentError
            Names the row and the reason.
        """

    def check_collection(self, dim: int, metric: Metric) -> None:  # noqa: ARG002
        """Refuse what vectors of a collection cannot be encoded with, before there are any.

        Parameters
        ----------
        dim : int
            Dimensions of every vector.
        metric : Metric
            How they are compared.

        Raises
        ------
        InvalidArgumentError
            Says why, and what to do.
        """
        # Settings that do not fit the dimensions, such as parts that do not divide them, have no arrays.
        self.array_forms(TableShape(0, dim))

    def walks_quickly(self, shape: TableShape) -> bool:
        """Tell whether graph walks over a table are quick; by default, where its codes have a byte a number or more."""
        return self.nbytes(shape) >= shape.rows * shape.dim

    def for_walks(self) -> Scheme:
        """Give the form of the scheme that suits tables which graph walks go over; itself where there is one form."""
        return self

    @abstractmethod
    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> CompressedTable:
        """Compress ``vectors`` float32[n, dim], with numpy and kernels alone.

        :func:`vecstore.fit_table` is the call for users: it plans, measures, and distils where that is better.
        """
        ...

    @abstractmethod
    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> CompressedTable:
        """Make a table of stored ``arrays``, without copying them.

        Raises
        ------
        CorruptionError
            An array is missing or has the wrong shape or dtype.
        """
        ...
