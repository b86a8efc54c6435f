"""``transformed``: transforms in front of any codec."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from vecstore.errors import BudgetInfeasible, InvalidArgumentError
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands, Shifted
from vecstore.kernels.scoring import Scorer
from vecstore.query_sketch import Sketch, opened_sketch
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, CompressedTable, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes, check_floor, queries_matrix, table_matrix
from vecstore.schemes.scorer import KernelScorer, bias_of
from vecstore.schemes.transforms import Step, Transform, parse_transforms, salts_of
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = ["INNER", "Transformed", "TransformedTable", "named"]

#: What names of the arrays of the codec begin with.
INNER = "inner."


class Transformed(Scheme, frozen=True, kw_only=True, tag="transformed"):
    """Rows go through transforms before a codec encodes them; queries go through the same ones once.

    ``centre`` subtracts the mean; ``pca:K`` keeps the K directions that hold most of the squared lengths (of the
    variance, behind ``centre``); ``rotate`` rotates at random; ``truncate:K`` keeps the first K numbers; ``unit`` gives
    rows the length 1 (for cosine, behind ``truncate``); ``remove:K`` takes out the K directions that hold most.

    Distances are exactly those to the decoded rows, for every metric: what a transform changes for all rows alike is
    added once a query. ``unit`` and ``remove`` change the rows themselves and are not undone.

    Attributes
    ----------
    transform : str
        The chain, in order, such as ``"centre|pca:192|rotate"``.
    inner : dict
        JSON config of the codec behind it: a scheme that can be fitted to a matrix and has graph walks.
    queries : str
        What queries look like, as :func:`vecstore.query_sketch.sketch_of` says it: ``pca`` then keeps the directions
        with which inner products lose least (:mod:`vecstore.schemes.principal`). Empty for the rows alone.
    version : int
        Version of this config.

    References
    ----------
    Pearson, "On Lines and Planes of Closest Fit to Systems of Points in Space", 1901 (``pca``); Kusupati et al.,
    "Matryoshka Representation Learning", NeurIPS 2022 (``truncate``, ``unit``); Mu and Viswanath, "All-but-the-Top",
    ICLR 2018, algorithm 1 (``centre|remove:K``); ``rotate``: :mod:`vecstore.kernels.rotation`.
    """

    name: ClassVar[str] = "transformed"
    family: ClassVar[Family] = Family.DIMENSION
    paper: ClassVar[str] = "Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()

    transform: str
    inner: dict[str, Any]
    queries: str = ""
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the chain, the inner config and the sketch."""
        super().__post_init__()
        transforms = parse_transforms(self.transform)
        if self.queries:
            opened_sketch(self.queries)
            if all(step.name != "pca" for step in transforms):
                raise InvalidArgumentError(
                    f"queries: they shape 'pca:K', which is not in {self.transform!r}; leave them out", field="queries"
                )
        capabilities = self.inner_scheme.capabilities
        if self.inner_scheme.name == self.name or not (capabilities.posthoc and capabilities.graph):
            raise InvalidArgumentError(
                f"transformed.inner: {self.inner_scheme.name!r} takes no transforms in front of it; use a scheme that "
                "can be fitted to a matrix and searched by graphs, such as 'int8'",
                field="inner",
            )

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """The transforms, in order."""
        return parse_transforms(self.transform)

    @property
    def inner_scheme(self) -> Scheme:
        """The codec behind the transforms."""
        from vecstore.schemes import from_config  # the registry imports this module

        return from_config(self.inner)

    def widths(self, dim: int) -> list[int]:
        """Give the dimensions that reach each transform, and those that reach the codec."""
        return widths_of(self.transforms, dim)

    def _sketch(self, dim: int) -> Sketch | None:
        """Give the sketch of queries of ``dim`` dimensions; None where there is none."""
        if not self.queries:
            return None
        sketch = opened_sketch(self.queries)
        width = sketch.directions.shape[1]
        if width != dim:
            raise InvalidArgumentError(f"queries: expected {dim} dimensions a row, got {width}", field="queries")
        return sketch

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Plan the codec with the bytes that the transforms leave; see :meth:`Scheme.plan`.

        Without a ``transform``, it is ``centre|pca:K`` with the largest K that fits. Without ``inner``, that is int8.
        ``inner`` may lack the parameters that a budget decides.
        """
        given = {"inner": {"scheme": "int8"}, **(parameters or {})}
        allowed = allowed_bytes(shape, budget)
        if "transform" in given:
            return cls._with_inner(given, shape, allowed, frequency)
        floor = allowed
        for width in range(shape.dim, 0, -1):
            try:
                return cls._with_inner(given | {"transform": f"centre|pca:{width}"}, shape, allowed, frequency)
            except BudgetInfeasible as error:
                floor = error.floor
        check_floor(cls.name, allowed, floor)
        raise InvalidArgumentError(f"transformed: there are no transforms for {shape}", field="transform")

    @classmethod
    def _with_inner(
        cls, given: Mapping[str, Any], shape: TableShape, allowed: int, frequency: NDArray[np.int64] | None
    ) -> Self:
        """Plan the codec behind the chain of ``given``."""
        from vecstore.schemes import get  # the registry imports this module

        transforms = parse_transforms(given["transform"])
        widths = widths_of(transforms, shape.dim)
        own = sum(form.nbytes for form in transform_forms(transforms, shape.dim).values())
        rest = {name: value for name, value in given["inner"].items() if name != "scheme"}
        inner = get(given["inner"].get("scheme", ""))
        within = TableShape(shape.rows, widths[-1])
        try:
            chosen = inner.plan(within, max(allowed - own, 0), frequency, rest)
        except BudgetInfeasible as error:
            check_floor(cls.name, allowed, own + error.floor)
            raise
        check_floor(cls.name, allowed, own + chosen.nbytes(within))
        return cls.from_dict({**given, "inner": chosen.to_dict(), "scheme": cls.name})

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give those of the transforms, named ``<number>.<array>``, and of the codec, named ``inner.<array>``."""
        within = TableShape(shape.rows, self.widths(shape.dim)[-1])
        inner = {f"{INNER}{name}": form for name, form in self.inner_scheme.array_forms(within).items()}
        return transform_forms(self.transforms, shape.dim) | inner

    def walks_quickly(self, shape: TableShape) -> bool:
        """Tell what the codec says of the numbers that reach it; see :meth:`Scheme.walks_quickly`."""
        return self.inner_scheme.walks_quickly(TableShape(shape.rows, self.widths(shape.dim)[-1]))

    def for_walks(self) -> Scheme:
        """Give the same transforms in front of the form of the codec that suits walks; see :meth:`Scheme.for_walks`."""
        inner = self.inner_scheme
        suited = inner.for_walks()
        return self if suited == inner else msgspec.structs.replace(self, inner=suited.to_dict())

    def check_collection(self, dim: int, metric: Metric) -> None:
        """Refuse transforms to more dimensions than there are, and ``unit`` where lengths count."""
        widths = self.widths(dim)
        if self._sketch(dim) is not None and metric is Metric.L2:
            raise InvalidArgumentError(
                "queries: 'pca' suits inner products to them, and under the metric 'l2' the lengths of rows count too; "
                "leave them out",
                field="queries",
            )
        if metric is not Metric.COSINE and any(step.name == "unit" for step in self.transforms):
            raise InvalidArgumentError(
                f"transform: 'unit' drops the lengths of rows, which count for the metric {metric.value!r}; "
                "leave it out",
                field="transform",
            )
        self.inner_scheme.check_collection(widths[-1], metric)

    def check(self, vectors: F32) -> None:
        """Refuse values that might pass the range of the codec once they were moved and rotated."""
        if vectors.size:
            with np.errstate(over="ignore"):
                reach = 2 * np.sqrt(vectors.shape[1]) * np.abs(vectors).max(axis=1, keepdims=True)
            self.inner_scheme.check(np.minimum(reach, np.finfo(np.float32).max).astype(np.float32))

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> TransformedTable:
        """Fit each transform to the rows ``vectors`` float32[n, dim] as they reach it, and then the codec."""
        matrix = table_matrix(vectors)
        rows, steps = matrix, []
        self.widths(matrix.shape[1])
        sketch = self._sketch(matrix.shape[1])
        for transform, salt in zip(self.transforms, salts_of(seed, len(self.transforms)), strict=True):
            step = transform.fit(rows, salt, sketch)
            rows = step.encode(rows)
            sketch = None if sketch is None else _behind(step, sketch)
            steps.append(step)
        inner = self.inner_scheme.fit(rows, frequency=frequency, seed=seed, on_progress=on_progress)
        return TransformedTable(self, TableShape(*matrix.shape), tuple(steps), inner)

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> TransformedTable:
        """Make a table of stored arrays, named ``<number>.<array>`` and ``inner.<array>``; see :meth:`Scheme.open`."""
        widths = self.widths(shape.dim)
        steps = [
            transform.open(width, named(arrays, f"{number}."))
            for number, (transform, width) in enumerate(zip(self.transforms, widths, strict=False))
        ]
        inner = self.inner_scheme.open(TableShape(shape.rows, widths[-1]), named(arrays, INNER))
        return TransformedTable(self, shape, tuple(steps), inner)


