"""``alpt``: codes of 8 or 16 bits with a learned step a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import scales as kernels
from vecstore.kernels.compiling import frozen
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    check_magnitude,
    most_that_fits,
    stored_array,
    table_matrix,
)
from vecstore.schemes.coded import LARGEST, Codes, RowScaledTable, code_type, coded_rows, limit_of, stored_codes
from vecstore.schemes.int8 import Int8Table
from vecstore.types import F32, ArrayForm

__all__ = ["Alpt"]


class Alpt(Scheme, frozen=True, kw_only=True, tag="alpt"):
    """Multiples of a step that every row has learned: bits / 8 dim + 4 bytes a row.

    Attributes
    ----------
    bits : {8, 16}
        Of a code. Codes are symmetric: -127..127 or -32767..32767.
    initial_step : float or None
        Step before training; None for that of LSQ, ``2 mean|w| / sqrt(largest code)`` of the initial weights. The paper
        takes 0.01 (at 16 bits).
    version : int
        Version of this config.

    References
    ----------
    Li et al., "Adaptive Low-Precision Training for Embeddings in Click-Through Rate Prediction", AAAI 2023, section 3
    and algorithm 1. The initial step: Esser et al., "Learned Step Size Quantization", ICLR 2020, section 2.1. Fitted to
    a matrix, the step is the one with the smallest squared error of its row, as the scales of Aguerrebere et al.,
    "Similarity Search in the Blink of an Eye with Compressed Indices", VLDB 2023, but symmetric around zero.
    """

    name: ClassVar[str] = "alpt"
    family: ClassVar[Family] = Family.QUANTISATION
    paper: ClassVar[str] = (
        "Li et al., Adaptive Low-Precision Training for Embeddings in Click-Through Rate Prediction, AAAI 2023"
    )
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=True, exact=False, graph=True, trained=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ("codes", "scales")
    #: Not tried: rows as int8 and int16 have them, which take less time to fit.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    bits: Literal[8, 16] = 8
    initial_step: float | None = None
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the initial step."""
        super().__post_init__()
        if self.initial_step is not None and not 0 < self.initial_step < np.inf:
            raise InvalidArgumentError(
                f"alpt.initial_step: expected a positive number, got {self.initial_step}", field="initial_step"
            )

    @property
    def kind(self) -> type[np.int8 | np.int16]:
        """Type of the codes."""
        return code_type(self.bits)

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give codes of 16 bits where they fit the budget, else of 8; see :meth:`Scheme.plan`."""
        candidates = [cls.from_dict({"bits": bits, **(parameters or {}), "scheme": cls.name}) for bits in (8, 16)]
        return most_that_fits(candidates, shape, budget)

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``codes`` and ``scales``."""
        return {
            "codes": ArrayForm(self.kind, (shape.rows, shape.dim)),
            "scales": ArrayForm(np.float32, (shape.rows,)),
        }

    def check(self, vectors: F32) -> None:
        """Refuse values so near the end of float32 that the largest code times a rounded step would pass it.

        Raises
        ------
        InvalidArgumentError
            Names the first row that has one.
        """
        check_magnitude(self.name, vectors, LARGEST)

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,  # noqa: ARG002
        on_progress: Progress | None = None,
    ) -> RowScaledTable:
        """Give every row of ``vectors`` float32[n, dim] the step with the smallest squared error; no seed matters."""
        matrix = table_matrix(vectors)
        self.check(matrix)
        scales = np.empty(len(matrix), np.float32)
        kernels.search_scales(frozen(matrix), limit_of(self.kind), scales)
        codes = coded_rows(matrix, scales, self.kind)
        if on_progress is not None:
            on_progress(len(matrix), len(matrix))
        return self.table(TableShape(*matrix.shape), frozen(codes), frozen(scales))

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> RowScaledTable:
        """Make a table of the stored ``codes`` int8/int16[n, dim] and ``scales`` float32[n]."""
        scales = stored_array(arrays, "scales", np.float32, (shape.rows,))
        return self.table(shape, stored_codes(arrays, shape, self.kind), frozen(scales))

    def table(self, shape: TableShape, codes: Codes, scales: F32) -> RowScaledTable:
        """Give the table of frozen arrays; codes of 8 bits have the integer products of ``int8``."""
        cls = Int8Table if self.bits == 8 else RowScaledTable
        return cls(self, shape, codes, scales)
