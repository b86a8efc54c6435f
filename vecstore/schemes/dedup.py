"""``dedup``: blocks of neighbouring rows that are nearly equal are stored once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import CorruptionError, InvalidArgumentError
from vecstore.kernels import lookup
from vecstore.kernels.compiling import frozen
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, TableShape
from vecstore.schemes.checks import (
    allowed_bytes,
    check_floor,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.full import plain_scorer
from vecstore.schemes.indirect import SharedScorer
from vecstore.schemes.layouts import LaidOut, SharedRows
from vecstore.schemes.merging import merged_blocks
from vecstore.schemes.scorer import CheckedScorer
from vecstore.types import F32, I64, ArrayForm, Metric

__all__ = ["Dedup", "DedupTable", "blocks_of", "deduplicated"]

#: Rows a block that a plan tries, the first that fits.
_BLOCK_ROWS = (16, 8, 4, 2, 1)


class Dedup(LaidOut, frozen=True, kw_only=True, tag="dedup"):
    """Row ``x`` is row ``x % block_rows`` of block ``map[x // block_rows]``, one of ``blocks`` that are stored.

    Made for embeddings after training: rows of rare ids hardly left their small initial values, so their blocks are
    alike. On an existing matrix this pays only where runs of rows are nearly repeated; on other data a small budget
    replaces rows by unrelated ones. ``block_rows=1`` shares single rows.

    Attributes
    ----------
    blocks : int
        Blocks that are stored.
    block_rows : int
        Rows of a block. The last block is filled up with zeros.
    version : int
        Version of this config.

    References
    ----------
    Zhou et al., "Serving Deep Learning Models with Deduplication from Relational Databases", VLDB 2022, with
    two differences: blocks are compared with kept blocks only, and the tolerance is found from the weights and the
    budget instead of being given.
    """

    name: ClassVar[str] = "dedup"
    family: ClassVar[Family] = Family.SHARING
    paper: ClassVar[str] = "Zhou et al., Serving Deep Learning Models with Deduplication, VLDB 2022"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=False, trained=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()
    stored_rows: ClassVar[str] = "blocks"

    blocks: int
    block_rows: int = _BLOCK_ROWS[0]
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the numbers of blocks and of their rows."""
        super().__post_init__()
        if not 1 <= self.blocks <= 2**32 or self.block_rows < 1:
            raise InvalidArgumentError(
                f"dedup.blocks, dedup.block_rows: expected 1 to {2**32} blocks of at least 1 row, "
                f"got {self.blocks} of {self.block_rows}",
                field="blocks",
            )

    @property
    def map_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned type that holds the number of every stored block."""
        return np.min_scalar_type(self.blocks - 1)

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG003
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the most blocks that fit the budget; see :meth:`Scheme.plan`.

        Blocks have 16 rows, or fewer where one block and the map would not fit otherwise.
        """
        given = dict(parameters or {})
        sizes = [given["block_rows"]] if "block_rows" in given else [min(p, max(shape.rows, 1)) for p in _BLOCK_ROWS]
        smallest = [cls.from_dict({"blocks": 1, **given, "block_rows": size, "scheme": cls.name}) for size in sizes]
        allowed = allowed_bytes(shape, budget)
        check_floor(cls.name, allowed, min(scheme.nbytes(shape) for scheme in smallest))
        chosen = next(scheme for scheme in smallest if scheme.nbytes(shape) <= allowed)
        if "blocks" in given:
            return chosen
        settings = chosen.to_dict()
        return cls.from_dict({**settings, "blocks": _most_blocks(chosen, shape, allowed)})

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``blocks`` and ``map``."""
        return {
            "blocks": ArrayForm(np.float32, (self.blocks, self.block_rows, shape.dim)),
            "map": ArrayForm(self.map_dtype.type, (blocks_of(shape.rows, self.block_rows),)),
        }

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,  # noqa: ARG002
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> DedupTable:
        """Merge the blocks of ``vectors`` float32[n, dim] that are most alike until ``blocks`` are left."""
        matrix = table_matrix(vectors)
        shape = TableShape(*matrix.shape)
        padded = np.zeros((blocks_of(shape.rows, self.block_rows) * self.block_rows, shape.dim), np.float32)
        padded[: shape.rows] = matrix
        flat = padded.reshape(-1, self.block_rows * shape.dim)
        target = merged_blocks(flat, self.blocks, seed)
        if on_progress is not None:
            on_progress(shape.rows, shape.rows)
        return deduplicated(self, shape, padded, target)

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> DedupTable:
        """Make a table of the stored ``blocks`` and ``map`` (see :class:`DedupTable`); see :meth:`Scheme.open`."""
        blocks = stored_array(arrays, "blocks", np.float32, (self.blocks, self.block_rows, shape.dim))
        return DedupTable(self, shape, frozen(blocks), self._opened(shape, arrays))

    def layout(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> SharedRows:
        """Give which stored row each row reads; see :meth:`LaidOut.layout`."""
        numbers = self._opened(shape, arrays)
        return SharedRows(shape, {"map": numbers}, partial(stored_places, numbers, self.block_rows))

    def _opened(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Give the stored block of each block."""
        numbers = stored_array(arrays, "map", self.map_dtype.type, (blocks_of(shape.rows, self.block_rows),))
        if numbers.size and numbers.max() >= self.blocks:
            raise CorruptionError(f"array 'map': block {numbers.max()} of {self.blocks}", field="map")
        return frozen(numbers)


@dataclass(frozen=True, slots=True)
class DedupTable(ArrayTable):
    """Stored blocks, and which block each block of the table is.

    Attributes
    ----------
    blocks : float32[blocks, block_rows, dim]
    numbers : uint8, uint16 or uint32 [ceil(n / block_rows)]
        Stored as ``map``.
    """

    refusal: ClassVar[str] = "it has a fixed number of blocks; train or fit a new table"

    scheme: Dedup
    shape: TableShape
    blocks: F32
    numbers: NDArray[Any]

    def places(self, rows: I64) -> I64:
        """Give the place int64[n] of ``rows`` int64[n] among the rows of all stored blocks."""
        return stored_places(self.numbers, self.scheme.block_rows, rows)

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        lookup.take(self._stored_rows(), frozen(self.places(rows)), out)

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once; each stored row is scored once."""
        given = queries_matrix(queries, self.shape.dim)
        stored = self._stored_rows()
        shared = SharedScorer(plain_scorer(stored, given, metric), len(stored), len(given), self.places)
        return CheckedScorer(shared, self.shape.rows, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``blocks`` and ``map``."""
        return {"blocks": self.blocks, "map": self.numbers}

    def _stored_rows(self) -> F32:
        """Give the rows of all stored blocks, float32[blocks * block_rows, dim], as a view."""
        return self.blocks.reshape(-1, self.shape.dim)


def stored_places(numbers: NDArray[Any], block_rows: int, rows: I64) -> I64:
    """Give the place int64[n] of ``rows`` int64[n] among the rows of all stored blocks."""
    out = np.empty(len(rows), np.int64)
    lookup.fill_stored(numbers, block_rows, frozen(rows), out)
    return out


def blocks_of(rows: int, block_rows: int) -> int:
    """Give the blocks that ``rows`` rows are cut into; the last may be filled up."""
    return -(-rows // block_rows)


def deduplicated(scheme: Dedup, shape: TableShape, padded: F32, target: I64) -> DedupTable:
    """Give the table of rows float32[n filled up to whole blocks, dim] and the block each block is mapped onto."""
    kept, numbers = np.unique(target, return_inverse=True)
    blocks = np.zeros((scheme.blocks, scheme.block_rows, shape.dim), np.float32)
    blocks[: len(kept)] = padded.reshape(-1, scheme.block_rows, shape.dim)[kept]
    return DedupTable(scheme, shape, frozen(blocks), frozen(numbers.astype(scheme.map_dtype)))


def _most_blocks(scheme: Dedup, shape: TableShape, allowed: int) -> int:
    """Give the most blocks of the scheme's size that fit; the map's numbers grow wider at 256 and 65 536 blocks."""
    in_table = max(blocks_of(shape.rows, scheme.block_rows), 1)
    most = 1
    for width in (1, 2, 4):
        fitting = (allowed - in_table * width) // (scheme.block_rows * shape.dim * 4)
        most = max(most, min(fitting, in_table, 256**width))
    return most
