"""``mgqe``: product quantisation that gives frequent rows more centroids than rare ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from vecstore.errors import InvalidArgumentError
from vecstore.kernels import tiers as kernels
from vecstore.kernels.compiling import frozen
from vecstore.kernels.distance import Operands
from vecstore.kernels.part_sums import TierSums
from vecstore.kernels.tiers import COLD_BITS, TierCodes
from vecstore.schemes.array_table import ArrayTable
from vecstore.schemes.base import Capabilities, Family, Fitting, Progress, Scheme, TableShape
from vecstore.schemes.checks import (
    most_that_fits,
    queries_matrix,
    stored_array,
    table_matrix,
)
from vecstore.schemes.indirect import DecodingScorer
from vecstore.schemes.ranked_bitmap import bitmap_forms, most_frequent, pack, places, stored_bitmap
from vecstore.schemes.scorer import CheckedScorer, bias_of
from vecstore.schemes.tiered_kmeans import nearest, tiered_centroids
from vecstore.types import F32, I64, U8, U64, ArrayForm, Mask, Metric

__all__ = ["COLD_CENTROIDS", "HOT_CENTROIDS", "Mgqe", "MgqeTable", "tiered_table"]

#: Centroids a part that hot rows choose among, and how many of the first of them cold rows do.
HOT_CENTROIDS, COLD_CENTROIDS = kernels.CENTROIDS, 1 << COLD_BITS
#: Share of hot rows where rows can be told apart by frequency.
_HOT_SHARE = 0.1


class Mgqe(Scheme, frozen=True, kw_only=True, tag="mgqe"):
    """A row is ``parts`` centroids side by side, each of dim / parts floats: one code a part.

    The most frequent rows choose among 256 centroids a part (8 bits), all others among the first 64 of them (6 bits).
    Without frequencies no row is known to be rare: plans then make all rows hot, which is plain product quantisation.
    Where a share is given nevertheless, as for a collection, a fitted table takes the longest rows for the hot ones:
    their errors are the largest, and inner products find them most often. Rows of one length are taken in order.

    Attributes
    ----------
    parts : int
        Codes a row; divides dim.
    hot_share : float
        Share of the rows, rounded down, that are hot.
    version : int
        Version of this config.

    References
    ----------
    Kang et al., "Learning Multi-granular Quantized Embeddings for Large-Vocab Categorical Features in Recommender
    Systems", WWW 2020 companion, with a shared codebook; codes are learned as in DPQ-VQ of Chen, Li and Sun,
    "Differentiable Product Quantization for End-to-End Embedding Compression", ICML 2020.
    """

    name: ClassVar[str] = "mgqe"
    family: ClassVar[Family] = Family.SHARING
    paper: ClassVar[str] = "Kang et al., Learning Multi-granular Quantized Embeddings, WWW 2020 companion"
    capabilities: ClassVar[Capabilities] = Capabilities(
        posthoc=True, fitting=Fitting.CODEC, appendable=False, exact=False, graph=True, trained=True
    )
    row_arrays: ClassVar[tuple[str, ...]] = ()
    #: Not tried: without frequencies it is pq, whose 4 bits are scanned many times as fast.
    advised: ClassVar[tuple[Mapping[str, Any], ...]] = ()

    parts: int
    hot_share: float = _HOT_SHARE
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        """Check the number of parts and the share."""
        super().__post_init__()
        if self.parts < 1 or not 0 <= self.hot_share <= 1:
            raise InvalidArgumentError(
                f"mgqe.parts, mgqe.hot_share: expected at least 1 and 0 to 1, got {self.parts} and {self.hot_share}",
                field="parts",
            )

    @classmethod
    def plan(
        cls,
        shape: TableShape,
        budget: float | int,
        frequency: NDArray[np.int64] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Self:
        """Give the most parts that fit the budget; see :meth:`Scheme.plan`."""
        given = {"hot_share": 1.0 if frequency is None else _HOT_SHARE, **(parameters or {}), "scheme": cls.name}
        divisors = [parts for parts in range(1, shape.dim + 1) if shape.dim % parts == 0]
        candidates = [cls.from_dict({"parts": parts, **given}) for parts in divisors]
        return most_that_fits(candidates, shape, budget)

    def hot_rows(self, rows: int) -> int:
        """Give how many of ``rows`` rows are hot."""
        return int(self.hot_share * rows)

    def width(self, dim: int) -> int:
        """Give the floats of a centroid.

        Raises
        ------
        InvalidArgumentError
            The parts do not divide ``dim``.
        """
        if dim % self.parts:
            raise InvalidArgumentError(f"mgqe.parts: {self.parts} does not divide {dim} dimensions", field="parts")
        return dim // self.parts

    def array_forms(self, shape: TableShape) -> dict[str, ArrayForm]:
        """Give ``codebook``, ``hot``, ``cold``, ``words`` and ``ranks``."""
        hot = self.hot_rows(shape.rows)
        return {
            "codebook": ArrayForm(np.float32, (self.parts, HOT_CENTROIDS, self.width(shape.dim))),
            "hot": ArrayForm(np.uint8, (hot, self.parts)),
            "cold": ArrayForm(np.uint8, (self._cold_bytes(shape.rows - hot),)),
            **bitmap_forms(shape.rows),
        }

    def _cold_bytes(self, rows: int) -> int:
        return -(-rows * self.parts * COLD_BITS // 8)

    def fit(
        self,
        vectors: F32,
        *,
        frequency: NDArray[np.int64] | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> MgqeTable:
        """Compute centroids of ``vectors`` float32[n, dim] by k-means, part by part, and give each row its nearest.

        This is product quantisation (Jegou, Douze and Schmid, TPAMI 2011) in tiers by ``frequency``, or by the lengths
        of rows where there is none, not the learned codes of the paper, which the trainable layer has.
        """
        matrix = table_matrix(vectors)
        shape = TableShape(*matrix.shape)
        width = self.width(shape.dim)
        weights = np.square(matrix, dtype=np.float64).sum(axis=1) if frequency is None else frequency
        hot = most_frequent(shape.rows, self.hot_rows(shape.rows), weights)
        codebook = np.empty((self.parts, HOT_CENTROIDS, width), np.float32)
        codes = np.empty((shape.rows, self.parts), np.uint8)
        generator = np.random.default_rng(seed)
        for part in range(self.parts):
            own = matrix[:, part * width : (part + 1) * width]
            codebook[part] = tiered_centroids(own[hot], own[~hot], HOT_CENTROIDS, COLD_CENTROIDS, generator)
            codes[hot, part] = nearest(own[hot], codebook[part])[0]
            codes[~hot, part] = nearest(own[~hot], codebook[part, :COLD_CENTROIDS])[0]
            if on_progress is not None:
                on_progress(shape.rows * (part + 1) // self.parts, shape.rows)
        return tiered_table(self, shape, codebook, codes, hot)

    def open(self, shape: TableShape, arrays: Mapping[str, NDArray[Any]]) -> MgqeTable:
        """Make a table of its stored arrays (see :class:`MgqeTable`); see :meth:`Scheme.open`."""
        n_hot = self.hot_rows(shape.rows)
        codebook = stored_array(arrays, "codebook", np.float32, (self.parts, HOT_CENTROIDS, self.width(shape.dim)))
        hot = stored_array(arrays, "hot", np.uint8, (n_hot, self.parts))
        cold = stored_array(arrays, "cold", np.uint8, (self._cold_bytes(shape.rows - n_hot),))
        words, ranks = stored_bitmap(arrays, "words", "ranks", shape.rows, n_hot)
        return MgqeTable(self, shape, frozen(codebook), TierCodes(frozen(hot), frozen(cold), words, ranks))


@dataclass(frozen=True, slots=True)
class MgqeTable(ArrayTable):
    """A codebook, and the codes of all rows.

    Attributes
    ----------
    codebook : float32[parts, 256, dim / parts]
    codes : TierCodes
        Stored as ``hot``, ``cold``, ``words`` and ``ranks``.
    """

    refusal: ClassVar[str] = "they would have no tier; train or fit a new table"

    scheme: Mgqe
    shape: TableShape
    codebook: F32
    codes: TierCodes

    def take(self, rows: I64, out: F32) -> None:
        """Write ``rows`` int64[n] into ``out`` float32[n, dim]; see :meth:`ArrayTable.take`."""
        within = frozen(places(self.codes.words, self.codes.ranks, rows))
        scratch = np.empty(self.scheme.parts + kernels.WINDOW, np.uint8)
        kernels.take_tiered(self._pieces(self.codebook), self._readable_codes(), within, scratch, self._pieces(out))

    def _pieces(self, vectors: F32) -> F32 | U64:
        """Give vectors as a matrix of centroids, those of two floats as one integer."""
        width = self.codebook.shape[2]
        rows = vectors.reshape(-1, width)
        return rows.view(np.uint64) if width == 2 else rows

    def _readable_codes(self) -> TierCodes:
        """Give the codes with at least as many bytes as are read together."""
        codes = self.codes
        if 0 < len(codes.cold) < kernels.WORD_BYTES:
            return codes._replace(cold=frozen(np.pad(codes.cold, (0, kernels.WORD_BYTES))))
        return codes

    def scorer(self, queries: F32, metric: Metric) -> CheckedScorer:
        """Prepare ``queries`` float32[q, dim] (unit rows for cosine) once for many rows; see :class:`TierScorer`."""
        given = queries_matrix(queries, self.shape.dim)
        return CheckedScorer(TierScorer(self, given, metric), self.shape.rows, len(given))

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """Give ``codebook``, ``hot``, ``cold``, ``words`` and ``ranks``."""
        return {"codebook": self.codebook, **self.codes._asdict()}


class TierScorer(DecodingScorer):
    """Distances by decoding; graph walks, whose rows come one by one, sum entries of tables over the parts instead.

    A table holds what each centroid of each part adds to a query's distance. Its entries are gathered one by one, for
    each query anew, where a decoded row is copied a centroid at a time, serves all queries, and is scored by vector
    instructions. With 1 to ``dim`` parts, decoding was 1.3 to 2.5 times as fast for one query of 16 or 64 dimensions, 3
    to 12 times for 64 queries; for one query of 256, sums were ahead by a tenth. The number of queries does not
    decide, because a query has the same distances alone and among others.

    Parameters
    ----------
    table : MgqeTable
    queries : float32[q, dim]
    metric : Metric
    """

    def __init__(self, table: MgqeTable, queries: F32, metric: Metric) -> None:
        super().__init__(table.lookup, queries, metric)
        self._table = table

    @cached_property
    def traversal(self) -> Operands:
        """Give the sums over tables, which are computed when first asked for."""
        codebook = self._table.codebook
        tables = np.empty((len(self._queries), *codebook.shape[:2]), np.float32)
        if self._metric is Metric.L2:
            kernels.squared_distances(codebook, frozen(self._queries), tables)
            return TierSums(frozen(tables), self._table.codes, np.float32(0))
        kernels.negative_dots(codebook, frozen(self._queries), tables)
        return TierSums(frozen(tables), self._table.codes, bias_of(self._metric))


def tiered_table(scheme: Mgqe, shape: TableShape, codebook: F32, codes: U8, hot: Mask) -> MgqeTable:
    """Give the table of a codebook float32[M, 256, dim / M], codes uint8[n, M] (below 64 where not hot) and bool[n]."""
    words, ranks = pack(hot)
    packed = TierCodes(frozen(codes[hot]), frozen(_packed(codes[~hot])), words, ranks)
    return MgqeTable(scheme, shape, frozen(codebook), packed)


def _packed(codes: U8) -> U8:
    """Give codes uint8[c, M] below 64 with 6 bits each, uint8[ceil(6 c M / 8)]; see ``kernels/tiers.py``."""
    bits = np.unpackbits(codes.reshape(-1, 1), axis=1, count=COLD_BITS, bitorder="little")
    return np.packbits(bits.ravel(), bitorder="little")