def _behind(step: Step, sketch: Sketch) -> Sketch:
    """Give the sketch of queries as they leave a step; what they have in all directions alike stays so."""
    directions = frozen(sketch.directions.astype(np.float32))
    return Sketch(step.prepare(directions, squared=False)[0].astype(np.float64), sketch.rest)


def widths_of(transforms: tuple[Transform, ...], dim: int) -> list[int]:
    """Give the dimensions that reach each transform, and those behind the last."""
    widths = [dim]
    for transform in transforms:
        widths.append(transform.width(widths[-1]))
    return widths


def transform_forms(transforms: tuple[Transform, ...], dim: int) -> dict[str, ArrayForm]:
    """Give the arrays of transforms for rows of ``dim`` numbers, named ``<number>.<array>``."""
    by_step = [step.array_forms(width) for step, width in zip(transforms, widths_of(transforms, dim), strict=False)]
    return {f"{number}.{name}": form for number, forms in enumerate(by_step) for name, form in forms.items()}


def named(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    """Give the arrays whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


class TransformedTable(ArrayTable):
    """Steps, and a table of what they make of the rows.

    Parameters
    ----------
    scheme : Scheme
    shape : TableShape
    steps : tuple of Step
        In the order of encoding.
    inner : CompressedTable
        Graph walks can use its scorer.
    """

    refusal: ClassVar[str] = "its transforms suit those it has; fit a new table"

    def __init__(self, scheme: Scheme, shape: TableShape, steps: tuple[Step, ...], inner: CompressedTable) -> None:
        self.scheme = scheme
        self.shape = shape
        self.steps = steps
        self.inner = inner

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        decoded = self.inner.lookup(rows)
        for step in reversed(self.steps):
            decoded = step.decode(decoded)
        out[:] = decoded

    def scorer(self, queries: F32, metric: Metric) -> Scorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows.

        Cosine is scored as inner products behind the transforms, because rows there have other lengths.
        """
        prepared = queries_matrix(queries, self.shape.dim)
        squared = metric is Metric.L2
        added = np.full(len(prepared), 0 if squared else bias_of(metric), np.float32)
        for step in self.steps:
            prepared, more = step.prepare(prepared, squared=squared)
            added += more
        scorer = self.inner.scorer(prepared, Metric.L2 if squared else Metric.IP)
        return shifted_scorer(scorer, self.shape.rows, frozen(added))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give the arrays of the steps, named ``<number>.<array>``, and those of the codec, named ``inner.<array>``."""
        own = {f"{number}.{name}": a for number, step in enumerate(self.steps) for name, a in step.arrays.items()}
        return own | {f"{INNER}{name}": array for name, array in self.inner.arrays().items()}


def shifted_scorer(scorer: Scorer, n_rows: int, offsets: F32) -> Scorer:
    """Give the scorer whose distances are those of another plus ``offsets`` float32[q]."""
    if scorer.operands is None or scorer.traversal is None:
        return ShiftedScorer(scorer, offsets)
    exact = Shifted(scorer.operands, offsets)
    quick = exact if scorer.traversal is scorer.operands else Shifted(scorer.traversal, offsets)
    if not isinstance(scorer, KernelScorer):
        return KernelScorer(n_rows, len(offsets), exact, quick)
    bounds = scorer.bounds
    shifted_bounds = None if bounds is None else lambda: Shifted(bounds(), offsets)
    scanned = exact if scorer.scanned is scorer.operands else quick
    return KernelScorer(n_rows, len(offsets), exact, quick, shifted_bounds, scanned)


class ShiftedScorer:
    """Distances of another scorer plus a number for each query, where no kernel operands compute them.

    Parameters
    ----------
    scorer : Scorer
        Checks what it is asked.
    offsets : float32[q]
    """

    operands: Operands | None = None

    def __init__(self, scorer: Scorer, offsets: F32) -> None:
        self._scorer = scorer
        self._offsets = offsets

    @cached_property
    def traversal(self) -> Operands | None:
        """Give what graph walks compute, where the other scorer has something."""
        walked = self._scorer.traversal
        return None if walked is None else Shifted(walked, self._offsets)

    def scan(self, start: int, stop: int, out: F32) -> None:
        """Write the distances of rows start..stop into ``out`` float32[q, stop - start]."""
        self._scorer.scan(start, stop, out)
        out += self._offsets[:, None]

    def gather(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[n] into ``out`` float32[q, n]."""
        self._scorer.gather(rows, out)
        out += self._offsets[:, None]

    def rerank(self, rows: I64, out: F32) -> None:
        """Write the distances of ``rows`` int64[q, m], each query its own, into ``out``; -1 gets ``inf``."""
        self._scorer.rerank(rows, out)
        out += self._offsets[:, None]
