"""Configs, figures, points and hits on the wire."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from vecstore.api import CollectionStats, CompressReport
from vecstore.config import CollectionConfig, HnswConfig, decode_json, encode_json
from vecstore.effort import Stage
from vecstore.errors import InvalidArgumentError
from vecstore.types import F32, Hits, IdArray, Metric, Point, as_metric
from vecstore.v1 import collections_pb2, points_pb2
from vecstore.wire.arrays import (
    floats_from_bytes,
    floats_to_bytes,
    ids_from_message,
    ids_to_message,
    table_from_bytes,
    table_to_bytes,
    vectors_from_message,
    vectors_to_message,
)

_METRICS: dict[Metric, collections_pb2.Metric] = {
    Metric.COSINE: collections_pb2.METRIC_COSINE,
    Metric.L2: collections_pb2.METRIC_L2,
    Metric.IP: collections_pb2.METRIC_IP,
}
_METRIC_NAMES = {value: name for name, value in _METRICS.items()}


def metric_to_message(metric: Metric | str) -> collections_pb2.Metric:
    """Pack a metric.

    Raises
    ------
    InvalidArgumentError
        There is none of that name.
    """
    return _METRICS[as_metric(metric)]


def metric_from_message(value: collections_pb2.Metric) -> Metric:
    """Unpack a metric; unspecified means cosine.

    Raises
    ------
    InvalidArgumentError
        A number that this release does not know.
    """
    if value == collections_pb2.METRIC_UNSPECIFIED:
        return Metric.COSINE
    if value not in _METRIC_NAMES:
        raise InvalidArgumentError(f"metric: {value} is not known to this release", field="metric")
    return _METRIC_NAMES[value]


def scheme_to_message(scheme: str | dict[str, Any]) -> collections_pb2.Scheme:
    """Pack a scheme given by name or as JSON types.

    Raises
    ------
    InvalidArgumentError
        Neither, or not JSON types.
    """
    if isinstance(scheme, str):
        return collections_pb2.Scheme(name=scheme)
    if not isinstance(scheme, dict):
        raise InvalidArgumentError(
            f"scheme: expected a name or a JSON object, got {type(scheme).__name__}", field="scheme"
        )
    try:
        return collections_pb2.Scheme(json=encode_json(scheme).decode())
    except TypeError as error:
        raise InvalidArgumentError(f"scheme: not JSON types ({error})", field="scheme") from None


def set_budget(request: collections_pb2.CompressRequest, budget: float | int | None) -> None:
    """Put a budget into a request: a share of the float32 rows where it is a float, bytes where it is an int.

    Raises
    ------
    InvalidArgumentError
        Neither, or more bytes than a message can say.
    """
    if budget is None:
        return
    try:
        if isinstance(budget, int) and not isinstance(budget, bool):
            request.budget_bytes = budget
        elif isinstance(budget, float):
            request.budget_share = budget
        else:
            raise InvalidArgumentError(f"budget: expected a number, got {budget!r}", field="budget")
    except ValueError:
        raise InvalidArgumentError(f"budget: {budget} bytes are out of range", field="budget") from None


def budget_from_message(request: collections_pb2.CompressRequest) -> float | int | None:
    """Give the budget of a request; None where there is none."""
    kind = request.WhichOneof("budget")
    if kind is None:
        return None
    return request.budget_bytes if kind == "budget_bytes" else request.budget_share


def scheme_from_message(message: collections_pb2.Scheme, *, field: str) -> str | dict[str, Any]:
    """Unpack a scheme: a name, or JSON types.

    Raises
    ------
    InvalidArgumentError
        Nothing is set, or the text is not a JSON object.
    """
    kind = message.WhichOneof("choice")
    if kind is None:
        raise InvalidArgumentError(f"{field}: missing; set name or json", field=field)
    if kind == "name":
        return message.name
    scheme = decode_json(message.json.encode())
    if not isinstance(scheme, dict):
        raise InvalidArgumentError(f"{field}: expected a JSON object, got {type(scheme).__name__}", field=field)
    return scheme


def hnsw_to_message(index: HnswConfig) -> collections_pb2.Hnsw:
    """Pack the settings of a graph."""
    return collections_pb2.Hnsw(
        m=index.M,
        ef_construction=index.ef_construction,
        ef=index.ef,
        min_rows=index.min_rows,
        seed=index.seed,
        builder=index.builder,
    )


def hnsw_from_message(message: collections_pb2.Hnsw) -> HnswConfig:
    """Unpack the settings of a graph; absent ones have their defaults.

    Raises
    ------
    InvalidArgumentError
        A setting is out of range.
    """
    given = {field.name: value for field, value in message.ListFields()}
    if "m" in given:
        given["M"] = given.pop("m")
    known = {name: value for name, value in given.items() if name in HnswConfig.__struct_fields__}
    return HnswConfig.from_dict(known)


def config_to_message(config: CollectionConfig) -> collections_pb2.CollectionConfig:
    """Pack what defines a collection."""
    return collections_pb2.CollectionConfig(
        dim=config.dim,
        metric=metric_to_message(config.metric),
        scheme=scheme_to_message(config.scheme),
        refine=None if config.refine is None else scheme_to_message(config.refine),
        index=None if config.index is None else hnsw_to_message(config.index),
        recall=config.recall,
    )


def config_from_message(message: collections_pb2.CollectionConfig) -> CollectionConfig:
    """Unpack what defines a collection.

    Raises
    ------
    InvalidArgumentError
        A value that this release cannot have.
    """
    return CollectionConfig(
        dim=message.dim,
        metric=metric_from_message(message.metric),
        scheme=_json_scheme(message.scheme, "scheme"),
        refine=_json_scheme(message.refine, "refine") if message.HasField("refine") else None,
        index=hnsw_from_message(message.index) if message.HasField("index") else None,
        recall=message.recall if message.HasField("recall") else None,
    )


def _json_scheme(message: collections_pb2.Scheme, field: str) -> dict[str, Any]:
    scheme = scheme_from_message(message, field=field)
    return {"scheme": scheme} if isinstance(scheme, str) else scheme


def stats_to_message(stats: CollectionStats) -> collections_pb2.StatsResponse:
    """Pack the figures of a collection."""
    return collections_pb2.StatsResponse(
        rows=stats.rows,
        delta_rows=stats.delta_rows,
        deleted_rows=stats.deleted_rows,
        segments=[
            collections_pb2.SegmentStats(
                segment=segment["segment"],
                rows=segment["rows"],
                deleted=segment["deleted"],
                scheme=segment["scheme"],
                refine=segment["refine"],
                graph=segment["graph"],
                bytes=segment["bytes"],
                calibration=_optional_json(segment["calibration"]),
            )
            for segment in stats.segments
        ],
        bytes_per_vector=stats.bytes_per_vector,
        generation=stats.generation,
        id_type=stats.id_type,
        columns=[collections_pb2.ColumnType(name=name, type=kind) for name, kind in stats.columns.items()],
    )


def stats_from_message(message: collections_pb2.StatsResponse) -> CollectionStats:
    """Unpack the figures of a collection."""
    return CollectionStats(
        rows=message.rows,
        delta_rows=message.delta_rows,
        deleted_rows=message.deleted_rows,
        segments=[
            {
                "segment": segment.segment,
                "rows": segment.rows,
                "deleted": segment.deleted,
                "scheme": segment.scheme,
                "refine": segment.refine if segment.HasField("refine") else None,
                "graph": segment.graph,
                "calibration": decode_json(segment.calibration.encode()) if segment.HasField("calibration") else None,
                "bytes": dict(segment.bytes),
            }
            for segment in message.segments
        ],
        bytes_per_vector=dict(message.bytes_per_vector),
        generation=message.generation,
        id_type=message.id_type,
        columns={column.name: column.type for column in message.columns},
    )


def _optional_json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else encode_json(value).decode()


def report_to_message(report: CompressReport) -> collections_pb2.CompressResponse:
    """Pack what ``compress`` did."""
    return collections_pb2.CompressResponse(
        rows=report.rows,
        bytes_before=report.bytes_before,
        bytes_after=report.bytes_after,
        relative_error=report.relative_error,
        seconds=report.seconds,
        cosine=report.cosine,
    )


def report_from_message(message: collections_pb2.CompressResponse) -> CompressReport:
    """Unpack what ``compress`` did."""
    return CompressReport(
        rows=message.rows,
        bytes_before=message.bytes_before,
        bytes_after=message.bytes_after,
        relative_error=message.relative_error,
        seconds=message.seconds,
        cosine=message.cosine if message.HasField("cosine") else None,
    )


def rows_to_message(ids: IdArray, vectors: F32, metadata: pa.Table | None) -> points_pb2.Rows:
    """Pack rows to write; a table without columns is left out."""
    return points_pb2.Rows(
        ids=ids_to_message(ids),
        vectors=vectors_to_message(vectors),
        metadata_arrow=_optional_table(metadata),
    )


def rows_from_message(message: points_pb2.Rows) -> tuple[IdArray, F32, pa.Table | None]:
    """Unpack rows to write: ids [n], vectors float32[n, dim], metadata.

    Raises
    ------
    InvalidArgumentError
        A part is missing or unsound, or there are not as many vectors as ids.
    """
    ids = ids_from_message(message.ids)
    vectors = vectors_from_message(message.vectors, field="vectors")
    if len(ids) != len(vectors):
        raise InvalidArgumentError(f"vectors: {len(vectors)} rows for {len(ids)} ids", field="vectors")
    metadata = None
    if message.HasField("metadata_arrow"):
        metadata = table_from_bytes(message.metadata_arrow, field="metadata")
    return ids, vectors, metadata


def funnel_to_message(stages: tuple[Stage, ...]) -> list[points_pb2.FunnelStage]:
    """Pack the stages of a funnel search; none for no funnel."""
    return [points_pb2.FunnelStage(dims=stage.dims, rows=stage.rows) for stage in stages]


def funnel_from_message(request: points_pb2.SearchRequest) -> dict[int, int | None] | None:
    """Unpack the stages of a funnel search as its argument; None for no funnel."""
    return {stage.dims: stage.rows if stage.HasField("rows") else None for stage in request.funnel} or None


def hits_to_message(hits: Hits) -> points_pb2.SearchResponse:
    """Pack the hits of one search, without the places that hold none."""
    inside = _inside(hits.counts, hits.ids.shape[1])
    return points_pb2.SearchResponse(
        counts=hits.counts.tolist(),
        ids=ids_to_message(hits.ids[inside]),
        distances=floats_to_bytes(hits.distances[inside]),
        metadata_arrow=None if hits.metadata is None else table_to_bytes(hits.metadata),
        k=hits.ids.shape[1],
    )


def hits_from_message(message: points_pb2.SearchResponse) -> Hits:
    """Unpack the hits of one search.

    Raises
    ------
    InvalidArgumentError
        The parts do not fit each other.
    """
    counts = np.array(message.counts, dtype=np.int64)
    flat_ids = ids_from_message(message.ids)
    inside = _inside(counts, message.k)
    if inside.sum() != len(flat_ids):
        raise InvalidArgumentError(f"ids: {len(flat_ids)} for {inside.sum()} hits", field="ids")
    ids: IdArray = (
        np.full(inside.shape, -1, np.int64) if flat_ids.dtype == np.int64 else np.full(inside.shape, "", object)
    )
    ids[inside] = flat_ids
    distances = np.full(inside.shape, np.inf, np.float32)
    distances[inside] = floats_from_bytes(message.distances)
    metadata = None
    if message.HasField("metadata_arrow"):
        metadata = table_from_bytes(message.metadata_arrow, field="metadata")
    return Hits(ids=ids, distances=distances, counts=counts, metadata=metadata)


def _inside(counts: np.ndarray[Any, np.dtype[np.int64]], k: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mark the places of [q, k] that hold a hit."""
    return np.arange(k)[None, :] < counts[:, None]


