"""``pca+pq``: principal axes, and product quantisation of what rows are along them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels.compiling import frozen
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import allowed_bytes, check_floor, table_matrix
from vecstore.schemes.composed import Composed, ComposedTable, composed_settings
from vecstore.schemes.layouts import LaidOut
from vecstore.schemes.mde import Mde
from vecstore.schemes.opq import dealt
from vecstore.schemes.pq import Pq
from vecstore.types import F32, U8

__all__ = ["PcaPq"]


class PcaPq(Composed, frozen=True, kw_only=True, tag="pca+pq"):
    """Rows along the first principal axes of their field, in groups of axes with one code each.

    Axes are those of ``mde`` fitted to rows: not centred, and weighted by frequency where that is given. They are dealt
    to the groups so that each has as much to code. A layer trains whole rows first, then takes axes and codes from
    them, and trains the centroids on.

    A budget chooses the axes and the codes together: of the forms that fit, the one that loses least if the variance
    along axis i is 1 / i, and a code of b bits for s axes leaves ``2 ** (-2 b / s)`` of it, as of normal numbers.

    Attributes
    ----------
    outer : dict
        Config of ``mde``.
    codec : dict
        Config of ``pq``, of 4 bits unless given: 256 centroids of a small field take more than its codes.
    version : int
        Version of this config.

    References
    ----------
    Hybrids of families are a direction that Zhang et al., "Experimental Analysis of Large-scale Learnable Vector
    Storage Compression", VLDB 2024, leave open. Principal axes in front of product quantisation: Jegou, Perronnin,
    Douze, Sanchez, Perez and Schmid, "Aggregating Local Image Descriptors into Compact Codes", TPAMI 2012, section 4.
    Axes are dealt as in Ge, He, Ke and Sun, "Optimized Product Quantization", TPAMI 2014, section 4.3. What a code
    leaves: Gersho and Gray, "Vector Quantization and Signal Compression", 1992 (high resolution). Parts:
    :class:`~vecstore.schemes.mde.Mde` and :class:`~vecstore.schemes.pq.Pq`.
    """

    name: ClassVar[str] = "pca+pq"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = f"Jegou et al., Aggregating Local Image Descriptors, TPAMI 2012; {Pq.paper}"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=True, trained=True
    )
    layer: ClassVar[str] = "vecstore.training.pca_pq:PcaPqPart"
    #: Not tried: ``pca`` in front of ``pq`` is the same for a collection, and centres.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    outer_scheme: ClassVar[type[LaidOut]] = Mde
    codec_scheme: ClassVar[type[Scheme]] = Pq

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the best form that fits, by the rule of the class; see :meth:`Scheme.plan`.

        The order of forms does not depend on the budget, so a larger one never gives a smaller table: the form that
        comes in takes more than all that fitted before.
        """
        given = composed_settings(cls, parameters)
        allowed = allowed_bytes(shape, budget)
        bits = Pq.from_dict({"parts": 1, **given["codec"], "scheme": Pq.name}).bits
        axes, codes = given["outer"].get("width"), given["codec"].get("parts")
        forms = [
            (width, parts)
            for width, parts in _best_first(shape.dim, bits)
            if axes in (None, width) and codes in (None, parts)
        ]
        if not forms:
            raise InvalidArgumentError(
                f"{cls.name}: width {axes} and parts {codes} do not fit {shape.dim} dimensions; there must be fewer "
                "axes than dimensions, and parts that divide the axes",
                field="outer",
            )
        sizes = [_bytes(shape, bits, *own) for own in forms]
        check_floor(cls.name, allowed, min(sizes))
        width, parts = next(own for own, size in zip(forms, sizes, strict=True) if size <= allowed)
        outer = Mde.from_dict({**given["outer"], "width": width, "scheme": Mde.name})
        codec = Pq.from_dict({**given["codec"], "parts": parts, "scheme": Pq.name})
        return cls(outer=outer.to_dict(), codec=codec.to_dict())

    @classmethod
    def plan_fields(
        cls,
        shapes: Sequence[TableShape],  # noqa: ARG003
        frequency: Sequence[NDArray[np.int64] | None],  # noqa: ARG003
        parameters: Mapping[str, Any],  # noqa: ARG003
    ) -> Callable[[float], list[Scheme]] | None:
        """Give None: codes are short already, so fields get the same share; see :meth:`Scheme.plan_fields`."""
        return None

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> ComposedTable:
        """Find the axes of ``vectors`` float32[n, dim], and code the rows along them."""
        matrix = table_matrix(vectors)
        found = self.laid_out.fit(matrix, frequency=frequency, seed=seed, on_progress=on_progress).arrays()
        order = dealt(np.square(found["rows"].astype(np.float64)).sum(axis=0), self.product_codec.parts)
        arrays = {"rows": frozen(found["rows"][:, order])}
        if "projection" in found:
            arrays["projection"] = frozen(found["projection"][order])
        return self.coded(self.laid_out.open(TableShape(*matrix.shape), arrays), seed=seed)

    @property
    def width(self) -> int:
        """Axes that are kept."""
        return Mde.from_dict(self.outer).width

    @property
    def product_codec(self) -> Pq:
        """The codec of what rows are along the axes."""
        return Pq.from_dict(self.codec)

    def holding(self, shape: TableShape, axes: F32, codebook: F32, numbers: U8) -> ComposedTable:
        """Give the table of trained arrays.

        Parameters
        ----------
        shape : TableShape
        axes : float32[width, dim]
            Orthonormal; not stored at full width, where there are none.
        codebook : float32[parts, centroids, width / parts]
        numbers : uint8[n, parts]
            Codes.
        """
        layout = self.laid_out.layout(shape, {"projection": frozen(axes)})
        return ComposedTable(
            self, layout, self.product_codec.holding(self.laid_out.stored_shape(shape), codebook, numbers)
        )


@cache
def _best_first(dim: int, bits: int) -> tuple[tuple[int, int], ...]:
    """Give widths and parts, by the rising share of the variance that is lost; see :class:`PcaPq`."""
    variances = 1 / np.arange(1, dim + 1)

    def lost(form: tuple[int, int]) -> float:
        width, parts = form
        size = width // parts
        # Each axis adds the geometric mean, because groups are balanced.
        inside = width * np.exp(np.log(variances[:width]).mean()) * 2.0 ** (-2 * bits / size)
        return float(variances[width:].sum() + inside)

    return tuple(sorted(_forms(dim), key=lambda form: (lost(form), form)))


def _forms(dim: int) -> Iterator[tuple[int, int]]:
    """Give all widths below ``dim`` (1 where there is no other) with the parts that divide them."""
    for width in range(1, max(dim, 2)):
        yield from ((width, parts) for parts in range(1, width + 1) if width % parts == 0)


def _bytes(shape: TableShape, bits: Literal[4, 8], width: int, parts: int) -> int:
    """Give the bytes of a form."""
    projection = 4 * width * shape.dim if width < shape.dim else 0
    return projection + _codec(parts, bits).nbytes(TableShape(shape.rows, width))


@cache
def _codec(parts: int, bits: Literal[4, 8]) -> Pq:
    return Pq(parts=parts, bits=bits)