def points_to_message(points: list[Point | None]) -> points_pb2.GetPointsResponse:
    """Pack points; None for ids that do not exist."""
    found = [point for point in points if point is not None]
    vectors = [point.vector for point in found if point.vector is not None]
    return points_pb2.GetPointsResponse(
        found=[point is not None for point in points],
        vectors=vectors_to_message(np.stack(vectors)) if vectors else None,
        metadata_arrow=_optional_table(_table_of_dicts([point.metadata for point in found])),
    )


def points_from_message(message: points_pb2.GetPointsResponse, ids: IdArray) -> list[Point | None]:
    """Unpack the points of ``ids``, in order.

    Raises
    ------
    InvalidArgumentError
        The parts do not fit each other.
    """
    count = sum(message.found)
    vectors: list[F32] | list[None] = [None] * count
    if message.HasField("vectors"):
        vectors = list(vectors_from_message(message.vectors, field="vectors"))
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    if message.HasField("metadata_arrow"):
        rows = table_from_bytes(message.metadata_arrow, field="metadata").to_pylist()
    if len(message.found) != len(ids) or len(vectors) != count or len(rows) != count:
        raise InvalidArgumentError(f"the reply has {count} points but other numbers of ids, vectors or metadata rows")
    left = iter(zip(vectors, rows, strict=True))
    points: list[Point | None] = []
    for key, exists in zip(ids.tolist(), message.found, strict=True):
        if exists:
            vector, metadata = next(left)
            points.append(Point(key, vector, metadata))
        else:
            points.append(None)
    return points


def _table_of_dicts(rows: list[dict[str, Any]]) -> pa.Table:
    """Build a table of all names that occur; values missing in a row are null."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _optional_table(table: pa.Table | None) -> bytes | None:
    return None if table is None or not table.num_columns else table_to_bytes(table)
